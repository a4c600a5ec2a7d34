"""Trackers and the live table: the figures of metrics.jsonl, wherever they are shown."""

from __future__ import annotations

import json
import os
import re
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from signalling import Signalling
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from llmkit.errors import Stopped
from llmkit.options import RunOptions, TrainingOptions
from llmkit.output.report import Report
from llmkit.runs import RunFolder
from llmkit.training.finetuning import finetune
from llmkit.training.loop import tracking


def logged(run: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the steps and values of each figure of metrics.jsonl, named as trackers name them."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        step = row.pop("step")
        for name, value in row.items():
            tag = f"eval/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}"
            found.setdefault(tag, []).append((step, value))
    return found


def test_tensorboard_shows_the_figures_of_a_run_that_was_stopped_and_went_on(reviews, classifier, tmp_path):
    run = tmp_path / "run"
    hyper = TrainingOptions(max_steps=9, batch_size=16)
    call = {"dataset": str(reviews), "model": str(classifier), "training_options": hyper}
    with pytest.raises(Stopped, match="saved at step 5"):
        finetune(**call, run=RunOptions(output=run), report=Signalling(5, signal.SIGINT))
    later = [run / "checkpoints" / "checkpoint-5", run / "checkpoints" / "checkpoint-gone"]
    later[0].rename(later[1])  # so that it goes on from an earlier one, and takes steps again
    finetune(**call, run=RunOptions(output=run))
    shown = EventAccumulator(str(run / "tensorboard")).Reload()
    expected = logged(run)
    assert {"train/loss", "train/learning_rate", "train/grad_norm", "eval/f1", "eval/accuracy"} <= set(expected)
    assert set(shown.Tags()["scalars"]) == set(expected)
    for tag, points in expected.items():
        scalars = shown.Scalars(tag)
        assert [scalar.step for scalar in scalars] == [step for step, _ in points], tag
        assert [scalar.value for scalar in scalars] == pytest.approx([value for _, value in points], rel=1e-6), tag


def test_tensorboard_is_the_choice_where_it_is_installed_and_none_turns_it_off(monkeypatch):
    assert tracking.chosen(None) == ["tensorboard"]
    assert tracking.chosen(["none"]) == []
    assert tracking.chosen(["wandb", "tensorboard", "wandb"]) == ["wandb", "tensorboard"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert tracking.chosen(None) == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--track", "wandb"), ("--track wandb", "pip install 'llmkit[wandb]'")),
        (("--track", "tensorbord"), ("--track", "did you mean 'tensorboard'?", "mlflow")),
        (("--track", "none", "--track", "tensorboard"), ("--track none", "contradict")),
        (("--set", "report_to=wandb"), ("--set report_to", "--track")),
    ],
)
def test_a_tracker_that_is_not_there_is_one_sentence(llmkit, reviews, classifier, monkeypatch, flags, words):
    absent = {"wandb"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in absent else find_spec(name))
    ran = llmkit("finetune", reviews, "-m", classifier, *flags, "--dry-run")
    assert ran.code == 2
    assert all(word in ran.error for word in words), ran.error


def test_wandb_writes_files_where_it_has_no_key_and_a_run_that_goes_on_stays_the_same_run(tmp_path, monkeypatch):
    import transformers.integrations.integration_utils as library

    monkeypatch.setattr(library, "get_reporting_integration_callbacks", lambda names: [dict for _ in names])
    monkeypatch.setenv("HOME", str(tmp_path))
    names = [name for name in os.environ if name.startswith("WANDB_")]
    ids = []
    for resumed in (None, tmp_path / "checkpoint-3", None):
        with monkeypatch.context() as patch:
            patch.setattr("os.environ", {name: value for name, value in os.environ.items() if name not in names})
            tracking.callbacks(["wandb"], RunFolder(tmp_path / "run", resumed), False, Report())
            assert os.environ["WANDB_MODE"] == "offline"
            assert os.environ["WANDB_DIR"] == str(tmp_path / "run")
            ids.append(os.environ["WANDB_RUN_ID"])
    assert ids[0] == ids[1] != ids[2]
    with monkeypatch.context() as patch:
        patch.setattr("os.environ", dict(os.environ) | {"WANDB_API_KEY": "x" * 40})
        tracking.callbacks(["wandb"], RunFolder(tmp_path / "run"), False, Report())
        assert os.environ["WANDB_MODE"] == "online"
        assert tracking.callbacks(["wandb"], RunFolder(tmp_path / "run"), True, Report()) == [{}]


def test_a_terminal_shows_a_live_table_with_the_figures_of_the_run(on_terminal, reviews, classifier, tmp_path):
    run = tmp_path / "run"
    flags = ("--max-steps", 6, "--batch-size", 16, "--track", "none", "--json")
    ran = on_terminal("finetune", reviews, "-m", classifier, "-o", run, *flags, stream="stderr")
    assert ran.code == 0, ran.err
    assert ran.json["run"] == str(run)  # and nothing else on stdout
    assert not (run / "tensorboard").exists()
    table = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", ran.err.rpartition("┏")[2])
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if line.startswith("│")]
    figures = logged(run)
    losses, rates = (dict(figures[f"train/{name}"]) for name in ("loss", "learning_rate"))
    assert [(line[0], line[4]) for line in lines] == [(str(step), f"{value:.4f}") for step, value in figures["eval/f1"]]
    assert [(line[2], line[3]) for line in lines] == [
        (f"{losses[int(line[0])]:.4f}", f"{rates[int(line[0])]:.2e}") for line in lines
    ]
    assert f"loss {losses[6]:.4f}  learning rate {rates[6]:.2e}" in ran.err
    assert "step 2/6 (epoch" not in ran.err
    assert ran.err.rindex("\x1b[?25h") > ran.err.rindex("\x1b[?25l")  # the cursor is back


def test_the_cursor_is_back_when_training_fails(on_terminal, reviews, classifier, tmp_path):
    flags = ("--max-steps", 3, "--batch-size", 16, "--track", "none", "--learning-rate", "1e38")
    ran = on_terminal("finetune", reviews, "-m", classifier, "-o", tmp_path / "run", *flags, stream="stderr")
    assert ran.code == 11, ran.err
    assert ran.err.rindex("\x1b[?25h") > ran.err.rindex("\x1b[?25l")
