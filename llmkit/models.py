"""Tokenizers and models by name or path: what they are before anything costly, then the weights."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit import hub
from llmkit.builtin import BUILTIN
from llmkit.errors import ModelError, OptionError, listing
from llmkit.options import ModelOptions
from llmkit.report import Report

SMALL_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.py"]
WEIGHTS = ["model*.safetensors"]
PICKLED_WEIGHTS = ["pytorch_model*.bin"]
BUILTIN_NAME = "built-in"


@dataclass(frozen=True)
class Located:
    """A model that was found: its files but not yet its weights."""

    name: str
    path: Path
    config: PretrainedConfig
    commit: str | None = None
    revision: str | None = None  # what to ask the Hub for
    on_hub: bool = False
    cached_only: bool = False

    @property
    def stamp(self) -> object:
        """What tells this model from another of the same name: the commit, or the files' sizes and times."""
        files = sorted(file for file in self.path.iterdir() if file.is_file())
        return self.commit or [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]

    def identity(self, dtype: str) -> dict[str, Any]:
        """What this model's answers depend on besides the question, for the note beside an output file."""
        return {"model": self.name, "weights": self.stamp, "dtype": dtype}

    @property
    def slug(self) -> str:
        """A short name for folders."""
        return self.name.rstrip("/").split("/")[-1]


def locate(options: ModelOptions, report: Report, default: str | None = None) -> Located:
    """Find the model and read its config; a folder on disk never touches the network.

    Raises:
        OptionError: no model is named and there is no default.
        ModelError: there is no such model, or the folder is not one.
        HubError: the Hub cannot be reached or refuses access.
    """
    pick_device(options.device)  # a device that is not there is known before any download
    name = options.model or default
    if name is None:
        raise OptionError("name a model with -m (a Hub id or a folder)")
    folder = BUILTIN if name == BUILTIN_NAME else Path(name).expanduser()
    if folder.exists() or name.startswith((".", "/", "~")):
        config = _config(folder, name, options)
        _check_headers(folder, name)
        return Located(name, folder, config)
    cached_only = options.offline or hub.commit("model", name, options.revision, report) is None
    path = hub.download(name, options.revision, SMALL_FILES, cached_only)  # by its branch: --offline finds it again
    config = _config(path, name, options)
    return Located(name, path, config, path.name, options.revision, on_hub=True, cached_only=cached_only)


def _config(folder: Path, name: str, options: ModelOptions) -> PretrainedConfig:
    if not folder.exists():
        raise ModelError(f"there is no model folder {name!r}")
    file = folder / "config.json"
    if not file.is_file():
        raise ModelError(f"{name!r} is not a model folder: it has no config.json")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it holds no object")
        if "auto_map" in values and not options.trust_remote_code:
            raise ModelError(f"{name!r} brings its own Python code; --trust-remote-code runs it, if you trust it")
        return AutoConfig.from_pretrained(folder, trust_remote_code=options.trust_remote_code)
    except ModelError:
        raise
    except Exception as error:  # a config can be wrong in as many ways as there are models
        raise ModelError(f"{name!r} has a config.json that cannot be used: {_brief(error)}") from error


def load_tokenizer(located: Located, options: ModelOptions) -> PreTrainedTokenizerBase:
    """Open the model's tokenizer, with a padding token.

    Raises:
        ModelError: there is none, or it is broken.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(located.path, trust_remote_code=options.trust_remote_code)
    except ImportError as error:  # of Marian and M2M100
        wanted = "pip install 'llmkit[translation]'"
        raise ModelError(f"the tokenizer of {located.name!r} needs a library: {wanted}") from error
    except Exception as error:  # tokenizers raise bare Exceptions for broken files
        raise ModelError(f"{located.name!r} has no usable tokenizer: {_brief(error)}") from error
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # the library makes one up where the files are missing
        raise ModelError(f"{located.name!r} has no tokenizer files")
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
    return load_tokenizer(Located(name, folder, PretrainedConfig()), options)


def load_model(
    located: Located,
    auto_class: str,
    tokenizer: PreTrainedTokenizerBase,
    options: ModelOptions,
    *,
    head: dict[str, Any] | None = None,
    training: bool = False,
) -> PreTrainedModel:
    """Load the weights into the task's Auto class, on the device; with `head`, a new head for it may be made.

    Raises:
        ModelError: weights are missing, truncated, or of another architecture.
    """
    folder = weights_folder(located)
    _check_headers(folder, located.name)
    kind = getattr(transformers, auto_class)
    settings = {**(head or {}), "pad_token_id": tokenizer.pad_token_id}
    try:
        with _without_bars():
            model, found = kind.from_pretrained(
                folder, config=_with(located.config, settings), dtype=_load_dtype(options, training),
                output_loading_info=True, ignore_mismatched_sizes=True,
                trust_remote_code=options.trust_remote_code, local_files_only=True,
            )  # fmt: skip
    except Exception as error:  # what a loader raises depends on the file and on the architecture
        pickled = not any(folder.glob("*.safetensors"))
        why = "its pickle holds more than tensors, or is damaged" if pickled else _brief(error)
        raise ModelError(f"the weights of {located.name!r} cannot be loaded: {why}") from error
    _check_complete(located, model, found, head is not None, bare=auto_class == "AutoModel")
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise ModelError(f"{located.name!r} has a tokenizer of {len(tokenizer)} tokens and embeddings for fewer")
    return model.to(pick_device(options.device))


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for the milliseconds that weights take from the disk."""
    bars = transformers.utils.logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def _with(config: PretrainedConfig, settings: dict[str, Any]) -> PretrainedConfig:
    changed = copy.deepcopy(config)
    for key, value in settings.items():
        setattr(changed, key, value)
    return changed


