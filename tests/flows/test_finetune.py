from __future__ import annotations

import json
import os
import signal
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from conftest import llmkit_command, write_csv, write_jsonl
from safetensors.torch import load_file
from signalling import Signalling
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from llmkit.errors import Interrupted, Stopped
from llmkit.options import RunOptions, TrainingOptions
from llmkit.training.finetuning import finetune
from llmkit.training.jobs import Trained

SHORT = ("--max-steps", "3", "--batch-size", "8")


@pytest.fixture
def texts(tmp_path) -> Path:
    """Rows of text without labels, as language models take them."""
    lines = tiny.corpus(160).split("\n\n")
    return write_jsonl(tmp_path / "texts.jsonl", [{"text": line} for line in lines])


@pytest.fixture
def trainable(reviews, texts, classifier, llama, masked) -> dict[str, tuple[Path, Path]]:
    """A dataset and a model for each task."""
    return {"text-classification": (reviews, classifier), "causal-lm": (texts, llama), "masked-lm": (texts, masked)}


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def values(result: dict) -> dict[str, float]:
    return {name: metric["value"] for name, metric in result["metrics"].items()}


def observed(trained: Trained) -> dict[str, Any]:
    """Return the figures, their intervals, and what was answered to each row."""
    found = trained.evaluation.as_dict(rows=True)
    return {name: found[name] for name in ("metrics", "counts", "per_class", "confusion", "calibration", "rows")}


def test_with_no_flag_but_the_model_a_csv_is_finetuned_and_everything_chosen_is_said(
    llmkit, classifier, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "mine.csv", tiny.reviews(60))
    ran = llmkit("finetune", "mine.csv", "-m", classifier)
    assert ran.code == 0, ran.err
    run = tmp_path / "runs" / "mine-classifier"
    assert (run / "model.safetensors").is_file()
    for said in (
        "text-classification",
        "text=text",
        "label=label",
        "negative, positive",
        "54 to train on, 6 to measure on",
        "train, 10% cut",
        "0 of 54 rows truncated",
        "learning rate",
        "seed 42",
        "runs/mine-classifier",
    ):
        assert said in ran.err
    assert "f1" in ran.out
    assert "seed" not in ran.out


def test_truncated_rows_are_counted_aloud(llmkit, reviews, classifier, tmp_path):
    ran = llmkit("finetune", reviews, "-m", classifier, "-o", tmp_path / "run", "--max-length", "5", "--dry-run")
    assert "64 of 64 rows truncated to 5" in ran.err


