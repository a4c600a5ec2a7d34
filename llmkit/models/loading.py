"""Tokenizers and weights of models that were found; `lookup` finds them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit import hub
from llmkit.errors import ModelError, brief, listing
from llmkit.errors.extras import needs_extra
from llmkit.models import adapters
from llmkit.models.config import with_config_values
from llmkit.models.lookup import SMALL_FILES, ResolvedModel, pick_device, require_same_base, weights_folder
from llmkit.models.weight_files import check_headers, weight_fingerprint
from llmkit.options import ModelOptions
from llmkit.output.report import Report


def load_tokenizer(resolved: ResolvedModel, options: ModelOptions) -> PreTrainedTokenizerBase:
    """Open the model's tokenizer, with a padding token.

    Raises:
        ModelError: there is none, or it is broken.
    """
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
    return tokenizer


def load_tokenizer_alone(name: str, options: ModelOptions, report: Report) -> PreTrainedTokenizerBase:
    """Open a tokenizer by name or folder, which need not hold a model.

    Raises:
        ModelError: there is none.
        HubError: the Hub cannot be reached or refuses access.
    """
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
    head: dict[str, Any] | None = None,
    training: bool = False,
    merged: bool = False,
) -> PreTrainedModel:
    """Load the weights into the task's Auto class, on the device; with `head`, a new head for it may be made.

    An adapter lies on its base; `merged` folds it into it.

    Raises:
        ModelError: weights are missing, truncated, or of another architecture.
    """
    return open_weights(resolved, Wanted(auto_class, head, training, merged), tokenizer, options)[0]


@dataclass(frozen=True)
class Wanted:
    """What to make of weights: see `load_model`."""

    auto_class: str
    head: dict[str, Any] | None = None
    training: bool = False
    merged: bool = False
    whole: list[str] | None = None  # the modules that are not loaded in 4 bits; None: none is loaded so


def open_weights(
    resolved: ResolvedModel, wanted: Wanted, tokenizer: PreTrainedTokenizerBase, options: ModelOptions
) -> tuple[PreTrainedModel, list[str]]:
    """Return the model of `load_model`, and the names of its weights that are new, not of the checkpoint."""
    source = resolved.base or resolved
    folder, device = weights_folder(source), pick_device(options.device)
    check_headers(folder, source.name)
    if source.on_hub and resolved.base is not None:
        require_same_base(resolved, source)
    config_values = {**(wanted.head or {}), "pad_token_id": tokenizer.pad_token_id}
    whole = wanted.whole if resolved.base is None or wanted.merged else adapters.whole_modules(resolved.config, device)
    few_bits = {} if whole is None else {"quantization_config": adapters.four_bits(whole), "device_map": {"": device}}
    try:
        with _without_bars():
            model, found = _network(resolved, wanted.auto_class).from_pretrained(
                folder,
                config=with_config_values(resolved.config, config_values),
                dtype=_load_dtype(options, wanted.training),
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                trust_remote_code=options.trust_remote_code,
                local_files_only=True,
                **few_bits,
            )
    except Exception as error:  # what a loader raises depends on the file and on the architecture
        pickled = not any(folder.glob("*.safetensors"))
        why = "its pickle holds more than tensors, or is damaged" if pickled else brief(error)
        raise ModelError(f"the weights of {source.name!r} cannot be loaded: {why}") from error
    new = sorted(set(found["missing_keys"]) | {entry[0] for entry in found.get("mismatched_keys") or ()})
    if resolved.base is None:
        _check_complete(resolved, model, new, wanted.head is not None, bare=wanted.auto_class == "AutoModel")
    else:
        own = weights_folder(resolved)
        check_headers(own, resolved.name)
        model = adapters.open_adapter(model, own, resolved.name, wanted.merged, new)
        model = model.base_model if wanted.auto_class == "AutoModel" else model
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise ModelError(f"{resolved.name!r} has a tokenizer of {len(tokenizer)} tokens and embeddings for fewer")
    return model if whole is not None else model.to(device), new


def _network(resolved: ResolvedModel, auto_class: str) -> Any:
    """Return the class that opens the weights: of an adapter, the one that it was made on."""
    own = (resolved.config.architectures or [""])[0] if resolved.base is not None else ""
    return getattr(transformers, own or auto_class, None) or getattr(transformers, auto_class)


def origin(resolved: ResolvedModel) -> dict[str, Any]:
    """Return what an adapter remembers of the model that it is made on."""
    name = resolved.name if resolved.on_hub else str(resolved.path.resolve())
    return {
        "name": name,
        "revision": resolved.revision,
        "commit": resolved.commit,
        "sketch": weight_fingerprint(weights_folder(resolved)),
    }


def require_whole(resolved: ResolvedModel) -> None:
    """Refuse an adapter where a model is wanted that can be trained.

    Raises:
        ModelError: naming the command that makes one of it.
    """
    if resolved.base is not None:
        raise ModelError(
            f"{resolved.name!r} is an adapter: `llmkit merge {resolved.name}` makes a model to train of it"
        )


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for the milliseconds that weights take from the disk or to it."""
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
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
        missing = {key for key in missing if not key.startswith("pooler.")}
    if missing:
        kind = (resolved.config.architectures or [resolved.config.model_type])[0]
        raise ModelError(
            f"{resolved.name!r} ({kind}) lacks weights that {type(model).__name__} needs: {listing(sorted(missing), 3)}"
        )


def _load_dtype(options: ModelOptions, training: bool) -> Any:
    if training:  # float32 weights; bf16 comes in by autocast (training.precision)
        return torch.float32
    return "auto" if options.dtype == "auto" else getattr(torch, options.dtype)


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a model folder that `AutoModel.from_pretrained` opens, or an adapter's; the umask says who may read it."""
    if adapters.has_adapter(model):
        adapters.save_adapter(model, folder)
    else:
        with _without_bars():
            model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    umask = os.umask(0)
    os.umask(umask)
    for weights in folder.glob("*.safetensors"):  # the library leaves them readable by their owner alone
        weights.chmod(0o666 & ~umask)
