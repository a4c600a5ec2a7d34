"""Rows as a model sees them: the tokens of one batch decoded, with padding, special tokens and the loss mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

import torch
from datasets import Dataset

from llmkit.inspection.token_lengths import Reader
from llmkit.tasks.encoding.collation import IGNORED

HEAD, TAIL = 60, 8  # tokens of a text that are shown; those between are counted
TURNS = 4  # places where a loss begins or ends, around which tokens are shown too


@dataclass(frozen=True)
class Piece:
    """Tokens side by side that the model, or the loss, takes in one way.

    `kind` is text, special, padding, learned (there is a loss on it), unlearned (there is none), answer, or omitted.
    """

    kind: str
    text: str
    tokens: int


@dataclass(frozen=True)
class Exhibit:
    """One row of a batch: its texts by name, and what is right of the whole row, where something is."""

    texts: dict[str, list[Piece]]
    truth: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields that --json prints."""
        texts = {
            name: [{"kind": piece.kind, "text": piece.text, "tokens": piece.tokens} for piece in pieces]
            for name, pieces in self.texts.items()
        }
        return {"texts": texts, "truth": self.truth}


def exhibits(reader: Reader, rows: Dataset, count: int) -> list[Exhibit]:
    """Return the first rows (or blocks, or windows) that training on some rows would show the model, as one batch."""
    if reader.settings is None or not len(rows):
        return []
    training = "finetune" in reader.task.commands
    prepared = reader.task.encoding.encode(rows, reader.tokenizer, reader.settings, training=training)
    prepared = reader.task.encoding.pack(prepared, reader.settings) if training else prepared
    shown = prepared.select(range(min(count, len(prepared)))).to_list()
    if not shown:
        return []
    batch = reader.task.encoding.collator(reader.tokenizer, reader.settings)(shown)
    if "attention_mask" not in batch:  # several rows in one, which positions part
        sizes = torch.tensor([row["length"] for row in shown])
        batch["attention_mask"] = torch.arange(batch["input_ids"].shape[1]) < sizes[:, None]
    return [_exhibit(reader, batch, place) for place in range(len(shown))]


def _exhibit(reader: Reader, batch: dict[str, Any], place: int) -> Exhibit:
    texts: dict[str, list[Piece]] = {}
    of_tokens = _labels_of_tokens(reader, batch)
    for key in batch:
        if not key.endswith("input_ids") or key.startswith("decoder"):
            continue
        ids, mask = batch[key][place], batch[f"{key.removesuffix('input_ids')}attention_mask"][place]
        if ids.dim() == 1:
            labels = None if of_tokens is None else of_tokens[place]
            name = "text" if key == "input_ids" else "pair"
            texts[name] = _pieces(reader, ids, _kinds(reader, batch, place, ids, mask, labels), labels)
            continue
        for number in batch["is_real"][place].nonzero().flatten().tolist():  # alternatives
            learned = batch["completion_mask"][place][number] if "completion_mask" in batch else None
            labels = None if learned is None else ids[number].masked_fill(learned == 0, IGNORED)
            kinds = _kinds(reader, batch, place, ids[number], mask[number], labels)
            name = (
                reader.task.columns.alternative_roles[number]
                if reader.task.columns.alternative_roles
                else f"choice {number}"
            )
            texts[name] = _pieces(reader, ids[number], kinds, labels)
    if _writes(reader, batch):
        target = batch["labels"][place]
        kinds = ["padding" if token == IGNORED else "learned" for token in target.tolist()]
        texts["target"] = _pieces(reader, target.clamp(min=0), kinds, None)
        return Exhibit(texts, None)
    whole = batch["labels"][place] if "labels" in batch and of_tokens is None else None
    return Exhibit(texts, _truth(reader, batch, place, whole))


