"""What an adapter's folder says before anything is loaded: its kind, its base, the shapes of its weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmkit.errors import LlmkitError, ModelError, brief, listing
from llmkit.errors.extras import require_extra

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
PREFIX = re.compile(r"base_model\.(model\.)?")  # begins the names of an adapter's weights
TRAINED_COPY = r"((original_module|base_layer|token_adapter\.base_layer|modules_to_save(\.default)?)\.)?"
VIRTUAL_TOKEN_KINDS = {  # kinds without weights in the modules, and what people call them
    "CPT": "context-aware prompt tuning",
    "PROMPT_TUNING": "prompt tuning",
    "P_TUNING": "p-tuning",
    "PREFIX_TUNING": "prefix tuning",
}
UNOPENED_KINDS = {  # and why
    "CARTRIDGE": "it is a cache of a long text, in which positions are counted otherwise",
    "LILY": "what it makes of a text depends on the other texts of the batch",
    "MULTITASK_PROMPT_TUNING": "each text comes with the number of its task",
    "POLY": "each text comes with the number of its task",
    "SHADOW": "it is a second model beside the first",
    "XLORA": "it mixes several adapters, which are not in its folder",
}
UNOPENED_OPTIONS = {  # of LoRA
    "alora_invocation_tokens": "it is active only after certain tokens",
    "layer_replication": "it repeats layers of its base, so that the model is another one",
}


@dataclass(frozen=True)
class SavedAdapter:
    """What adapter_config.json says; of LoRA and of other kinds the same names."""

    kind: str
    base: str
    revision: str | None
    task_type: str | None
    values: Mapping[str, object]

    @property
    def virtual_tokens(self) -> int:
        """How many tokens of its own stand before each text."""
        count = self.values.get("num_virtual_tokens")
        return count if isinstance(count, int) and self.kind in VIRTUAL_TOKEN_KINDS else 0


def require_peft(what: str, kind: type[LlmkitError]) -> None:
    """Demand the library of adapters, for `what`.

    Raises:
        LlmkitError: of that kind.
    """
    require_extra(what, "adapters", "peft", error=kind)


def is_adapter(folder: Path) -> bool:
    """Tell whether a folder holds an adapter, and no model of its own."""
    return (folder / CONFIG).is_file()


def require_no_inner_adapters(folder: Path, name: str) -> None:
    """Refuse a folder that holds no adapter or model itself, but whose folders hold adapters.

    Raises:
        ModelError: naming them.
    """
    if (folder / CONFIG).is_file() or (folder / "config.json").is_file():
        return
    inner = sorted(file.parent.name for file in folder.glob(f"*/{CONFIG}"))
    if inner:
        flags = " or ".join(f"-m {name.rstrip('/')}/{folder_name}" for folder_name in inner[:3])
        raise ModelError(f"{name!r} holds adapters in folders of its own ({listing(inner)}): name one, as {flags}")


def read_adapter(folder: Path, name: str) -> SavedAdapter:
    """Return what an adapter's config says of it.

    Raises:
        ModelError: peft is missing, the adapter is of a kind that is not opened, or its config is broken.
    """
    require_peft(f"{name!r} is an adapter, which", ModelError)
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind, base = _kind_and_base(values)
    except (OSError, ValueError) as error:
        raise ModelError(f"{name!r} has an {CONFIG} that cannot be used: {brief(error)}") from error
    if kind in UNOPENED_KINDS:
        raise ModelError(f"{name!r} is an adapter of the kind {kind}, which is not opened: {UNOPENED_KINDS[kind]}")
    for option, reason in UNOPENED_OPTIONS.items():
        if values.get(option):
            raise ModelError(f"{name!r} is an adapter with {option}, which is not opened: {reason}")
    return SavedAdapter(kind, base, values.get("revision"), values.get("task_type"), values)


def require_known_kind(folder: Path, name: str) -> None:
    """Refuse an adapter of a kind that peft does not know.

    Raises:
        ModelError: naming it.
    """
    from peft import PeftType

    kind = read_adapter(folder, name).kind
    if kind not in {known.value for known in PeftType}:
        raise ModelError(f"{name!r} is an adapter of the kind {kind}, which the peft that is installed does not know")


def _kind_and_base(values: object) -> tuple[str, str]:
    """Return the kind of an adapter and its base, which is "" where none is named.

    Raises:
        ValueError: the values are not as peft writes them.
    """
    if not isinstance(values, dict):
        raise ValueError("it holds no object")
    kind, base = values.get("peft_type"), values.get("base_model_name_or_path") or ""
    if not isinstance(kind, str):
        raise ValueError("it has no peft_type, the kind of the adapter")
    if not isinstance(base, str):
        raise ValueError("its base_model_name_or_path is no text")
    return kind, base


def unmergeable_kind(folder: Path, name: str) -> str | None:
    """Return what people call the kind of an adapter of which nothing can be folded into weights; None of others.

    Raises:
        ModelError: as `read_adapter`.
    """
    kind = read_adapter(folder, name).kind
    known = {**VIRTUAL_TOKEN_KINDS, "ADAPTION_PROMPT": "adaption prompts"}.get(kind)
    return known and f"{known} ({kind})"


def require_mergeable(folder: Path, name: str) -> None:
    """Refuse an adapter of which nothing can be folded into the weights of its base.

    Raises:
        ModelError: naming its kind.
    """
    kind = unmergeable_kind(folder, name)
    if kind is not None:
        raise ModelError(f"{name!r} is of {kind}, which adds no weights to merge: -m {name} opens it as it is")


def saved_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each of an adapter's weights, by name."""
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def saved_rows(shapes: Mapping[str, tuple[int, ...]], module: str) -> int | None:
    """Return how many rows an adapter holds of a module's own weights; None where it holds none."""
    pattern = re.compile(rf"{PREFIX.pattern}(.*\.)?{re.escape(module)}\.{TRAINED_COPY}weight")
    rows = {shape[0] for name, shape in shapes.items() if pattern.fullmatch(name) and len(shape) == 2}
    return rows.pop() if len(rows) == 1 else None
