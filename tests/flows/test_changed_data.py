"""A run goes on with the rows that it was begun with, or not at all: run.json holds their digests."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import tiny
from conftest import write_csv
from signalling import Signalling

from llmkit.errors import DataError, Stopped
from llmkit.options import RunOptions, TrainingOptions
from llmkit.training.finetuning import finetune

SHORT = ("--max-steps", "2", "--batch-size", "8")
WAYS = "put the old ones back to go on with it; --overwrite starts anew"


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Pictures take longer than these trainings."""
    monkeypatch.setattr("llmkit.training.jobs.draw_results", lambda *given: [])
    monkeypatch.setattr("llmkit.training.jobs.draw_curves", lambda *given: None)


@pytest.fixture
def mine(tmp_path) -> Path:
    return write_csv(tmp_path / "mine.csv", tiny.reviews(40))


def changed(file: Path) -> bytes:
    """Change a file of reviews or of text; return what it held."""
    before = file.read_bytes()
    file.write_bytes(before.replace(b"good", b"nice").replace(b"the ", b"a "))
    assert file.read_bytes() != before
    return before


def test_a_stopped_run_does_not_go_on_with_other_rows(mine, classifier, tmp_path):
    hyper, run = TrainingOptions(max_steps=6, batch_size=8), RunOptions(output=tmp_path / "run")
    with pytest.raises(Stopped):
        finetune(str(mine), str(classifier), training_options=hyper, run=run, report=Signalling(3, signal.SIGTERM))
    before, record = changed(mine), (tmp_path / "run" / "run.json").read_bytes()
    for again in (run, RunOptions(output=tmp_path / "run", resume=True)):
        with pytest.raises(DataError, match=WAYS) as refused:
            finetune(str(mine), str(classifier), training_options=hyper, run=again)
        assert str(refused.value).startswith(f"{mine} holds other rows to train on")
    assert (tmp_path / "run" / "run.json").read_bytes() == record
    mine.write_bytes(before)
    assert finetune(str(mine), str(classifier), training_options=hyper, run=run).run_record["status"] == "finished"


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--seeds", "2"),
        ("--search", "2"),
        ("--teacher", "CLASSIFIER", "--student-layers", "1"),
        ("--lora",),
        ("--streaming",),
        ("other.csv@2",),
    ],
    ids=lambda flags: " ".join(flags),
)
def test_a_run_is_not_taken_for_finished_with_other_rows(llmkit, mine, classifier, tmp_path, flags, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "other.csv", tiny.reviews(20, seed=4))
    flags = [str(classifier) if flag == "CLASSIFIER" else flag for flag in flags]
    model = () if "--teacher" in flags else ("-m", classifier)
    command = ("finetune", mine, *flags, *model, "-o", "run", *SHORT)
    assert llmkit(*command).code == 0
    before = changed(mine)
    ran = llmkit(*command, "--resume")
    assert ran.code == 2
    assert "mine.csv" in ran.error
    assert "holds other rows to train on" in ran.error
    assert WAYS in ran.error
    mine.write_bytes(before)
    again = llmkit(*command, "--resume")
    assert again.code == 0, again.err
    assert "finished: nothing to do" in again.err


@pytest.mark.slow
@pytest.mark.parametrize("status", ["stopped", "running"])
@pytest.mark.parametrize("kind", ["--seeds", "--search"])
def test_a_series_that_was_stopped_does_not_go_on_with_other_rows(llmkit, mine, classifier, tmp_path, kind, status):
    command = ("finetune", mine, kind, "2", "-m", classifier, "-o", tmp_path / "run", *SHORT)
    assert llmkit(*command).code == 0
    file = tmp_path / "run" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"status": status}))
    changed(mine)
    ran = llmkit(*command, *(() if status == "stopped" else ("--resume",)))
    assert ran.code == 2
    assert WAYS in ran.error
    assert llmkit(*command, "--overwrite").code == 0


def test_other_rows_to_measure_on_are_told_by_their_file(llmkit, mine, classifier, tmp_path):
    others = write_csv(tmp_path / "others.csv", tiny.reviews(12, seed=9))
    command = ("finetune", mine, "--validation", others, "-m", classifier, "-o", tmp_path / "run", *SHORT)
    assert llmkit(*command).code == 0
    changed(others)
    ran = llmkit(*command, "--resume")
    assert ran.code == 2
    assert ran.error.startswith(f"{others} holds other rows to measure on than the run")


@pytest.mark.parametrize("streaming", [False, True])
def test_pretraining_goes_on_with_the_text_that_it_was_begun_with(llmkit, tmp_path, streaming):
    for number in range(30):
        (tmp_path / "corpus").mkdir(exist_ok=True)
        (tmp_path / "corpus" / f"{number}.txt").write_text(tiny.corpus(20, seed=number))
    flags = ("--streaming",) if streaming else ()
    command = ("pretrain", tmp_path / "corpus", *flags, "--vocab-size", "300", "-o", tmp_path / "run", *SHORT)
    assert llmkit(*command).code == 0
    for file in (tmp_path / "corpus").iterdir():
        changed(file)
    ran = llmkit(*command, "--resume")
    assert ran.code == 2
    assert "corpus holds other rows to train on" in ran.error
    assert WAYS in ran.error
