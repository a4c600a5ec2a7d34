"""LoRA adapters through peft: which modules they adapt, how they are put on a model, saved and opened.

Sources: Hu et al., LoRA, 2021; Dettmers et al., QLoRA, 2023: all linear modules adapted, a base of 4-bit NormalFloat.
"""

from __future__ import annotations

import contextlib
import copy
import json
import sys
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict, TypeGuard, cast

import torch
from transformers import PretrainedConfig, PreTrainedModel

from llmkit.errors import LlmkitError, ModelError, OptionError, brief, did_you_mean, listing
from llmkit.errors.extras import is_installed, require_extra
from llmkit.models.modules import head_modules, is_within, linear_modules
from llmkit.options import AdapterOptions

if TYPE_CHECKING:
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper
    from transformers import BitsAndBytesConfig

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE_KEY = "llmkit_base"  # in the config.json of an adapter: what it was made on
ALL_LINEAR = "all-linear"
TASK_TYPES = {  # what peft calls an adapter for these, by the Auto class
    "AutoModelForCausalLM": "CAUSAL_LM",
    "AutoModelForQuestionAnswering": "QUESTION_ANS",
    "AutoModelForSeq2SeqLM": "SEQ_2_SEQ_LM",
    "AutoModelForSequenceClassification": "SEQ_CLS",
    "AutoModelForTokenClassification": "TOKEN_CLS",
}


# what an adapter remembers of the model that it is made on
AdapterBase = TypedDict(
    "AdapterBase",
    {
        "name": str,
        "revision": str | None,
        "commit": NotRequired[str | None],
        "sketch": NotRequired[str],  # the fingerprint of its weights
        "whole": NotRequired[list[str] | None],  # the modules that are not in 4 bits; None: none is
    },
)


def require_available(options: AdapterOptions, device: torch.device) -> None:
    """Refuse an adapter that cannot be trained here.

    Raises:
        OptionError: a library or a GPU is missing.
    """
    if options.qlora and device.type != "cuda":
        raise OptionError(
            f"--qlora needs an NVIDIA GPU, and this is {device.type}; --lora trains on it, in full weights"
        )
    if options.adapts:
        require_peft("--qlora" if options.qlora else "--lora", OptionError)
    if options.qlora:
        require_extra("--qlora", "qlora", "bitsandbytes")


def require_peft(what: str, kind: type[LlmkitError]) -> None:
    """Demand the library of adapters, for `what`.

    Raises:
        LlmkitError: of that kind.
    """
    require_extra(what, "adapters", "peft", error=kind)


def is_adapter(folder: Path) -> bool:
    """Tell whether a folder holds an adapter, and no model of its own."""
    return (folder / CONFIG).is_file()


def read_adapter(folder: Path, name: str) -> tuple[str, str | None]:
    """Return the name and the revision of the base that an adapter was made on.

    Raises:
        ModelError: peft is missing, the adapter is of another kind, or its config is broken.
    """
    require_peft(f"{name!r} is an adapter, which", ModelError)
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind, base, revision = values["peft_type"], values["base_model_name_or_path"], values.get("revision")
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{name!r} has an {CONFIG} that cannot be used: {brief(error)}") from error
    if kind != "LORA":
        raise ModelError(f"{name!r} is an adapter of the kind {kind}; llmkit opens LORA")
    return str(base or ""), revision


def find_targets(model: PreTrainedModel, named: Collection[str]) -> list[str]:
    """Return the modules to adapt, by their whole names: all linear ones of the body, or those that are `named`.

    Raises:
        OptionError: the model has no such module; the nearest is suggested.
    """
    linear = linear_modules(model)
    if not named or ALL_LINEAR in named:
        return linear
    every = [name for name, _ in model.named_modules() if name]
    targets: dict[str, None] = {}
    for target in named:
        matching = [name for name in linear if _ends(name, target)]
        if not matching:
            _refuse(target, model, every, linear)
        targets |= dict.fromkeys(matching)
    return list(targets)


def last_parts(targets: Collection[str], model: PreTrainedModel) -> list[str]:
    """Return targets by the last part of their names, where that names no other module: the same in each layer."""
    others = {name.rpartition(".")[2] for name, _ in model.named_modules() if name not in targets}
    last = {name: name.rpartition(".")[2] for name in targets}
    return sorted({name if short in others else short for name, short in last.items()})


def _refuse(target: str, model: PreTrainedModel, every: list[str], linear: list[str]) -> None:
    kind, last = type(model).__name__, sorted({name.rpartition(".")[2] for name in linear})
    if any(is_within(name, [target]) for name in head_modules(model)):
        raise OptionError(f"--lora-targets: {target!r} is the head of {kind}, which is trained in full anyway")
    if any(_ends(name, target) for name in every):
        raise OptionError(f"--lora-targets: {target!r} is no linear module of {kind}; there are {listing(last)}")
    near = did_you_mean(target, last)
    raise OptionError(f"--lora-targets: {kind} has no module {target!r}{near}; there are {listing(last)}")


