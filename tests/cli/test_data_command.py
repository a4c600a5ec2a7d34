"""llmkit data: planted faults are found with none missed and none invented; training warns of them, or refuses."""

from __future__ import annotations

import json
import random
import string
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import tiny
from conftest import write_jsonl
from jsonschema import Draft202012Validator

SCHEMA = json.loads(
    (resources.files("llmkit") / "output" / "schemas" / "survey.schema.json").read_text(encoding="utf-8")
)
VOCABULARY = ["".join(random.Random(n).choices(string.ascii_lowercase, k=6)) for n in range(2000)]
SIDES = ("negative", "positive")


def clean(rows: int, seed: int, words: int = 12) -> list[dict[str, Any]]:
    """Return rows of random words, none near another, with labels in turn."""
    dice = random.Random(seed)
    return [{"text": " ".join(dice.sample(VOCABULARY, words)), "label": SIDES[n % 2]} for n in range(rows)]


def folder(path: Path, **splits: list[dict[str, Any]]) -> Path:
    for name, rows in splits.items():
        write_jsonl(path / f"{name}.jsonl", rows)
    return path


def found(ran) -> dict[tuple[str, str, str | None], tuple[int, list[int], list[int]]]:
    """Return of each finding, by kind and splits, the count, the first rows and their twins."""
    assert ran.code == 0, ran.err
    Draft202012Validator(SCHEMA).validate(ran.json)
    findings = ran.json["findings"]
    made = {(f["kind"], f["split"], f["other"]): (f["rows"], f["first"], f["twins"]) for f in findings}
    assert len(made) == len(findings)
    return made


@pytest.fixture
def planted(tmp_path) -> Path:
    """Fifty training rows, twenty of them of a hundred words, and ten to test on, with one fault of each kind."""
    train, test = clean(30, 1) + clean(20, 2, words=100), clean(10, 3)
    train[9] = {**train[2]}
    train[15] = {**train[2]}
    train[12]["text"], train[13]["text"] = "", " \t"
    train[20] = {"text": train[5]["text"], "label": SIDES[4 % 2]}  # row 6 is positive
    test[3] = {**train[7]}
    test[4] = {"text": train[8]["text"], "label": SIDES[9 % 2]}  # row 9 is negative
    test[6]["label"] = test[8]["label"] = "mixed"
    return folder(tmp_path / "planted", train=train, test=test)


def test_every_planted_fault_is_found_and_no_other(llmkit, planted, classifier):
    ran = llmkit("data", planted, "-m", classifier, "--json")
    assert found(ran) == {
        ("empty", "train", None): (2, [13, 14], []),
        ("duplicate", "train", None): (3, [10, 16, 21], [3, 3, 6]),
        ("contradiction", "train", None): (2, [6, 21], [21, 6]),
        ("overlap", "test", "train"): (2, [4, 5], [8, 9]),
        ("contradiction", "test", "train"): (1, [5], [9]),
        ("unseen-label", "test", "train"): (2, [7, 9], []),
        ("truncated", "train", None): (20, [31, 32, 33, 34, 35], []),
    }
    result = ran.json
    assert result["max_length"] == tiny.CONTEXT
    assert result["splits"]["train"]["lengths"]["over"] == 20
    assert result["splits"]["test"]["lengths"]["over"] == 0
    assert result["splits"]["train"]["labels"] == {"negative": 27, "positive": 23}
    assert result["splits"]["test"]["labels"] == {"mixed": 2, "negative": 2, "positive": 6}
    assert sum(result["splits"]["train"]["lengths"]["histogram"]["counts"]) == 48
    sentences = [one["sentence"] for one in result["findings"]]
    assert "3 of 50 train rows repeat an earlier row (row 10 is row 3, row 16 is row 3, row 21 is row 6)" in sentences
    assert "2 of 10 test rows have the label 'mixed', which no train row has (rows 7, 9)" in sentences


def test_forty_per_cent_truncated_is_told_as_such(llmkit, tmp_path, classifier):
    data = write_jsonl(tmp_path / "mine.jsonl", clean(30, 1) + clean(20, 2, words=100))
    ran = llmkit("data", data, "-m", classifier, "--json")
    assert found(ran) == {("truncated", "train", None): (20, [31, 32, 33, 34, 35], [])}
    assert ran.json["splits"]["train"]["lengths"]["over_share"] == 0.4
    assert found(llmkit("data", data, "--json", "--max-length", 2000)) == {}


