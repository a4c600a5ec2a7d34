"""Searches by several workers: what is on disk after they are killed, broken or stopped, and that none outlives."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import llmkit_command

from llmkit.errors import OptionError, ResourceError, Stopped
from llmkit.options import ModelOptions, RunOptions, SeriesOptions, TrainingOptions
from llmkit.output.report import Report
from llmkit.training.finetuning import finetune
from llmkit.training.series import devices, search
from llmkit.training.series.workers import Workers


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr("llmkit.training.jobs.draw_results", lambda *given: [])
    monkeypatch.setattr("llmkit.training.jobs.draw_curves", lambda *given: None)


@pytest.fixture
def pool(monkeypatch):
    """The workers of the search that is run next."""
    pool = list[Workers]()

    class Known(Workers):
        def __enter__(self):
            pool[:] = [self]
            return super().__enter__()

    monkeypatch.setattr(search, "Workers", Known)
    return pool


class Acting(Report):
    """Does something, once, when a line with that beginning is said."""

    def __init__(self, beginning: str, act) -> None:
        super().__init__()
        self.beginning, self.act, self.lines = beginning, act, list[str]()

    def say(self, text: str) -> None:
        super().say(text)
        self.lines.append(text)
        if self.act is not None and text.startswith(self.beginning):
            act, self.act = self.act, None
            act()


def begin(data: Path, model: Path, run: Path, report: Report | None = None, steps: int = 6, **series):
    return finetune(
        str(data),
        ModelOptions(model=str(model)),
        training_options=TrainingOptions(max_steps=steps, batch_size=8),
        report=report,
        run=RunOptions(output=run, track=["none"], resume=series.pop("resume", False)),
        series=SeriesOptions(**{"search": 3, "workers": 2, **series}),
    )


def trials_of(run: Path) -> list[dict]:
    return json.loads((run / "run.json").read_text())["search"]["trials"]


def worker_of(pool: list[Workers], number: int) -> subprocess.Popen:
    (worker,) = [each for each in pool[0]._workers if each.assignment and each.assignment.proposal.number == number]
    return worker.process


@pytest.mark.slow
def test_workers_try_each_trial_once_and_leave_the_model_of_the_best(llmkit, reviews, classifier, tmp_path):
    run = tmp_path / "run"
    flags = ("--max-steps", "3", "--track", "none", "--search", "4", "--json")
    ran = llmkit("finetune", reviews, "-m", classifier, "-o", run, *flags, "--workers", "3")
    assert ran.code == 0, ran.err
    told = ran.json["search"]
    trials = told["trials"]
    assert [trial["trial"] for trial in trials] == [0, 1, 2, 3]
    assert all(trial["state"] in {"complete", "pruned"} for trial in trials)
    assert trials[0]["values"]["learning_rate"] == 5e-4
    assert len({json.dumps(trial["values"]) for trial in trials}) == 4
    assert told["best_value"] == max(trial["value"] for trial in trials if trial["state"] == "complete")
    assert ran.json["metrics"]["f1"]["value"] == pytest.approx(told["best_value"])
    assert {file.name for file in (run / "trials").glob("*/*")} == {"run.json", "metrics.jsonl"}
    assert not list(run.rglob("checkpoints"))
    assert ran.err.count("with --workers 3 which recipes are tried depends on which trials end first") == 1
    for number in range(4):
        assert f"trial {number}: step 3/3" in ran.err
    assert "workers" not in json.loads((run / "run.json").read_text())["options"]
    again = llmkit("finetune", reviews, "-m", classifier, "-o", run, *flags, "--resume")
    assert "nothing to do" in again.err


@pytest.mark.slow
def test_a_trial_is_trained_by_a_worker_as_it_is_alone(reviews, classifier, tmp_path):
    alone = begin(reviews, classifier, tmp_path / "alone", search=2, workers=1)
    beside = begin(reviews, classifier, tmp_path / "beside", search=2, workers=2)
    first, second = (each.run_record["search"]["trials"][0] for each in (alone, beside))
    assert (first["value"], first["steps"], first["values"]) == (second["value"], second["steps"], second["values"])
    metrics = [(each.folder / "trials" / "0" / "metrics.jsonl").read_text().splitlines() for each in (alone, beside)]
    losses = [[json.loads(line).get("loss") for line in lines] for lines in metrics]
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_a_worker_that_is_killed_fails_its_trial_and_another_takes_its_place(reviews, classifier, tmp_path, pool):
    report = Acting("trial 1: step ", lambda: worker_of(pool, 1).kill())
    trained = begin(reviews, classifier, tmp_path / "run", report)
    outcomes = [trial["state"] for trial in trained.run_record["search"]["trials"]]
    assert outcomes == ["complete", "failed", "complete"]
    assert "warning: trial 1 failed: its process was ended by SIGKILL, as one that is out of memory is" in report.lines
    assert json.loads((tmp_path / "run/trials/1/run.json").read_text())["status"] == "failed"
    assert not (tmp_path / "run/trials/1/checkpoints").exists()


@pytest.mark.slow
def test_workers_that_die_one_after_the_other_end_the_search(reviews, classifier, tmp_path, monkeypatch):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import sys\n"
        "if 'llmkit.training.series' in sys.orig_argv:\n"
        "    import torch\n"
        "    def manual_seed(seed):\n"
        "        raise KeyError('broken')\n"
        "    torch.manual_seed = manual_seed\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{broken}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(ResourceError, match=r"^3 workers in a row .*: KeyError: 'broken'; the traceback is in "):
        begin(reviews, classifier, tmp_path / "run", search=8)
    monkeypatch.undo()
    monkeypatch.setattr("llmkit.training.jobs.draw_results", lambda *given: [])
    resumed = begin(reviews, classifier, tmp_path / "run", search=8, resume=True).run_record["search"]["trials"]
    assert [trial["trial"] for trial in resumed] == list(range(8))
    assert sum(trial["state"] == "failed" for trial in resumed) == 2  # the third was cut short, and taken up again


@pytest.mark.slow
def test_an_error_that_all_trials_would_meet_ends_the_search(reviews, classifier, tmp_path):
    third = tmp_path / "run" / "trials" / "2"

    def block() -> None:
        third.parent.mkdir()
        third.write_text("in the way")

    with pytest.raises(OptionError, match="is a file; a folder is wanted"):
        begin(reviews, classifier, tmp_path / "run", Acting("trial 0 (1 of 3)", block))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_that_was_stopped_goes_on_where_it_was_with_any_number_of_workers(
    reviews, classifier, tmp_path, workers
):
    run = tmp_path / "run"
    report = Acting("trial 1: step ", lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Stopped, match="the same command goes on"):
        begin(reviews, classifier, run, report, steps=60)
    assert json.loads((run / "run.json").read_text())["status"] == "stopped"
    begun = sorted((run / "trials").glob("*/checkpoints/*/trainer_state.json"))
    assert begun
    steps = {path.parts[-4]: json.loads(path.read_text())["global_step"] for path in begun}
    assert all(step < 60 for step in steps.values())
    report = Acting("", None)
    resumed = begin(reviews, classifier, run, report, steps=60, workers=workers)
    assert [trial["trial"] for trial in resumed.run_record["search"]["trials"]] == [0, 1, 2]
    assert all(trial["state"] in {"complete", "pruned"} for trial in resumed.run_record["search"]["trials"])
    lines = (run / "trials" / "1" / "metrics.jsonl").read_text().splitlines()
    numbers = [json.loads(line)["step"] for line in lines if "loss" in json.loads(line)]
    assert numbers == sorted(set(numbers))


def children_of(pid: int) -> list[int]:
    return [int(word) for path in Path(f"/proc/{pid}/task").glob("*/children") for word in path.read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGKILL, -9)])
def test_no_worker_outlives_the_search(reviews, classifier, tmp_path, number, code):
    run = tmp_path / "run"
    flags = ("--max-steps", "3000", "--track", "none", "--search", "3", "--workers", "2", "-o", run)
    command = llmkit_command("finetune", reviews, "-m", classifier, *flags)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        waited, lines = {"trial 0: step", "trial 1: step"}, list[str]()
        for line in process.stderr:
            lines.append(line)
            waited = {each for each in waited if not line.startswith(each)}
            if not waited:
                break
        ends = [os.pidfd_open(child) for child in children_of(process.pid)]
        assert len(ends) == 2, lines
        process.send_signal(number)
        process.stderr.read()
        assert process.wait(60) == code
    for end in ends:
        assert select.select([end], [], [], 30)[0]
        os.close(end)


@pytest.mark.parametrize(
    ("given", "phrase"),
    [
        ({"workers": 2, "search": None}, "--workers is for --search"),
        ({"workers": 4, "search": 3}, "--workers 4 are more than --search has trials; --workers 3 is the most"),
        ({"workers": 0, "search": 3}, "--workers must be at least 1, not 0"),
        ({"workers": 5000, "search": 6000}, "--workers must be at most 1024"),
    ],
)
def test_workers_that_cannot_be_are_refused(given, phrase):
    with pytest.raises(OptionError, match=phrase):
        SeriesOptions(**given)


@pytest.fixture
def gpus(monkeypatch):
    """A machine of three GPUs, and of eight threads."""
    import torch

    monkeypatch.setattr("llmkit.models.pick_device", lambda name: torch.device("cpu" if name == "cpu" else "cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.delenv(devices.VISIBLE, raising=False)
    return monkeypatch


def test_each_worker_has_a_gpu_or_its_share_of_the_cores(gpus):
    two = devices.environments(2, ModelOptions())
    assert [each[devices.VISIBLE] for each in two] == ["0", "1"]
    gpus.setenv(devices.VISIBLE, "5, GPU-ab,7")
    assert [each[devices.VISIBLE] for each in devices.environments(3, ModelOptions())] == ["5", "GPU-ab", "7"]
    on_cpu = devices.environments(3, ModelOptions(device="cpu"))
    assert [each["OMP_NUM_THREADS"] for each in on_cpu] == ["2", "2", "2"]
    assert all(devices.VISIBLE not in each for each in on_cpu)
    assert devices.environments(9, ModelOptions(device="cpu"))[0]["OMP_NUM_THREADS"] == "1"
    assert devices.core_remarks(9, ModelOptions(device="cpu")) == [
        "9 workers share 8 cores: each is slower than it would be alone"
    ]
    assert devices.core_remarks(8, ModelOptions(device="cpu")) == []


def test_more_workers_than_gpus_or_for_one_gpu_are_refused(gpus):
    devices.require_devices(3, ModelOptions())
    devices.require_devices(30, ModelOptions(device="cpu"))
    devices.require_devices(1, ModelOptions(device="cuda:1"))
    with pytest.raises(OptionError, match=r"--workers 4 want a GPU each, and there are 3; --workers 3"):
        devices.require_devices(4, ModelOptions())
    with pytest.raises(OptionError, match=r"--device cuda:1 is one device, .* --device cuda is all"):
        devices.require_devices(2, ModelOptions(device="cuda:1"))
    gpus.setenv("WORLD_SIZE", "2")
    with pytest.raises(OptionError, match=r"--workers .* and --processes .*; leave one of the two out"):
        devices.require_devices(2, ModelOptions())
