from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tiny
import torch
from conftest import write_jsonl
from datasets import ClassLabel, Dataset, DatasetInfo, Features, List, Value
from evaluating import Files, read_jsonl, trained, valid, values
from transformers import AutoModelForTokenClassification, AutoTokenizer

from llmkit.data.labels import Labels
from llmkit.data.splits import Cut, cut_rows
from llmkit.metrics.observations import spans_of
from llmkit.tasks import TASKS, TaskSettings

TASK = TASKS["token-classification"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tagger that has learned the names of `tiny.entities`."""
    folder = tmp_path_factory.mktemp("tagger")
    data = write_jsonl(folder / "train.jsonl", tiny.entities(160))
    trained(data, tiny.bert_folder(folder / "base", kind="tagger"), folder / "run", max_steps=60)
    return folder / "run"


@pytest.fixture
def data(tmp_path):
    return write_jsonl(tmp_path / "mine.jsonl", tiny.entities(24, seed=5))


def plain_tags(folder, words: list[str]) -> list[str]:
    """The tags of words by transformers alone: the first piece of each word decides."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForTokenClassification.from_pretrained(folder).eval()
    encoded = tokenizer(words, is_split_into_words=True, return_tensors="pt")
    with torch.inference_mode():
        best = model(**encoded).logits[0].argmax(-1).tolist()
    first = {word: place for place, word in reversed(list(enumerate(encoded.word_ids()))) if word is not None}
    return [model.config.id2label[best[first[word]]] for word in range(len(words))]


def test_predictions_equal_plain_transformers_and_score_again_from_their_file(llmkit, run, data, tmp_path):
    files = Files(tmp_path)
    ran = llmkit("eval", data, "-m", run, *files.flags, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["task"] == "token-classification"
    assert values(ran.json)["f1"] > 0.9
    rows = tiny.entities(24, seed=5)
    assert [row["prediction"] for row in files.rows] == [plain_tags(run, row["tokens"]) for row in rows]
    assert [row["label"] for row in files.rows] == [row["ner_tags"] for row in rows]
    assert set(ran.json["per_class"]) == {"PER", "LOC"}
    table = tmp_path / "predictions.csv"
    assert llmkit("eval", data, "-m", run, "--save-predictions", table).code == 0
    for file in (files.predictions, table):
        again = llmkit("eval", data, "--predictions", file, "--json")
        assert again.code == 0, again.err
        assert valid(again.json)["metrics"] == ran.json["metrics"]


def test_gates_and_baselines_work_on_entities(llmkit, run, data, tagger, tmp_path):
    base = tmp_path / "base.json"
    assert llmkit("eval", data, "-m", run, "-o", base, "--fail-under", "f1=0.9").code == 0
    worse = llmkit("eval", data, "-m", tagger, "--baseline", base, "--max-drop", "f1=0.05")
    assert worse.code == 1
    assert "f1 went from" in worse.err
    same = llmkit("eval", data, "-m", run, "--batch-size", 3, "--baseline", base, "--max-drop", "f1=0", "--strict")
    assert same.code == 0, same.err


def test_classify_prints_entities_by_the_characters_of_the_users_own_string(llmkit, run, tmp_path):
    text = "The  film of Tom Brown\twas NEW DELHI saw"
    ran = llmkit("classify", text, "", "-m", run, "--json")
    assert ran.code == 0, ran.err
    first, blank = ran.rows
    assert blank == {"text": "", "entities": None}
    assert [(one["type"], one["text"]) for one in first["entities"]] == [("PER", "Tom Brown"), ("LOC", "NEW DELHI")]
    for one in first["entities"]:
        assert text[one["start"] : one["end"]] == one["text"]
        assert 0.5 < one["score"] <= 1
    words = llmkit("classify", "the film of Anna saw Rome was", "-m", run, "--json").rows[0]["entities"]
    tags = plain_tags(run, ["the", "film", "of", "Anna", "saw", "Rome", "was"])
    assert [one["type"] for one in words] == [kind for kind, _, _ in spans_of(tags)]


def test_classify_reads_files_and_standard_input_and_draws_a_table(llmkit, on_terminal, run, tmp_path):
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"id": 1, "text": "the fox of Anna saw"}])
    assert llmkit("classify", "-m", run, "-i", rows, "-o", tmp_path / "out.jsonl").code == 0
    done = read_jsonl(tmp_path / "out.jsonl")[0]
    assert (done["id"], done["entities"][0]["text"]) == (1, "Anna")
    sheet = tmp_path / "rows.csv"
    sheet.write_text("id,sentence\n1,the fox of Anna saw\n", encoding="utf-8")
    assert llmkit("classify", "-m", run, "-i", sheet, "-o", tmp_path / "out.csv").code == 0
    cells = next(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8")))
    assert json.loads(cells["entities"])[0]["type"] == "PER"
    piped = llmkit("classify", "-m", run, stdin="of Anna saw\nRome was\n")
    assert len(piped.rows) == 2
    table = on_terminal("classify", "the fox of Tom Brown saw", "-m", run).out
    assert "Tom Brown" in table
    assert "PER" in table


def test_long_rows_are_tagged_to_the_end_in_windows(llmkit, run, tmp_path):
    words = ["the", "fox", "of"] * 40 + ["Anna", "saw", "Rome", "was"]
    tags = ["O"] * 120 + ["B-PER", "O", "B-LOC", "O"]
    data = write_jsonl(tmp_path / "long.jsonl", [{"tokens": words, "ner_tags": tags}] * 2)
    ran = llmkit("eval", data, "-m", run, "--json", "-o", tmp_path / "long.json", "--check-invariance", 2)
    assert ran.code == 0, ran.err
    assert ran.json["n"] == 2
    assert ran.json["metrics"]["accuracy"]["n"] == 248
    assert ran.json["invariance"]["changed"] == 0
    found = llmkit("classify", " ".join(words), "-m", run, "--json").rows[0]["entities"]
    assert (found[-1]["text"], found[-1]["start"]) == ("Rome", len(" ".join(words[:122])) + 1)


@pytest.mark.parametrize(
    ("words", "tags"),
    [
        (["Anna", "wohnt", "in", "Köln", "-", "Süd"], ["PER", "O", "O", "LOC", "LOC", "LOC"]),  # IO, German
        (["安", "娜", "住", "在", "北", "京"], ["B-PER", "I-PER", "O", "O", "B-LOC", "I-LOC"]),  # Chinese
    ],
)
def test_a_second_language_and_io_tags_are_learned(llmkit, tmp_path, words, tags):
    from llmkit.models.tokenizer_training import train_wordpiece

    base = tiny.bert_folder(tmp_path / "base", kind="tagger")
    tokenizer = train_wordpiece([" ".join(words)] * 5 + tiny.SENTENCES[:20], 300, tiny.CONTEXT)
    tokenizer.save_pretrained(base)
    data = write_jsonl(tmp_path / "rows.jsonl", [{"tokens": words, "tags": tags}] * 16)
    run = tmp_path / "run"
    steps = ("--max-steps", 40, "--learning-rate", "5e-3", "--json")
    ran = llmkit("finetune", data, "-m", base, "-o", run, *steps)
    assert ran.code == 0, ran.err
    assert values(ran.json)["f1"] == 1
    text = "".join(words) if words[0] == "安" else " ".join(words)
    found = llmkit("classify", text, "-m", run, "--json").rows[0]["entities"]
    assert [one["type"] for one in found] == ["PER", "LOC"]
    assert all(text[one["start"] : one["end"]] == one["text"] for one in found)
    assert found[0]["text"] in {"Anna", "安娜"}


def test_a_decoder_tags_words_as_plain_transformers_does(llmkit, tmp_path, llama):
    words = ["安", "娜", "住", "在", "北", "京", "the", "fox"]
    tags = ["B-PER", "I-PER", "O", "O", "B-LOC", "I-LOC", "O", "O"]
    data = write_jsonl(tmp_path / "rows.jsonl", [{"tokens": words, "tags": tags}] * 16)
    run, files = tmp_path / "run", Files(tmp_path)
    steps = ("--max-steps", 40, "--learning-rate", "5e-3", "--json")
    ran = llmkit("finetune", data, "-m", llama, "-o", run, *steps)
    assert ran.code == 0, ran.err
    assert values(ran.json)["f1"] > 0.4
    assert llmkit("eval", data, "-m", run, *files.flags).code == 0
    tokenizer, text = AutoTokenizer.from_pretrained(run), " ".join(words)
    model = AutoModelForTokenClassification.from_pretrained(run).eval()
    encoded = tokenizer(text, return_tensors="pt", return_offsets_mapping=True)
    ends = [end for _, end in encoded.pop("offset_mapping")[0].tolist()]
    with torch.inference_mode():
        best = model(**encoded).logits[0].argmax(-1).tolist()
    starts = [len(" ".join(words[:word])) for word in range(len(words))]  # of the blank before each word
    firsts = [next(place for place, end in enumerate(ends) if end > start) for start in starts]
    plain = [model.config.id2label[best[first]] for first in firsts]
    assert [row["prediction"] for row in files.rows] == [plain] * len(files.rows)
    found = llmkit("classify", "安娜住在北京the fox", "-m", run, "--json").rows[0]["entities"]
    assert [(kind, words[first:end]) for kind, first, end in spans_of(plain)] == [
        (one["type"], list(one["text"])) for one in found
    ]


def test_parts_of_speech_are_measured_by_words(llmkit, tmp_path, tagger):
    rows = [{"tokens": ["the", "fox", "was", "kind"], "pos": ["DET", "NOUN", "VERB", "ADJ"]}] * 16
    data = write_jsonl(tmp_path / "pos.jsonl", rows)
    ran = llmkit("finetune", data, "-m", tagger, "-o", tmp_path / "run", "--max-steps", 3, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["headline"] == "accuracy"
    assert list(ran.json["metrics"]) == ["accuracy", "f1_macro"]
    entities = llmkit("classify", "the fox", "-m", tmp_path / "run", "--json").rows[0]["entities"]
    assert [one["text"] for one in entities] == ["the", "fox"]


def test_only_the_first_token_of_a_word_is_learned(tagger):
    feature = List(ClassLabel(names=["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]))
    words, tags = ["the", "filmsong", "Anna"], [0, 0, 1]
    rows = Dataset.from_dict(
        {"tokens": [words], "t": [tags]}, Features({"tokens": List(Value("string")), "t": feature})
    )
    columns = {"tokens": "tokens", "tags": "t"}
    tokenizer = AutoTokenizer.from_pretrained(tagger)
    settings = TaskSettings(columns=columns, max_length=32, labels=TASK.columns.labels(rows, None, columns))
    row = TASK.encoding.encode(rows, tokenizer, settings, training=True)[0]
    aligned = tokenizer(words, is_split_into_words=True).word_ids()
    wanted = [-100 if word is None or word == before else tags[word] for before, word in zip([None, *aligned], aligned)]
    assert row["input_ids"] == tokenizer(words, is_split_into_words=True)["input_ids"]
    assert len(row["input_ids"]) > 5  # a word of several pieces
    assert row["labels"] == wanted


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"tokens": ["a", "fox"], "ner_tags": ["O"]}, "row 3: 2 words and 1 tags"),
        ({"tokens": ["a", None], "ner_tags": ["O", "O"]}, "row 3: a word or a tag is null"),
        ({"tokens": ["a", "fox"], "ner_tags": ["O", "B-PER", "O"]}, "row 3: 2 words and 3 tags"),
    ],
)
def test_rows_that_contradict_themselves_are_named(llmkit, tagger, tmp_path, row, sentence):
    data = write_jsonl(tmp_path / "rows.jsonl", [*tiny.entities(2), row])
    for command in (("finetune", data, "-m", tagger, "-o", tmp_path / "run"), ("eval", data, "-m", tagger)):
        ran = llmkit(*command)
        assert ran.code == 2
        assert sentence in ran.error
    assert not (tmp_path / "run").exists()


def test_a_string_of_tags_a_wrong_prediction_and_an_unseen_tag_are_sentences(llmkit, tagger, tmp_path):
    strings = write_jsonl(tmp_path / "s.jsonl", [{"tokens": ["a", "fox"], "tags": "O"}] * 3)
    ran = llmkit("finetune", strings, "-m", tagger, "-o", tmp_path / "run")
    assert ran.code == 2
    assert "row 1: its tags are 'O', and a list with a tag for each word is wanted" in ran.error
    data = write_jsonl(tmp_path / "rows.jsonl", tiny.entities(2))
    other = write_jsonl(tmp_path / "v.jsonl", [*tiny.entities(2), {"tokens": ["a"], "ner_tags": ["B-ORG"]}])
    ran = llmkit("finetune", data, "-m", tagger, "-o", tmp_path / "run", "--validation", other)
    assert ran.code == 2
    assert "validation: label 'B-ORG' (first in row 3) does not occur in training" in ran.error
    marked = write_jsonl(tmp_path / "m.jsonl", [{"tokens": ["a", "fox", "a"], "tags": ["S-X", "B-X", "E-X"]}] * 3)
    assert not (tmp_path / "run").exists()
    ran = llmkit("finetune", marked, "-m", tagger, "-o", tmp_path / "run", "--dry-run")
    assert ran.code == 0, ran.err
    assert "tags in tags: BIOES, read as IOB2" in ran.err
    assert "labels: B-X, I-X" in ran.err


@pytest.mark.parametrize(
    ("predictions", "sentence"),
    [
        (lambda tags: ["O"], "predictions, row 2: a list of"),
        (lambda tags: [1.5] * len(tags), "predictions, row 2: 1.5 is no tag"),
        (
            lambda tags: ["B-X"] * len(tags),
            "predictions: their tags are of 'X', the dataset's of 'LOC', 'PER', and none is the same",
        ),
        (lambda tags: [1] * len(tags), "predictions: their tags are of '1', the dataset's of"),
    ],
)
def test_predictions_that_are_none_of_the_rows_tags_are_refused(llmkit, tmp_path, predictions, sentence):
    rows = tiny.entities(2)
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    outside = {"tokens": rows[0]["tokens"], "prediction": ["O"] * len(rows[0]["tokens"])}
    wrong = {"tokens": rows[1]["tokens"], "prediction": predictions(rows[1]["ner_tags"])}
    ran = llmkit("eval", data, "--predictions", write_jsonl(tmp_path / "p.jsonl", [outside, wrong]))
    assert ran.code == 2
    assert sentence in ran.error


def test_a_tag_of_one_row_is_left_to_train_on():
    rare = {"tokens": ["Ada", "King", "Ada"], "ner_tags": ["B-ORG", "O", "B-ORG"]}
    rows = Dataset.from_list([*tiny.entities(1) * 3, rare])
    column = TASK.columns.class_column(rows, {"tokens": "tokens", "tags": "ner_tags"})
    for seed in range(8):
        train, validation = cut_rows(rows, Cut("train", 0.1, seed, None, column))
        assert rare in train.to_list()
        assert len(validation) == 1


def test_words_without_a_token_and_tags_without_names_are_said(llmkit, tagger, tmp_path):
    sound = {"tokens": ["the", "\u200b", "fox"], "tags": [0, 1, 1]}
    data = write_jsonl(tmp_path / "rows.jsonl", [sound] * 4)
    empty = write_jsonl(tmp_path / "empty.jsonl", [{"tokens": ["\u200b"], "tags": [1]}, *[sound] * 3])
    steps = ("--max-steps", 4, "--batch-size", 1, "--json")
    ran = llmkit("finetune", empty, "-m", tagger, "-o", tmp_path / "run", "--validation", data, *steps)
    assert ran.code == 0, ran.err
    assert "training rows: 3 of 9 words have no token" in ran.err
    assert "nan" not in ran.err
    assert "the tags are numbers without names" in ran.err
    measured = llmkit("eval", data, "-m", tmp_path / "run", "--split", "train", "--json")
    assert "4 of 12 words have no token" in measured.err
    assert measured.json["metrics"]["accuracy"]["n"] == 12


def test_the_best_few_tags_are_no_flag_of_the_task(llmkit, tagger):
    ran = llmkit("classify", "the fox", "-m", tagger, "--top", 2)
    assert ran.code == 2
    assert "--top: token-classification gives each word its likeliest tag alone" in ran.error


def test_scores_are_probabilities_of_the_words_tags(run):
    from llmkit import classify

    found = classify("the fox of Tom Brown saw", model=str(run))[0]["entities"][0]
    tokenizer = AutoTokenizer.from_pretrained(run)
    model = AutoModelForTokenClassification.from_pretrained(run).eval()
    encoded = tokenizer("the fox of Tom Brown saw", return_tensors="pt")
    with torch.inference_mode():
        chances = torch.softmax(model(**encoded).logits[0].double(), -1).max(-1).values.tolist()
    firsts = [encoded.word_ids().index(word) for word in (3, 4)]
    assert found["score"] == pytest.approx(np.mean([chances[place] for place in firsts]), abs=1e-6)


@pytest.mark.parametrize("kind", ["ids", "classes", "strings"])
def test_a_word_with_minus_100_has_no_label(llmkit, run, tmp_path, kind):
    rows = [{"tokens": row["tokens"], "ner_tags": ["-100", *row["ner_tags"][1:]]} for row in tiny.entities(24, seed=5)]
    names = sorted({tag for row in rows for tag in row["ner_tags"]} - {"-100"})
    ids = [[-100 if tag == "-100" else names.index(tag) for tag in row["ner_tags"]] for row in rows]
    tags = [row["ner_tags"] for row in rows] if kind == "strings" else ids
    dataset = Dataset.from_dict({"tokens": [row["tokens"] for row in rows], "ner_tags": tags})
    if kind == "classes":
        features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))})
        dataset = Dataset(dataset.data.table, info=DatasetInfo(features=features))
    columns = {"tokens": "tokens", "tags": "ner_tags"}
    wanted = [str(number) for number in range(len(names))] if kind == "ids" else names
    assert [*TASK.columns.labels(dataset, dataset, columns).names] == wanted
    assert TASK.columns.first_invalid_row(dataset, columns) is None
    if kind == "ids":
        return
    dataset.save_to_disk(str(tmp_path / "saved"))
    files = Files(tmp_path)
    ran = llmkit("eval", tmp_path / "saved", "--split", "train", "-m", run, *files.flags, "--json")
    assert ran.code == 0, ran.err
    assert [row["label"] for row in files.rows] == [row["ner_tags"][1:] for row in rows]
    again = llmkit("eval", tmp_path / "saved", "--split", "train", "--predictions", files.predictions, "--json")
    assert valid(again.json)["metrics"] == ran.json["metrics"]


def test_training_learns_nothing_of_words_without_a_label(run):
    dataset = Dataset.from_dict({"tokens": [["Anna", "came"], ["Bob"]], "tags": [["B-PER", "-100"], ["-100"]]})
    settings = TaskSettings(columns={"tokens": "tokens", "tags": "tags"}, labels=Labels(("B-PER", "O")), max_length=16)
    encoded = TASK.encoding.encode(dataset, AutoTokenizer.from_pretrained(run), settings, training=True)
    assert {tag for tags in encoded["labels"] for tag in tags} == {-100, 0}
    assert encoded["row"][:] == [0]
    assert TASK.columns.usable_rows(dataset, settings.columns) == [0]