@pytest.mark.parametrize("flags", [(), ("--near",)])
def test_in_a_clean_set_nothing_is_found(llmkit, tmp_path, flags):
    data = folder(tmp_path / "clean", train=clean(200, 1), validation=clean(50, 2), test=clean(50, 3))
    ran = llmkit("data", data, "--json", *flags)
    assert found(ran) == {}
    assert "findings: none" in llmkit("data", data, *flags).err


def test_rows_that_are_nearly_the_same_are_found_on_request(llmkit, tmp_path):
    train, test = clean(300, 1), clean(60, 2)
    for place in range(10):
        words = train[place]["text"].split()
        train[100 + place]["text"] = " ".join([*words[:-1], "other"])
        test[20 + place]["text"] = train[50 + place]["text"].upper().replace(" ", "  ")
    data = folder(tmp_path / "near", train=train, test=test)
    assert found(llmkit("data", data, "--json")) == {}
    ran = llmkit("data", data, "--json", "--near")
    assert found(ran) == {
        ("near-duplicate", "train", None): (10, [101, 102, 103, 104, 105], [1, 2, 3, 4, 5]),
        ("near-overlap", "test", "train"): (10, [21, 22, 23, 24, 25], [51, 52, 53, 54, 55]),
    }
    assert ran.json["near"]["threshold"] == 0.8
    assert "MinHash" in ran.json["near"]["method"]
    strict = found(llmkit("data", data, "--json", "--near", "--near-threshold", 1))
    assert set(strict) == {("near-overlap", "test", "train")}  # these differ in case and blanks alone


def test_a_copy_is_not_counted_among_the_near_ones_too(llmkit, tmp_path):
    rows = clean(40, 1)
    rows[30]["text"] = rows[4]["text"]
    ran = llmkit("data", write_jsonl(tmp_path / "mine.jsonl", rows), "--json", "--near")
    assert found(ran) == {("duplicate", "train", None): (1, [31], [5])}


def test_hidden_labels_are_no_fault_and_a_missing_one_is(llmkit, tmp_path):
    train, test = clean(20, 1), clean(10, 2)
    for row in test:
        row["label"] = None
    train[4]["label"] = None
    ran = llmkit("data", folder(tmp_path / "hidden", train=train, test=test), "--json")
    assert found(ran) == {("unusable", "train", None): (1, [5], [])}
    assert {name: split["labelled"] for name, split in ran.json["splits"].items()} == {"train": True, "test": False}


def test_one_label_is_told_and_everything_else_is_shown(llmkit, tmp_path):
    rows = [{**row, "label": "only"} for row in clean(8, 1)]
    ran = llmkit("data", write_jsonl(tmp_path / "mine.jsonl", rows), "--json")
    assert found(ran) == {("one-label", "train", None): (8, [1, 2, 3, 4, 5], [])}
    assert len(ran.json["shown"]) == 3


def test_the_limit_is_of_each_split(llmkit, planted):
    ran = llmkit("data", planted, "--limit", 9, "--json")
    assert {name: split["rows"] for name, split in ran.json["splits"].items()} == {"train": 9, "test": 9}
    assert ("duplicate", "train", None) not in found(ran)


TASKS = {
    "conversational": (tiny.conversations, "assistant", "a:⟩positive"),
    "preference-optimization": (tiny.preferences, "llama", "rejected"),
    "text-classification": (tiny.reviews, "classifier", "positive"),
    "multi-label-classification": (tiny.topics, "sorter", "art"),
    "token-classification": (tiny.entities, "tagger", "/B-PER"),
    "question-answering": (tiny.questions, "reader", "«"),
    "multiple-choice": (tiny.choices, "chooser", "choice 3"),
    "translation": (tiny.translations, "translator", "target"),
    "summarization": (tiny.summaries, "summarizer", "target"),
    "sentence-similarity": (tiny.likenesses, "encoder", "pair"),
    "causal-lm": (lambda rows: [{"text": row["text"]} for row in tiny.reviews(rows)], "llama", "<|endoftext|>"),
    "masked-lm": (lambda rows: [{"text": row["text"]} for row in tiny.reviews(rows)], "masked", "[MASK]→"),
    "seq2seq-lm": (lambda rows: [{"text": row["text"]} for row in tiny.reviews(rows)], "t5", "<extra_id_0>"),
    "zero-shot-classification": (tiny.reviews, "llama", "choice 1"),
}


