"""What each of several processes trains on: together the rows of one process, step by step."""

from itertools import chain

import pytest
import torch

from llmkit.distributed.world import World
from llmkit.training.rows.length_batches import LengthBatches
from llmkit.training.rows.rank_batches import NoRows, RankBatches, RankCollator


def shares(lengths: list[int], batch_size: int, size: int, epoch: int = 0) -> list[list[list[int]]]:
    """Return the rows of each process in each batch."""
    samplers = [
        RankBatches(LengthBatches(lengths, batch_size, 7), batch_size, World(rank, size)) for rank in range(size)
    ]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    assert {len(list(sampler)) for sampler in samplers} == {len(sampler) for sampler in samplers}
    return [list(sampler) for sampler in samplers]


@pytest.mark.parametrize("rows", [1, 2, 7, 16, 101])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("epoch", [0, 3])
def test_a_batch_holds_the_same_rows_in_one_process_and_in_several(rows, batch_size, size, epoch):
    lengths = [1 + number * 7 % 13 for number in range(rows)]
    (whole,) = shares(lengths, batch_size, 1, epoch)
    parts = shares(lengths, batch_size, size, epoch)
    together = [sorted(chain(*batch)) for batch in zip(*parts, strict=True)]
    assert together == [sorted(batch) for batch in whole]
    assert sorted(chain(*whole)) == list(range(rows))
    for batch in zip(*parts, strict=True):
        counts = [len(share) for share in batch]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(("rows", "kept"), [(10, 9), (9, 9), (2, 0)])
def test_a_short_last_batch_is_dropped_where_that_is_asked_for(rows, kept):
    order = LengthBatches([1] * rows, 3, 7)
    whole, dropping = (list(RankBatches(order, 3, World(), drop_last)) for drop_last in (False, True))
    assert dropping == whole[: kept // 3]
    assert len(RankBatches(order, 3, World(), True)) == kept // 3


def test_another_epoch_has_another_order_in_all_processes():
    assert shares([1] * 40, 8, 2, 0) != shares([1] * 40, 8, 2, 1)


def test_a_process_without_a_row_has_a_batch_that_counts_for_nothing():
    def collate(rows):
        return {"input_ids": torch.tensor([row["input_ids"] for row in rows])}

    collator = RankCollator(collate, {"input_ids": [1, 2]})
    assert isinstance(collator([]), NoRows)
    assert collator([])["input_ids"].tolist() == [[1, 2]]
    batch = collator([{"input_ids": [3, 4]}])
    assert not isinstance(batch, NoRows)
    assert batch["input_ids"].tolist() == [[3, 4]]


def test_the_epoch_of_a_collator_that_masks_is_set_through():
    class Masking:
        epoch = 0

        def __call__(self, rows):
            return {}

    inner = Masking()
    outer = RankCollator(inner, {})
    outer.epoch = 3
    assert (inner.epoch, outer.epoch) == (3, 3)
    plain = RankCollator(lambda rows: {}, {})
    plain.epoch = 3
    assert plain.epoch == 0
