from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from llmkit.errors import OptionError
from llmkit.options import RunOptions
from llmkit.runs import RunFolder, drop_incomplete, newest_checkpoint, open_run, read_run

SAME = {"dataset": "glue/mrpc", "seed": 42, "output": Path("x"), "learning_rate": None}
PLAIN, RESUME, OVERWRITE = RunOptions(), RunOptions(resume=True), RunOptions(overwrite=True)
FILES = ("optimizer.pt", "scheduler.pt", "config.json", "model.safetensors")


def checkpoint(folder: Path, step: int, without: str = "") -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    for name in FILES:
        if name != without:
            (path / name).write_bytes(b"x")
    if without != "trainer_state.json":
        (path / "trainer_state.json").write_text('{"global_step": 1}', encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path):
    """A run folder that holds a run of the options SAME with a checkpoint, in the given state."""

    def make(status: str) -> Path:
        run = RunFolder(tmp_path / "run")
        run.write({"status": status, "options": SAME})
        checkpoint(run.checkpoints, 20)
        return run.path

    return make


@pytest.mark.parametrize("options", [PLAIN, RESUME, OVERWRITE])
def test_a_new_or_an_empty_folder_is_fresh_and_nothing_is_written_yet(tmp_path, options):
    assert open_run(tmp_path / "new", options, SAME) == RunFolder(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "empty").mkdir()
    assert open_run(tmp_path / "empty", options, SAME) == RunFolder(tmp_path / "empty")


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OptionError, match=r"not empty: --resume goes on .* --overwrite replaces .* -o names another"):
        open_run(tmp_path, PLAIN, SAME)
    with pytest.raises(OptionError, match=r"holds no run of llmkit \(no run.json\)"):
        open_run(tmp_path, RESUME, SAME)
    (tmp_path / "run.json").write_text('{"status": "stop', encoding="utf-8")
    with pytest.raises(OptionError, match="no run of llmkit"):
        open_run(tmp_path, RESUME, SAME)


def test_a_file_is_no_run_folder(tmp_path):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(OptionError, match="is a file; a folder is wanted"):
        open_run(tmp_path / "file", OVERWRITE, SAME)


def test_a_run_that_stopped_goes_on_when_the_same_command_comes_again(folder):
    path = folder("stopped")
    wanted = RunFolder(path, path / "checkpoints" / "checkpoint-20")
    assert open_run(path, PLAIN, SAME) == wanted
    assert open_run(path, RESUME, SAME) == wanted


def test_a_run_that_died_needs_resume(folder):
    path = folder("running")
    with pytest.raises(OptionError, match="--resume goes on"):
        open_run(path, PLAIN, SAME)
    assert open_run(path, RESUME, SAME).resume_from == path / "checkpoints" / "checkpoint-20"


def test_a_finished_run_is_kept_and_resume_says_that_it_is_finished(folder):
    path = folder("finished")
    with pytest.raises(OptionError, match="is not empty"):
        open_run(path, PLAIN, SAME)
    assert open_run(path, RESUME, SAME).finished


@pytest.mark.parametrize("status", ["stopped", "running", "finished"])
def test_resume_with_other_options_names_them(folder, status):
    path = folder(status)
    with pytest.raises(OptionError, match=r"had other options \(epochs, seed\); repeat its own"):
        open_run(path, RESUME, {**SAME, "seed": 1, "epochs": 2})
    with pytest.raises(OptionError, match="is not empty"):
        open_run(path, PLAIN, {**SAME, "seed": 1})


def test_overwriting_starts_afresh_and_removes_only_what_llmkit_made(folder):
    path = folder("finished")
    for name in ("model.safetensors", "config.json", "tokenizer.json", "README.md", "metrics.jsonl", "curves.png"):
        (path / name).write_text("made", encoding="utf-8")
    (path / "notes.txt").write_text("mine", encoding="utf-8")
    (path / "data").mkdir()
    (path / "data" / "train.csv").write_text("mine", encoding="utf-8")
    run = open_run(path, OVERWRITE, {**SAME, "seed": 1})
    assert (run.resume_from, run.finished) == (None, False)
    assert (path / "model.safetensors").exists(), "nothing goes before the run is known to start"
    run.clear()
    assert sorted(str(file.relative_to(path)) for file in path.rglob("*")) == ["data", "data/train.csv", "notes.txt"]


def test_overwriting_is_refused_where_no_run_of_llmkit_lies(tmp_path):
    (tmp_path / "README.md").write_text("# My project\n", encoding="utf-8")
    with pytest.raises(OptionError, match="no run"):
        open_run(tmp_path, OVERWRITE, SAME)


def test_a_run_may_not_overwrite_the_model_that_it_starts_from(llmkit, reviews, classifier, tmp_path):
    model = shutil.copytree(classifier, tmp_path / "model")
    (model / "run.json").write_text('{"status": "finished"}', encoding="utf-8")
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    ran = llmkit("finetune", reviews, "-m", model, "-o", model, "--overwrite", "--dry-run")
    assert ran.code == 2
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before


@pytest.mark.parametrize("missing", [*FILES, "trainer_state.json"])
def test_the_newest_complete_checkpoint_is_taken(tmp_path, missing):
    complete = checkpoint(tmp_path, 9)
    checkpoint(tmp_path, 8)
    checkpoint(tmp_path, 10, without=missing)
    (tmp_path / "checkpoint-best").mkdir()
    assert newest_checkpoint(tmp_path) == complete
    drop_incomplete(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-8", "checkpoint-9", "checkpoint-best"]


def test_checkpoints_are_ordered_by_step_and_a_cut_state_counts_as_incomplete(tmp_path):
    checkpoint(tmp_path, 9)
    newest = checkpoint(tmp_path, 100)
    assert newest_checkpoint(tmp_path) == newest
    (newest / "trainer_state.json").write_text('{"global_st', encoding="utf-8")
    assert newest_checkpoint(tmp_path).name == "checkpoint-9"
    assert newest_checkpoint(tmp_path / "none") is None


def test_run_json_is_replaced_whole_and_holds_no_nan(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.write({"status": "running", "loss": float("nan")})
    assert run.update(status="finished") == {"schema": 1, "status": "finished", "loss": None}
    assert read_run(run.path) == json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    assert [path.name for path in run.path.iterdir()] == ["run.json"]
    assert read_run(tmp_path / "none") is None
