from __future__ import annotations

import contextlib
import json
import math
import os
import resource
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from llmkit.inference import cache
from llmkit.inference.answer_cache import AnswerCache
from llmkit.inference.cache import clear, entries, key_of
from llmkit.options import TalkOptions
from llmkit.output.report import Report

PARTS = {"model": "ab", "rows": "cd", "batch_size": 8, "setup": {"max_length": 64, "stride": None}}
ABOUT = {"dataset": "mine.csv", "split": "train", "model": "runs/mine", "task": "text-classification"}
NUMBERS = some.floats(width=32) | some.floats() | some.integers(-(2**40), 2**40)


def opened(report: Report | None = None, **parts: object) -> AnswerCache:
    return AnswerCache.open({**PARTS, **parts}, ABOUT, report or Report())


def file() -> Path:
    return cache.folder() / cache.FILE_NAME


def query(sql: str, *values: object) -> list[tuple]:
    """Return what plain SQLite reads in the file of the cache."""
    with contextlib.closing(sqlite3.connect(file())) as connection, connection:
        return connection.execute(sql, values).fetchall()


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
    monkeypatch.setattr(cache, "KEY_SCHEMA", cache.KEY_SCHEMA + 1)
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
    assert [bits(again.done[row]) for row in again.done] == [bits(record) for record in records]


def test_what_is_read_is_what_was_held_while_it_was_written():
    kept = opened()
    kept.add([2, 0, 2**127 + 1], [(1.5, 3), (0.1, 4), ()])
    kept.note("invariance 8", {"rows": 8, "largest_difference": math.inf})
    kept.note("text \ud800", "\ud800 新闻")
    kept.close()
    again = opened()
    assert (again.done, again.notes) == (kept.done, kept.notes)
    assert again.notes == {"invariance 8": {"rows": 8, "largest_difference": None}, "text \ud800": "\ud800 新闻"}
    again.close()


def test_each_item_has_its_checksum():
    kept = opened()
    kept.add([0, 1], [(1.0,), (2.0,)])
    kept.close()
    ((key, about),) = query("SELECT key, about FROM entries")
    assert (key, json.loads(about)["dataset"]) == (key_of(PARTS).encode(), "mine.csv")
    items = query("SELECT name, value, crc FROM items")
    assert [(name, struct.unpack("<d", value)) for name, value, _ in items] == [(b"0", (1.0,)), (b"1", (2.0,))]
    assert all(crc == zlib.crc32(key + name + value) for name, value, crc in items)
    assert query("PRAGMA journal_mode") == [("wal",)]


def test_any_name_can_be_written():
    name = "über/新闻/\ud800\u2028.csv"
    AnswerCache.open(PARTS, {**ABOUT, "dataset": name}, Report()).close()
    assert entries()[0].about["dataset"] == name


def filled() -> AnswerCache:
    """An entry of four rows and a note, each written by itself; it is open."""
    kept = opened()
    for row in range(4):
        if row not in kept.done:
            kept.add([row], [(row / 3, -row / 7)])
    if "n" not in kept.notes:
        kept.note("n", 1)
    return kept


@settings(deadline=None)
@given(place=some.integers(0, 100_000), byte=some.integers(1, 255), cut=some.booleans())
def test_no_byte_that_changes_is_believed(tmp_path_factory, place, byte, cut):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        kept = filled()
        kept.close()
        content = bytearray(file().read_bytes())
        place %= len(content)
        content[place] ^= byte
        file().write_bytes(content[:place] if cut else content)
        again = opened()
        assert again.entry is not None
        for row, record in again.done.items():
            assert record == kept.done[row]
        assert again.notes in ({}, {"n": 1})
        again.close()
        filled().close()
        whole = opened()
        whole.close()
        assert (whole.done, whole.notes) == (kept.done, kept.notes)
        assert entries()[0].rows >= 4


@pytest.mark.parametrize("garbage", [b"", b"garbage" * 2000], ids=["nothing", "garbage"])
def test_a_file_that_is_damaged_while_it_is_open_is_begun_anew_with_all_that_is_held(garbage):
    kept = filled()
    query("PRAGMA wal_checkpoint(TRUNCATE)")
    file().write_bytes(garbage)
    for row in range(4, 200):
        kept.add([row], [(row / 3,)])
    kept.close()
    again = opened()
    assert (again.done, again.notes) == (kept.done, kept.notes)
    again.close()


def test_a_file_of_another_format_is_begun_anew_and_one_of_a_newer_llmkit_is_left_alone():
    filled().close()
    query("PRAGMA user_version = 7")
    newer = file().with_name(file().name.replace("1", "2"))
    newer.write_bytes(file().read_bytes())
    kept = opened()
    assert (kept.done, kept.entry is not None) == ({}, True)
    kept.close()
    filled().close()
    assert entries()[0].rows == 4
    assert clear()[0] == 1
    assert newer.exists()


def test_a_full_disk_costs_the_cache_and_not_the_run():
    kept = opened()
    kept.add([0], [(1.0,)])
    kept.entry._connection.execute("PRAGMA max_page_count = 6")  # SQLite then says what it says of a full disk
    kept.add(range(1, 3000), [(2.0,)] * 2999)
    assert (kept.entry, len(kept.done)) == (None, 3000)
    kept.add([3000], [(3.0,)])
    kept.close()
    again = opened()
    assert again.done == {0: [1.0]}
    again.close()


