from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import tiny
import torch
from conftest import write_csv, write_jsonl
from transformers import AutoModelForSequenceClassification, AutoTokenizer

TEXTS = ["the fox was good", "the king was cruel and the river was cold", "a sweet song", "bad"]
FIVE = ["angry", "bored", "calm", "dull", "eager"]


@pytest.fixture(scope="session")
def regressor(models_root) -> Path:
    return tiny.bert_folder(models_root / "regressor", labels=["score"])


@pytest.fixture(scope="session")
def five(models_root) -> Path:
    return tiny.bert_folder(models_root / "five", labels=FIVE, seed=2)


def plain(folder: Path, text: str, pair: str | None = None) -> torch.Tensor:
    """Return the logits of one text from transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.inference_mode():
        return model(**tokenizer(text, pair, return_tensors="pt")).logits[0]


def expected(folder: Path, text: str, names: list[str], pair: str | None = None) -> dict:
    chances = plain(folder, text, pair).softmax(-1)
    order = chances.argsort(descending=True).tolist()
    scores = {names[place]: pytest.approx(chances[place].item(), abs=1e-6) for place in order}
    return {"label": names[order[0]], "score": scores[names[order[0]]], "scores": scores}


def expected_rows(folder: Path, texts: list[str], names: list[str]) -> list[dict]:
    return [{"text": text, **expected(folder, text, names)} for text in texts]


def test_texts_get_label_names_and_probabilities_best_first(llmkit, five):
    ran = llmkit("classify", *TEXTS, "-m", five)
    assert ran.code == 0, ran.err
    assert ran.rows == expected_rows(five, TEXTS, FIVE)
    for row in ran.rows:
        assert list(row["scores"].values()) == sorted(row["scores"].values(), reverse=True)
        assert sum(row["scores"].values()) == pytest.approx(1)
        assert next(iter(row["scores"])) == row["label"]


def test_a_pipe_gets_json_lines_with_and_without_the_flag(llmkit, five):
    assert llmkit("classify", *TEXTS, "-m", five, "--json").out == llmkit("classify", *TEXTS, "-m", five).out


def test_standard_input_is_a_text_a_line_in_order(llmkit, five):
    ran = llmkit("classify", "-m", five, stdin="\n".join(TEXTS) + "\n")
    assert ran.rows == expected_rows(five, TEXTS, FIVE)


def test_only_a_newline_ends_a_line_of_standard_input(llmkit, five):
    odd = ["the fox\u2028was good", "the king\x0cwas bad", "a\x85song"]
    ran = llmkit("classify", "-m", five, stdin="\n".join(odd) + "\n")
    assert [row["text"] for row in ran.rows] == odd


def test_top_shows_the_best_labels_with_unchanged_scores(llmkit, five):
    whole, top = llmkit("classify", *TEXTS, "-m", five).rows, llmkit("classify", *TEXTS, "-m", five, "--top", "2").rows
    assert [row["scores"] for row in top] == [dict(list(row["scores"].items())[:2]) for row in whole]
    assert [row["score"] for row in top] == [row["score"] for row in whole]
    assert llmkit("classify", "x", "-m", five, "--top", "9").rows[0]["scores"].keys() == set(FIVE)


def test_a_pair_is_read_as_one_pair(llmkit, classifier):
    ran = llmkit("classify", *TEXTS[:2], "-m", classifier, "--pair", "the day was sad", "--pair", "a")
    names = ["negative", "positive"]
    assert ran.rows == [
        {"text": text, "pair": pair, **expected(classifier, text, names, pair)}
        for text, pair in zip(TEXTS[:2], ["the day was sad", "a"])
    ]
    assert ran.rows[0]["scores"] != llmkit("classify", TEXTS[0], "-m", classifier).rows[0]["scores"]


def test_a_regression_gives_the_number(llmkit, regressor):
    ran = llmkit("classify", *TEXTS, "-m", regressor)
    assert ran.rows == [
        {"text": text, "score": pytest.approx(plain(regressor, text).item(), abs=1e-6)} for text in TEXTS
    ]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_batch_size_changes_neither_order_nor_answers(llmkit, five, batch_size):
    texts = [
        f"the {thing} was {word}" + " and the day" * (n % 4)
        for n, (thing, word) in enumerate((thing, word) for thing in tiny.THINGS[:4] for word in tiny.GOOD[:3])
    ]
    ran = llmkit("classify", *texts, "-m", five, "--batch-size", batch_size)
    assert ran.rows == expected_rows(five, texts, FIVE)


@pytest.mark.parametrize("empty", ["", "   ", "\t"])
def test_an_empty_text_keeps_its_place_with_nulls(llmkit, five, regressor, empty):
    ran = llmkit("classify", TEXTS[0], empty, TEXTS[1], "-m", five)
    nothing = {"text": empty, "label": None, "score": None, "scores": None}
    assert ran.rows == [*expected_rows(five, TEXTS[:1], FIVE), nothing, *expected_rows(five, TEXTS[1:2], FIVE)]
    assert llmkit("classify", empty, "-m", regressor).rows == [{"text": empty, "score": None}]


def test_a_text_longer_than_the_model_takes_is_truncated(llmkit, classifier):
    long = "the fox was good and " * 50
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    kept = tokenizer.decode(tokenizer(long, truncation=True, max_length=64)["input_ids"], skip_special_tokens=True)
    scores = [llmkit("classify", text, "-m", classifier).rows[0]["scores"] for text in (long, kept)]
    assert scores[0] == scores[1]


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
@pytest.mark.parametrize("source", ["jsonl", "csv", "tsv", "txt"])
def test_a_file_keeps_its_columns_and_its_order(llmkit, five, tmp_path, source, ending):
    rows = [{"id": f"00{n}", "text": text, "note": 'yes, "no"'} for n, text in enumerate(TEXTS)]
    made, output = tmp_path / f"rows.{source}", tmp_path / f"out.{ending}"
    if source == "txt":
        made.write_text("\n".join(TEXTS) + "\n")
        rows = [{"text": text} for text in TEXTS]
    elif source == "tsv":
        rows = [{"id": row["id"], "text": row["text"]} for row in rows]
        made.write_text("id\ttext\n" + "".join(f"{row['id']}\t{row['text']}\n" for row in rows))
    else:
        (write_jsonl if source == "jsonl" else write_csv)(made, rows)
    ran = llmkit("classify", "-m", five, "--input", made, "--output", output, "--batch-size", "2")
    assert (ran.code, ran.out) == (0, "")
    if ending == "jsonl":
        found = [json.loads(line) for line in output.read_text().splitlines()]
    else:
        with output.open(newline="") as file:
            found = [
                {**row, "score": float(row["score"]), "scores": json.loads(row["scores"])}
                for row in csv.DictReader(file)
            ]
    assert found == [{**row, **expected(five, row["text"], FIVE)} for row in rows]


def test_a_label_column_of_the_input_is_kept_beside_the_answer(llmkit, five, tmp_path):
    made = write_csv(tmp_path / "rows.csv", [{"text": text, "label": "old"} for text in TEXTS])
    rows = llmkit("classify", "-m", five, "--input", made).rows
    assert [row["input_label"] for row in rows] == ["old"] * 4
    assert all(row["label"] in FIVE for row in rows)


@pytest.mark.parametrize(
    ("names", "flags"),
    [
        (("sentence1", "sentence2"), ()),
        (("premise", "hypothesis"), ()),
        (("left", "right"), ("--column", "text=left", "--column", "pair=right")),
    ],
)
def test_a_file_of_pairs_is_read_by_its_columns(llmkit, classifier, tmp_path, names, flags):
    made = write_jsonl(tmp_path / "rows.jsonl", [{names[0]: text, names[1]: "the day was sad"} for text in TEXTS])
    rows = llmkit("classify", "-m", classifier, "--input", made, *flags).rows
    labels = ["negative", "positive"]
    assert [row["scores"] for row in rows] == [
        expected(classifier, t, labels, "the day was sad")["scores"] for t in TEXTS
    ]


def test_an_empty_row_of_a_file_keeps_its_place(llmkit, five, tmp_path):
    made = write_jsonl(tmp_path / "rows.jsonl", [{"text": "a"}, {"text": None}, {"text": " "}, {"text": "b"}])
    rows = llmkit("classify", "-m", five, "--input", made).rows
    assert [row["text"] for row in rows] == ["a", None, " ", "b"]
    assert [row["label"] is None for row in rows] == [False, True, True, False]


def test_a_run_that_was_killed_goes_on_to_the_same_file(llmkit, five, tmp_path):
    rows = [{"text": f"the {thing} was {word}"} for thing in tiny.THINGS for word in tiny.GOOD[:3]]
    made, output = write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "out.jsonl"
    flags = ("classify", "-m", five, "--input", made, "--output", output, "--batch-size", "1")
    llmkit(*flags)
    whole = output.read_bytes()
    output.write_bytes(whole[: len(whole) * 3 // 4])
    again = llmkit(*flags)
    assert "going on" in again.err
    assert output.read_bytes() == whole
    assert llmkit(*flags, "--top", "1").code == 2
    assert output.read_bytes() == whole


def test_a_model_that_was_trained_anew_does_not_go_on_with_the_old_ones_file(llmkit, tmp_path):
    model = tiny.bert_folder(tmp_path / "model", seed=1)
    made, output = write_jsonl(tmp_path / "rows.jsonl", [{"text": text} for text in TEXTS]), tmp_path / "out.jsonl"
    flags = ("classify", "-m", model, "--input", made, "--output", output)
    assert llmkit(*flags).code == 0
    tiny.bert_folder(model, seed=2)
    assert llmkit(*flags).code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a", "b", "--pair", "c"), ("2 texts", "1 --pair")),
        (("a", "--top", "0"), ("--top",)),
        (("a", "--input", "rows.csv"), ("--input",)),
        (("--input", "nowhere.csv"), ("nowhere.csv",)),
    ],
)
def test_what_does_not_go_together_is_refused(llmkit, five, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    ran = llmkit("classify", *arguments, "-m", five)
    assert ran.code == 2
    assert all(word in ran.error for word in words)
    assert ran.out == ""


def test_a_dry_run_answers_nothing(llmkit, five):
    ran = llmkit("classify", *TEXTS, "-m", five, "--dry-run")
    assert (ran.code, ran.out) == (0, "")
    assert "4 texts" in ran.err


def test_a_terminal_gets_a_table(llmkit, on_terminal, five, regressor):
    table = on_terminal("classify", "the [/red] fox", "", "-m", five, "--top", "2")
    assert table.code == 0, table.err
    assert "the [/red] fox" in table.out
    best = llmkit("classify", "the [/red] fox", "-m", five, "--top", "2").rows[0]
    for name, score in best["scores"].items():
        assert name in table.out
        assert f"{score:.4f}" in table.out
    assert '{"text"' not in table.out
    asked = on_terminal("classify", "the fox", "-m", five, "--json")
    assert json.loads(asked.out)["text"] == "the fox"
    number = on_terminal("classify", "the fox", "-m", regressor)
    assert f"{plain(regressor, 'the fox').item():.4f}" in number.out


@pytest.mark.parametrize(
    ("kind", "flags", "sentence"),
    [
        ("classifier", ("--labels", "a,b"), "--labels: that is for zero-shot-classification, and "),
        ("classifier", ("--choice", "a", "--choice", "b"), "--choices: that is for multiple-choice, and "),
        ("tagger", ("--pair", "b"), "--pair: that is for multi-label-classification, text-classification, and "),
        ("classifier", ("--task", "token-classification"), "--task token-classification: "),
    ],
)
def test_the_flag_that_a_model_cannot_follow_is_the_one_that_was_given(llmkit, request, kind, flags, sentence):
    ran = llmkit("classify", "a", "-m", request.getfixturevalue(kind), *flags)
    assert (ran.code, ran.error[: len(sentence)]) == (2, sentence)


def test_a_value_that_a_flag_does_not_take_is_quoted_with_those_that_it_does(llmkit, classifier):
    ran = llmkit("classify", "a", "-m", classifier, "--windows", "median")
    assert ran.error == "Invalid value for '--windows': 'median' is not one of 'mean', 'max'."


def test_a_label_is_not_made_of_what_is_no_number(llmkit, tmp_path, classifier):
    import shutil

    from safetensors.torch import load_file, save_file

    model = tmp_path / "damaged"
    shutil.copytree(classifier, model)
    weights = load_file(model / "model.safetensors")
    weights["classifier.weight"].fill_(float("nan"))
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": ""}\n{"text": "a fine film"}\n', encoding="utf-8")
    ran = llmkit("classify", "-i", rows, "-m", model, "-o", tmp_path / "out.jsonl")
    says = f"{str(model)!r} answers row 2 with what is no finite number: its weights are damaged"
    assert (ran.code, ran.out, ran.error) == (2, "", says)
    assert not (tmp_path / "out.jsonl").exists()
