"""Rows of token ids into padded tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label of what is no target, as in PyTorch and transformers
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
TOKENS_PER_SLICE = 2048


def rows_at_limit(lengths: Sequence[int], max_length: int) -> list[int]:
    """Return the rows that fill the limit: the only ones of which tokens can have been cut off."""
    return [row for row, length in enumerate(lengths) if length >= max_length]


def truncated(rows: int, at_limit: Sequence[int], untruncated: Sequence[Sequence[int]], max_length: int) -> list[bool]:
    """Tell of each of so many rows whether tokens were cut off, from the tokens without a limit of those at it."""
    cut = [False] * rows
    for row, ids in zip(at_limit, untruncated, strict=True):
        cut[row] = len(ids) > max_length
    return cut


def pad_batch(
    rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, label: type = int
) -> dict[str, torch.Tensor]:
    """Pad rows to the longest of them; `labels`, one number per row, become a tensor of shape (rows,)."""
    import torch

    batch = padded(rows, tokenizer)
    if "labels" in rows[0]:
        dtype = torch.float32 if label is float else torch.int64
        batch["labels"] = torch.tensor([row["labels"] for row in rows], dtype=dtype)
    return batch


def padded(rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase) -> dict[str, torch.Tensor]:
    """Pad the inputs of rows on the right, where a head finds the last token: tensors of shape (rows, longest)."""
    import torch

    fillers = (tokenizer.pad_token_id, 0, tokenizer.pad_token_type_id)
    names = [name for name in INPUTS if name in rows[0]]
    if fillers[0] is None or "attention_mask" not in names:  # the tokenizer refuses, or adds a mask
        inputs = [{name: row[name] for name in names} for row in rows]
        return dict(tokenizer.pad(inputs, padding_side="right", return_tensors="pt"))
    lengths = np.fromiter((len(row["input_ids"]) for row in rows), np.int64, len(rows))
    filled = np.arange(lengths.max()) < lengths[:, None]
    batch = {}
    for name, filler in zip(INPUTS, fillers, strict=True):  # tokenizer.pad does the same at ten times the cost
        if name in names:
            values = np.full(filled.shape, filler, np.int64)
            values[filled] = np.fromiter(chain.from_iterable(row[name] for row in rows), np.int64, lengths.sum())
            batch[name] = torch.from_numpy(values)
    return batch


def pad_sequences(rows: Sequence[list[int]], filler: int, side: Literal["left", "right"] = "right") -> torch.Tensor:
    """Pad lists of ids on one side with `filler`: a tensor of shape (rows, longest)."""
    import torch

    longest = max(map(len, rows))
    paddings = [[filler] * (longest - len(row)) for row in rows]
    pairs = zip(rows, paddings, strict=True)
    return torch.tensor([padding + row if side == "left" else row + padding for row, padding in pairs])


def pad_inputs(
    rows: Sequence[list[int]], filler: int, side: Literal["left", "right"] = "right"
) -> dict[str, torch.Tensor]:
    """Pad the token ids of rows on one side: on the left for a decoder that is to go on from their end.

    Returns:
        `input_ids` and `attention_mask`, each of shape (rows, longest).
    """
    ones = [[1] * len(ids) for ids in rows]
    return {"input_ids": pad_sequences(rows, filler, side), "attention_mask": pad_sequences(ones, 0, side)}


def token_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the negative log-likelihood in float32 nats of each target, for logits of shape (tokens, vocabulary).

    Works in slices: a whole batch of logits in float32 may not fit in memory.
    """
    import torch

    slices = zip(torch.split(logits, TOKENS_PER_SLICE), torch.split(targets, TOKENS_PER_SLICE), strict=True)
    losses = [torch.nn.functional.cross_entropy(part.float(), ids, reduction="none") for part, ids in slices]
    return torch.cat(losses) if losses else logits.new_zeros(0, dtype=torch.float32)


def collate_causal(rows: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, torch.Tensor]:
    """Return input_ids, attention_mask and labels (rows, tokens); labels are the inputs where rows have none of theirs.

    Padding stands on the right, and is not scored.
    """
    ids = [list(row["input_ids"]) for row in rows]
    labels = [list(row.get("labels", row["input_ids"])) for row in rows]
    return {**pad_inputs(ids, 0), "labels": pad_sequences(labels, IGNORED)}
