"""Several trainings in one run folder, judged by what is on disk: seeds and their spread, trials and the best."""

from __future__ import annotations

import json
import signal
import statistics
from contextlib import contextmanager
from pathlib import Path

import pytest
from evaluating import valid
from signalling import Signalling
from transformers import AutoModelForSequenceClassification

from llmkit.errors import Stopped
from llmkit.options import ModelOptions, RunOptions, SeriesOptions, TrainingOptions
from llmkit.output.report import Report
from llmkit.training.finetuning import finetune
from llmkit.training.series import study
from llmkit.training.series.seeds import spread

SHORT = ("--max-steps", "3", "--batch-size", "8")
HYPER = TrainingOptions(max_steps=3, batch_size=8)


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """The pictures of each of several runs take longer than their training."""
    monkeypatch.setattr("llmkit.training.jobs.draw_results", lambda *given: [])
    monkeypatch.setattr("llmkit.training.jobs.draw_curves", lambda *given: None)


class Killed(BaseException):
    """What a process that is killed does: it does nothing more."""


class Killing(Report):
    """Ends a series without a word, at the first step of its training of that number."""

    def __init__(self, training: int) -> None:
        super().__init__()
        self.left = training

    @contextmanager
    def progress(self, what, total):
        self.left -= what == "training"

        def advance(steps: int = 1) -> None:
            if what == "training" and not self.left and steps:
                raise Killed

        yield advance


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def run_record(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def begin(data: Path, model: Path, run: Path, report: Report | None = None, resume: bool = False, **series):
    return finetune(
        str(data),
        ModelOptions(model=str(model)),
        training_options=HYPER,
        report=report,
        run=RunOptions(output=run, resume=resume),
        series=SeriesOptions(**series),
    )


def test_seeds_tell_their_spread_and_leave_the_model_of_the_median(llmkit, reviews, classifier, tmp_path):
    run = tmp_path / "run"
    ran = llmkit("finetune", reviews, "-m", classifier, "-o", run, *SHORT, "--seeds", "3", "--seed", "5", "--json")
    assert ran.code == 0, ran.err
    told, folders = valid(ran.json)["seeds"], {seed: run / f"seed-{seed}" for seed in (5, 6, 7)}
    assert (told["n"], told["seeds"], told["by"]) == (3, [5, 6, 7], "f1")
    for name, figure in told["metrics"].items():
        values = [run_record(folder)["result"]["metrics"][name]["value"] for folder in folders.values()]
        assert figure["values"] == values
        assert figure["mean"] == pytest.approx(statistics.mean(values))
        assert figure["sd"] == pytest.approx(statistics.stdev(values))
        assert (figure["min"], figure["max"]) == (min(values), max(values))
    middle = sorted(told["seeds"], key=lambda seed: told["metrics"]["f1"]["values"][seed - 5])[1]
    assert told["median_seed"] == middle
    assert weights(run) == weights(folders[middle])
    assert len({weights(folder) for folder in folders.values()}) == 3
    assert ran.json["metrics"]["f1"]["value"] == told["metrics"]["f1"]["values"][middle - 5]
    assert not list(run.rglob("checkpoints"))
    recorded = run_record(run)
    assert (recorded["status"], recorded["options"]["seeds"], recorded["seeds"]) == ("finished", 3, told)
    assert AutoModelForSequenceClassification.from_pretrained(run).config.id2label == {0: "negative", 1: "positive"}
    assert (
        f"The median of 3 seeds by f1, of which the mean is {told['metrics']['f1']['mean']:.4f}"
        in (run / "README.md").read_text()
    )
    alone = llmkit("finetune", reviews, "-m", classifier, "-o", tmp_path / "alone", *SHORT, "--seed", "6")
    assert alone.code == 0
    assert weights(tmp_path / "alone") == weights(folders[6])
    again = llmkit("finetune", reviews, "-m", classifier, "-o", run, *SHORT, "--seeds", "3", "--seed", "5", "--resume")
    assert again.code == 0
    assert f"f1 (class 'positive')\t{told['metrics']['f1']['mean']:.4f}\t" in again.out
    assert "nothing to do" in again.err


def test_seeds_go_on_after_a_stop_without_training_a_finished_one_again(reviews, classifier, tmp_path):
    data, run = reviews / "train.csv", tmp_path / "run"
    with pytest.raises(Stopped, match="the same command goes on"):
        begin(data, classifier, run, Signalling(3, signal.SIGINT), seeds=2)  # at the last step of the first
    first = run / "seed-42" / "model.safetensors"
    written = first.stat().st_mtime_ns
    assert (run_record(run)["status"], (run / "seed-43").exists()) == ("stopped", False)
    with pytest.raises(Stopped, match="stopped and saved at step 2"):
        begin(data, classifier, run, Signalling(2, signal.SIGTERM), seeds=2)
    resumed = begin(data, classifier, run, seeds=2)
    assert first.stat().st_mtime_ns == written
    assert resumed.run_record["seeds"]["seeds"] == [42, 43]
    told = [run_record(run / f"seed-{seed}")["data"] for seed in (42, 43)]
    assert told[0]["validation_sha256"] == told[1]["validation_sha256"]
    assert [one["cut"]["seed"] for one in told] == [42, 42]


@pytest.mark.parametrize(
    ("by", "values", "median"),
    [
        ("f1", [0.3, 0.1, 0.2], 2),
        ("f1", [0.4, 0.1, 0.3, 0.2], 3),
        ("loss", [0.4, 0.1, 0.3, 0.2], 2),
        ("f1", [None, 0.1], 0),
    ],
)
def test_of_an_even_number_of_seeds_the_worse_in_the_middle_is_the_median(by, values, median):
    results = {seed: {"metrics": {by: {"value": value}}, "headline": by} for seed, value in enumerate(values)}
    assert spread(results, by)["median_seed"] == median


def test_a_search_finds_what_beats_the_default_and_leaves_its_model_alone(llmkit, reviews, classifier, tmp_path):
    run = tmp_path / "run"
    flags = ("finetune", reviews, "-m", classifier, "--max-steps", "6", "--patience", "2", "--warmup", "0")
    space = tmp_path / "space.yaml"
    space.write_text("learning_rate: {low: 1e-3, high: 2e-2, log: true}\nbatch_size: [4, 8]\n")
    ran = llmkit(*flags, "-o", run, "--search", "4", "--search-space", space, "--json")
    assert ran.code == 0, ran.err
    told = valid(ran.json)["search"]
    trials = told["trials"]
    assert [trial["trial"] for trial in trials] == [0, 1, 2, 3]
    assert trials[0]["values"] == {"learning_rate": 5e-4, "batch_size": 16}  # the default of its size, out of the space
    assert all(
        1e-3 <= one["values"]["learning_rate"] <= 2e-2 and one["values"]["batch_size"] in (4, 8) for one in trials[1:]
    )
    assert told["default_value"] == trials[0]["value"] < told["best_value"]
    best = trials[told["best"]]
    assert best["value"] == told["best_value"] == max(trial["value"] for trial in trials)
    assert ran.json["metrics"]["f1"]["value"] == pytest.approx(best["value"])
    assert {file.name for file in (run / "trials").glob("*/*")} == {"run.json", "metrics.jsonl"}
    assert not list(run.rglob("checkpoints"))
    assert (run / "trials.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "is optimistic; hold rows back that choose nothing" in ran.err
    assert "best of 4 trials by f1" in (run / "README.md").read_text()
    assert run_record(run)["status"] == "finished"
    assert run_record(run)["recipe"]["learning_rate"] == best["values"]["learning_rate"]
    typed = ("--learning-rate", best["values"]["learning_rate"], "--batch-size", best["values"]["batch_size"])
    assert llmkit(*flags, *typed, "-o", tmp_path / "typed").code == 0
    assert weights(tmp_path / "typed") == weights(run)
    again = llmkit(*flags, "-o", run, "--search", "4", "--search-space", space, "--resume")
    assert "nothing to do" in again.err
    assert again.out.splitlines()[0] == "trial\tf1\tstate\tlearning_rate\tbatch_size\tsteps\tseconds"
    space.write_text("learning_rate: {low: 1e-3, high: 1e-2}\n")
    other = llmkit(*flags, "-o", run, "--search", "4", "--search-space", space, "--resume")
    assert (other.code, "other options (search_space)" in other.error) == (2, True)


def test_a_search_that_was_killed_or_stopped_goes_on_as_it_would_have_gone(reviews, classifier, tmp_path):
    straight = begin(reviews, classifier, tmp_path / "straight", search=2).run_record["search"]
    run = tmp_path / "run"
    with pytest.raises(Killed):
        begin(reviews, classifier, run, Killing(training=2), search=2)
    assert run_record(run)["status"] == run_record(run / "trials" / "1")["status"] == "running"
    written = (run / "trials" / "0" / "metrics.jsonl").stat().st_mtime_ns
    with pytest.raises(Stopped):  # in the trial that was killed
        begin(reviews, classifier, run, Signalling(2, signal.SIGTERM), resume=True, search=2)
    resumed = begin(reviews, classifier, run, search=2).run_record["search"]
    assert (run / "trials" / "0" / "metrics.jsonl").stat().st_mtime_ns == written
    for told in (straight, resumed):
        for trial in told["trials"]:
            del trial["seconds"]
    assert resumed == straight
    assert weights(run) == weights(tmp_path / "straight")


def test_trials_that_are_worse_than_half_or_diverge_end_early_and_the_search_goes_on(
    llmkit, reviews, classifier, tmp_path, monkeypatch
):
    monkeypatch.setattr(study, "TRIALS_COMPARED", 1)
    monkeypatch.setattr(study, "PRUNED_FROM", 1)
    space = tmp_path / "space.yaml"
    space.write_text("learning_rate: [1e-9, 1e+30]\n")
    flags = ("--max-steps", "3", "--metric", "brier", "--search", "5", "--search-space", space, "--json")
    ran = llmkit("finetune", reviews, "-m", classifier, "-o", tmp_path / "run", *flags)
    assert ran.code == 0, ran.err
    states = {trial["values"]["learning_rate"]: trial["state"] for trial in ran.json["search"]["trials"]}
    assert states == {5e-4: "complete", 1e-9: "pruned", 1e30: "failed"}
    assert all(trial["steps"] < 3 for trial in ran.json["search"]["trials"] if trial["state"] == "pruned")