def test_a_file_that_cannot_grow_costs_the_cache_and_not_the_run():
    kept = opened()
    kept.add([0], [(1.0,)])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        kept.add(range(1, 3000), [(2.0,)] * 2999)
        kept.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (kept.entry, len(kept.done)) == (None, 3000)
    again = opened()
    assert again.done == {0: [1.0]}
    again.close()


def test_without_a_file_answers_are_held_in_memory():
    kept = AnswerCache()
    kept.add([0], [(1.0,)])
    kept.note("a", 1)
    kept.close()
    assert (kept.done, kept.notes) == ({0: [1.0]}, {"a": 1})
    assert not cache.folder().exists()


def test_an_entry_that_is_open_is_left_to_the_one_who_has_it(capsys):
    first = opened()
    first.add([0], [(1.0,)])
    second = opened()
    assert second.entry is None
    assert second.done == {}
    assert "another process is measuring the same" in capsys.readouterr().err
    other = opened(model="another")
    assert other.entry is not None
    other.close()
    first.close()
    third = opened()
    assert third.done == {0: [1.0]}
    third.close()
    assert list(cache.folder().iterdir()) == [file()], "locks and the log are gone"


PROCESS = """
import os, signal, sys
from llmkit.inference.answer_cache import AnswerCache
from llmkit.inference.vector_cache import VectorCache, content_key
from llmkit.output.report import Report
import numpy as np
kept = AnswerCache.open({"process": sys.argv[1]}, {"model": sys.argv[1]}, Report())
vectors = VectorCache({"process": "all"}, {"model": "all"}, 3, Report())
for batch in range(40):
    kept.add([2 * batch, 2 * batch + 1], [(batch / 3,), (batch / 7,)])
    vectors.add([content_key(f"{sys.argv[1]} {batch}")], np.full((1, 3), batch, np.float32))
if sys.argv[2] == "kill":
    kept.entry._connection.execute("BEGIN IMMEDIATE")
    kept.entry._connection.execute("UPDATE items SET value = x'00'")
    os.kill(os.getpid(), signal.SIGKILL)
kept.close()
"""


def start(name: str, how: str = "end") -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", PROCESS, name, how], stderr=subprocess.PIPE, text=True)


def test_processes_write_at_once():
    running = [start(name) for name in "abc"]
    assert [(process.communicate()[1], process.returncode) for process in running] == [("", 0)] * 3
    assert sorted((entry.about["model"], entry.rows) for entry in entries()) == [
        ("a", 80),
        ("all", 120),
        ("b", 80),
        ("c", 80),
    ]
    kept = AnswerCache.open({"process": "b"}, {}, Report())
    assert kept.done == {2 * batch + odd: [batch / (7 if odd else 3)] for batch in range(40) for odd in (0, 1)}
    kept.close()


def test_what_a_killed_process_had_written_is_there_and_what_it_was_writing_is_not():
    process = start("a", "kill")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = AnswerCache.open({"process": "a"}, {}, Report())
    assert kept.done == {2 * batch + odd: [batch / (7 if odd else 3)] for batch in range(40) for odd in (0, 1)}
    kept.add([80], [(1.0,)])
    kept.close()
    assert {entry.rows for entry in entries()} == {81, 40}


def test_a_folder_that_can_only_be_read_is_shown_and_costs_the_cache(monkeypatch):
    place = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setenv("LLMKIT_CACHE", str(place))
    filled().close()
    place.chmod(0o755)
    for path in (cache.folder(), file()):
        path.chmod(0o555)
    read, write = os.pipe()
    child = os.fork()
    if not child:  # root can write everywhere, nobody cannot
        with contextlib.suppress(PermissionError):
            os.setuid(65534)
        report = Report(TalkOptions(quiet=True))
        kept = opened(report)
        kept.add([9], [(1.0,)])
        kept.close()
        os.write(write, json.dumps([report.warnings, kept.done, [entry.rows for entry in entries()]]).encode())
        os._exit(0)
    os.waitpid(child, 0)
    warnings, done, rows = json.loads(os.read(read, 10_000))
    assert warnings == [f"the cache cannot be written (Permission denied: {cache.folder()}); going on without it"]
    assert (done, rows) == ({"9": [1.0]}, [4])
    os.close(read), os.close(write)
    for path in (cache.folder(), file()):
        path.chmod(0o755)


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
    assert str(cache.folder()) == folder


def test_entries_are_listed_and_cleared_by_their_last_use():
    for name in ("old", "new"):
        kept = AnswerCache.open({**PARTS, "model": name}, {**ABOUT, "model": name}, Report())
        kept.add([0, 1], [(1.0,), (2.0,)])
        kept.note("n", 1)
        kept.close()
    old = next(one for one in entries() if one.about["model"] == "old")
    query("UPDATE entries SET used = ? WHERE id = ?", time.time() - 10 * 86400, old.number)
    assert [(one.about["model"], one.rows) for one in entries()] == [("new", 2), ("old", 2)]
    assert clear(older_than_days=11) == (0, 0)
    size = file().stat().st_size
    assert clear(older_than_days=9) == (1, old.bytes)
    assert [(one.about["model"], one.rows) for one in entries()] == [("new", 2)]
    assert len(query("SELECT * FROM items")) == 3
    assert file().stat().st_size <= size
    assert clear()[0] == 1
    assert entries() == []
    assert clear() == (0, 0)
    assert list(cache.folder().iterdir()) == []


def test_nothing_needs_a_module_that_only_unix_has():
    modules = ("llmkit.cli", "llmkit.evaluation", "llmkit.evaluation.measuring", "llmkit.inference.retrieval")
    script = f"import sys; sys.modules['fcntl'] = None; import {', '.join(modules)}"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
