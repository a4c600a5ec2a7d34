"""What a CI job reads of `llmkit eval`: the exit code and the three files, whatever happens."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from conftest import write_csv, write_jsonl
from evaluating import ROWS, WRONG, Files, lasting, mislabelled, read_jsonl, valid, values
from junitparser import JUnitXml
from safetensors.torch import load_file, save_file

RIGHT = 1 - len(WRONG) / ROWS
KILLED = {"SIGTERM": (75, 12), "SIGINT": (75, 12), "SIGKILL": (-signal.SIGKILL, 8)}  # exit code, rows of whole batches
# one process for each signal, which it gets while it measures its third batch; they are forked to import torch once
SIGNALLED = """
import json, os, signal, sys
import llmkit.evaluation.suite
from llmkit.inference.row_files import prediction_loop as inference
from llmkit.cli import main

measure_batch, batches, codes = inference.on_device, 0, {}

def on_device(batch, model):
    global batches
    batches += 1
    if batches == 3:
        signal.raise_signal(signal.Signals[name])
    return measure_batch(batch, model)

inference.on_device = on_device
for name, (line, folder) in json.load(sys.stdin).items():
    child = os.fork()
    if not child:
        for number, stream in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{folder}/{stream}.txt", os.O_WRONLY | os.O_CREAT), number)
        os.environ["LLMKIT_CACHE"] = f"{folder}/llmkit-cache"
        code = main(line)
        sys.stdout.flush()
        os._exit(code)
    codes[name] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(json.dumps(codes))
