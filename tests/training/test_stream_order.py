"""The order of streamed rows: the same in one process and in several, whole in each pass, and found again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import chain, islice

import pytest
from datasets import Dataset
from torch.utils.data import DataLoader

from llmkit.distributed.world import World
from llmkit.errors import EmptyError
from llmkit.training.rows.lanes import Lanes
from llmkit.training.rows.rank_batches import RankStream


@dataclass(frozen=True)
class Numbers:
    """A shard of rows that are their numbers, and what was read of it."""

    first: int
    rows: int
    batch: int = 70
    read_rows: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.first)

    def read(self, start=0):
        for begin in range(start, self.rows, self.batch):
            numbers = range(self.first + begin, self.first + min(self.rows, begin + self.batch))
            self.read_rows.extend(numbers)
            yield begin, Dataset.from_dict({"row": numbers, "length": [1 + row * 7 % 40 for row in numbers]})


def shards_of(*sizes: int, batch: int = 70) -> tuple[Numbers, ...]:
    return tuple(Numbers(1000 * number, size, batch) for number, size in enumerate(sizes))


def batches_of(lanes: Lanes, batch_size: int, number: int, world: World | None = None, start=0) -> list[list[int]]:
    stream = RankStream(lanes, batch_size, world or World(), start)
    return [[row["row"] for row in batch] for batch in islice(stream, number)]


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 5, 8, 16, 33])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize(("batch_size", "step_rows"), [(8, 8), (4, 8), (6, 12), (1, 1), (3, 9)])
def test_a_batch_holds_the_same_rows_in_one_process_and_in_several(shards, size, batch_size, step_rows):
    lanes = Lanes(shards_of(*[90 + 7 * number for number in range(shards)]), 7, step_rows)
    whole = batches_of(lanes, batch_size, 60)
    parts = [batches_of(lanes, batch_size, 60, World(rank, size)) for rank in range(size)]
    assert [sorted(chain(*batch)) for batch in zip(*parts, strict=True)] == [sorted(batch) for batch in whole]
    assert {len(batch) for batch in whole} == {batch_size}
    for batch in zip(*parts, strict=True):
        counts = [len(share) for share in batch]
        assert max(counts) - min(counts) <= 1


def test_steps_of_several_batches_hold_the_rows_of_one_batch():
    lanes = Lanes(shards_of(*[100] * 8), 7, 8)
    halves = batches_of(lanes, 4, 40)
    assert [halves[start] + halves[start + 1] for start in range(0, 40, 2)] == batches_of(lanes, 8, 20)


@pytest.mark.parametrize(("shards", "rows"), [(1, 3000), (1, 36), (2, 50), (3, 500), (8, 200), (16, 30), (40, 10)])
@pytest.mark.parametrize("step_rows", [1, 8, 12])
def test_each_pass_of_a_lane_has_its_rows_once_and_each_pass_of_all_lanes_all_rows(shards, rows, step_rows):
    lanes = Lanes(shards_of(*[rows] * shards), 7, step_rows)
    number = lanes.columns * lanes.groups
    passes = [[], []]
    for lane in range(number):
        reader, taken = lanes.lane(lane), []
        steps = range(lane // lanes.columns, 10**6, lanes.groups)
        wanted = [rows * len(lanes.dealt(lane, epoch)) for epoch in (0, 1)]
        for step in steps:
            taken += [row["row"] for row in reader.of_step(step)]
            if len(taken) >= sum(wanted):
                break
        passes[0] += taken[: wanted[0]]
        passes[1] += taken[wanted[0] : sum(wanted)]
    every = sorted(row for shard in lanes.shards for row in range(shard.first, shard.first + rows))
    assert sorted(passes[0]) == sorted(passes[1]) == every
    assert passes[0] != passes[1]
    assert passes[0] != sorted(passes[0])


@pytest.mark.parametrize("shards", [(6000,), (1500,) * 4, (900,) * 8, (400,) * 32])
def test_rows_of_like_length_are_in_one_step(shards):
    lanes = Lanes(shards_of(*shards), 7, 8)
    steps = batches_of(lanes, 8, sum(shards) // 8)
    spread = [max(1 + row * 7 % 40 for row in step) - min(1 + row * 7 % 40 for row in step) for step in steps]
    assert sum(spread) / len(spread) < 4  # by lot: 31
    means = [sum(1 + row * 7 % 40 for row in step) / 8 for step in steps]
    assert max(means[:50]) - min(means[:50]) > 20  # and steps of all lengths follow each other


@pytest.mark.parametrize(("size", "shards"), [(2, 8), (4, 8), (4, 16), (8, 8), (2, 2), (2, 64)])
def test_a_process_reads_its_own_shards(size, shards):
    opened = []
    for rank in range(size):
        lanes = Lanes(shards_of(*[64] * shards), 7, 8)
        batches_of(lanes, 8, 8 * shards, World(rank, size))
        opened.append({shard.first for shard in lanes.shards if shard.read_rows})
    assert Counter(chain(*opened)) == {1000 * number: 1 for number in range(shards)}
    assert {len(names) for names in opened} == {shards // size}


def test_another_seed_has_another_order():
    shards = shards_of(*[100] * 4)
    assert batches_of(Lanes(shards, 7, 8), 8, 9) != batches_of(Lanes(shards, 8, 8), 8, 9)


@pytest.mark.parametrize("shards", [(900,), (150,) * 3, (170,) * 8, (60, 70, 10, 20) * 4])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("start", [1, 7, 50, 333])
@pytest.mark.parametrize("noted", [False, True])
def test_what_is_gone_on_with_is_what_would_have_come(tmp_path, shards, size, start, noted):
    """With another number of processes than before too, and where no one knows where blocks began."""
    folder = tmp_path if noted else None
    lanes = Lanes(shards_of(*shards), 7, 12, folder)
    straight = batches_of(lanes, 6, start + 40)
    again = Lanes(shards_of(*shards), 7, 12, folder)
    parts = [batches_of(again, 6, 40, World(rank, size), start) for rank in range(size)]
    together = [sorted(chain(*batch)) for batch in zip(*parts, strict=True)]
    assert together == [sorted(batch) for batch in straight[start:]]


def test_what_was_trained_on_is_not_encoded_again(tmp_path):
    sizes = [3000] * 4
    batches_of(Lanes(shards_of(*sizes), 7, 8, tmp_path), 8, 1400)
    lanes = Lanes(shards_of(*sizes), 7, 8, tmp_path)
    batches_of(lanes, 8, 1, start=1399)
    read = sum(len(shard.read_rows) for shard in lanes.shards)
    assert read <= 4 * (500 + 2 * 70)  # a block of each lane
    for file in tmp_path.iterdir():  # a kill cuts a line short
        file.write_text(file.read_text()[:-10])
    assert batches_of(lanes, 8, 9, start=1399) == batches_of(Lanes(shards_of(*sizes), 7, 8), 8, 1408)[1399:]
    other = Lanes(shards_of(*sizes), 8, 8, tmp_path)  # where blocks of another order began is of no use
    assert batches_of(other, 8, 9, start=700) == batches_of(Lanes(shards_of(*sizes), 8, 8), 8, 709)[700:]


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("start", [0, 5])
def test_workers_take_turns(workers, start):
    lanes = Lanes(shards_of(*[100] * 16), 7, 4)
    loader = DataLoader(RankStream(lanes, 4, World(), start), batch_size=None, num_workers=workers)
    loaded = [[row["row"] for row in batch] for batch in islice(loader, 30)]
    assert loaded == batches_of(lanes, 4, 30, start=start)


def test_rows_that_cannot_be_used_are_passed_over_and_none_at_all_is_an_error():
    lanes = Lanes(shards_of(0, 30, 0, 0), 7, 4)
    assert sorted(set(chain(*batches_of(lanes, 4, 200)))) == list(range(1000, 1030))
    with pytest.raises(EmptyError, match="no usable row"):
        batches_of(Lanes(shards_of(0, 0), 7, 4), 4, 1)


def test_masks_are_drawn_anew_in_each_pass():
    class Blocks(Numbers):
        def read(self, start=0):
            yield 0, Dataset.from_dict({"row": [0, 1], "length": [4, 4], "index": [0, 1]})

    rows = list(chain(*islice(RankStream(Lanes((Blocks(0, 2),), 7, 2), 2, World()), 3)))
    assert len({row["index"] for row in rows}) == 6
