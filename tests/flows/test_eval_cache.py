"""A cache that cannot lie: what is the same is known, what differs is measured, what is damaged is not believed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import time
from pathlib import Path

import pytest
import tiny
from conftest import write_csv
from evaluating import ROWS, Files, lasting, mislabelled, values
from filelock import FileLock
from safetensors.torch import load_file, save_file

from llmkit import models


@pytest.fixture
def model(good, tmp_path) -> Path:
    """A copy of the good classifier, to be changed."""
    return Path(shutil.copytree(good, tmp_path / "model", ignore=shutil.ignore_patterns("checkpoints")))


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    """The names of the models whose weights were loaded."""
    seen: list[str] = []
    original = models.load_model

    def load_model(resolved, *arguments, **options):
        seen.append(resolved.name)
        return original(resolved, *arguments, **options)

    monkeypatch.setattr(models, "load_model", load_model)
    return seen


def file(tmp_path: Path) -> Path:
    """The file of the cache."""
    return tmp_path / "llmkit-cache" / "answers" / "cache-1.sqlite"


def query(tmp_path: Path, sql: str, *values: object) -> list[tuple]:
    """Return what plain SQLite reads in the file of the cache, or nothing where there is none."""
    if not file(tmp_path).exists():
        return []
    with contextlib.closing(sqlite3.connect(file(tmp_path))) as connection, connection:
        return connection.execute(sql, values).fetchall()


def entries(tmp_path: Path) -> list[str]:
    """The keys of the entries."""
    return [key.decode() for (key,) in query(tmp_path, "SELECT key FROM entries")]


def items(tmp_path: Path) -> list[tuple[bytes, bytes]]:
    """The names and the bytes of all items, in the order of their names."""
    return sorted(query(tmp_path, "SELECT name, value FROM items"))


def rows_in(tmp_path: Path) -> list[int]:
    return [int(name) for name, _ in items(tmp_path) if not name.startswith(b"note ")]


def test_a_second_run_says_cached_loads_no_weights_and_gives_the_same(llmkit, good, data, loads, tmp_path):
    line = ("eval", data, "-m", good)
    first = Files(tmp_path / "first")
    assert llmkit(*line, *first.flags).code == 0
    assert not first.result["cached"]
    loads.clear()
    second = Files(tmp_path / "second")
    ran = llmkit(*line, *second.flags)
    assert ran.code == 0
    assert "cached: the answers of" in ran.err
    assert second.result["cached"]
    assert lasting(second.result) == lasting(first.result)
    assert second.predictions.read_bytes() == first.predictions.read_bytes()
    assert loads == []


@pytest.mark.parametrize("kind", ["llama", "masked"])
def test_language_models_are_cached_too(llmkit, request, kind, corpus, loads):
    line = ("eval", corpus, "-m", request.getfixturevalue(kind), "--limit", "12", "--json")
    first, loaded = llmkit(*line).json, len(loads)
    second = llmkit(*line).json
    assert lasting(first) == lasting(second)
    assert (first["cached"], second["cached"]) == (False, True)
    assert len(loads) == loaded == 1


def test_a_model_retrained_in_the_same_folder_is_another(llmkit, model, data):
    line = ("eval", data, "-m", model, "--json")
    before = llmkit(*line).json
    weights = load_file(model / "model.safetensors")
    stamp = (model / "model.safetensors").stat()
    weights["classifier.weight"] *= -1
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    os.utime(model / "model.safetensors", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # no time tells them apart
    after = llmkit(*line).json
    assert not after["cached"]
    assert before["fingerprints"]["model"] != after["fingerprints"]["model"]
    assert values(after)["accuracy"] < 0.5 < values(before)["accuracy"]


def test_another_tokenizer_is_another_key(llmkit, model, data):
    line = ("eval", data, "-m", model, "--json")
    before = llmkit(*line).json
    file = model / "tokenizer.json"
    content = json.loads(file.read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["good"], vocabulary["bad"] = vocabulary["bad"], vocabulary["good"]
    file.write_text(json.dumps(content))
    after = llmkit(*line).json
    assert not after["cached"]
    assert before["fingerprints"]["tokenizer"] != after["fingerprints"]["tokenizer"]
    assert before["metrics"] != after["metrics"]


@pytest.mark.parametrize(
    "flags", [("--max-length", "16"), ("--dtype", "bfloat16"), ("--batch-size", "7"), ("--limit", "30")], ids=str
)
def test_another_setting_is_another_key(llmkit, good, data, tmp_path, flags):
    assert llmkit("eval", data, "-m", good).code == 0
    ran = llmkit("eval", data, "-m", good, *flags, "--json")
    assert ran.code == 0, ran.err
    assert not ran.json["cached"]
    assert len(entries(tmp_path)) == 2
    assert llmkit("eval", data, "-m", good, *flags, "--json").json["cached"]


def test_another_split_and_a_changed_row_are_other_keys(llmkit, good, reviews):
    def cached(*flags: object) -> bool:
        ran = llmkit("eval", reviews, "-m", good, "--json", *flags)
        assert ran.code == 0, ran.err
        return ran.json["cached"]

    assert not cached()
    assert cached()
    assert not cached("--split", "train")
    rows = tiny.reviews(24, seed=1)
    rows[5]["text"] += " and good"
    write_csv(reviews / "validation.csv", rows)
    assert not cached()
    write_csv(reviews / "validation.csv", tiny.reviews(24, seed=1))
    assert cached()


def test_a_language_models_windows_are_part_of_the_key(llmkit, llama, corpus):
    line = ("eval", corpus, "-m", llama, "--limit", "6", "--json")
    assert llmkit(*line).code == 0
    for flags in (("--stride", "16"), ("--per-row",)):
        assert not llmkit(*line, *flags).json["cached"]
        assert llmkit(*line, *flags).json["cached"]


def test_the_seed_of_the_masks_is_part_of_the_key(llmkit, masked, corpus):
    line = ("eval", corpus, "-m", masked, "--limit", "6", "--json")
    found = [llmkit(*line, "--seed", seed).json for seed in (1, 2, 1)]
    assert [result["cached"] for result in found] == [False, False, True]
    assert values(found[0]) == values(found[2]) != values(found[1])


def test_what_is_made_of_the_answers_asks_for_no_new_ones(llmkit, good, data, loads, tmp_path):
    assert llmkit("eval", data, "-m", good).code == 0
    loads.clear()
    other = [{**row, "label": {"positive": "yes", "negative": "no"}[row["label"]]} for row in mislabelled()]
    for flags in (
        ("--positive", "negative"),
        ("--metric", "roc_auc", "--resamples", "100"),
        ("--fail-under", "accuracy=0.9", "--slice", "genre"),
    ):
        ran = llmkit("eval", data, "-m", good, *flags, "--json")
        assert ran.json["cached"], flags
    # the label map changes what the outputs are called: the rows have other labels, so here the inputs are other too
    renamed = write_csv(tmp_path / "renamed.csv", other)
    mapping = ("--label-map", "positive=yes", "--label-map", "negative=no")
    swapped = ("--label-map", "positive=no", "--label-map", "negative=yes")
    assert not llmkit("eval", renamed, "-m", good, *mapping, "--json").json["cached"]
    loads.clear()
    turned = llmkit("eval", renamed, "-m", good, *swapped, "--json").json
    assert turned["cached"]
    assert values(turned)["accuracy"] == pytest.approx(4 / ROWS)
    assert loads == []


def test_no_cache_neither_reads_nor_writes(llmkit, good, data, tmp_path):
    assert llmkit("eval", data, "-m", good, "--no-cache").code == 0
    assert not (tmp_path / "llmkit-cache").exists()
    assert llmkit("eval", data, "-m", good).code == 0
    before = file(tmp_path).read_bytes()
    ran = llmkit("eval", data, "-m", good, "--no-cache", "--json")
    assert not ran.json["cached"]
    assert file(tmp_path).read_bytes() == before


@pytest.mark.parametrize("column", ["name", "value", "crc"])
def test_a_damaged_answer_is_measured_again(llmkit, good, data, tmp_path, column):
    line = ("eval", data, "-m", good, "--batch-size", "8", "--check-invariance", "0", "--json")
    whole = llmkit(*line).json
    sound = items(tmp_path)
    assert rows_in(tmp_path) == sorted(range(ROWS), key=str)
    ((found,),) = query(tmp_path, f"SELECT {column} FROM items WHERE name = ?", b"17")
    ((value,),) = query(tmp_path, "SELECT value FROM items WHERE name = ?", b"17")
    content = bytearray(file(tmp_path).read_bytes())
    place = content.index(b"17" + value)  # the cells of a row follow one another: name, value, crc
    place += {"name": 0, "value": 2, "crc": 2 + len(value)}[column]
    content[place] ^= 1
    file(tmp_path).write_bytes(content)
    assert query(tmp_path, f"SELECT {column} FROM items WHERE {column} = ?", found) == []
    ran = llmkit(*line)
    assert ran.code == 0, ran.err
    assert f"going on: {ROWS - 1} of {ROWS} rows" in ran.err
    assert lasting(ran.json) == lasting(whole)
    assert items(tmp_path) == sound
    assert llmkit(*line).json["cached"]


@pytest.mark.parametrize("damage", ["no database", "first byte", "page", "cut in a page", "cut", "format", "nothing"])
def test_a_damaged_file_is_begun_anew(llmkit, good, data, tmp_path, damage):
    line = ("eval", data, "-m", good, "--batch-size", "8", "--check-invariance", "0", "--json")
    whole = llmkit(*line).json
    sound = items(tmp_path)
    content = file(tmp_path).read_bytes()
    assert len(content) >= 5 * 4096
    spoiled = {
        "no database": b"nonsense\n" * 1000,
        "first byte": b"s" + content[1:],
        "page": content[:4096] + b"\xff" * 4096 + content[8192:],
        "cut in a page": content[:-1],
        "cut": content[:8192],
        "format": content[:60] + b"\x00\x00\x00\x09" + content[64:],
        "nothing": b"",
    }[damage]
    file(tmp_path).write_bytes(spoiled)
    ran = llmkit(*line)
    assert ran.code == 0, ran.err
    assert "going on" not in ran.err
    assert "warning: the cache" not in ran.err
    assert lasting(ran.json) == lasting(whole)
    assert items(tmp_path) == sound
    assert llmkit(*line).json["cached"]
    assert len(entries(tmp_path)) == 1


def test_a_file_that_ends_after_a_batch_is_a_run_that_was_stopped_there(llmkit, good, data, tmp_path):
    line = ("eval", data, "-m", good, "--batch-size", "8", "--json")
    whole = llmkit(*line).json
    query(tmp_path, "DELETE FROM items WHERE id > 16")
    ran = llmkit(*line)
    assert "going on: 16 of 40 rows" in ran.err
    assert lasting(ran.json) == lasting(whole)
    assert rows_in(tmp_path) == sorted(range(ROWS), key=str)


def test_two_runs_at_once_do_not_write_the_same_entry(llmkit, good, data, tmp_path):
    line = ("eval", data, "-m", good, "--json")
    whole = llmkit(*line).json
    (key,) = entries(tmp_path)
    before = file(tmp_path).read_bytes()
    with FileLock(file(tmp_path).with_name(f"{key}.lock")):
        ran = llmkit(*line)
        assert ran.code == 0
        assert "another process is measuring the same" in ran.err
        assert not ran.json["cached"]
        assert lasting(ran.json) == lasting(whole)
    assert file(tmp_path).read_bytes() == before
    assert llmkit(*line).json["cached"]


def test_a_cache_that_cannot_be_written_is_a_warning(llmkit, good, data, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path / "file"))
    ran = llmkit("eval", data, "-m", good, "--json")
    assert ran.code == 0
    assert "warning: the cache cannot be written" in ran.err
    assert any("the cache cannot be written" in warning for warning in ran.json["warnings"])
    assert llmkit("cache").code == 0


def test_the_baselines_model_has_an_entry_of_its_own(llmkit, good, classifier, data, loads, tmp_path):
    line = ("eval", data, "-m", good, "--baseline", classifier, "--json")
    first = llmkit(*line).json
    assert len(entries(tmp_path)) == 2
    assert sorted(set(loads)) == sorted(map(str, (good, classifier)))
    loads.clear()
    assert llmkit(*line).json["baseline"] == first["baseline"]
    assert llmkit("eval", data, "-m", classifier, "--check-invariance", "0", "--json").json["cached"]
    assert loads == []


def test_another_number_of_rows_to_check_keeps_the_answers(llmkit, good, data):
    assert llmkit("eval", data, "-m", good).code == 0
    ran = llmkit("eval", data, "-m", good, "--check-invariance", "12", "--json").json
    assert (ran["cached"], ran["invariance"]["rows"]) == (True, 12)


# llmkit cache


def test_the_cache_is_shown_and_cleared(llmkit, good, data, corpus, llama, tmp_path):
    assert llmkit("cache", "--json").out == ""
    assert llmkit("eval", data, "-m", good).code == 0
    assert llmkit("eval", corpus, "-m", llama, "--limit", "4").code == 0
    shown = llmkit("cache")
    header, *rows = [line.split("\t") for line in shown.out.splitlines()]
    assert header == ["dataset", "split", "model", "task", "rows", "size", "used"]
    assert [row[0] for row in rows] == [str(corpus), str(data)], "the newest first"
    assert rows[1][4] == str(ROWS)
    found = llmkit("cache", "--json").rows
    assert {entry["model"] for entry in found} == {str(good), str(llama)}
    assert {entry["file"] for entry in found} == {str(file(tmp_path))}
    sizes = query(tmp_path, "SELECT SUM(length(name) + length(value)) FROM items GROUP BY entry")
    abouts = query(tmp_path, "SELECT length(about) FROM entries")
    assert sorted(entry["bytes"] for entry in found) == sorted(a + b for (a,), (b,) in zip(sizes, abouts))
    assert sum(entry["bytes"] for entry in found) < file(tmp_path).stat().st_size

    assert llmkit("cache", "clear", "--dry-run").code == 0
    assert len(entries(tmp_path)) == 2
    old = next(entry for entry in found if entry["model"] == str(good))
    query(
        tmp_path, "UPDATE entries SET used = ? WHERE CAST(about AS TEXT) LIKE ?", time.time() - 31 * 86400, f"%{good}%"
    )
    cleared = llmkit("cache", "clear", "--older-than", "30", "--json").json
    assert (cleared["removed"], cleared["bytes"]) == (1, old["bytes"])
    (left,) = llmkit("cache", "--json").rows
    assert left["model"] == str(llama)
    assert len(query(tmp_path, "SELECT DISTINCT entry FROM items")) == len(entries(tmp_path)) == 1
    assert "removed 1 entries" in llmkit("cache", "clear").err
    assert entries(tmp_path) == []
    assert not llmkit("eval", data, "-m", good, "--json").json["cached"]


def test_a_used_entry_is_not_old(llmkit, good, data, tmp_path):
    assert llmkit("eval", data, "-m", good).code == 0
    query(tmp_path, "UPDATE entries SET used = 0")
    assert llmkit("eval", data, "-m", good).code == 0
    assert llmkit("cache", "clear", "--older-than", "1", "--json").json["removed"] == 0


@pytest.mark.parametrize("flags", [("--older-than", "3"), ("clear", "--older-than", "-1"), ("wipe",)], ids=str)
def test_a_wrong_way_to_clear_is_refused(llmkit, good, data, tmp_path, flags):
    assert llmkit("eval", data, "-m", good).code == 0
    assert llmkit("cache", *flags).code == 2
    assert len(entries(tmp_path)) == 1


@pytest.mark.parametrize("damage", ["file", "entry"])
def test_what_is_damaged_can_be_shown_and_cleared(llmkit, good, data, tmp_path, damage):
    assert llmkit("eval", data, "-m", good).code == 0
    if damage == "file":
        file(tmp_path).write_bytes(b"\xff\xfe nonsense\n" + file(tmp_path).read_bytes())
    else:
        query(tmp_path, "UPDATE entries SET about = ?, used = 'never'", b"\xff\xfe nonsense")
    (shown,) = llmkit("cache", "--json").rows
    assert shown["rows"] == (0 if damage == "file" else ROWS)
    assert "model" not in shown
    assert llmkit("cache").code == 0
    assert llmkit("cache", "clear", "--json").json["removed"] == 1
    assert llmkit("cache", "--json").out == ""