"""


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(tmp_path / "out")


def spoil(model: Path, copy: Path, weight: str, value: float) -> Path:
    """Copy a model with one weight set to another value."""
    copy.mkdir()
    for file in model.iterdir():
        if file.is_file():
            (copy / file.name).write_bytes(file.read_bytes())
    weights = load_file(copy / "model.safetensors")
    weights[weight].view(-1)[0] = value
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    return copy


def scored_rows(folder: Path) -> list[int]:
    """Return the numbers of the rows whose answers the cache holds, in the order in which they were written."""
    file = folder / "llmkit-cache" / "answers" / "cache-1.sqlite"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM items ORDER BY id")]
    return [int(name) for name in names if not name.startswith(b"note ")]


# the matrix


def test_a_pass_is_0_and_three_files_that_agree(llmkit, good, data, files):
    ran = llmkit("eval", data, "-m", good, "--fail-under", "accuracy=0.9", *files.flags)
    assert ran.code == 0
    assert "gate met: accuracy is 0.9000" in ran.err
    assert "gate" not in ran.out
    assert (files.result["status"], files.result["exit_code"], files.result["n"]) == ("ok", 0, ROWS)
    assert files.result["metrics"]["accuracy"]["value"] == RIGHT
    assert [gate["met"] for gate in files.result["gates"]] == [True]
    assert set(files.cases) == {*files.result["metrics"], "fail-under accuracy=0.9"}
    assert not files.failures | files.errors
    hits = [row["label"] == row["prediction"] for row in files.rows]
    assert [place for place, hit in enumerate(hits) if not hit] == list(WRONG)
    assert [row["row"] for row in files.rows] == list(range(ROWS))
    assert all(max(row["scores"], key=row["scores"].get) == row["prediction"] for row in files.rows)
    saved = files.result["rows"]
    assert [saved["id"], saved["label"]] == [[row[key] for row in files.rows] for key in ("id", "label")]


def test_a_missed_gate_is_1_and_each_file_says_which(llmkit, good, data, files):
    flags = ("--fail-under", "accuracy=0.91", "--fail-above", "brier=0.5")
    ran = llmkit("eval", data, "-m", good, *flags, *files.flags)
    assert ran.code == 1
    missed = [line for line in ran.err.splitlines() if line.startswith("gate NOT met: ")]
    assert missed == ["gate NOT met: accuracy is 0.9000, at least 0.91 is demanded"]
    assert "error: " not in ran.err
    assert (files.result["status"], files.result["exit_code"]) == ("ok", 1)
    assert {gate["metric"]: gate["met"] for gate in files.result["gates"]} == {"accuracy": False, "brier": True}
    assert files.failures == {"fail-under accuracy=0.91": missed[0]}
    assert JUnitXml.fromfile(str(files.junit)).failures == 1
    assert len(files.rows) == ROWS
    assert "accuracy" in ran.out


def test_a_gate_on_the_bound_is_missed_where_the_value_meets_it(llmkit, good, data, files):
    gate = ("--fail-under", "accuracy=0.85")
    assert llmkit("eval", data, "-m", good, *gate).code == 0
    ran = llmkit("eval", data, "-m", good, *gate, "--strict", *files.flags)
    assert ran.code == 1
    (found,) = files.result["gates"]
    assert found["strict"]
    assert found["bound"] == files.result["metrics"]["accuracy"]["low"] < 0.85 < found["value"]


def test_a_regression_against_a_baseline_is_1_and_names_the_rows(llmkit, good, classifier, data, files, tmp_path):
    old = tmp_path / "old.json"
    assert llmkit("eval", data, "-m", good, "--output", old).code == 0
    drop = ("--baseline", old, "--max-drop", "accuracy=0.01")
    same = llmkit("eval", data, "-m", good, *drop, *files.flags)
    assert same.code == 0
    assert not files.failures
    ran = llmkit("eval", data, "-m", classifier, *drop, *files.flags)
    assert ran.code == 1
    paired = files.result["baseline"]["metrics"]["accuracy"]
    assert paired["baseline"] == RIGHT
    assert paired["value"] == files.result["metrics"]["accuracy"]["value"] < RIGHT
    (name,) = files.failures
    assert name == "max-drop accuracy=0.01"
    flips = files.result["baseline"]["flips"]
    assert flips["fixed"] - flips["broken"] == round((paired["value"] - RIGHT) * ROWS)
    assert len(files.rows) == ROWS


def test_a_bad_flag_is_2_and_writes_nothing(llmkit, good, data, files):
    ran = llmkit("eval", data, "-m", good, "--fail-under", "accuracy", "--resamples", "7", *files.flags)
    assert ran.code == 2
    assert "--fail-under" in ran.error
    assert "--resamples" in ran.error
    assert not files.folder.exists()


def test_a_bad_flag_leaves_the_files_of_an_earlier_run(llmkit, good, data, files):
    assert llmkit("eval", data, "-m", good, *files.flags).code == 0
    before = {path.name: path.read_bytes() for path in files.folder.iterdir()}
    assert llmkit("eval", data, "-m", good, "--max-drop", "f1=0.1", *files.flags).code == 2
    assert {path.name: path.read_bytes() for path in files.folder.iterdir()} == before


@pytest.mark.parametrize(
    ("dataset", "flags", "code", "words"),
    [
        ("nowhere.csv", (), 2, "nowhere.csv"),
        ("mine.csv", ("--split", "test"), 2, "'test'"),
        ("mine.csv", ("--column", "label=stars"), 2, "stars"),
        ("mine.csv", ("--fail-under", "f2=0.5"), 2, "f2"),
        ("mine.csv", ("--slice", "genres"), 2, "genre"),
        ("header.csv", (), 5, "no rows"),
        ("blank.csv", (), 5, "no usable row"),
    ],
)
def test_what_cannot_be_measured_is_told_by_every_file(
    llmkit, good, data, files, tmp_path, dataset, flags, code, words
):
    (tmp_path / "header.csv").write_text("text,label\n")
    (tmp_path / "blank.csv").write_text("text,label\n ,positive\n,negative\n")
    assert llmkit("eval", data, "-m", good, *files.flags).code == 0
    ran = llmkit("eval", tmp_path / dataset, "-m", good, *flags, *files.flags)
    assert ran.code == code
    assert words in ran.error
    assert ran.out == ""
    assert (files.result["status"], files.result["exit_code"]) == ("error", code)
    assert files.result["error"] == ran.error
    assert files.errors == {"evaluation": ran.error}
    assert not files.predictions.exists(), "the rows of an earlier run would pass for those of this one"


def line_of(folder: Path) -> list[str]:
    data, files = write_csv(folder / "mine.csv", mislabelled()), Files(folder / "out")
    return ["eval", str(data), "--batch-size", "4", "--fail-under", "accuracy=0.9", *map(str, files.flags)]


@pytest.fixture(scope="module")
def killed(good, tmp_path_factory) -> dict[str, Path]:
    """The folders of evaluations that got a signal half-way."""
    folders = {name: tmp_path_factory.mktemp(name) for name in KILLED}
    for folder in folders.values():
        (folder / "out").mkdir()
        Files(folder / "out").predictions.write_text("of an earlier run")
    jobs = {name: ([*line_of(folder), "-m", str(good)], str(folder)) for name, folder in folders.items()}
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED], input=json.dumps(jobs), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {name: code for name, (code, _) in KILLED.items()}
    return folders


@pytest.mark.parametrize("name", KILLED)
def test_a_run_that_was_killed_goes_on_from_the_rows_already_scored(llmkit, good, killed, monkeypatch, tmp_path, name):
    folder, (code, scored) = killed[name], KILLED[name]
    files = Files(folder / "out")
    assert (folder / "out.txt").read_text() == ""
    if code == 75:
        assert f"stopped after {scored} of {ROWS} rows" in (folder / "err.txt").read_text()
        assert (files.result["status"], files.result["exit_code"]) == ("stopped", 75)
        assert "evaluation" in files.errors
        assert not files.predictions.exists()
    before = scored_rows(folder)
    assert len(before) == scored

    line = [*line_of(folder), "-m", good]
    monkeypatch.setenv("LLMKIT_CACHE", str(folder / "llmkit-cache"))
    ran = llmkit(*line)
    assert ran.code == 0, ran.err
    assert f"going on: {scored} of {ROWS} rows were scored before" in ran.err
    after = scored_rows(folder)
    assert after[:scored] == before
    assert sorted(after) == list(range(ROWS)), "each row once"
    resumed, saved = files.result, files.predictions.read_bytes()

    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path / "another"))
    assert "going on" not in llmkit(*line).err
    assert lasting(resumed) == lasting(files.result)
    assert saved == files.predictions.read_bytes()


def test_a_language_model_goes_on_too(llmkit, llama, corpus, files, tmp_path, monkeypatch):
    from llmkit.inference.row_files import prediction_loop

    line = ("eval", corpus, "-m", llama, "--batch-size", "1", "--limit", "20", *files.flags)
    original, batches = prediction_loop.on_device, []

    def on_device(batch, model):
        batches.append(batch)
        if len(batches) == 3:
            signal.raise_signal(signal.SIGTERM)
        return original(batch, model)

    with monkeypatch.context() as patch:
        patch.setattr(prediction_loop, "on_device", on_device)
        assert llmkit(*line).code == 75
    assert len(batches) == len(scored_rows(tmp_path)) == 3
    ran = llmkit(*line)
    assert ran.code == 0
    assert "going on: 3 of" in ran.err
    resumed, windows = files.result, len(files.rows)
    assert sorted(scored_rows(tmp_path)) == list(range(windows))
    assert llmkit(*line, "--no-cache").code == 0
    assert lasting(resumed) == lasting(files.result)


def test_without_the_cache_a_signal_ends_the_run_at_once(llmkit, good, data, monkeypatch):
    from llmkit.inference.row_files import prediction_loop

    def on_device(batch, model):
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")

    monkeypatch.setattr(prediction_loop, "on_device", on_device)
    ran = llmkit("eval", data, "-m", good, "--no-cache")
    assert ran.code == 130
    assert ran.error == "interrupted, nothing was saved"


# what else a job may rely on


def test_every_json_is_of_the_schema_and_stdout_is_the_result_alone(
    llmkit, good, llama, masked, data, corpus, tmp_path
):
    preds = tmp_path / "p.csv"
    runs = [
        ("eval", data, "-m", good, "--slice", "genre", "--save-predictions", preds),
        ("eval", data, "--predictions", preds),
        ("eval", corpus, "-m", llama, "--limit", "8"),
        ("eval", corpus, "-m", masked, "--limit", "8", "--resamples", "0"),
    ]
    for line in runs:
        ran = llmkit(*line, "--json", "--output", tmp_path / "whole.json")
        assert ran.code == 0, ran.err
        (printed,) = ran.rows
        whole = valid(json.loads((tmp_path / "whole.json").read_text()))
        assert valid(printed) == {key: value for key, value in whole.items() if key != "rows"}
        assert len(whole["rows"]["id"]) > 0


def test_quiet_leaves_the_table_alone(llmkit, good, data):
    ran = llmkit("eval", data, "-m", good, "--quiet")
    assert ran.code == 0
    assert ran.err == ""
    assert ran.out.splitlines()[0].split("\t")[:2] == ["metric", "value"]


def test_the_warnings_of_a_run_are_in_its_result(llmkit, good, tmp_path, files):
    rows = [*mislabelled(), {"text": "  ", "label": "positive", "genre": "blog"}]
    assert llmkit("eval", write_csv(tmp_path / "gap.csv", rows), "-m", good, *files.flags).code == 0
    (warning,) = files.result["warnings"]
    assert "1 of 41 rows" in warning
    assert (files.result["dropped"], files.result["n"]) == (1, 40)


@pytest.mark.parametrize("flags", [(), ("--split", "nothing")])
def test_a_dry_run_writes_and_removes_nothing(llmkit, good, data, files, flags, monkeypatch):
    from llmkit import models

    monkeypatch.setattr(models, "load_model", lambda *a, **k: pytest.fail("weights were loaded"))
    files.folder.mkdir()
    files.predictions.write_text("of an earlier run")
    ran = llmkit("eval", data, "-m", good, *flags, *files.flags, "--dry-run")
    assert ran.code == (2 if flags else 0)
    assert ran.out == ""
    assert [path.read_text() for path in files.folder.iterdir()] == ["of an earlier run"]


def test_a_github_job_has_its_summary_and_annotations(llmkit, good, data, tmp_path, monkeypatch):
    summary = tmp_path / "summary.md"
    summary.write_text("# before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    missed = llmkit("eval", data, "-m", good, "--fail-under", "accuracy=0.95")
    assert missed.code == 1
    assert "::error title=" in missed.err
    assert "::error" not in missed.out
    failed = llmkit("eval", data, "-m", good, "--split", "nothing")
    assert failed.code == 2
    assert [line.startswith("::error") for line in failed.err.splitlines()].count(True) == 1
    text = summary.read_text()
    assert text.startswith("# before\n")
    assert "accuracy is 0.9000, at least 0.95 is demanded" in text
    assert "there is no split" in text


def test_the_same_figures_are_given_to_the_last_digit_each_time(llmkit, good, data, tmp_path):
    results = []
    for number in range(2):
        path = tmp_path / f"{number}.json"
        assert llmkit("eval", data, "-m", good, "--no-cache", "--output", path).code == 0
        results.append(lasting(json.loads(path.read_text())))
    assert results[0] == results[1]


# bad input


def test_logits_that_are_no_numbers_are_refused_and_the_row_named(llmkit, good, tmp_path, files):
    # the embedding of a word: only the rows that hold it go wrong
    tokens = json.loads((good / "tokenizer.json").read_text())["model"]["vocab"]
    copy = spoil(good, tmp_path / "nan", "bert.embeddings.word_embeddings.weight", 0.0)
    weights = load_file(copy / "model.safetensors")
    weights["bert.embeddings.word_embeddings.weight"][tokens["river"]] = float("nan")
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    rows = [{"text": f"the {thing} was good", "label": "positive"} for thing in ("film", "book", "river", "song")]
    rows += [{"text": "the film was bad", "label": "negative"}]
    data = write_csv(tmp_path / "rivers.csv", rows)
    for _ in range(2):  # measured, and from the cache
        ran = llmkit("eval", data, "-m", copy, *files.flags)
        assert ran.code == 2
        assert "row 3 ('the river was good')" in ran.error
        assert files.result["status"] == "error"
        assert not files.predictions.exists()


def test_a_language_model_of_no_numbers_is_refused(llmkit, llama, corpus, tmp_path):
    copy = spoil(llama, tmp_path / "nan", "model.norm.weight", float("nan"))
    for flags, words in (((), "window 1"), (("--per-row",), "row 1")):
        ran = llmkit("eval", corpus, "-m", copy, "--limit", "8", *flags)
        assert ran.code == 2
        assert words in ran.error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "schema 2"),
        ({"status": "stopped", "error": "stopped after 3 of 40 rows"}, "stopped after 3"),
        ({"rows": None}, "--output FILE.json"),
        ({"results": []}, "suite"),
        ({"task": "causal-lm"}, "causal-lm"),
    ],
)
def test_a_baseline_that_is_no_result_of_these_rows_is_refused(llmkit, good, data, tmp_path, change, words):
    old = tmp_path / "old.json"
    assert llmkit("eval", data, "-m", good, "--output", old).code == 0
    old.write_text(json.dumps({**json.loads(old.read_text()), **change}))
    for line in (("eval", data, "-m", good, "--baseline", old), ("compare", old, old)):
        if line[0] == "compare" and "task" in change:
            continue
        ran = llmkit(*line)
        assert ran.code == 2
        assert words in ran.error


def test_a_baseline_that_is_not_there_is_refused_before_anything_is_measured(llmkit, good, data, tmp_path, monkeypatch):
    from llmkit import models

    monkeypatch.setattr(models, "load_model", lambda *a, **k: pytest.fail("weights were loaded"))
    ran = llmkit("eval", data, "-m", good, "--baseline", tmp_path / "old.json")
    assert ran.code == 2
    assert "old.json" in ran.error


def test_no_file_is_left_half_written(llmkit, good, data, files):
    assert llmkit("eval", data, "-m", good, "--fail-under", "accuracy=0.99", *files.flags).code == 1
    assert sorted(path.name for path in files.folder.iterdir()) == ["preds.jsonl", "report.xml", "result.json"]


# suites


def suite(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_suite_has_one_table_one_exit_code_and_hides_no_member(llmkit, models_root, good, data, files, tmp_path):
    path = suite(
        tmp_path / "suite.yaml",
        f"""
        model: {models_root}/{{config}}
        evals:
          - {{name: met, dataset: {data}, model: "{good}", fail_under: {{accuracy: 0.85}}, metric: [accuracy]}}
          - {{name: missed, dataset: {data}, model: "{good}", fail_under: {{accuracy: 0.95}}, metric: [accuracy]}}
        """,
    )
    ran = llmkit("eval", path, *files.flags)
    assert ran.code == 1
    assert ran.err.splitlines()[-1] == "missed: gate NOT met: accuracy is 0.9000, at least 0.95 is demanded"
    table = [line.split("\t") for line in ran.out.splitlines()]
    assert [(row[0], row[3], row[6]) for row in table[1:]] == [
        ("met", "0.9000", "met"),
        ("missed", "0.9000", "NOT met"),
    ]
    assert (files.result["status"], files.result["exit_code"]) == ("ok", 1)
    assert [result["exit_code"] for result in files.result["results"]] == [0, 1]
    assert list(files.failures) == ["fail-under accuracy=0.95"]
    assert [row["name"] for row in files.rows] == ["met"] * ROWS + ["missed"] * ROWS

    separable = suite(
        tmp_path / "config.yaml", f"model: {models_root}/{{config}}\nevals: [{{dataset: {tmp_path}/separable.csv}}]"
    )
    write_csv(tmp_path / "separable.csv", mislabelled())
    named = llmkit("eval", separable, "--json")
    assert named.code == 0, named.err
    assert valid(named.json)["results"][0]["model"] == str(good)


def test_a_member_that_fails_leaves_the_others_their_figures(llmkit, good, data, files, tmp_path):
    path = suite(
        tmp_path / "suite.yaml",
        f"""
        model: {good}
        evals:
          - {{name: away, dataset: {tmp_path}/nowhere.csv}}
          - {{name: empty, dataset: {tmp_path}/header.csv}}
          - {{name: there, dataset: {data}, metric: [accuracy], fail_under: {{accuracy: 0.95}}}}
        """,
    )
    (tmp_path / "header.csv").write_text("text,label\n")
    ran = llmkit("eval", path, "--json", *files.flags)
    assert ran.code == 5, "the worst of the members' codes"
    assert ran.error.startswith("2 of 3 evaluations failed: away: ")
    assert "there: gate NOT met" in ran.error
    assert valid(ran.json)["status"] == "error"
    assert [result["exit_code"] for result in ran.json["results"]] == [2, 5, 1]
    assert values(ran.json["results"][2]) == {"accuracy": RIGHT}
    assert set(files.errors) == {"evaluation"}
    assert not files.predictions.exists()


def test_flags_win_over_the_suites_file(llmkit, good, classifier, data, tmp_path):
    path = suite(tmp_path / "suite.yaml", f"model: {classifier}\nlimit: 10\nevals: [{data}]")
    ran = llmkit("eval", path, "-m", good, "--limit", "20", "--fail-under", "accuracy=0.5", "--json")
    assert ran.code == 0, ran.err
    (result,) = ran.json["results"]
    assert (result["model"], result["n"], len(result["gates"])) == (str(good), 20, 1)


def test_a_stopped_suite_goes_on_where_it_was(llmkit, good, data, files, tmp_path, monkeypatch):
    from llmkit.inference.row_files import prediction_loop

    other = write_csv(tmp_path / "other.csv", tiny.reviews(12, seed=9))
    path = suite(
        tmp_path / "suite.yaml", f"model: {good}\nbatch_size: 4\nevals: [{data}, {other}, {tmp_path}/away.csv]"
    )
    original, batches = prediction_loop.on_device, []

    def on_device(batch, model):
        batches.append(batch)
        if len(batches) == 11:  # the first of the second member
            signal.raise_signal(signal.SIGTERM)
        return original(batch, model)

    monkeypatch.setattr(prediction_loop, "on_device", on_device)
    assert llmkit("eval", path, *files.flags).code == 75
    assert [result["status"] for result in files.result["results"]] == ["ok", "stopped"]
    assert files.result["status"] == "stopped"
    assert not files.predictions.exists()
    ran = llmkit("eval", path, *files.flags)
    assert ran.code == 2
    assert "going on: 4 of 12 rows" in ran.err
    assert len(batches) == 13, "no batch was run twice"
    assert [result["status"] for result in files.result["results"]] == ["ok", "ok", "error"]


def test_a_suite_reads_predictions_of_each_member(llmkit, good, data, tmp_path):
    preds = tmp_path / "preds.jsonl"
    assert llmkit("eval", data, "-m", good, "--save-predictions", preds).code == 0
    path = suite(tmp_path / "suite.yaml", f"evals: [{{dataset: {data}, predictions: {preds}}}]")
    ran = llmkit("eval", path, "--json")
    assert ran.code == 0, ran.err
    (result,) = ran.json["results"]
    assert (result["model"], result["predictions"]) == (None, str(preds))
    assert values(result)["accuracy"] == RIGHT


def test_predictions_of_several_formats_hold_the_same_rows(llmkit, good, data, tmp_path):
    import csv

    for name in ("p.jsonl", "p.csv"):
        assert llmkit("eval", data, "-m", good, "--save-predictions", tmp_path / name).code == 0
    rows = read_jsonl(tmp_path / "p.jsonl")
    with (tmp_path / "p.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [cell["id"] for cell in cells]
    assert [row["scores"] for row in rows] == [json.loads(cell["scores"]) for cell in cells]


def test_rows_of_json_lines_are_measured_as_those_of_csv(llmkit, good, data, tmp_path):
    lines = write_jsonl(tmp_path / "mine.jsonl", mislabelled())
    found = [llmkit("eval", path, "-m", good, "--json").json for path in (data, lines)]
    assert values(found[0]) == values(found[1])
    assert found[0]["rows_sha256"] == found[1]["rows_sha256"]
