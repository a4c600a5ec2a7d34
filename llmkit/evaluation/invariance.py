"""Batch invariance: whether a row's answer depends on the rows that it is batched with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llmkit.inference import on_device

if TYPE_CHECKING:
    from llmkit.evaluation.measuring import Prepared


@torch.inference_mode()
def check_invariance(prepared: Prepared, count: int) -> dict[str, Any]:
    """Re-run `count` rows alone and beside the longest row of all, and compare the logits.

    Returns:
        rows: how many were run; largest_difference: in logits; changed: rows whose prediction (the best class, or at
        some position the best token) is another; changed_rows: these rows, with what was predicted either way.
    """
    lengths = np.asarray(prepared.inputs["length"])
    order = np.argsort(lengths, kind="stable")
    longest = int(order[-1])
    spread = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    differences: list[float] = []
    changed: list[dict[str, Any]] = []
    for row in dict.fromkeys(order[spread].tolist()):
        alone = _logits(prepared, [row])
        company = [longest, row] if row != longest else [int(order[0]), row]
        together = _logits(prepared, company)
        differences.append(float((alone - together).abs().max()) if alone.numel() else 0.0)
        if alone.shape[-1] > 1 and bool((alone.argmax(-1) != together.argmax(-1)).any()):
            changed.append({"row": row, **_change(prepared, alone, together)})
    return {
        "rows": len(differences), "largest_difference": max(differences, default=0.0), "changed": len(changed),
        "changed_rows": changed,
    }  # fmt: skip


def _change(prepared: Prepared, alone: torch.Tensor, together: torch.Tensor) -> dict[str, str]:
    """Return the two predictions: class names, or the best tokens at the first position where they differ."""
    guesses = torch.stack([alone.argmax(-1), together.argmax(-1)])
    if alone.dim() > 1:
        guesses = guesses[:, int((guesses[0] != guesses[1]).nonzero()[0])]
    config, tokenizer = prepared.model.config, prepared.tokenizer
    words = (prepared.task.spell(int(guess), config, tokenizer) for guess in guesses)
    return dict(zip(("alone", "together"), words, strict=True))


def _logits(prepared: Prepared, rows: list[int]) -> torch.Tensor:
    """Return the logits of the last of `rows`: (classes,), or (tokens, classes) without the padding."""
    picked = prepared.inputs.select(rows).to_list()
    batch = on_device(prepared.task.collator(prepared.tokenizer, prepared.setup)(picked), prepared.model)
    return prepared.task.logits(prepared.model, batch, len(rows) - 1).float().cpu()
