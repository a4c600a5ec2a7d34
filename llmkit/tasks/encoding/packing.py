"""Several rows in one sequence, none of which sees another.

The positions begin again with each row. Where there are positions and no attention mask, transformers takes each run of
them for a sequence of its own and masks the others (`masking_utils.find_packed_sequence_indices`); a model that has not
its masks from there would leak, which `leaks` finds out.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel

from llmkit.tasks.encoding.collation import IGNORED, pad_sequences

PROBE = 6  # tokens of a row
EXACT, ROUNDED = 1e-3, 0.1  # of the logits' spread: by how much equal ones differ, in float32 and in fewer bits


def pack(rows: Dataset, most: int) -> Dataset:
    """Return rows of `input_ids` and `labels` side by side in sequences of at most `most` tokens, with positions.

    `rows` tells how many each sequence holds.
    """
    ids, labels = rows["input_ids"][:], rows["labels"][:]
    packs = best_fit(list(map(len, ids)), most)
    return Dataset.from_dict(
        {
            "input_ids": [[token for row in pack for token in ids[row]] for pack in packs],
            "labels": [[label for row in pack for label in labels[row]] for pack in packs],
            "position_ids": [[place for row in pack for place in range(len(ids[row]))] for pack in packs],
            "length": [sum(len(ids[row]) for row in pack) for pack in packs],
            "rows": list(map(len, packs)),
        }
    )


def best_fit(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Return the rows of each pack: the longest first, each where it leaves the least room (best fit decreasing)."""
    packs: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # what is left in each pack, the least first, and its number
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        place = bisect_left(rooms, (lengths[row], -1))
        if place == len(rooms):
            room, number = most, len(packs)
            packs.append([])
        else:
            room, number = rooms.pop(place)
        packs[number].append(row)
        insort(rooms, (room - lengths[row], number))
    return packs


def collate_packs(packs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return ids, labels and positions (packs, tokens); padding is one more row, which nothing sees and none scores.

    No cache is asked for: with one, transformers does not look for sequences.
    """
    longest = max(len(pack["input_ids"]) for pack in packs)
    gaps = [longest - len(pack["input_ids"]) for pack in packs]
    positions = [list(pack["position_ids"]) + list(range(gap)) for pack, gap in zip(packs, gaps, strict=True)]
    return {
        "input_ids": pad_sequences([list(pack["input_ids"]) for pack in packs], 0),
        "labels": pad_sequences([list(pack["labels"]) for pack in packs], IGNORED),
        "position_ids": torch.tensor(positions),
        "use_cache": False,
    }


@torch.no_grad()
def leaks(model: PreTrainedModel) -> bool:
    """Tell whether a row's logits are others beside another row than alone, from two rows of drawn tokens."""
    dice = torch.Generator().manual_seed(0)
    size = model.get_input_embeddings().num_embeddings
    rows = [torch.randint(size, (PROBE,), generator=dice).tolist() for _ in range(2)]
    was_training = model.training
    model.eval()
    together = _logits(model, [*rows[0], *rows[1]], [*range(PROBE), *range(PROBE)])[PROBE:]
    alone = _logits(model, rows[1], [*range(PROBE)])
    model.train(was_training)
    exact = all(weights.dtype == torch.float32 for weights in model.parameters())
    return bool((together - alone).abs().max() > (EXACT if exact else ROUNDED) * alone.std())


def _logits(model: PreTrainedModel, ids: list[int], positions: list[int]) -> torch.Tensor:
    batch = {"input_ids": torch.tensor([ids]), "position_ids": torch.tensor([positions])}
    on_device = {name: value.to(model.device) for name, value in batch.items()}
    logits: torch.Tensor = model(**on_device, use_cache=False).logits[0].float()
    return logits
