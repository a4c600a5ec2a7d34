from __future__ import annotations

import numpy as np
import pytest

from llmkit.inference import answer_cache
from llmkit.inference.vector_cache import VectorCache, content_key
from llmkit.options import TalkOptions
from llmkit.output.report import Report

KEYS = [content_key(text) for text in ("fox", "king", "", "狐狸")]
VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3)


def cache(report: Report | None = None, **parts: str) -> VectorCache:
    return VectorCache({"model": "m", **parts}, {"model": "m"}, 3, report or Report(TalkOptions(quiet=True)))


def read(*keys: bytes, **parts: str) -> dict[bytes, list[float]]:
    return {key: vector.tolist() for key, vector in cache(**parts).read(keys or KEYS).items()}


def kept(count: int = 4) -> dict[bytes, list[float]]:
    return dict(zip(KEYS[:count], VECTORS.tolist()))


def test_vectors_are_read_back_by_content_and_in_pieces():
    assert read() == {}
    cache().add(KEYS[:2], VECTORS[:2])
    cache().add(KEYS[2:], VECTORS[2:])
    assert read() == kept()
    assert read(KEYS[3], content_key("other")) == {KEYS[3]: VECTORS[3].tolist()}
    assert read(pooling="cls") == {}


def test_a_record_that_was_cut_short_is_written_anew():
    cache().add(KEYS, VECTORS)
    path = cache().path
    path.write_bytes(path.read_bytes()[:-5])
    assert read() == kept(3)
    cache().add(KEYS[3:], VECTORS[3:])
    assert read() == kept()


@pytest.mark.parametrize("place", [-1, -45], ids=["in a vector", "in a key"])
def test_a_damaged_record_counts_as_not_written(place):
    cache().add(KEYS, VECTORS)
    data = bytearray(cache().path.read_bytes())
    data[place] ^= 1
    cache().path.write_bytes(data)
    assert read() == kept(3)


def test_a_file_with_another_beginning_is_begun_anew():
    cache().add(KEYS, VECTORS)
    cache().path.write_bytes(b"garbage" * 100)
    assert read() == {}
    cache().add(KEYS[:1], VECTORS[:1])
    assert read() == kept(1)


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path / "file"))
    report = Report(TalkOptions(quiet=True))
    cache(report).add(KEYS, VECTORS)
    assert "the cache cannot be written" in report.warnings[0]
    assert read() == {}


def test_the_cache_command_shows_and_clears_them(llmkit):
    cache().add(KEYS, VECTORS)
    (shown,) = llmkit("cache", "--json").rows
    assert (shown["model"], shown["rows"], shown["file"]) == ("m", 4, str(cache().path))
    cache().path.with_name(f"damaged{answer_cache.VECTORS}").write_bytes(b"{")
    assert len(llmkit("cache", "--json").rows) == 2
    assert llmkit("cache", "clear", "--json").json["removed"] == 2
    assert read() == {}