def test_the_run_folder_holds_a_model_and_the_story_of_the_run(llmkit, reviews, classifier, tmp_path):
    run = tmp_path / "run"
    ran = llmkit("finetune", reviews, "-m", classifier, "-o", run, "--epochs", "2", "--seed", "7", "--json")
    assert ran.code == 0, ran.err
    config = json.loads((run / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert config["label2id"] == {"negative": 0, "positive": 1}
    model = AutoModelForSequenceClassification.from_pretrained(run)
    assert model.config.architectures == ["BertForSequenceClassification"]
    assert AutoTokenizer.from_pretrained(run)("the fox")["input_ids"]

    record = json.loads((run / "run.json").read_text())
    assert record["schema"] == 1
    assert record["status"] == "finished"
    assert record["command"] == "finetune"
    assert record["options"]["epochs"] == 2.0
    assert record["options"]["model"] == str(classifier)
    assert record["recipe"]["seed"] == 7
    assert record["recipe"]["batch_size"] == 16
    assert {"llmkit", "python", "torch", "transformers", "datasets"} <= set(record["versions"])
    assert {"git", "platform"} <= set(record)
    assert record["data"]["reference"] == str(reviews)
    assert (record["data"]["train_rows"], record["data"]["validation_rows"]) == (64, 24)
    assert all(len(record["data"][f"{part}_sha256"]) == 64 for part in ("train", "validation"))
    assert record["data"]["labels"] == ["negative", "positive"]
    assert record["data"]["cut"] is None
    assert record["training"]["steps"] == 8
    assert record["training"]["seconds"] > 0
    assert record["training"]["peak_memory_bytes"] > 1e6
    assert record["result"]["metrics"] == ran.json["metrics"]

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 9))
    assert [line["step"] for line in lines if "eval_f1" in line] == [4, 8]
    assert (run / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    card = (run / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\npipeline_tag: text-classification\n")
    assert f"{ran.json['metrics']['f1']['value']:.4f}" in card
    assert (run / "checkpoints").is_dir()
    assert not list(run.rglob("training_args.bin"))


def test_eval_right_after_gives_the_very_figures_of_finetune(llmkit, trainable, tmp_path):
    for task, (data, model) in trainable.items():
        run = tmp_path / task
        trained = llmkit("finetune", data, "-m", model, "-o", run, *SHORT, "--seed", "5", "--json")
        measured = llmkit("eval", data, "-m", run, "--json")
        assert measured.code == 0, measured.err
        assert values(measured.json) == values(trained.json), task
        for key in ("task", "split", "n", "counts", "rows_sha256", "per_class", "headline"):
            assert measured.json[key] == trained.json[key], (task, key)


@pytest.mark.parametrize("more", [("--limit", "40"), ("--train-split", "train[:70%]"), ("--seed", "3"), ()])
def test_eval_finds_the_rows_that_were_cut_from_train(llmkit, classifier, tmp_path, more):
    data = write_csv(tmp_path / "data.csv", tiny.reviews(80))
    trained = llmkit("finetune", data, "-m", classifier, "-o", tmp_path / "run", *SHORT, *more, "--json")
    measured = llmkit("eval", data, "-m", tmp_path / "run", "--json")
    assert measured.json["rows_sha256"] == trained.json["rows_sha256"]
    assert values(measured.json) == values(trained.json)
    cut = json.loads((tmp_path / "run" / "run.json").read_text())["data"]["cut"]
    assert cut["share"] == 0.1
    assert trained.json["n"] < 10


@pytest.mark.parametrize("kind", ["text-classification", "causal-lm", "masked-lm"])
def test_rows_without_text_change_no_figure_between_finetune_and_eval(llmkit, trainable, tmp_path, kind):
    keep = ("text", "label") if kind == "text-classification" else ("text",)
    data, run = tmp_path / "holes", tmp_path / "run"
    for seed, split in enumerate(("train", "validation")):
        rows = tiny.reviews(60, seed)
        for row in rows[::7]:
            row["text"] = "" if row["label"] == "positive" else "  "
        write_jsonl(data / f"{split}.jsonl", [{name: row[name] for name in keep} for row in rows])
    trained = llmkit("finetune", data, "-m", trainable[kind][1], "-o", run, *SHORT, "--json")
    assert trained.code == 0, trained.err
    assert "9 of 60 training rows have no text" in trained.err
    measured = llmkit("eval", data, "-m", run, "--json")
    assert values(measured.json) == values(trained.json)


@pytest.mark.slow
def test_the_same_seed_twice_gives_the_same_weights_and_another_seed_others(llmkit, trainable, tmp_path):
    once = ("--max-steps", "2", "--set", "eval_steps=2", "--set", "save_steps=2")
    for task, (data, model) in trainable.items():
        made = []
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            run = tmp_path / task / name
            assert llmkit("finetune", data, "-m", model, "-o", run, *once, "--seed", seed).code == 0
            made.append(weights(run))
        assert made[0] == made[1], task
        assert made[0] != made[2], task


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("text-classification", signal.SIGINT),
        ("text-classification", signal.SIGTERM),
        ("causal-lm", signal.SIGINT),
        ("masked-lm", signal.SIGINT),
    ],
)
def test_a_stopped_run_goes_on_to_the_weights_of_an_uninterrupted_one(trainable, tmp_path, kind, number):
    data, model = trainable[kind]
    hyper = TrainingOptions(max_steps=9, batch_size=4)
    if kind == "text-classification":
        hyper = TrainingOptions(max_steps=21, batch_size=8)  # into the third epoch
    straight = finetune(str(data), str(model), training_options=hyper, run=RunOptions(output=tmp_path / "straight"))
    run = RunOptions(output=tmp_path / "run")
    for step in (2, hyper.max_steps // 3 + 2):  # before anything was measured, and after
        with pytest.raises(Stopped, match=f"saved at step {step}: the same command goes on") as stopped:
            finetune(str(data), str(model), training_options=hyper, run=run, report=Signalling(step, number))
        assert stopped.value.exit_code == 75
        assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "stopped"
        assert not (tmp_path / "run" / "model.safetensors").exists()
    resumed = finetune(str(data), str(model), training_options=hyper, run=run)
    assert weights(tmp_path / "run") == weights(tmp_path / "straight")
    assert observed(resumed) == observed(straight)
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert all(earlier <= later for earlier, later in pairwise(steps))
    assert not list((tmp_path / "run").rglob("training_args.bin"))


@pytest.mark.parametrize(("saved_each_step", "error", "code"), [(False, Interrupted, 130), (True, Stopped, 75)])
def test_a_second_ctrl_c_stops_at_once(reviews, classifier, tmp_path, saved_each_step, error, code):
    each = ["eval_steps=1", "save_steps=1"] if saved_each_step else []
    hyper = TrainingOptions(max_steps=30, set=each)
    with pytest.raises(error) as stopped:
        finetune(
            str(reviews),
            str(classifier),
            training_options=hyper,
            run=RunOptions(output=tmp_path / "run"),
            report=Signalling(3, signal.SIGINT, signal.SIGINT),
        )
    assert stopped.value.exit_code == code
    checkpoints = sorted((tmp_path / "run").glob("checkpoints/checkpoint-*"))
    assert [path.name for path in checkpoints][-1:] == (["checkpoint-2"] if saved_each_step else [])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_a_process_that_ctrl_c_stopped_goes_on_with_the_same_command(llmkit, reviews, classifier, tmp_path):
    often = ("--set", "eval_steps=5", "--set", "save_steps=5")
    flags = ("finetune", reviews, "-m", classifier, "--max-steps", "80", *often, "--dtype", "float32")
    run, said = tmp_path / "run", []
    with subprocess.Popen(llmkit_command(*flags, "-o", run), stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            said.append(line)
            if line.startswith("step 5/80"):
                process.send_signal(signal.SIGINT)
    assert process.returncode == 75, said
    assert said[-1].startswith("error: stopped and saved at step ")
    assert not [line for line in said if "Traceback" in line or "it/s]" in line]  # no bar where there is no terminal
    assert (run / "metrics.jsonl").read_text()
    assert llmkit(*flags, "-o", tmp_path / "straight").code == 0
    assert llmkit(*flags, "-o", run).code == 0
    assert weights(run) == weights(tmp_path / "straight")


def test_a_run_that_was_killed_goes_on_with_resume_alone(llmkit, reviews, classifier, tmp_path):
    flags, run = ("finetune", reviews, "-m", classifier, "--max-steps", "9"), tmp_path / "run"
    assert llmkit(*flags, "-o", tmp_path / "straight").code == 0
    with pytest.raises(Stopped):
        finetune(
            str(reviews),
            str(classifier),
            training_options=TrainingOptions(max_steps=9),
            run=RunOptions(output=run),
            report=Signalling(5, signal.SIGINT),
        )
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": "running"}))  # what SIGKILL would leave
    torn = run / "checkpoints" / "checkpoint-7"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"\0" * 40)
    refused = llmkit(*flags, "-o", run)
    assert refused.code == 2
    assert "--resume" in refused.error
    assert llmkit(*flags, "-o", run, "--resume").code == 0
    assert weights(run) == weights(tmp_path / "straight")
    assert not torn.exists()


def test_a_run_that_died_after_its_last_step_only_measures(llmkit, reviews, classifier, tmp_path):
    run, flags = tmp_path / "run", ("finetune", reviews, "-m", classifier, *SHORT, "--json")
    first = llmkit(*flags, "-o", run)
    before = weights(run)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "status": "running", "result": None}))
    (run / "model.safetensors").unlink()
    again = llmkit(*flags, "-o", run, "--resume")
    assert again.code == 0, again.err
    assert weights(run) == before
    assert values(again.json) == values(first.json)
    assert "step 3/3" not in again.err