def test_every_task_is_looked_at():
    from llmkit.tasks import TASKS as ALL

    assert set(TASKS) == set(ALL)


@pytest.mark.parametrize("name", TASKS)
def test_the_rows_of_each_task_are_counted_and_shown_as_its_model_sees_them(llmkit, request, tmp_path, name):
    make, model, mark = TASKS[name]
    rows = make(12)
    rows[7] = dict(rows[2])
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    flags = ("--task", name) if name in ("sentence-similarity", "zero-shot-classification") else ()
    for model_flags in ((), ("-m", request.getfixturevalue(model))):
        if not model_flags:
            alone = llmkit("data", data, "--task", name, "--json")
        else:
            alone = llmkit("data", data, *flags, *model_flags, "--json")
        duplicates = found(alone)["duplicate", "train", None]
        assert 8 in duplicates[1]
        assert alone.json["task"]["name"] == name
        assert alone.json["splits"]["train"]["lengths"]["min"] > 0
    shown = llmkit("data", data, *flags, "-m", request.getfixturevalue(model))
    assert mark in shown.out


def test_padding_and_the_loss_mask_are_visible_in_a_pipe_and_in_colour_on_a_terminal(
    llmkit, on_terminal, tagger, tmp_path
):
    rows = [
        {"tokens": ["Anna", "was", "in", "Rome"], "ner_tags": ["B-PER", "O", "O", "B-LOC"]},
        {"tokens": ["the"], "ner_tags": ["O"]},
    ]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    ran = llmkit("data", data, "-m", tagger)
    assert ran.code == 0, ran.err
    first, second = (line for line in ran.out.splitlines() if line[:2] in ("1\t", "2\t"))
    assert "⟨[CLS]⟩" in first
    assert "/B-PER" in first
    assert "\x1b" not in ran.out
    ids = llmkit("data", data, "-m", tagger, "--json").json["shown"]
    kinds = [{piece["kind"] for piece in row["texts"]["text"]} for row in ids]
    assert kinds == [{"learned", "unlearned"}, {"learned", "unlearned", "padding"}]
    padded = next(piece["tokens"] for piece in ids[1]["texts"]["text"] if piece["kind"] == "padding")
    assert second.endswith(f"[PAD] x{padded}")
    lengths = [sum(piece["tokens"] for piece in row["texts"]["text"]) for row in ids]
    assert lengths[0] == lengths[1]
    assert "⟨no loss⟩" in ran.err
    drawn = on_terminal("data", data, "-m", tagger)
    assert "\x1b[32m" in drawn.out  # what is learned is green
    assert "\x1b[2m" in drawn.out  # what is not is dim


def test_text_in_a_dataset_does_not_steer_the_terminal(llmkit, tmp_path):
    rows = [*clean(6, 1), {"text": "red \x1b[31m and \u202e back", "label": "negative"}]
    ran = llmkit("data", write_jsonl(tmp_path / "mine.jsonl", rows), "--batch-size", 7)
    assert ran.code == 0
    assert not {"\x1b", "\u202e"} & set(ran.out)


def test_files_hold_the_result_and_a_picture(llmkit, planted, tmp_path):
    ran = llmkit("data", planted, "--json", "-o", tmp_path / "new" / "a.json", "--picture", tmp_path / "new" / "a.png")
    assert ran.code == 0, ran.err
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == ran.json
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_tables_hold_what_the_json_says(llmkit, planted):
    lines = [line.split("\t") for line in llmkit("data", planted).out.splitlines()]
    assert ["train", "50", "yes", "2", "0", "3"] in lines
    assert ["negative", "27 (54.0%)", "2 (20.0%)"] in lines
    assert [line[1:3] for line in lines if line[0] == "duplicate"] == [["3", "6.0%"]]


def test_a_row_that_contradicts_itself_is_one_sentence(llmkit, tmp_path):
    rows = [*tiny.entities(3), {"tokens": ["a", "b"], "ner_tags": ["O"]}]
    ran = llmkit("data", write_jsonl(tmp_path / "rows.jsonl", rows))
    assert (ran.code, ran.out) == (2, "")
    assert ran.error == "train, row 4: 2 words and 1 tags"


