"""Tokenizers and weights of models that were found; `lookup` finds them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit import hub
from llmkit.errors import ModelError, brief, listing
from llmkit.errors.extras import needs_extra
from llmkit.models import adapters
from llmkit.models.config import context_length, with_config_values
from llmkit.models.lookup import SMALL_FILES, ResolvedModel, check_base, pick_device, weights_folder
from llmkit.models.weight_files import check_headers, weight_fingerprint
from llmkit.options import ModelOptions
from llmkit.output.report import Report

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(resolved: ResolvedModel, options: ModelOptions) -> PreTrainedTokenizerBase:
    """Open the model's tokenizer, with a padding token.

    Raises:
        ModelError: there is none, or it is broken.
    """
    from transformers import AutoTokenizer

    borrowed = resolved.base is not None and not any(resolved.path.glob("tokenizer*"))
    folder = resolved.base.path if resolved.base is not None and borrowed else resolved.path
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=options.trust_remote_code)
    except ImportError as error:  # of Marian and M2M100
        tokenizer_of = f"the tokenizer of {resolved.name!r}"
        raise ModelError(needs_extra(tokenizer_of, "translation", "a library")) from error
    except Exception as error:  # tokenizers raise bare Exceptions for broken files
        raise ModelError(f"{resolved.name!r} has no usable tokenizer: {brief(error)}") from error
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # the library makes one up where the files are missing
        raise ModelError(f"{resolved.name!r} has no tokenizer files")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if resolved.base is not None:
        virtual = adapters.read_adapter(resolved.path, resolved.name).virtual_tokens
        if virtual:  # which take places of the context
            tokenizer.model_max_length = context_length(resolved.config, tokenizer) - virtual
    return tokenizer


def load_tokenizer_alone(name: str, options: ModelOptions, report: Report) -> PreTrainedTokenizerBase:
    """Open a tokenizer by name or folder, which need not hold a model.

    Raises:
        ModelError: there is none.
        HubError: the Hub cannot be reached or refuses access.
    """
    from transformers import PretrainedConfig

    folder = Path(name).expanduser()
    if not folder.exists():
        cached_only = options.offline or hub.commit("model", name, None, report) is None
        folder = hub.download(name, None, SMALL_FILES, cached_only)
    return load_tokenizer(ResolvedModel(name, folder, PretrainedConfig()), options)


def load_model(
    resolved: ResolvedModel,
    auto_class: str,
    tokenizer: PreTrainedTokenizerBase,
    options: ModelOptions,
    *,
    training: bool = False,
    merged: bool = False,
) -> PreTrainedModel:
    """Load the weights into the task's Auto class, on the device.

    An adapter lies on its base; `merged` folds it into it.

    Raises:
        ModelError: weights are missing, truncated, or of another architecture.
    """
    return open_weights(resolved, LoadRequest(auto_class, training=training, merged=merged), tokenizer, options)[0]


@dataclass(frozen=True)
class LoadRequest:
    """What to make of weights: see `load_model`."""

    auto_class: str
    head: Mapping[str, object] | None = None  # the config values of a new head, which may be made then
    training: bool = False
    merged: bool = False
    unquantized: list[str] | None = None  # the modules that are not loaded in 4 bits; None: none is loaded so


def open_weights(
    resolved: ResolvedModel, request: LoadRequest, tokenizer: PreTrainedTokenizerBase, options: ModelOptions
) -> tuple[PreTrainedModel, list[str]]:
    """Return the model of `load_model`, and the names of its weights that are new, not of the checkpoint.

    Raises:
        ModelError: weights are missing, truncated, or of another architecture, or fewer than the tokens.
    """
    source, device = resolved.base or resolved, pick_device(options.device)
    if options.quantize is not None:  # an adapter is folded in before its base loses its whole weights
        from llmkit.models import quantization

        request = replace(request, merged=True)
    folder = weights_folder(source)
    check_headers(folder, source.name)
    if source.on_hub and resolved.base is not None:
        check_base(resolved, source)
    merged_or_plain = resolved.base is None or request.merged
    unquantized = request.unquantized if merged_or_plain else adapters.unquantized_base_modules(resolved.config, device)
    values = {**(request.head or {}), "pad_token_id": tokenizer.pad_token_id}
    arguments: dict[str, object] = {
        "config": with_config_values(resolved.config, values),
        "dtype": _load_dtype(options, request.training),
        "trust_remote_code": options.trust_remote_code,
    }
    if unquantized is not None:
        arguments |= {"quantization_config": adapters.four_bits(unquantized), "device_map": {"": device}}
    if options.quantize is not None:
        arguments |= quantization.load_arguments(options.quantize, device)
    model, new, misshapen = _from_pretrained(resolved, request.auto_class, folder, arguments)
    if resolved.base is None and request.head is None and misshapen:
        raise ModelError(f"{resolved.name!r} has other weights than its config.json says: {listing(misshapen, 3)}")
    if resolved.base is None:
        _check_complete(resolved, model, new, request.head is not None, bare=request.auto_class == "AutoModel")
    else:
        adapter_folder = weights_folder(resolved)
        check_headers(adapter_folder, resolved.name)
        missing = _without_pooler(new) if request.auto_class == "AutoModel" else new
        model = adapters.open_adapter(model, adapter_folder, resolved.name, request.merged, missing, len(tokenizer))
        model = model.base_model if request.auto_class == "AutoModel" else model
    if len(tokenizer) > len(model.get_input_embeddings().weight):  # of an adapter's wrapper too
        raise ModelError(f"{resolved.name!r} has a tokenizer of {len(tokenizer)} tokens and embeddings for fewer")
    if options.quantize is not None and device.type == "cpu":
        quantization.quantize(model, options.quantize)
    return model if "device_map" in arguments else model.to(device), new


def _from_pretrained(
    resolved: ResolvedModel, auto_class: str, folder: Path, arguments: Mapping[str, object]
) -> tuple[PreTrainedModel, list[str], list[str]]:
    """Return the model that a folder holds, the names of its weights that are new, and a phrase on each of other shape.

    It is of the class that opens the weights: of an adapter, that of the model that it was made on.
    """
    import transformers
    from transformers.initialization import no_init_weights

    recorded = (resolved.config.architectures or [""])[0] if resolved.base is not None else ""
    network = getattr(transformers, recorded or auto_class, None) or getattr(transformers, auto_class)
    try:
        # on the meta device, where transformers builds a model, there is nothing to initialize
        with without_bars(), no_init_weights():
            model, info = network.from_pretrained(
                folder, output_loading_info=True, ignore_mismatched_sizes=True, local_files_only=True, **arguments
            )
    except Exception as error:  # what a loader raises depends on the file and on the architecture
        pickled = not any(folder.glob("*.safetensors"))
        reason = "its pickle holds more than tensors, or is damaged" if pickled else brief(error)
        name = (resolved.base or resolved).name
        if (wrong := _wrong_generation_config(folder)) is not None:
            raise ModelError(f"the generation_config.json of {name!r} cannot be used: {wrong}") from error
        raise ModelError(f"the weights of {name!r} cannot be loaded: {reason}") from error
    mismatched = sorted(info.get("mismatched_keys") or ())
    misshapen = [f"{name} is {_shape(there)}, not {_shape(wanted)}" for name, there, wanted in mismatched]
    return model, sorted({*info["missing_keys"], *(entry[0] for entry in mismatched)}), misshapen


def _wrong_generation_config(folder: Path) -> str | None:
    """Return what is wrong with the generation config of a folder, or None where nothing is, or there is none."""
    import transformers

    if not (folder / "generation_config.json").is_file():
        return None
    try:
        transformers.GenerationConfig.from_pretrained(folder, local_files_only=True).validate(strict=True)
    except Exception as error:  # a file can hold anything
        return brief(error)
    return None


def _shape(sizes: Iterable[int]) -> str:
    return " x ".join(map(str, sizes))


def origin(resolved: ResolvedModel) -> adapters.AdapterBase:
    """Return what an adapter remembers of the model that it is made on."""
    name = resolved.name if resolved.on_hub else str((resolved.gguf or resolved.path).resolve())
    return {
        "name": name,
        "revision": resolved.revision,
        "commit": resolved.commit,
        "sketch": weight_fingerprint(weights_folder(resolved)),
    }


def require_no_adapter(resolved: ResolvedModel) -> None:
    """Refuse an adapter where a model is wanted that can be trained.

    Raises:
        ModelError: naming the command that makes one of it, or its base where none can be made.
    """
    if resolved.base is not None:
        kind = adapters.unmergeable_kind(resolved.path, resolved.name)
        if kind is not None:
            raise ModelError(
                f"{resolved.name!r} is an adapter of {kind}, which is not trained further and adds no weights to "
                f"merge: -m {resolved.base.name} trains its base"
            )
        raise ModelError(
            f"{resolved.name!r} is an adapter: `llmkit merge {resolved.name}` makes a model to train of it"
        )


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for the milliseconds that weights take from the disk or to it."""
    import transformers

    bars = transformers.utils.logging
    enabled = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            bars.enable_progress_bar()