def test_a_finished_run_resumed_changes_nothing_and_gives_its_figures(llmkit, reviews, classifier, tmp_path):
    flags = ("finetune", reviews, "-m", classifier, "-o", tmp_path / "run", *SHORT, "--json")
    first = llmkit(*flags)
    before = files(tmp_path / "run")
    again = llmkit(*flags, "--resume")
    assert again.code == 0
    assert "nothing to do" in again.err
    assert values(again.json) == values(first.json)
    assert files(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), ("--resume", "--overwrite", "-o")),
        (("--resume", "--seed", "9"), ("other options", "seed")),
        (("--resume", "--overwrite"), ("exclude each other",)),
    ],
)
def test_a_folder_with_a_run_is_left_alone_unless_it_is_the_same_run(
    llmkit, reviews, classifier, tmp_path, more, words
):
    flags = ("finetune", reviews, "-m", classifier, "-o", tmp_path / "run", *SHORT)
    llmkit(*flags)
    before = files(tmp_path / "run")
    refused = llmkit(*flags, *more)
    assert refused.code == 2
    assert all(word in refused.error for word in words)
    assert files(tmp_path / "run") == before


def test_overwrite_replaces_the_run_and_keeps_what_is_not_its_own(llmkit, reviews, classifier, tmp_path):
    run = tmp_path / "run"
    llmkit("finetune", reviews, "-m", classifier, "-o", run, *SHORT)
    (run / "notes.txt").write_text("mine")
    llmkit("finetune", reviews, "-m", classifier, "-o", tmp_path / "other", *SHORT, "--seed", "9")
    again = llmkit("finetune", reviews, "-m", classifier, "-o", run, *SHORT, "--seed", "9", "--overwrite")
    assert again.code == 0
    assert weights(run) == weights(tmp_path / "other")
    assert (run / "notes.txt").read_text() == "mine"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3]


