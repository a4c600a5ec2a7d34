"""Several rows in one sequence, none of which sees another.

The positions begin again with each row. Where there are positions and no attention mask, transformers takes each run of
them for a sequence of its own and masks the others (`masking_utils.find_packed_sequence_indices`); a model that has not
its masks from there would leak, which `leaks` finds out.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmkit.tasks.encoding.collation import IGNORED, pad_sequences

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedModel

PROBE_TOKENS = 6  # of a row that a model is tried with
# by how much equal logits differ, of their spread
FLOAT32_TOLERANCE = 1e-3
HALF_PRECISION_TOLERANCE = 0.1


def pack(rows: Dataset, max_length: int) -> Dataset:
    """Return rows of `input_ids` and `labels` side by side in sequences of at most `max_length`, with positions.

    `rows` tells how many each sequence holds.
    """
    from datasets import Dataset

    ids, labels = rows["input_ids"][:], rows["labels"][:]
    packs = best_fit(list(map(len, ids)), max_length)
    return Dataset.from_dict(
        {
            "input_ids": [[token for row in pack for token in ids[row]] for pack in packs],
            "labels": [[label for row in pack for label in labels[row]] for pack in packs],
            "position_ids": [[position for row in pack for position in range(len(ids[row]))] for pack in packs],
            "length": [sum(len(ids[row]) for row in pack) for pack in packs],
            "rows": list(map(len, packs)),
        }
    )


def best_fit(lengths: Sequence[int], max_length: int) -> list[list[int]]:
    """Return the rows of each pack: the longest first, each where it leaves the least room (best fit decreasing)."""
    packs: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # what is left in each pack, the least first, and its number
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        index = bisect_left(rooms, (lengths[row], -1))
        if index == len(rooms):
            room, number = max_length, len(packs)
            packs.append([])
        else:
            room, number = rooms.pop(index)
        packs[number].append(row)
        insort(rooms, (room - lengths[row], number))
    return packs


def collate_packs(packs: Sequence[Mapping[str, Sequence[int]]]) -> dict[str, Any]:
    """Return ids, labels and positions (packs, tokens); padding is one more row, which nothing sees and none scores.

    No cache is asked for: with one, transformers does not look for sequences.
    """
    import torch

    longest = max(len(pack["input_ids"]) for pack in packs)
    gaps = [longest - len(pack["input_ids"]) for pack in packs]
    positions = [[*pack["position_ids"], *range(gap)] for pack, gap in zip(packs, gaps, strict=True)]
    return {
        "input_ids": pad_sequences([list(pack["input_ids"]) for pack in packs], 0),
        "labels": pad_sequences([list(pack["labels"]) for pack in packs], IGNORED),
        "position_ids": torch.tensor(positions),
        "use_cache": False,
    }


def leaks(model: PreTrainedModel) -> bool:
    """Tell whether a row's logits differ in a pack and by itself, from two rows of random tokens."""
    import torch

    generator = torch.Generator().manual_seed(0)
    vocabulary = len(model.get_input_embeddings().weight)
    first, second = (torch.randint(vocabulary, (PROBE_TOKENS,), generator=generator).tolist() for _ in range(2))
    positions = list(range(PROBE_TOKENS))
    was_training = model.training
    model.eval()
    packed = _logits(model, [*first, *second], [*positions, *positions])[PROBE_TOKENS:]
    unpacked = _logits(model, second, positions)
    model.train(was_training)
    is_float32 = all(weights.dtype == torch.float32 for weights in model.parameters())
    tolerance = FLOAT32_TOLERANCE if is_float32 else HALF_PRECISION_TOLERANCE
    return bool((packed - unpacked).abs().max() > tolerance * unpacked.std())


def _logits(model: PreTrainedModel, ids: list[int], positions: list[int]) -> torch.Tensor:
    import torch

    batch = {"input_ids": torch.tensor([ids]), "position_ids": torch.tensor([positions])}
    on_device = {name: value.to(model.device) for name, value in batch.items()}
    with torch.no_grad():
        logits: torch.Tensor = model(**on_device, use_cache=False).logits[0].float()
    return logits