def _writes(reader: Reader, batch: dict[str, Any]) -> bool:
    """Tell whether the labels are a text of their own, which a decoder learns to write."""
    return bool(reader.config.is_encoder_decoder) and "labels" in batch and batch["labels"].dim() > 1


def _labels_of_tokens(reader: Reader, batch: dict[str, Any]) -> torch.Tensor | None:
    """Return the label of each token of each row, where tokens have labels."""
    labels = batch.get("labels")
    if labels is None or _writes(reader, batch) or labels.is_floating_point():
        return None
    return labels if labels.shape == batch["input_ids"].shape else None


def _kinds(
    reader: Reader,
    batch: dict[str, Any],
    place: int,
    ids: torch.Tensor,
    mask: torch.Tensor,
    labels: torch.Tensor | None,
) -> list[str]:
    special = set(reader.tokenizer.all_special_ids)
    start, end = (int(batch[name][place]) if name in batch else 0 for name in ("start_positions", "end_positions"))
    kinds = []
    for number, (token, real) in enumerate(zip(ids.tolist(), mask.tolist(), strict=True)):
        if not real:
            kinds.append("padding")
        elif labels is not None:
            kinds.append("unlearned" if int(labels[number]) == IGNORED else "learned")
        elif 0 < start <= number <= end:
            kinds.append("answer")
        else:
            kinds.append("special" if token in special else "text")
    return kinds


def _pieces(reader: Reader, ids: torch.Tensor, kinds: Sequence[str], labels: torch.Tensor | None) -> list[Piece]:
    """Return the pieces of a text; a token whose label is something else than itself stands with it."""
    real = [place for place, kind in enumerate(kinds) if kind != "padding"]
    left_out = set(real[HEAD:-TAIL]) if len(real) > HEAD + TAIL else set()
    left_out -= {place for turn in _turns(kinds) for place in range(turn - TAIL, turn + TAIL)}
    told = ["omitted" if place in left_out else kind for place, kind in enumerate(kinds)]
    made: list[Piece] = []
    for kind, group in groupby(range(len(told)), told.__getitem__):
        places = list(group)
        run = ids[places].tolist()
        own = labels[places].tolist() if labels is not None and kind == "learned" else run
        if own != run:
            made += [Piece(kind, _labelled(reader, *pair), 1) for pair in zip(run, own, strict=True)]
        else:
            made.append(Piece(kind, _spelled(reader, kind, run), len(run)))
    return made


def _turns(kinds: Sequence[str]) -> list[int]:
    """Return the first places where a loss begins or ends."""
    masks = ("learned", "unlearned")
    changes = (place for place, (last, kind) in enumerate(pairwise(kinds), start=1) if last != kind)
    return [place for place in changes if kinds[place] in masks and kinds[place - 1] in masks][:TURNS]


def _spelled(reader: Reader, kind: str, ids: list[int]) -> str:
    if kind == "padding":
        return reader.tokenizer.pad_token or ""
    return "" if kind == "omitted" else _decoded(reader, ids)


def _labelled(reader: Reader, token: int, label: int) -> str:
    labels = reader.settings.labels if reader.settings else None
    right = labels.names[label] if labels else _decoded(reader, [label])
    return f"{_decoded(reader, [token])}{'/' if labels else '→'}{right}"


def _decoded(reader: Reader, ids: list[int]) -> str:
    return str(reader.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _truth(reader: Reader, batch: dict[str, Any], place: int, label: torch.Tensor | None) -> str | None:
    """Return what is right of a row, where that is no token: its label, its labels, a number."""
    if label is None:
        none = "start_positions" in batch and int(batch["start_positions"][place]) == 0
        return "no answer in this window" if none else None
    labels = reader.settings.labels if reader.settings else None
    names = labels.names if labels else ()
    if label.dim() == 1:
        return ", ".join(name for name, holds in zip(names, label.tolist(), strict=False) if holds) or "none"
    if label.is_floating_point() or not names:
        return f"{label.item():g}"
    return names[int(label)]
