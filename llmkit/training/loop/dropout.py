"""The masks of dropout on a CPU from 16 random bits for each number, where torch draws a whole one.

Of a step of MiniLM in bfloat16 torch's way took a sixth. A number is kept with a probability that is a multiple of
2**-16: 0.9 is 0.89999. The bits come from torch's own generator, whose state checkpoints hold.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch

BITS = 16
PER_DRAW = 64 // BITS
LEAST = -(2 ** (BITS - 1))  # of a signed number of so many bits
ALL = 2**BITS


@contextlib.contextmanager
def quick_masks() -> Iterator[None]:
    """Draw the masks of dropout quickly inside, in modules and in attention: all that call torch's `bernoulli_`."""
    untyped: Any = torch.library
    library = untyped.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*[Oo]verriding a previously registered kernel")
        library.impl("bernoulli_.float", draw_mask, "CPU")
    try:
        yield
    finally:
        library._destroy()


def draw_mask(mask: torch.Tensor, p: float = 0.5, *, generator: torch.Generator | None = None) -> torch.Tensor:
    """Fill a mask with ones, each with probability `p`, and zeros, in place, and return it."""
    kept = round(p * ALL)
    if kept >= ALL:
        return mask.fill_(1)
    draws = -(-mask.numel() // PER_DRAW)
    bits = torch.empty(draws, dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return mask.copy_(bits.view(torch.int16)[: mask.numel()].view(mask.shape) < kept + LEAST)