def test_finetune_warns_of_what_is_wrong_before_it_trains(llmkit, tmp_path):
    train, validation, test = clean(20, 1), clean(8, 2), clean(8, 3)
    train[9], train[3]["text"] = dict(train[2]), ""
    validation[1], test[6] = dict(train[7]), dict(train[8])
    test[2]["label"] = "mixed"
    data = folder(tmp_path / "mine", train=train, validation=validation, test=test)
    ran = llmkit("finetune", data, "-m", "built-in", "-o", tmp_path / "run", "--dry-run")
    assert ran.code == 0, ran.err
    assert [line.removeprefix("warning: ") for line in ran.err.splitlines() if line.startswith("warning: ")] == [
        "1 of 20 training rows have no text or no label, left out",
        "1 of 19 training rows repeat an earlier row (row 10 is row 3)",
        "1 of 8 test rows have the label 'mixed', which no training row has (row 3)",
        "1 of 8 validation rows are training rows too (row 2 is row 8 there)",
        "1 of 8 test rows are training rows too (row 7 is row 9 there)",
    ]


def test_finetune_on_a_clean_set_warns_of_nothing(llmkit, tmp_path):
    data = folder(tmp_path / "mine", train=clean(20, 1), validation=clean(8, 2), test=clean(8, 3))
    ran = llmkit("finetune", data, "-m", "built-in", "-o", tmp_path / "run", "--dry-run")
    assert (ran.code, "warning" in ran.err) == (0, False)


def test_a_training_in_vain_is_refused_before_anything_is_written(llmkit, tmp_path, classifier):
    rows, run = clean(20, 1), tmp_path / "run"
    leaked = folder(tmp_path / "leaked", train=rows, validation=rows[4:9])
    ran = llmkit("finetune", leaked, "-m", classifier, "-o", run)
    assert (ran.code, ran.out, run.exists()) == (5, "", False)
    assert "all 5 validation rows are trained on too" in ran.error
    partly = folder(tmp_path / "partly", train=rows, validation=[*rows[4:9], *clean(1, 2)])
    assert llmkit("finetune", partly, "-m", classifier, "-o", run, "--dry-run").code == 0
    rows = [{**row, "text": "the same"} for row in clean(21, 1)]
    same = folder(tmp_path / "same", train=rows, validation=clean(4, 2))
    ran = llmkit("finetune", same, "-m", classifier, "-o", run)
    assert (ran.code, run.exists()) == (5, False)
    assert "all 21 training rows have the same inputs" in ran.error
    few = folder(tmp_path / "few", train=rows[:20], validation=clean(4, 2))
    assert llmkit("finetune", few, "-m", classifier, "-o", run, "--dry-run").code == 0


def test_rows_to_measure_on_that_the_user_names_may_be_those_of_training(llmkit, tmp_path, classifier):
    data = write_jsonl(tmp_path / "mine.jsonl", clean(20, 1))
    ran = llmkit("finetune", data, "--validation", data, "-m", classifier, "-o", tmp_path / "run", "--dry-run")
    assert ran.code == 0, ran.err
    assert "warning: 20 of 20 validation rows are training rows too" in ran.err


def test_pretrain_warns_of_copies_among_its_documents(llmkit, tmp_path):
    texts = [{"text": f"{row['text']}. " * 20} for row in clean(30, 1)]
    texts[7] = texts[3]
    write_jsonl(tmp_path / "mine" / "train.jsonl", texts)
    write_jsonl(tmp_path / "mine" / "validation.jsonl", [texts[2], *({"text": row["text"]} for row in clean(5, 2))])
    flags = ("--max-length", "32", "--vocab-size", "300", "-o", tmp_path / "run", "--dry-run")
    ran = llmkit("pretrain", tmp_path / "mine", *flags)
    assert ran.code == 0, ran.err
    assert "warning: 1 of 30 training rows repeat an earlier row" in ran.err
    assert "warning: 1 of 6 held-out rows are training rows too" in ran.err


def test_the_command_is_a_function_in_python(planted):
    from llmkit.inspection.survey import survey

    seen = survey(str(planted))
    assert seen is not None
    assert [one.first for one in seen.findings if one.kind == "overlap"] == [(4, 5)]
