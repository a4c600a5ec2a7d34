"""Models by name or path: where they are and what they are, before anything costly."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit import hub
from llmkit.errors import HubError, ModelError, OptionError, brief
from llmkit.models import adapters, gguf_files
from llmkit.models.builtin import BUILTIN
from llmkit.models.config import CLASSIFIERS, outputs_problem, unknown_type, with_config_values
from llmkit.models.weight_files import check_headers, head_outputs, weight_fingerprint
from llmkit.options import ModelOptions
from llmkit.output.report import Report

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig


SMALL_FILES = ["*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken", "*.py"]
SAFETENSORS_WEIGHTS = ["model*.safetensors"]
PICKLED_WEIGHTS = ["pytorch_model*.bin"]
BUILTIN_NAME = "built-in"
UNREAD: Any = None  # in place of a config, until it is read
EMBEDDINGS = ("embed_tokens", "wte", "shared", "word_embeddings", "embed_in")  # what models call them
HEADS_OF_TASK_TYPES = {  # by what peft calls an adapter for them
    "FEATURE_EXTRACTION": "MODEL",
    "QUESTION_ANS": "MODEL_FOR_QUESTION_ANSWERING",
    "SEQ_CLS": "MODEL_FOR_SEQUENCE_CLASSIFICATION",
    "TOKEN_CLS": "MODEL_FOR_TOKEN_CLASSIFICATION",
}


@dataclass(frozen=True)
class ResolvedModel:
    """A model that was found: its files but not yet its weights."""

    name: str
    path: Path
    config: PretrainedConfig
    commit: str | None = None
    revision: str | None = None  # what to ask the Hub for
    on_hub: bool = False
    cached_only: bool = False
    base: ResolvedModel | None = None  # of an adapter: the model that it was made on
    gguf: Path | None = None  # the file that the folder was made of

    @property
    def stamp(self) -> object:
        """What tells this model from another of the same name: the commit, or the files' sizes and times."""
        files = sorted(file for file in self.path.iterdir() if file.is_file())
        stamp = self.commit or [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return stamp if self.base is None else [stamp, self.base.stamp]

    def identity(self, options: ModelOptions) -> dict[str, object]:
        """What this model's answers depend on besides the question, for the note beside an output file."""
        quantized = {} if options.quantize is None else {"quantize": options.quantize}
        return {"model": self.name, "weights": self.stamp, "dtype": options.dtype, **quantized}

    @property
    def slug(self) -> str:
        """A short name for folders."""
        return self.name.rstrip("/").split("/")[-1]


def resolve_model(
    options: ModelOptions, report: Report, default: str | None = None, base: str | None = None, *, adapter: bool = True
) -> ResolvedModel:
    """Find the model and read its config; a folder on disk never touches the network.

    An adapter is found with the model that it was made on, which `base` names if it is not where the adapter says.
    Without `adapter` it is refused, as the base of another is no adapter.

    Raises:
        OptionError: no model is named and there is no default.
        ModelError: there is no such model, or the folder is not one.
        HubError: the Hub cannot be reached or refuses access.
    """
    if options.device not in ("auto", "cpu"):
        pick_device(options.device)  # a device that is not there is known before any download
    name = options.model or default
    if name is None:
        raise OptionError("name a model with -m (a Hub id or a folder)")
    resolved = _files_of(name, options, report)
    adapters.require_no_inner_adapters(resolved.path, name)
    is_adapter = adapters.is_adapter(resolved.path)
    if options.revision is not None and not (resolved.on_hub or is_adapter):
        raise OptionError(f"--revision names a version on the Hub, and {name!r} is on this machine: leave it out")
    if is_adapter and not adapter:
        raise ModelError(f"{name!r} is an adapter, and a model is wanted, as merge makes one of an adapter")
    if is_adapter:
        resolved = replace(resolved, base=_base_of(resolved, options, report, base))
    values = _config_values(resolved, options)
    if not resolved.on_hub:
        check_headers(resolved.path, name)
    # what is wrong with files was said by now, before torch and transformers are imported
    resolved = replace(resolved, config=_config(resolved, values, options))
    if is_adapter:
        adapters.require_known_kind(resolved.path, name)
    _say_embeddings(resolved, report)
    if resolved.base is not None and not resolved.base.on_hub:
        check_base(resolved, resolved.base)
    if options.quantize is not None and adapter:  # what is the base of another is quantized with it
        from llmkit.models import quantization

        report.say_all(quantization.remarks(resolved.config, options, pick_device(options.device)))
    return resolved


def require_folder(options: ModelOptions) -> None:
    """Refuse a folder that holds no model, by its files alone: torch is not imported for it.

    Raises:
        ModelError: as `resolve_model`.
    """
    name = options.model or BUILTIN_NAME
    found = ResolvedModel(name, Path(name).expanduser(), UNREAD)
    if not (found.path.exists() or name.startswith((".", "/", "~"))):
        return  # on the Hub, or built in
    if gguf_files.find(found.path, name) is not None:
        return
    adapters.require_no_inner_adapters(found.path, name)
    if not adapters.is_adapter(found.path):
        values = _config_values(found, options) or {}
        check_headers(found.path, name)
        if problem := unknown_type(values):
            raise _unusable_config(name, ValueError(problem))


def _files_of(name: str, options: ModelOptions, report: Report) -> ResolvedModel:
    """Return where a model is, its small files downloaded from the Hub if need be."""
    folder = BUILTIN if name == BUILTIN_NAME else Path(name).expanduser()
    if folder.exists() or name.startswith((".", "/", "~")):
        gguf = gguf_files.find(folder, name)
        path = folder if gguf is None else gguf_files.model_folder(gguf, report)
        return ResolvedModel(name, path, UNREAD, gguf=gguf)
    cached_only = options.offline or hub.commit("model", name, options.revision, report) is None
    path = hub.download(name, options.revision, SMALL_FILES, cached_only)  # by its branch: --offline finds it again
    return ResolvedModel(name, path, UNREAD, path.name, options.revision, on_hub=True, cached_only=cached_only)


def _say_embeddings(resolved: ResolvedModel, report: Report) -> None:
    """Say where a base gets other embeddings than it has, as an adapter was trained with tokens of its own."""
    if resolved.base is None or resolved.on_hub:
        return
    shapes, there = adapters.saved_shapes(resolved.path), getattr(resolved.base.config, "vocab_size", None)
    rows = next((rows for name in EMBEDDINGS if (rows := adapters.saved_rows(shapes, name))), there)
    if rows != there:
        report.say(
            f"embeddings: {rows} of the adapter {resolved.name}, and {there} of its base {resolved.base.name}, which "
            "is resized to them"
        )


def _base_of(adapter: ResolvedModel, options: ModelOptions, report: Report, named: str | None) -> ResolvedModel:
    """Find the model that an adapter was made on. Of a folder, --revision is its base's; of the Hub, the adapter's."""
    saved = adapters.read_adapter(adapter.path, adapter.name)
    recorded, revision = saved.base, saved.revision
    if not adapter.on_hub:
        revision = options.revision or revision
    if Path(recorded).parts[-2:] == BUILTIN.parts[-2:]:  # wherever llmkit was installed then
        recorded = BUILTIN_NAME
    if not (named or recorded):
        raise ModelError(
            f"the adapter {adapter.name!r} does not say which base it was made on; if you know it, {_remedy(adapter)}"
        )
    if not named:
        recorded = _beside(recorded, adapter, report)
    try:
        own = options.revision is None and Path(named or recorded).expanduser().exists()
        opening = replace(options, model=named or recorded, revision=None if own else revision)
        return resolve_model(opening, report, adapter=False)
    except (ModelError, HubError) as error:
        recorded_by = f"by its {adapters.CONFIG}{f', at revision {revision!r}' if revision else ''}"
        where = "by -m" if named else f"{recorded_by}; if it lies elsewhere, {_remedy(adapter)}"
        raise type(error)(f"{error}; it is the base of the adapter {adapter.name!r}, {where}") from error


def _remedy(adapter: ResolvedModel) -> str:
    """Return what to type for an adapter whose base is not where it says."""
    if adapter.on_hub:
        return f"`llmkit merge {adapter.name} -m FOLDER` makes a model of the adapter and that base"
    return f"write that as base_model_name_or_path in {adapter.path / adapters.CONFIG}"


def _beside(recorded: str, adapter: ResolvedModel, report: Report) -> str:
    """Return a base by where it is: a relative folder that is not here may be in or beside the adapter's."""
    path = Path(recorded).expanduser()
    if path.exists() or path.is_absolute() or adapter.on_hub:
        return recorded
    for folder in (adapter.path, adapter.path.resolve().parent):
        if (folder / path / "config.json").is_file():
            report.say(f"base: {folder / path}, which the adapter {adapter.name} calls {recorded}")
            return str(folder / path)
    return recorded


def check_base(adapter: ResolvedModel, base: ResolvedModel) -> None:
    """Refuse a base of other weights than those that the adapter was made on.

    Raises:
        ModelError: naming both.
    """
    adapters.require_same_base(adapter.config, weight_fingerprint(weights_folder(base)), adapter.name, base.name)


def _config_values(resolved: ResolvedModel, options: ModelOptions) -> dict[str, Any] | None:
    """Return what config.json holds; None of an adapter without one, which another program made."""
    folder, name = resolved.path, resolved.name
    if not folder.exists():
        raise ModelError(f"there is no model folder {name!r}")
    file = folder / "config.json"
    if not file.is_file():
        if resolved.base is not None:
            return None
        raise ModelError(f"{name!r} is not a model folder: it has no config.json")
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it holds no object")
        if problem := outputs_problem(values):
            raise ValueError(problem)
    except (OSError, ValueError) as error:
        raise _unusable_config(name, error) from error
    if "auto_map" in values and not options.trust_remote_code:
        raise ModelError(f"{name!r} brings its own Python code; --trust-remote-code runs it, if you trust it")
    return values


def _unusable_config(name: str, error: Exception) -> ModelError:
    return ModelError(f"{name!r} has a config.json that cannot be used: {brief(error)}")


def _config(resolved: ResolvedModel, values: dict[str, Any] | None, options: ModelOptions) -> PretrainedConfig:
    """Return the config of a folder by what its config.json holds."""
    from transformers import AutoConfig

    if values is None and resolved.base is not None:
        return _adapted_config(resolved, resolved.base)
    try:
        config = AutoConfig.from_pretrained(resolved.path, trust_remote_code=options.trust_remote_code)
    except Exception as error:  # a config can be wrong in as many ways as there are models
        raise _unusable_config(resolved.name, error) from error
    if values and (values.get("id2label") or values.get("num_labels")):
        return config
    return _with_outputs(config, resolved)


def _adapted_config(resolved: ResolvedModel, base: ResolvedModel) -> PretrainedConfig:
    """Return the config of what an adapter makes of its base: it may put another head on it."""
    from transformers.models.auto import modeling_auto

    task_type = adapters.read_adapter(resolved.path, resolved.name).task_type
    kind = HEADS_OF_TASK_TYPES.get(task_type or "")
    names = getattr(modeling_auto, f"{kind}_MAPPING_NAMES", {})
    network = names.get(base.config.model_type)
    if network is None or network in (base.config.architectures or ()):
        return base.config
    config = with_config_values(base.config, {"architectures": [network]})
    return _with_outputs(config, resolved)


def _with_outputs(config: PretrainedConfig, resolved: ResolvedModel) -> PretrainedConfig:
    """Return the config of a classifier that names no label with as many labels as the weights have outputs."""
    if (config.architectures or [""])[0].endswith(CLASSIFIERS):
        config.num_labels = head_outputs(weights_folder(resolved)) or config.num_labels
    return config


def weights_folder(resolved: ResolvedModel) -> Path:
    """Return the folder that holds the weights, downloaded where they are on the Hub."""
    if not resolved.on_hub:
        return resolved.path
    if resolved.base is not None:
        folder = hub.download(resolved.name, resolved.revision, [adapters.WEIGHTS], resolved.cached_only)
        if not (folder / adapters.WEIGHTS).is_file():  # a pickle is not opened, but the user is told what it is
            folder = hub.download(resolved.name, resolved.revision, [adapters.PICKLE], resolved.cached_only)
        return folder
    folder = hub.download(resolved.name, resolved.revision, SAFETENSORS_WEIGHTS, resolved.cached_only)
    if not any(folder.glob("model*.safetensors")):  # older repositories hold pickles: torch loads weights alone
        folder = hub.download(resolved.name, resolved.revision, PICKLED_WEIGHTS, resolved.cached_only)
    return folder


def pick_device(name: str) -> torch.device:
    """Return the device asked for; auto takes the accelerator when there is one.

    Raises:
        OptionError: the device does not exist here.
    """
    import torch

    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise OptionError(f"--device {name!r}: {brief(error)}") from None
    absent = accelerator is None or accelerator.type != device.type
    if device.type != "cpu" and (absent or (device.index or 0) >= torch.accelerator.device_count()):
        raise OptionError(f"--device {name}: there is no such device here")
    return device
