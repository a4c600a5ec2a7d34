from __future__ import annotations

import json

import numpy as np
import pytest
import tiny
import torch
from conftest import write_csv, write_jsonl
from datasets import Dataset
from evaluating import Files, read_jsonl, trained, valid, values
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoModelForMultipleChoice, AutoTokenizer

from llmkit.tasks import TASKS, TaskSettings
from llmkit.tasks.base import alternatives
from llmkit.tasks.base.alternatives import encode_continuations

TASK = TASKS["multiple-choice"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A chooser that has learned that good words are right."""
    folder = tmp_path_factory.mktemp("chooser")
    data = write_jsonl(folder / "train.jsonl", tiny.choices(160))
    trained(data, tiny.bert_folder(folder / "base", kind="chooser"), folder / "run", max_steps=60)
    return folder / "run"


@pytest.fixture
def data(tmp_path):
    return write_jsonl(tmp_path / "mine.jsonl", tiny.choices(24, seed=5))


def likelihoods(folder, question: str, choices: list[str]) -> list[float]:
    """The log-likelihood of each choice after the prompt, by transformers alone, one at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    prompt, found = f"Question: {question}\nAnswer:", []
    begin = len(tokenizer(prompt)["input_ids"])
    for choice in choices:
        ids = tokenizer(f"{prompt} {choice}", return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            logs = torch.log_softmax(model(ids).logits[0].double(), -1)
        found.append(float(sum(logs[place - 1, ids[0, place]] for place in range(begin, ids.shape[1]))))
    return found


def test_an_encoders_choices_equal_plain_transformers_and_score_again_from_their_file(llmkit, run, data, tmp_path):
    files = Files(tmp_path)
    ran = llmkit("eval", data, "-m", run, *files.flags, "--json")
    assert ran.code == 0, ran.err
    assert values(ran.json)["accuracy"] > 0.9
    tokenizer = AutoTokenizer.from_pretrained(run)
    model = AutoModelForMultipleChoice.from_pretrained(run).eval()
    for row, saved in zip(tiny.choices(24, seed=5), files.rows):
        encoded = tokenizer([row["question"]] * 4, row["choices"], return_tensors="pt", padding=True)
        with torch.inference_mode():
            logits = model(**{name: value[None] for name, value in encoded.items()}).logits[0]
        assert saved["prediction"] == int(logits.argmax())
        assert saved["label"] == row["answer"]
        plain = torch.softmax(logits.double(), -1)
        np.testing.assert_allclose(list(saved["scores"].values()), plain, atol=1e-5)
    again = llmkit("eval", data, "--predictions", files.predictions, "--json")
    assert again.code == 0, again.err
    assert valid(again.json)["metrics"] == ran.json["metrics"]


def test_a_decoder_takes_the_likeliest_choice_and_the_likeliest_per_character(llmkit, llama, data, tmp_path):
    files = Files(tmp_path)
    ran = llmkit("eval", data, "-m", llama, *files.flags, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["task"] == "multiple-choice"
    assert set(ran.json["metrics"]) == {"accuracy", "accuracy_norm"}
    for row, saved in zip(tiny.choices(24, seed=5), files.rows):
        plain = np.array(likelihoods(llama, row["question"], row["choices"]))
        assert saved["prediction"] == int(plain.argmax())
        assert saved["normalised"] == int((plain / [len(one) for one in row["choices"]]).argmax())
        chances = np.exp(plain - plain.max()) / np.exp(plain - plain.max()).sum()
        np.testing.assert_allclose(list(saved["scores"].values()), chances, atol=1e-4)


def test_a_decoder_is_no_base_to_finetune_and_an_encoder_without_a_head_is(llmkit, llama, masked, data, tmp_path):
    ran = llmkit("finetune", data, "-m", llama, "-o", tmp_path / "run", "--task", "multiple-choice")
    assert ran.code == 2
    assert "multiple-choice" in ran.error
    headless = llmkit("finetune", data, "-m", masked, "-o", tmp_path / "run", "--max-steps", 2, "--json")
    assert headless.code == 0, headless.err
    assert headless.json["task"] == "multiple-choice"


def test_gates_and_baselines_work_on_choices(llmkit, run, chooser, data, tmp_path):
    base = tmp_path / "base.json"
    assert llmkit("eval", data, "-m", run, "-o", base, "--fail-under", "accuracy=0.9").code == 0
    worse = llmkit("eval", data, "-m", chooser, "--baseline", base, "--max-drop", "accuracy=0.05", "--json")
    assert worse.code == 1
    assert worse.json["baseline"]["metrics"]["accuracy"]["test"].endswith("McNemar")
    same = llmkit("eval", data, "-m", run, "--batch-size", 3, "--baseline", base, "--max-drop", "accuracy=0")
    assert same.code == 0, same.err


def test_rows_of_other_numbers_of_choices_change_nothing_for_their_neighbours(llmkit, run, llama, tmp_path):
    rows = [
        {
            "question": "the fox was",
            "choices": {"text": ["good", "bad", "sad"], "label": ["A", "B", "C"]},
            "answer": "A",
        },
        {"question": "the king was", "choices": {"text": ["bad", "kind"], "label": ["1", "2"]}, "answer": "2"},
    ]
    for model in (run, llama):
        data = write_jsonl(tmp_path / "rows.jsonl", rows)
        files = [tmp_path / f"{model.name}-{size}.json" for size in (1, 2)]
        for size, file in zip((1, 2), files):
            assert llmkit("eval", data, "-m", model, "--batch-size", size, "-o", file).code == 0
        alone, together = (json.loads(file.read_text())["rows"] for file in files)
        assert [len(some) for some in together["scores"]] == [3, 2]
        for one, other in zip(alone["scores"], together["scores"]):
            np.testing.assert_allclose(one, other, atol=1e-5)
    trained = llmkit(
        "finetune",
        write_jsonl(tmp_path / "t.jsonl", rows * 8),
        "-m",
        run,
        "-o",
        tmp_path / "again",
        "--max-steps",
        2,
        "--json",
    )
    assert trained.code == 0, trained.err


@pytest.mark.parametrize(
    ("row", "columns", "answer"),
    [
        ({"question": "q", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B"}, ("choices",), 1),
        ({"goal": "q", "sol1": "x", "sol2": "y", "label": 1}, ("choice0", "choice1"), 1),
        ({"ctx": "q", "endings": ["x", "y"], "label": "0"}, ("choices",), 0),
        ({"sent1": "q", "ending0": "x", "ending1": "y", "label": 0}, ("choice0", "choice1"), 0),
        ({"question": "q", "options": ["x", "y"], "answer": "y"}, ("choices",), 1),
        ({"question": "q", "options": ["1", "0"], "answer": "1"}, ("choices",), 0),
        ({"question": "q", "options": ["1", "0"], "answer": 1}, ("choices",), 1),
        ({"question": "q", "options": '["x", "y"]', "answer": "A"}, ("choices",), 0),
    ],
)
def test_the_shapes_that_datasets_have_are_understood(chooser, row, columns, answer):
    dataset = Dataset.from_list([row] * 2)
    found = TASK.columns.match(dataset, {})
    assert set(found) == {"question", "answer", *columns}
    assert TASK.columns.first_invalid_row(dataset, found) is None
    prepared = TASK.encoding.encode(
        dataset, AutoTokenizer.from_pretrained(chooser), TaskSettings(columns=found, max_length=32), training=True
    )
    assert prepared["labels"] == [answer] * 2
    assert len(prepared[0]["input_ids"]) == 2


def test_classify_takes_choices_from_the_shell_and_from_files(llmkit, on_terminal, run, llama, tmp_path):
    asked = ("classify", "the fox was", "--choice", "bad", "--choice", "good", "-m")
    for model in (run, llama):
        ran = llmkit(*asked, model, "--json")
        assert ran.code == 0, ran.err
        found = ran.rows[0]
        assert set(found["scores"]) == {"bad", "good"}
        assert sum(found["scores"].values()) == pytest.approx(1)
        assert found["label"] == max(found["scores"], key=found["scores"].get)
    assert llmkit(*asked, run, "--json").rows[0]["label"] == "good"
    assert "good" in on_terminal(*asked, run).out
    rows = [{"id": 1, "question": "the fox was", "choices": ["sad", "happy"]}, {"id": 2, "question": "", "choices": []}]
    source = write_jsonl(tmp_path / "q.jsonl", rows)
    assert llmkit("classify", "-m", run, "-i", source, "-o", tmp_path / "a.jsonl").code == 0
    done = read_jsonl(tmp_path / "a.jsonl")
    assert [row["label"] for row in done] == ["happy", None]
    cells = write_csv(tmp_path / "q.csv", [{"question": "the fox was", "choices": '["cruel", "sweet"]'}])
    assert llmkit("classify", "-m", run, "-i", cells).rows[0]["label"] == "sweet"
    alone = llmkit("classify", "the fox was", "-m", run)
    assert alone.code == 2
    assert "choice" in alone.error


def test_chinese_choices_are_learned(llmkit, tmp_path):
    from llmkit.models.tokenizer_training import train_wordpiece

    rows = [{"question": "狐狸是什么", "choices": ["动物", "房子"], "answer": "动物"}] * 16
    base = tiny.bert_folder(tmp_path / "base", kind="chooser")
    train_wordpiece(["狐狸是什么 动物 房子"] * 5, 300, tiny.CONTEXT).save_pretrained(base)
    data, run = write_jsonl(tmp_path / "zh.jsonl", rows), tmp_path / "run"
    ran = llmkit("finetune", data, "-m", base, "-o", run, "--max-steps", 20, "--learning-rate", "5e-3", "--json")
    assert ran.code == 0, ran.err
    assert values(ran.json)["accuracy"] == 1
    assert (
        llmkit("classify", "狐狸是什么", "--choice", "房子", "--choice", "动物", "-m", run).rows[0]["label"] == "动物"
    )


GOOD = {"question": "q", "choices": ["x", "y"], "answer": 0}


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"choices": ["x"]}, "row 4: 1 choice, and two or more are wanted"),
        ({"choices": ["x", "y", "z"]}, "row 4: 3 choices, and 2 in the others"),
        ({"choices": ["x", ""]}, "row 4: choice 2 of 2 is empty"),
        ({"answer": 2}, "row 4: the answer '2' is none of the 2 choices"),
    ],
)
def test_rows_whose_choices_are_wrong_are_named(llmkit, chooser, tmp_path, row, sentence):
    data = write_jsonl(tmp_path / "rows.jsonl", [GOOD, GOOD, GOOD, {**GOOD, **row}])
    for command in (("finetune", data, "-m", chooser, "-o", tmp_path / "run"), ("eval", data, "-m", chooser)):
        ran = llmkit(*command)
        assert ran.code == 2
        assert sentence in ran.error
    assert not (tmp_path / "run").exists()


def test_a_string_of_choices_and_a_wrong_prediction_are_sentences(llmkit, chooser, tmp_path):
    strings = write_jsonl(tmp_path / "s.jsonl", [{**GOOD, "choices": "x or y"}] * 2)
    ran = llmkit("eval", strings, "-m", chooser)
    assert ran.code == 2
    assert "row 1: the choices 'x or y' are no list of texts" in ran.error
    data = write_jsonl(tmp_path / "rows.jsonl", [{**GOOD, "id": 1}])
    predictions = write_jsonl(tmp_path / "p.jsonl", [{"id": 1, "prediction": "w"}])
    ran = llmkit("eval", data, "--predictions", predictions)
    assert ran.code == 2
    assert "predictions, row 1: 'w' is none of the choices" in ran.error


def test_a_context_that_is_too_long_loses_its_start_and_never_its_continuation(llama):
    tokenizer = AutoTokenizer.from_pretrained(llama)
    ids, firsts, is_cut = encode_continuations(["the fox was good and " * 20], ["sad"], tokenizer, 16)
    assert is_cut
    assert len(ids[0]) == 16
    assert tokenizer.decode(ids[0][firsts[0] :]) == " sad"


@pytest.mark.parametrize("single", ["{} $A", "$A {}", "$A"])
def test_tokens_that_a_tokenizer_adds_do_not_move_the_continuation(llama, single):
    tokenizer = AutoTokenizer.from_pretrained(llama)
    end = (tokenizer.eos_token, tokenizer.eos_token_id)
    added = TemplateProcessing(single=single.format(end[0]), special_tokens=[end])
    tokenizer.backend_tokenizer.post_processor = added
    ids, firsts, _ = encode_continuations(["the fox was ", ""], ["sad", "sad"], tokenizer, 32)
    assert [tokenizer.decode(some[first:]) for some, first in zip(ids, firsts)] == [" sad", "sad"]


def test_a_decoder_scores_the_same_in_slices(llama, monkeypatch):
    tokenizer, model = AutoTokenizer.from_pretrained(llama), AutoModelForCausalLM.from_pretrained(llama).eval()
    ids, firsts, _ = encode_continuations(["the fox was"] * 3, [" good", " very bad", " sad"], tokenizer, 32)
    batch = alternatives.pad_alternatives([{"input_ids": ids, "first": firsts}] * 2, 0)
    with torch.inference_mode():
        whole = alternatives.continuation_scores(model, batch)
        monkeypatch.setattr(alternatives, "TOKENS_PER_FORWARD", 2 * batch["input_ids"].shape[-1])
        np.testing.assert_allclose(alternatives.continuation_scores(model, batch), whole, atol=1e-5)
