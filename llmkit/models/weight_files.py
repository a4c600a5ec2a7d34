"""Files of weights: whether they are complete, and what tells the weights of one model from another's at a glance."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from llmkit.errors import ModelError, brief
from llmkit.models.adapters.saved import CONFIG, PICKLE, PREFIX, WEIGHTS

HEADS = ("classifier", "score", "classifier.out_proj", "classification_head.out_proj", "logits_proj")  # of classifiers
BYTES_PER_TENSOR = 4096  # that a fingerprint reads: a digest of all would read all of a model at each start


def check_headers(folder: Path, name: str) -> None:
    """Open each safetensors header: a truncated file is named before anything is loaded.

    Raises:
        ModelError: a file is no safetensors file, or there are no weights.
    """
    from safetensors import SafetensorError, safe_open

    weights = sorted(folder.glob("*.safetensors"))
    if (folder / CONFIG).is_file() and not (folder / WEIGHTS).is_file():
        raise ModelError(_lacking_adapter(folder, name))
    if not weights and not any(folder.glob("pytorch_model*.bin")):
        raise ModelError(f"{name!r} holds no weights: a model.safetensors is wanted")
    for file in weights:
        try:
            with safe_open(file, framework="np"):  # which needs no torch
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file} is truncated or no safetensors file: {brief(error)}") from error


def _lacking_adapter(folder: Path, name: str) -> str:
    if not (folder / PICKLE).is_file():
        return f"{name!r} holds no weights: an {WEIGHTS} is wanted"
    source, target = str(folder / PICKLE), str(folder / WEIGHTS)
    line = f"from safetensors.torch import save_file; import torch; save_file(torch.load({source!r}), {target!r})"
    return (
        f"{name!r} holds its weights as {PICKLE}, a pickle as older peft wrote, and {WEIGHTS} is wanted: if you "
        f'trust it, python -c "{line}" makes one'
    )


def head_outputs(folder: Path) -> int | None:
    """Return how many outputs the head of a classifier has, by its weights; None where these do not tell."""
    found = set()
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    for file in files:
        with contextlib.suppress(Exception):  # a file that cannot be read is refused where the weights are loaded
            found |= {int(shape[0]) for shape in _head_shapes(file) if len(shape) == 2}
    return found.pop() if len(found) == 1 else None


def _head_shapes(file: Path) -> list[Sequence[int]]:
    import torch
    from safetensors import safe_open

    heads = {f"{head}.weight" for head in HEADS}  # of an adapter behind a prefix
    if file.suffix == ".bin":
        tensors = torch.load(file, map_location="meta", weights_only=True)
        return [tensor.shape for name, tensor in tensors.items() if PREFIX.sub("", name, count=1) in heads]
    with safe_open(file, framework="pt") as weights:
        names = [name for name in weights.keys() if PREFIX.sub("", name, count=1) in heads]  # noqa: SIM118
        return [weights.get_slice(name).get_shape() for name in names]


def weight_fingerprint(folder: Path) -> str:
    """Return a SHA-256 of the names, types and shapes of a model's tensors and of the middle of each.

    Trained further, or trained otherwise, a model has another one; in other shards the same.
    """
    digest = hashlib.sha256()
    files = sorted(folder.glob("model*.safetensors"))
    parts = [part for file in files for part in _tensors(file)]
    parts = parts or [part for file in sorted(folder.glob("pytorch_model*.bin")) for part in _slices(file)]
    for name, middle in sorted(parts):
        digest.update(f"{name}:{len(middle)};".encode() + middle)
    return digest.hexdigest()


def _tensors(file: Path) -> list[tuple[str, bytes]]:
    """Return the middle of each tensor of a safetensors file, by what its header holds of it."""
    tensors = []
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header: dict[str, Any] = json.loads(opened.read(length))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            tensors.append((f"{name} {entry['dtype']} {entry['shape']}", _middle(opened, start, end)))
    return tensors


def _slices(file: Path, pieces: int = 64) -> list[tuple[str, bytes]]:
    """Return pieces of a pickle, in which only the library finds the tensors."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        return [
            (f"{file.name} {size} {piece:02d}", _middle(opened, size * piece // pieces, size * (piece + 1) // pieces))
            for piece in range(pieces)
        ]


def _middle(opened: BinaryIO, start: int, end: int) -> bytes:
    opened.seek(max(start, (start + end - BYTES_PER_TENSOR) // 2))
    return opened.read(min(BYTES_PER_TENSOR, end - start))
