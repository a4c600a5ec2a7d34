from __future__ import annotations

import json
import math
import os
import struct
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from llmkit.inference import answer_cache
from llmkit.inference.answer_cache import Answers, clear, entries, key_of
from llmkit.output.report import Report

PARTS = {"model": "ab", "rows": "cd", "batch_size": 8, "setup": {"max_length": 64, "stride": None}}
ABOUT = {"dataset": "mine.csv", "split": "train", "model": "runs/mine", "task": "text-classification"}
NUMBERS = some.floats(width=32) | some.floats() | some.integers(-(2**40), 2**40)


def opened() -> Answers:
    return Answers.open(PARTS, ABOUT, Report())


def entry() -> Path:
    (path,) = answer_cache.folder().glob("*.jsonl")
    return path


def bits(numbers: list[float]) -> bytes:
    return b"".join(struct.pack("<d", float(number)) for number in numbers)


def test_a_key_is_of_all_parts_whatever_their_order():
    assert key_of(PARTS) == key_of(dict(reversed(PARTS.items())))
    assert len(key_of(PARTS)) == 64
    for name, value in PARTS.items():
        changed = {**PARTS, name: {**value, "stride": 8} if isinstance(value, dict) else f"{value}x"}
        assert key_of(changed) != key_of(PARTS), name
    assert key_of({**PARTS, "more": None}) != key_of(PARTS)


def test_an_entry_of_another_schema_is_another(monkeypatch):
    before = key_of(PARTS)
    monkeypatch.setattr(answer_cache, "SCHEMA", answer_cache.SCHEMA + 1)
    assert key_of(PARTS) != before


@given(some.lists(some.lists(NUMBERS, min_size=1, max_size=3), max_size=6))
def test_numbers_come_back_to_the_last_bit(tmp_path_factory, records):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        kept = opened()
        for row, record in enumerate(records):
            kept.add([row], [record])
        kept.close()
        again = opened()
        again.close()
    assert list(again.done) == list(range(len(records)))
    plain = [
        [math.nan if number != number else number for number in record] for record in records
    ]  # one NaN is as good
    assert [bits(again.done[row]) for row in again.done] == [bits(record) for record in plain]


def test_what_is_read_is_what_was_held_while_it_was_written():
    kept = opened()
    kept.add([2, 0], [(1.5, 3), (0.1, 4)])
    kept.note("invariance 8", {"rows": 8, "largest_difference": math.inf})
    kept.close()
    again = opened()
    assert (again.done, again.notes) == (kept.done, kept.notes)
    assert again.notes == {"invariance 8": {"rows": 8, "largest_difference": None}}
    again.close()


def test_each_line_has_its_checksum():
    kept = opened()
    kept.add([0], [(1.0,)])
    kept.close()
    lines = entry().read_bytes().split(b"\n")
    assert lines[-1] == b""
    for line in lines[:-1]:
        assert int(line[:8], 16) == zlib.crc32(line[9:])
    assert json.loads(lines[0][9:])["about"]["dataset"] == "mine.csv"


def test_any_name_can_be_written():
    name = "über/新闻/\ud800\u2028.csv"
    Answers.open(PARTS, {**ABOUT, "dataset": name}, Report()).close()
    assert entries()[0].about["dataset"] == name


@given(place=some.integers(0, 10_000), byte=some.integers(1, 255))
def test_no_byte_that_changes_is_believed(tmp_path_factory, place, byte):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        kept = opened()
        for row in range(4):
            kept.add([row], [(row / 3, -row / 7)])
        kept.close()
        content = bytearray(entry().read_bytes())
        place %= len(content)
        content[place] ^= byte
        entry().write_bytes(content)
        again = opened()
        for row, record in again.done.items():
            assert record == kept.done[row]
        for row in range(4):
            if row not in again.done:
                again.add([row], [(row / 3, -row / 7)])
        again.close()
        whole = opened()
        whole.close()
    assert whole.done == kept.done


def test_a_full_disk_costs_the_cache_and_not_the_run():
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    kept = opened()
    kept.close()
    kept.file = Path("/dev/full").open("a", encoding="utf-8")  # noqa: SIM115
    kept.add([0], [(1.0,)])
    kept.add([1], [(2.0,)])
    kept.close()
    assert kept.done == {0: [1.0], 1: [2.0]}
    assert kept.file is None


def test_without_a_file_answers_are_held_in_memory():
    kept = Answers()
    kept.add([0], [(1.0,)])
    kept.note("a", 1)
    kept.close()
    assert (kept.done, kept.notes) == ({0: [1.0]}, {"a": 1})
    assert not answer_cache.folder().exists()


def test_an_entry_that_is_open_is_left_to_the_one_who_has_it(capsys):
    first = opened()
    first.add([0], [(1.0,)])
    second = opened()
    assert second.file is None
    assert second.done == {}
    assert "another process is measuring the same" in capsys.readouterr().err
    first.close()
    third = opened()
    assert third.done == {0: [1.0]}
    third.close()


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        ({"LLMKIT_CACHE": "/a"}, "/a/answers"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/llmkit/answers"),
        ({"HOME": "/c"}, "/c/.cache/llmkit/answers"),
        ({"LLMKIT_CACHE": "~/d", "HOME": "/c"}, "/c/d/answers"),
        ({"LLMKIT_CACHE": "", "XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/llmkit/answers"),
    ],
)
def test_the_cache_is_where_the_environment_says(monkeypatch, names, folder):
    for name in ("LLMKIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert str(answer_cache.folder()) == folder


def test_entries_are_listed_and_cleared_by_their_last_use():
    for name in ("old", "new"):
        kept = Answers.open({**PARTS, "model": name}, {**ABOUT, "model": name}, Report())
        kept.add([0, 1], [(1.0,), (2.0,)])
        kept.close()
    old = next(one for one in entries() if one.about["model"] == "old")
    days = time.time() - 10 * 86400
    os.utime(old.path, (days, days))
    assert [(one.about["model"], one.rows) for one in entries()] == [("new", 2), ("old", 2)]
    assert clear(older_than_days=11) == (0, 0)
    assert clear(older_than_days=9) == (1, old.bytes)
    assert [one.about["model"] for one in entries()] == ["new"]
    assert clear()[0] == 1
    assert entries() == []
    assert clear() == (0, 0)
