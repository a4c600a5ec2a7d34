from __future__ import annotations

import contextlib
import sqlite3

import numpy as np
import pytest

from llmkit.inference.cache import FILE_NAME, folder
from llmkit.inference.vector_cache import VectorCache, content_key
from llmkit.options import TalkOptions
from llmkit.output.report import Report

KEYS = [content_key(text) for text in ("fox", "king", "", "狐狸")]
VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)
VECTORS[3, 1] = np.uint32(0x7FC12345).view(np.float32)  # a NaN with bits of its own


@contextlib.contextmanager
def cache(report: Report | None = None, **parts: str):
    opened = VectorCache({"model": "m", **parts}, {"model": "m"}, 3, report or Report(TalkOptions(quiet=True)))
    with contextlib.closing(opened):
        yield opened


def add(keys: list[bytes], vectors: np.ndarray) -> None:
    with cache() as opened:
        opened.add(keys, vectors)


def read(*keys: bytes, **parts: str) -> dict[bytes, bytes]:
    with cache(**parts) as opened:
        return {key: vector.tobytes() for key, vector in opened.read(keys or KEYS).items()}


def kept(count: int = 4) -> dict[bytes, bytes]:
    return dict(zip(KEYS[:count], (vector.tobytes() for vector in VECTORS)))


def test_vectors_are_read_back_by_content_and_in_pieces():
    assert read() == {}
    add(KEYS[:2], VECTORS[:2])
    add(KEYS[2:], VECTORS[2:])
    assert read() == kept()
    assert read(KEYS[3], content_key("other")) == {KEYS[3]: VECTORS[3].tobytes()}
    assert read(pooling="cls") == {}


def test_a_file_that_was_cut_short_is_written_anew():
    add(KEYS, VECTORS)
    path = folder() / FILE_NAME
    path.write_bytes(path.read_bytes()[:-5])
    assert read() == {}
    add(KEYS[3:], VECTORS[3:])
    add(KEYS[:3], VECTORS[:3])
    assert read() == kept()


@pytest.mark.parametrize("column", ["name", "value", "crc"])
def test_a_damaged_vector_counts_as_not_written(column):
    add(KEYS, VECTORS)
    with contextlib.closing(sqlite3.connect(folder() / FILE_NAME)) as connection:
        ((sound,),) = connection.execute(f"SELECT {column} FROM items WHERE name = ?", (KEYS[3],)).fetchall()
    data = (folder() / FILE_NAME).read_bytes()
    bytes_of = sound.to_bytes((sound.bit_length() + 8) // 8, "big") if column == "crc" else sound
    place = data.index(bytes_of) + len(bytes_of) // 2
    (folder() / FILE_NAME).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    assert read() == kept(3)
    add(KEYS[3:], VECTORS[3:])
    assert read() == kept()


def test_a_file_with_another_beginning_is_begun_anew():
    add(KEYS, VECTORS)
    (folder() / FILE_NAME).write_bytes(b"garbage" * 100)
    assert read() == {}
    add(KEYS[:1], VECTORS[:1])
    assert read() == kept(1)


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path / "file"))
    report = Report(TalkOptions(quiet=True))
    with cache(report) as opened:
        opened.add(KEYS, VECTORS)
    assert "the cache cannot be written" in report.warnings[0]
    assert read() == {}


def test_the_cache_command_shows_and_clears_them(llmkit):
    add(KEYS, VECTORS)
    (shown,) = llmkit("cache", "--json").rows
    assert (shown["model"], shown["rows"], shown["file"]) == ("m", 4, str(folder() / FILE_NAME))
    assert 4 * (32 + 12) <= shown["bytes"] <= 4 * (32 + 12) + 100
    (folder() / FILE_NAME).write_bytes(b"{" * 2000)
    (shown,) = llmkit("cache", "--json").rows
    assert shown == {"rows": 0, "bytes": 2000, "file": str(folder() / FILE_NAME)}
    assert llmkit("cache", "clear", "--json").json["removed"] == 1
    assert read() == {}