@pytest.mark.parametrize("rate", ["1e9", "1e39"])  # NaN in the loss; and weights that overflow in one finite step
def test_a_diverged_run_exits_11_and_saves_no_broken_weights(llmkit, reviews, classifier, tmp_path, rate):
    run = tmp_path / "run"
    ran = llmkit("finetune", reviews, "-m", classifier, "-o", run, "--max-steps", "3", "--learning-rate", rate)
    assert ran.code == 11, ran.err
    assert "diverged" in ran.error
    assert "--learning-rate" in ran.error
    assert not (run / "model.safetensors").exists()
    for saved in run.rglob("*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(saved).values()), saved
    for line in (run / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_a_dry_run_says_the_plan_and_writes_nothing(llmkit, reviews, classifier, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    ran = llmkit("finetune", reviews, "-m", classifier, "--dry-run")
    assert ran.code == 0
    assert ran.out == ""
    assert "labels: negative, positive" in ran.err
    assert files(tmp_path) == before


def test_the_best_checkpoint_by_the_metric_is_kept(llmkit, texts, llama, tmp_path):
    run = tmp_path / "run"
    wild = ("--learning-rate", "0.6", "--set", "lr_scheduler_type=constant", "--max-steps", "8", "--batch-size", "4")
    each = ("--set", "eval_steps=2", "--set", "save_steps=2")
    ran = llmkit("finetune", texts, "-m", llama, "-o", run, *wild, *each, "--json")
    assert ran.code == 0, ran.err
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    measured = {line["step"]: line["eval_perplexity"] for line in lines if "eval_perplexity" in line}
    best = min(measured, key=measured.get)
    assert best < 8, "the run must end worse than its best, or this test shows nothing"
    assert ran.json["training"]["best_step"] == best
    assert ran.json["training"]["best_by"] == "perplexity"
    assert weights(run) == weights(run / "checkpoints" / f"checkpoint-{best}")


def test_a_random_model_learns_separable_reviews(llmkit, reviews, classifier, tmp_path):
    ran = llmkit("finetune", reviews, "-m", classifier, "-o", tmp_path / "run", "--epochs", "20", "--json")
    assert ran.json["metrics"]["f1"]["value"] > 0.95


def test_the_test_split_is_never_taken_for_validation(llmkit, classifier, tmp_path):
    write_csv(tmp_path / "data" / "train.csv", tiny.reviews(40))
    write_csv(tmp_path / "data" / "test.csv", tiny.reviews(20, seed=1))
    ran = llmkit("finetune", tmp_path / "data", "-m", classifier, "-o", tmp_path / "run", *SHORT, "--json")
    assert ran.json["split"] == "train, 10% cut"
    assert ran.json["n"] == 4
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"]["train_rows"] == 36


def test_a_validation_label_unseen_in_training_is_named(llmkit, classifier, tmp_path):
    write_csv(tmp_path / "data" / "train.csv", tiny.reviews(20))
    rows = [*tiny.reviews(4), {"text": "so so", "label": "neutral"}]
    write_csv(tmp_path / "data" / "validation.csv", rows)
    ran = llmkit("finetune", tmp_path / "data", "-m", classifier, "-o", tmp_path / "run")
    assert ran.code == 2
    assert "'neutral'" in ran.error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_label_that_occurs_once_is_no_reason_to_refuse_a_file_without_validation(llmkit, classifier, tmp_path, seed):
    rows = [*tiny.reviews(8), *({"text": f"the {word}", "label": word} for word in tiny.THINGS[:6])]
    data = write_csv(tmp_path / "rare.csv", rows)
    ran = llmkit("finetune", data, "-m", classifier, "-o", tmp_path / "run", "--dry-run", "--seed", seed)
    assert ran.code == 0, ran.err


def test_training_leaves_the_process_as_it_found_it(llmkit, reviews, classifier, tmp_path):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    grad, where = torch.is_grad_enabled(), Path.cwd()
    llmkit("finetune", reviews, "-m", classifier, "-o", tmp_path / "run", *SHORT)
    assert {number: signal.getsignal(number) for number in before} == before
    assert (torch.is_grad_enabled(), Path.cwd()) == (grad, where)
    assert os.umask(os.umask(0o022)) == 0o022
