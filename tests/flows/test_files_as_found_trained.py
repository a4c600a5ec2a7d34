"""Files as people have them, in whole runs: other data on a resume, streams, texts, pairs that a cut makes equal."""

from __future__ import annotations

import json
import signal

import pytest
from conftest import write_csv, write_jsonl
from found import KINDS
from found.chats import ANSWERS, QUESTIONS
from found.writing import cycled, reviews
from signalling import Signalling

from llmkit.errors import Stopped
from llmkit.options import RunOptions, TrainingOptions
from llmkit.training.finetuning import finetune

SHORT = ("--max-steps", "2", "--batch-size", "8")
SWAPPED = {"positive": "negative", "negative": "positive"}


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Pictures take longer than these trainings."""
    monkeypatch.setattr("llmkit.training.jobs.draw_results", lambda *given: [])
    monkeypatch.setattr("llmkit.training.jobs.draw_curves", lambda *given: None)


@pytest.mark.parametrize("stopped", [True, False])
def test_a_run_does_not_go_on_when_the_labels_of_its_file_were_swapped(llmkit, classifier, tmp_path, stopped):
    rows, run = reviews(), tmp_path / "run"
    file = write_csv(tmp_path / "data.csv", rows)
    command = ("finetune", file, "-m", classifier, "-o", run, *SHORT)
    if stopped:
        report = Signalling(1, signal.SIGINT)
        with pytest.raises(Stopped):
            finetune(
                str(file),
                str(classifier),
                training_options=TrainingOptions(max_steps=2, batch_size=8),
                run=RunOptions(output=run),
                report=report,
            )
    else:
        assert llmkit(*command).code == 0
    digest = json.loads((run / "run.json").read_text())["data"]["train_sha256"]
    write_csv(file, [row | {"label": SWAPPED[row["label"]]} for row in rows])
    ran = llmkit(*command, *(() if stopped else ("--resume",)))
    assert ran.code == 2
    assert "holds other rows to train on" in ran.error
    assert json.loads((run / "run.json").read_text())["data"]["train_sha256"] == digest


@pytest.mark.parametrize("later", ["unknown", "01"])
def test_a_label_that_comes_late_in_a_stream_is_no_other_label(llmkit, encoder, tmp_path, later):
    rows = [{"text": f"the film was good {'and bright ' * 60}{row}", "label": row % 2} for row in range(2200)]
    file = write_csv(tmp_path / "rows.csv", [*rows, *(row | {"label": later} for row in rows[:64])])
    assert file.stat().st_size > 1 << 20  # the first bytes of a stream, of which its types are told
    flags = ("--streaming", "--max-steps", "60", "--batch-size", "64", "--max-length", "8", "--learning-rate", "1e-5")
    ran = llmkit("finetune", file, "-m", encoder, "-o", tmp_path / "run", *flags)
    assert ran.code == 2, ran.err
    assert "the column 'label' does not hold" in ran.error
    assert "leave --streaming out" in ran.error
    whole = llmkit("data", file, "--json").json["splits"]["train"]["labels"]
    assert whole == {"0": 1100, "1": 1100, later: 64}


def test_an_empty_file_among_texts_is_left_out(llmkit, tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, text in {"a.txt": "the king was good. " * 200, "b.txt": "", "c.txt": "the fox was bad. " * 200}.items():
        (folder / name).write_text(text)
    ran = llmkit("pretrain", folder, "--vocab-size", "300", "-o", tmp_path / "run", *SHORT)
    assert ran.code == 0, ran.err
    assert "b.txt is empty; it is left out" in ran.err


@pytest.mark.parametrize("of", [("-m",), ("--student-layers", "1", "--teacher")], ids=["a model", "a student"])
def test_the_end_of_one_text_is_held_out(llmkit, llama, tmp_path, of):
    ran = llmkit("finetune", KINDS["poem"](tmp_path), *of, llama, "-o", tmp_path / "run", *SHORT)
    assert ran.code == 0, ran.err
    assert "1 to train on, 1 to measure on (the last 5% of the text)" in ran.err


@pytest.mark.parametrize(("same", "code"), [(1, 0), (20, 2)])
def test_answers_that_are_the_same_where_they_are_cut_teach_nothing(llmkit, assistant, tmp_path, same, code):
    rows = [
        {"prompt": asks, "chosen": before + says, "rejected": f"{before}who knows"}
        for asks, says, before in zip(QUESTIONS, ANSWERS, ["so " * 90] * same + [""] * (20 - same))
    ]
    file = write_jsonl(tmp_path / "pairs.jsonl", rows)
    validation = write_jsonl(tmp_path / "validation.jsonl", rows[-3:])
    flags = ("--validation", validation, "--max-length", "48", *SHORT)
    ran = llmkit("finetune", file, "-m", assistant, "-o", tmp_path / "run", *flags)
    assert ran.code == code, ran.err
    words = "have nothing to learn within 48 tokens"
    assert words in ran.err
    assert f"{same} of 20 training rows" in ran.err


def test_a_test_split_with_floats_is_measured_by_a_model_of_integers(llmkit, encoder, tmp_path):
    folder = KINDS["csv_int_train_float_test"](tmp_path / "data")
    run = tmp_path / "run"
    assert llmkit("finetune", folder, "-m", encoder, "-o", run, *SHORT).code == 0
    ran = llmkit("eval", folder, "-m", run, "--split", "test", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["counts"] == {"rows": 11}


def test_labels_are_answered_as_they_are_written(llmkit, encoder, tmp_path):
    file = write_csv(tmp_path / "codes.csv", reviews(label=cycled("01", "1", "02", "10")))
    assert llmkit("finetune", file, "-m", encoder, "-o", tmp_path / "run", *SHORT).code == 0
    ran = llmkit("classify", "the film was good", "-m", tmp_path / "run", "--json")
    assert ran.code == 0, ran.err
    assert ran.rows[0]["label"] in {"01", "1", "02", "10"}
