"""Rows of token ids into padded tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label of what is no target, as in PyTorch and transformers
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def truncated(lengths: Sequence[int], most: int, whole: Callable[[list[int]], Sequence[Any]]) -> list[bool]:
    """Tell of each row whether tokens were cut off, from its length after the cut.

    `whole` gives the tokens of some rows without a limit; only those as long as the limit are asked for.
    """
    full = [row for row, length in enumerate(lengths) if length >= most]
    cut = [False] * len(lengths)
    for row, ids in zip(full, whole(full) if full else (), strict=True):
        cut[row] = len(ids) > most
    return cut


def pad_batch(rows: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, label: type = int) -> dict[str, Any]:
    """Pad rows to the longest of them; `labels`, one number per row, become a tensor of shape (rows,)."""
    inputs = [{name: row[name] for name in INPUTS if name in row} for row in rows]
    batch = dict(tokenizer.pad(inputs, padding_side="right", return_tensors="pt"))  # a head finds the last token there
    if "labels" in rows[0]:
        kind = torch.float32 if label is float else torch.int64
        batch["labels"] = torch.tensor([row["labels"] for row in rows], dtype=kind)
    return batch


def pad_sequences(rows: list[list[int]], filler: int) -> torch.Tensor:
    """Pad lists of ids on the right with `filler`: a tensor of shape (rows, longest)."""
    longest = max(map(len, rows))
    return torch.tensor([row + [filler] * (longest - len(row)) for row in rows])


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the negative log-likelihood in float32 nats of each target, for logits of shape (tokens, vocabulary).

    Works in slices: a whole batch of logits in float32 may not fit in memory.
    """
    slices = zip(torch.split(logits, 2048), torch.split(targets, 2048), strict=True)
    losses = [torch.nn.functional.cross_entropy(part.float(), goal, reduction="none") for part, goal in slices]
    return torch.cat(losses) if losses else logits.new_zeros(0, dtype=torch.float32)


def attention_mask(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Return the attention mask (rows, longest) of rows of ids that are padded on the right."""
    lengths = torch.tensor([len(row) for row in rows])
    return (torch.arange(int(lengths.max()))[None, :] < lengths[:, None]).long()


def collate_causal(rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, torch.Tensor]:
    """Return input_ids, attention_mask and labels (rows, tokens); labels are the inputs where rows have none of theirs.

    Padding stands on the right, and is not scored.
    """
    ids = [list(row["input_ids"]) for row in rows]
    labels = [list(row.get("labels", row["input_ids"])) for row in rows]
    return {
        "input_ids": pad_sequences(ids, 0),
        "attention_mask": attention_mask(ids),
        "labels": pad_sequences(labels, IGNORED),
    }
