"""LoRA adapters through peft: which modules they adapt, how they are put on a model, saved and opened.

Sources: Hu et al., LoRA, 2021; Dettmers et al., QLoRA, 2023: all linear modules adapted, a base of 4-bit NormalFloat.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.errors import OptionError, did_you_mean, listing
from llmkit.errors.extras import require_extra
from llmkit.models.adapters.bases import BASE_KEY, AdapterBase
from llmkit.models.adapters.saved import CONFIG, WEIGHTS, require_peft
from llmkit.models.modules import head_modules, is_within, linear_modules
from llmkit.options import AdapterOptions

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"
TASK_TYPES = {  # what peft calls an adapter for these, by the Auto class
    "AutoModelForCausalLM": "CAUSAL_LM",
    "AutoModelForQuestionAnswering": "QUESTION_ANS",
    "AutoModelForSeq2SeqLM": "SEQ_2_SEQ_LM",
    "AutoModelForSequenceClassification": "SEQ_CLS",
    "AutoModelForTokenClassification": "TOKEN_CLS",
}


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


def save_adapter(model: PeftModel, folder: Path, gathered: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write the adapter alone, and the config of the model that it makes.

    `gathered` are the weights of a model of which this process holds a part.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = get_peft_model_state_dict(model, gathered, save_embedding_layers=False)
    save_file({name: weights.contiguous() for name, weights in state.items()}, folder / WEIGHTS, {"format": "pt"})
    values = {**model.peft_config["default"].to_dict(), "inference_mode": True}
    sorted_values = {name: sorted(value) if isinstance(value, set) else value for name, value in values.items()}
    (folder / CONFIG).write_text(json.dumps(sorted_values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    config = copy.deepcopy(model.config)
    vars(config).pop("quantization_config", None)  # of the base; `BASE_KEY` tells it
    config.save_pretrained(folder)


def saved_state(model: PeftModel, folder: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a saved adapter by the names that they have in a model that is trained."""
    from safetensors.torch import load_file

    of_peft = {"default", "modules_to_save"}  # parts of names that are not saved
    trained = [name for name, weights in model.named_parameters() if weights.requires_grad]
    by_saved = {".".join(part for part in name.split(".") if part not in of_peft): name for name in trained}
    return {by_saved[name]: weights for name, weights in load_file(folder / WEIGHTS).items()}
