"""A cache that cannot lie: what is the same is known, what differs is measured, what is damaged is not believed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from pathlib import Path

import pytest
import tiny
from conftest import write_csv
from evaluating import ROWS, Files, lasting, mislabelled, values
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


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "llmkit-cache").rglob("*.jsonl"))


def rows_in(entry: Path) -> list[int]:
    return [row for line in entry.read_text().splitlines() for row in json.loads(line[9:]).get("rows", ())]


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
    (entry,) = entries(tmp_path)
    before = entry.read_bytes()
    ran = llmkit("eval", data, "-m", good, "--no-cache", "--json")
    assert not ran.json["cached"]
    assert entry.read_bytes() == before


@pytest.mark.parametrize("damage", ["digit", "not utf-8", "carriage return", "torn", "checksum", "first line"])
def test_a_damaged_line_and_all_after_it_are_measured_again(llmkit, good, data, tmp_path, damage):
    line = ("eval", data, "-m", good, "--batch-size", "8", "--check-invariance", "0", "--json")
    whole = llmkit(*line).json
    (entry,) = entries(tmp_path)
    sound = entry.read_bytes()
    lines = sound.splitlines(keepends=True)
    assert len(lines) == 1 + ROWS // 8
    left = {"first line": 0, "torn": 4}.get(damage, 2)  # batches before the damage
    start = sum(map(len, lines[: left + 1 if damage != "first line" else 0]))
    spoiled = bytearray(sound)
    middle = start + len(lines[left + 1]) // 2
    if damage == "torn":
        spoiled = spoiled[:middle]
    elif damage == "digit":
        place = next(i for i in range(middle, len(spoiled)) if spoiled[i] in b"12345678")
        spoiled[place] += 1
    elif damage == "not utf-8":
        spoiled[middle] = 0xFF
    elif damage == "carriage return":
        spoiled[middle] = 0x0D
    else:
        spoiled[start] ^= 1
    entry.write_bytes(spoiled)
    ran = llmkit(*line)
    assert ran.code == 0, ran.err
    assert (f"going on: {left * 8} of {ROWS} rows" in ran.err) == (left > 0)
    assert lasting(ran.json) == lasting(whole)
    assert sorted(rows_in(entry)) == list(range(ROWS))
    assert llmkit(*line).json["cached"]
    if damage != "first line":  # that one says when it was begun
        assert entry.read_bytes() == sound


def test_a_file_that_ends_after_a_whole_batch_is_a_run_that_was_stopped_there(llmkit, good, data, tmp_path):
    line = ("eval", data, "-m", good, "--batch-size", "8", "--json")
    whole = llmkit(*line).json
    (entry,) = entries(tmp_path)
    entry.write_bytes(b"".join(entry.read_bytes().splitlines(keepends=True)[:3]))
    ran = llmkit(*line)
    assert "going on: 16 of 40 rows" in ran.err
    assert lasting(ran.json) == lasting(whole)


def test_two_runs_at_once_do_not_write_the_same_file(llmkit, good, data, tmp_path):
    line = ("eval", data, "-m", good, "--json")
    whole = llmkit(*line).json
    (entry,) = entries(tmp_path)
    before = entry.read_bytes()
    with entry.open("a+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        ran = llmkit(*line)
        assert ran.code == 0
        assert "another process is measuring the same" in ran.err
        assert not ran.json["cached"]
        assert lasting(ran.json) == lasting(whole)
    assert entry.read_bytes() == before
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
    assert all(entry["bytes"] == Path(entry["file"]).stat().st_size for entry in found)

    assert llmkit("cache", "clear", "--dry-run").code == 0
    assert len(entries(tmp_path)) == 2
    old = next(Path(entry["file"]) for entry in found if entry["model"] == str(good))
    days = time.time() - 31 * 86400
    os.utime(old, (days, days))
    cleared = llmkit("cache", "clear", "--older-than", "30", "--json").json
    assert (cleared["removed"], old.exists()) == (1, False)
    assert len(entries(tmp_path)) == 1
    assert "removed 1 entries" in llmkit("cache", "clear").err
    assert entries(tmp_path) == []
    assert not llmkit("eval", data, "-m", good, "--json").json["cached"]


def test_a_used_entry_is_not_old(llmkit, good, data, tmp_path):
    assert llmkit("eval", data, "-m", good).code == 0
    (entry,) = entries(tmp_path)
    os.utime(entry, (0, 0))
    assert llmkit("eval", data, "-m", good).code == 0
    assert llmkit("cache", "clear", "--older-than", "1", "--json").json["removed"] == 0


@pytest.mark.parametrize("flags", [("--older-than", "3"), ("clear", "--older-than", "-1"), ("wipe",)], ids=str)
def test_a_wrong_way_to_clear_is_refused(llmkit, good, data, tmp_path, flags):
    assert llmkit("eval", data, "-m", good).code == 0
    assert llmkit("cache", *flags).code == 2
    assert len(entries(tmp_path)) == 1


def test_a_damaged_entry_can_be_shown(llmkit, good, data, tmp_path):
    assert llmkit("eval", data, "-m", good).code == 0
    (entry,) = entries(tmp_path)
    entry.write_bytes(b"\xff\xfe nonsense\n" + entry.read_bytes())
    (shown,) = llmkit("cache", "--json").rows
    assert shown["rows"] == 0