def weights_folder(located: Located) -> Path:
    """Return the folder that holds the weights, downloaded where they are on the Hub."""
    if not located.on_hub:
        return located.path
    folder = hub.download(located.name, located.revision, WEIGHTS, located.cached_only)
    if not any(folder.glob("model*.safetensors")):  # older repositories hold pickles: torch loads weights alone
        folder = hub.download(located.name, located.revision, PICKLED_WEIGHTS, located.cached_only)
    return folder


def _check_headers(folder: Path, name: str) -> None:
    """Open each safetensors header: a truncated file is named before anything is loaded."""
    from safetensors import SafetensorError, safe_open

    weights = sorted(folder.glob("*.safetensors"))
    if not weights and not any(folder.glob("pytorch_model*.bin")):
        raise ModelError(f"{name!r} holds no weights: a model.safetensors is wanted")
    for file in weights:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file} is truncated or no safetensors file: {_brief(error)}") from error


def _check_complete(
    located: Located, model: PreTrainedModel, found: dict[str, Any], new_head: bool, bare: bool
) -> None:
    """Refuse weights that were not in the checkpoint: they would be random. A new head, and its pooler, may be.

    So may the pooler of a bare model, of which the hidden states are read.
    """
    missing = set(found["missing_keys"]) | {entry[0] for entry in found.get("mismatched_keys") or ()}
    prefix = f"{model.base_model_prefix}."
    if new_head:
        missing = {key for key in missing if key.startswith(prefix) and "pooler" not in key}
    if bare:
        missing = {key for key in missing if not key.startswith("pooler.")}
    if missing:
        kind = (located.config.architectures or [located.config.model_type])[0]
        raise ModelError(
            f"{located.name!r} ({kind}) lacks weights that {type(model).__name__} needs: {listing(sorted(missing), 3)}"
        )


def _load_dtype(options: ModelOptions, training: bool) -> Any:
    if training:  # float32 weights; bf16 comes in by autocast (training.precision)
        return torch.float32
    return "auto" if options.dtype == "auto" else getattr(torch, options.dtype)


def pick_device(name: str) -> torch.device:
    """Return the device asked for; auto takes the accelerator when there is one.

    Raises:
        OptionError: the device does not exist here.
    """
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(f"--device {name!r}: {_brief(error)}") from None
    absent = accelerator is None or accelerator.type != device.type
    if device.type != "cpu" and (absent or (device.index or 0) >= torch.accelerator.device_count()):
        raise OptionError(f"--device {name}: there is no such device here")
    return device


def context_length(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many tokens the model can take at once."""
    limits = [tokenizer.model_max_length]
    for key in ("max_position_embeddings", "n_positions"):
        positions = getattr(config, key, None)
        if isinstance(positions, int) and positions > 0:
            # RoBERTa and its kin keep the positions up to the padding id for padding
            offset = (config.pad_token_id or 0) + 1 if "roberta" in config.model_type else 0
            limits.append(positions - offset)
    return int(min(min(limits), 1_000_000))


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a model folder that `AutoModel.from_pretrained` opens, readable as the user's umask says."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    umask = os.umask(0)
    os.umask(umask)
    for weights in folder.glob("*.safetensors"):  # the library leaves them readable by their owner alone
        weights.chmod(0o666 & ~umask)


def count_parameters(model: PreTrainedModel) -> int:
    """Return the number of weights, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def peak_memory_bytes() -> int:
    """Return the most resident memory that the process has had."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes but for macOS