def _check_complete(
    resolved: ResolvedModel, model: PreTrainedModel, new: Iterable[str], new_head: bool, bare: bool
) -> None:
    """Refuse weights that were not in the checkpoint: they would be random. A new head, and its pooler, may be.

    So may the pooler of a bare model, of which the hidden states are read.
    """
    missing = set(new)
    prefix = f"{model.base_model_prefix}."
    if new_head:
        missing = {key for key in missing if key.startswith(prefix) and "pooler" not in key}
    if bare:
        missing = set(_without_pooler(missing))
    if missing:
        kind = (resolved.config.architectures or [resolved.config.model_type])[0]
        raise ModelError(
            f"{resolved.name!r} ({kind}) lacks weights that {type(model).__name__} needs: {listing(sorted(missing), 3)}"
        )


def _without_pooler(names: Iterable[str]) -> list[str]:
    """Return the names of weights of which the hidden states of a bare model are computed."""
    return [name for name in names if not name.startswith("pooler.")]


def _load_dtype(options: ModelOptions, training: bool) -> torch.dtype | str:
    import torch

    if training:  # float32 weights; bf16 comes in by autocast (training.precision)
        return torch.float32
    own = "bfloat16" if options.quantize else "auto"  # what the packed products are fastest in
    dtype = own if options.dtype == "auto" else options.dtype
    return "auto" if dtype == "auto" else getattr(torch, dtype)


def _untied(model: PreTrainedModel, gathered: Mapping[str, torch.Tensor] | None) -> dict[str, torch.Tensor] | None:
    """Return gathered weights without those that the model takes from others: they are copies by now."""
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    return None if gathered is None else {name: held for name, held in gathered.items() if name not in tied}


def save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    gathered: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a model folder that `AutoModel.from_pretrained` opens, or an adapter's; the umask says who may read it.

    `gathered` are the weights of a model of which this process holds a part.
    """
    if adapters.has_adapter(model):
        adapters.save_adapter(model, folder, gathered)
    else:
        with without_bars():
            model.save_pretrained(folder, state_dict=_untied(model, gathered))
    tokenizer.save_pretrained(folder)
    umask = os.umask(0)
    os.umask(umask)
    for weights in folder.glob("*.safetensors"):  # the library leaves them readable by their owner alone
        weights.chmod(0o666 & ~umask)