def _ends(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def add_adapter(
    model: PreTrainedModel, options: AdapterOptions, network: str, base: AdapterBase, new: Collection[str]
) -> PreTrainedModel:
    """Return the model with a new adapter: its own weights are frozen, but for the heads and what is `new`.

    `base` is what it is made on; `new` are the weights that are not of the checkpoint.
    """
    from peft import LoraConfig, PeftModel, prepare_model_for_kbit_training

    if options.qlora:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    heads = head_modules(model)
    inner = {name.rpartition(".")[0] for name in new if not name.startswith(tuple(f"{head}." for head in heads))}
    in_full = [*heads, *sorted(inner - {""})]
    kind = TASK_TYPES.get(network)
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        target_modules=last_parts(find_targets(model, options.targets), model),
        modules_to_save=in_full or None,
        task_type=kind,
        base_model_name_or_path=base["name"],
        revision=base["revision"],
    )
    if kind is None:  # so that peft can open it all the same
        config.auto_mapping = {"base_model_class": type(model).__name__, "parent_library": type(model).__module__}
    model.config.update({BASE_KEY: base, "architectures": [type(model).__name__]})
    with warnings.catch_warnings(action="ignore"):  # that the library makes of itself
        adapted: PreTrainedModel = PeftModel(model, config)
    return adapted


def has_adapter(model: torch.nn.Module) -> TypeGuard[PeftModel]:
    """Tell whether a model is one that is trained with an adapter."""
    return "peft" in sys.modules and isinstance(model, sys.modules["peft"].PeftModel)


def is_active(model: torch.nn.Module) -> bool:
    """Tell whether a model answers with an adapter, one that is trained or one that was opened."""
    return any(not layer.disable_adapters for layer in _layers(model))


@contextlib.contextmanager
def turned_off(model: torch.nn.Module) -> Iterator[None]:
    """Let a model answer without its adapter, as its base does; without one it answers as always."""
    layers = [layer for layer in _layers(model) if not layer.disable_adapters]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def _layers(model: torch.nn.Module) -> list[BaseTunerLayer | AuxiliaryTrainingWrapper]:
    """Return the modules of an adapter, and those that it trains a copy of."""
    if "peft" not in sys.modules:
        return []
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    return [module for module in model.modules() if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)]


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the adapter alone, and the config of the model that it makes."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    save_file({name: weights.contiguous() for name, weights in state.items()}, folder / WEIGHTS, {"format": "pt"})
    values = {**model.peft_config["default"].to_dict(), "inference_mode": True}
    sorted_values = {name: sorted(value) if isinstance(value, set) else value for name, value in values.items()}
    (folder / CONFIG).write_text(json.dumps(sorted_values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    config = copy.deepcopy(model.config)
    vars(config).pop("quantization_config", None)  # of the base; `BASE_KEY` tells it
    config.save_pretrained(folder)


def open_adapter(
    model: PreTrainedModel, folder: Path, name: str, merged: bool, missing: Collection[str]
) -> PreTrainedModel:
    """Return a base with the adapter in `folder` on it, or folded into it; `missing` are weights that the base lacks.

    Raises:
        ModelError: it was made for a model of other modules or shapes.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import safe_open

    base = type(model).__name__
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        saved = set(file.keys())
    try:
        with warnings.catch_warnings(action="ignore"):  # what does not fit is looked for below
            adapted = PeftModel.from_pretrained(model, str(folder), torch_device="cpu")
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(f"the adapter {name!r} does not fit its base, a {base}: {brief(error)}") from error
    needed, possible = (set(get_peft_model_state_dict(adapted, save_embedding_layers=whole)) for whole in (False, True))
    others = {key for key in missing if f"base_model.model.{key}" not in saved}
    lacking = sorted((needed - saved) | (saved - possible) | others)
    if lacking:
        raise ModelError(
            f"the adapter {name!r} does not fit its base, a {base}: one of them lacks {listing(lacking, 3)}"
        )
    if not merged:
        return cast("PreTrainedModel", adapted.get_base_model())
    _untie(model)
    return cast("PreTrainedModel", adapted.merge_and_unload(safe_merge=True))


def _untie(model: PreTrainedModel) -> None:
    """Give a head that shares its weights with the embeddings its own, where an adapter changes one of the two."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    adapted = [end.get_base_layer() if isinstance(end, BaseTunerLayer) else end for end in ends]
    if adapted != ends and None not in ends and adapted[0].weight is adapted[1].weight:
        adapted[1].weight = torch.nn.Parameter(adapted[1].weight.detach().clone(), requires_grad=False)
        model.config.tie_word_embeddings = False


def require_same_base(config: PretrainedConfig, weight_fingerprint: str, name: str, base: str) -> None:
    """Refuse a base of other weights than those that the adapter was made on, where it says which.

    Raises:
        ModelError: naming both.
    """
    note = getattr(config, BASE_KEY, None) or {}
    if note.get("sketch") in (None, weight_fingerprint):
        return
    commit = note.get("commit")
    remedy = f"its commit was {commit}: --revision names one" if commit else "train it again on this one"
    raise ModelError(f"the adapter {name!r} was made on other weights than those of {base!r} now; {remedy}")


def unquantized_base_modules(config: PretrainedConfig, device: torch.device) -> list[str] | None:
    """Return which modules of an adapter's base are not in 4 bits; None: none is, or none can be here."""
    note = getattr(config, BASE_KEY, None) or {}
    can_quantize = device.type == "cuda" and is_installed("bitsandbytes")
    return note.get("whole") if can_quantize else None


def four_bits(unquantized: Collection[str]) -> BitsAndBytesConfig:
    """Return how transformers loads a base in 4-bit NormalFloat, all but the modules that are not quantized."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=list(unquantized),
    )
