"""Rows as a model sees them: the tokens of one batch decoded, with padding, special tokens and the loss mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from datasets import Dataset

from llmkit.inspection.token_lengths import TokenCounter
from llmkit.output.survey_result import PieceKind, PieceResult, RowResult
from llmkit.tasks.base.encoding import Batch
from llmkit.tasks.encoding.collation import IGNORED

FIRST_TOKENS, LAST_TOKENS = 60, 8  # of a text, which are shown; those between are counted
MAX_TURNS = 4  # places where a loss begins or ends, around which tokens are shown too


@dataclass(frozen=True)
class Piece:
    """Tokens side by side that the model, or the loss, takes in one way.

    `kind` is text, special, padding, learned (there is a loss on it), unlearned (there is none), answer, or omitted.
    """

    kind: PieceKind
    text: str
    tokens: int

    def as_dict(self) -> PieceResult:
        """Return the fields that --json prints."""
        return {"kind": self.kind, "text": self.text, "tokens": self.tokens}


@dataclass(frozen=True)
class RowPreview:
    """One row of a batch: its texts by name, and the target of all of the row, where there is one."""

    texts: dict[str, list[Piece]]
    target: str | None

    def as_dict(self) -> RowResult:
        """Return the fields that --json prints."""
        texts = {name: [piece.as_dict() for piece in pieces] for name, pieces in self.texts.items()}
        return {"texts": texts, "truth": self.target}


def preview_batch(counter: TokenCounter, rows: Dataset, count: int) -> list[RowPreview]:
    """Return the first rows (or blocks, or windows) that training on some rows would show the model, as one batch."""
    if counter.settings is None or not len(rows):
        return []
    training = "finetune" in counter.task.commands
    encoded = counter.task.encoding.encode(rows, counter.tokenizer, counter.settings, training=training)
    encoded = counter.task.encoding.pack(encoded, counter.settings) if training else encoded
    first = encoded.select(range(min(count, len(encoded)))).to_list()
    if not first:
        return []
    batch = counter.task.encoding.collator(counter.tokenizer, counter.settings)(first)
    if "attention_mask" not in batch:  # several rows in one, which positions part
        sizes = torch.tensor([row["length"] for row in first])
        batch["attention_mask"] = torch.arange(batch["input_ids"].shape[1]) < sizes[:, None]
    return [_preview_row(counter, batch, place) for place in range(len(first))]


def _preview_row(counter: TokenCounter, batch: Batch, place: int) -> RowPreview:
    texts: dict[str, list[Piece]] = {}
    token_labels = _labels_of_tokens(counter, batch)
    for key in batch:
        if not key.endswith("input_ids") or key.startswith("decoder"):
            continue
        ids, mask = batch[key][place], batch[f"{key.removesuffix('input_ids')}attention_mask"][place]
        if ids.dim() > 1:
            texts |= _alternatives(counter, batch, place, ids, mask)
            continue
        labels = None if token_labels is None else token_labels[place]
        name = "text" if key == "input_ids" else "pair"
        texts[name] = _pieces(counter, ids, _kinds(counter, batch, place, ids, mask, labels), labels)
    if _decodes_labels(counter, batch):
        target = batch["labels"][place]
        kinds: list[PieceKind] = ["padding" if token == IGNORED else "learned" for token in target.tolist()]
        texts["target"] = _pieces(counter, target.clamp(min=0), kinds, None)
        return RowPreview(texts, None)
    label = batch["labels"][place] if "labels" in batch and token_labels is None else None
    return RowPreview(texts, _target(counter, batch, place, label))


def _alternatives(
    counter: TokenCounter, batch: Batch, place: int, ids: torch.Tensor, mask: torch.Tensor
) -> dict[str, list[Piece]]:
    """Return the pieces of each alternative of a row, whose ids and mask are of shape (alternatives, tokens)."""
    texts = {}
    roles = counter.task.columns.alternative_roles
    for number in batch["is_real"][place].nonzero().flatten().tolist():
        completion = batch["completion_mask"][place][number] if "completion_mask" in batch else None
        labels = None if completion is None else ids[number].masked_fill(completion == 0, IGNORED)
        kinds = _kinds(counter, batch, place, ids[number], mask[number], labels)
        texts[roles[number] if roles else f"choice {number}"] = _pieces(counter, ids[number], kinds, labels)
    return texts


def _decodes_labels(counter: TokenCounter, batch: Batch) -> bool:
    """Tell whether the labels are a text of their own, which a decoder learns to write."""
    return bool(counter.config.is_encoder_decoder) and "labels" in batch and batch["labels"].dim() > 1


def _labels_of_tokens(counter: TokenCounter, batch: Batch) -> torch.Tensor | None:
    """Return the label of each token of each row, where tokens have labels."""
    labels = batch.get("labels")
    if labels is None or _decodes_labels(counter, batch) or labels.is_floating_point():
        return None
    return labels if labels.shape == batch["input_ids"].shape else None


def _kinds(
    counter: TokenCounter, batch: Batch, place: int, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor | None
) -> list[PieceKind]:
    """Return what each token of a text is; ids, mask and labels are of shape (tokens,)."""
    special = set(counter.tokenizer.all_special_ids)
    start, end = (int(batch[name][place]) if name in batch else 0 for name in ("start_positions", "end_positions"))
    kinds: list[PieceKind] = []
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


def _pieces(
    counter: TokenCounter, ids: torch.Tensor, kinds: Sequence[PieceKind], labels: torch.Tensor | None
) -> list[Piece]:
    """Return the pieces of a text; a token whose label is something else than itself stands with it."""
    real = [place for place, kind in enumerate(kinds) if kind != "padding"]
    left_out = set(real[FIRST_TOKENS:-LAST_TOKENS]) if len(real) > FIRST_TOKENS + LAST_TOKENS else set()
    left_out -= {place for turn in _turns(kinds) for place in range(turn - LAST_TOKENS, turn + LAST_TOKENS)}
    kinds = ["omitted" if place in left_out else kind for place, kind in enumerate(kinds)]
    pieces: list[Piece] = []
    for kind, group in groupby(range(len(kinds)), kinds.__getitem__):
        places = list(group)
        tokens = ids[places].tolist()
        targets = labels[places].tolist() if labels is not None and kind == "learned" else tokens
        if targets != tokens:
            pieces += [Piece(kind, _labelled(counter, *pair), 1) for pair in zip(tokens, targets, strict=True)]
        else:
            pieces.append(Piece(kind, _piece_text(counter, kind, tokens), len(tokens)))
    return pieces


def _turns(kinds: Sequence[PieceKind]) -> list[int]:
    """Return the first places where a loss begins or ends."""
    masks = ("learned", "unlearned")
    changes = (place for place, (last, kind) in enumerate(pairwise(kinds), start=1) if last != kind)
    return [place for place in changes if kinds[place] in masks and kinds[place - 1] in masks][:MAX_TURNS]


def _piece_text(counter: TokenCounter, kind: PieceKind, ids: list[int]) -> str:
    if kind == "padding":
        return counter.tokenizer.pad_token or ""
    return "" if kind == "omitted" else _decoded(counter, ids)


def _labelled(counter: TokenCounter, token: int, label: int) -> str:
    labels = counter.settings.labels if counter.settings else None
    target = labels.names[label] if labels else _decoded(counter, [label])
    return f"{_decoded(counter, [token])}{'/' if labels else '→'}{target}"


def _decoded(counter: TokenCounter, ids: list[int]) -> str:
    return str(counter.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _target(counter: TokenCounter, batch: Batch, place: int, label: torch.Tensor | None) -> str | None:
    """Return the target of a row, where that is no token: its label, its labels, a number."""
    if label is None:
        no_answer = "start_positions" in batch and int(batch["start_positions"][place]) == 0
        return "no answer in this window" if no_answer else None
    labels = counter.settings.labels if counter.settings else None
    names = labels.names if labels else ()
    if label.dim() == 1:
        return ", ".join(name for name, holds in zip(names, label.tolist(), strict=False) if holds) or "none"
    if label.is_floating_point() or not names:
        return f"{label.item():g}"
    return names[int(label)]
