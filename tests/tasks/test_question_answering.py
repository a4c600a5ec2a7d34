from __future__ import annotations

import json
import random

import pytest
import tiny
import torch
from conftest import write_csv, write_jsonl
from evaluating import Files, read_jsonl, valid, values
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from llmkit.tasks.question_answering import LONGEST


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model that has learned where the answers of `tiny.questions` stand, as far as it can."""
    from llmkit.finetuning import finetune
    from llmkit.options import RunOptions, TrainingOptions

    folder = tmp_path_factory.mktemp("reader")
    data = write_jsonl(folder / "train.jsonl", tiny.questions(400))
    base = tiny.bert_folder(folder / "base", kind="reader", hidden=64)
    options = TrainingOptions(max_steps=120, batch_size=32, learning_rate=5e-3)
    finetune(str(data), str(base), training_options=options, run=RunOptions(output=folder / "run"))
    return folder / "run"


@pytest.fixture
def data(tmp_path):
    return write_jsonl(tmp_path / "mine.jsonl", tiny.questions(24, seed=5))


def plain_answer(folder, question: str, context: str) -> tuple[int, int]:
    """The best span of a context that fits one window, by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForQuestionAnswering.from_pretrained(folder).eval()
    encoded = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")[0].tolist()
    with torch.inference_mode():
        outputs = model(**encoded)
    start, end = outputs.start_logits[0], outputs.end_logits[0]
    inside = [place for place, number in enumerate(encoded.sequence_ids(0)) if number == 1]
    pairs = [(float(start[a] + end[b]), a, b) for a in inside for b in inside if a <= b < a + LONGEST]
    _, first, last = max(pairs)
    return offsets[first][0], offsets[last][1]


def test_answers_equal_plain_transformers_and_score_again_from_their_file(llmkit, run, data, tmp_path):
    files = Files(tmp_path)
    ran = llmkit("eval", data, "-m", run, *files.flags, "--json")
    assert ran.code == 0, ran.err
    assert list(ran.json["metrics"]) == ["exact_match", "f1"]
    assert values(ran.json)["f1"] > 0.3  # a guess among the words of a context has 0.1
    for row, saved in zip(tiny.questions(24, seed=5), files.rows):
        start, end = plain_answer(run, row["question"], row["context"])
        assert saved["prediction"] == row["context"][start:end]
        assert saved["label"] == row["answers"]["text"]
    again = llmkit("eval", data, "--predictions", files.predictions, "--json")
    assert again.code == 0, again.err
    assert valid(again.json)["metrics"] == ran.json["metrics"]
    mine = [{"id": f"q{place}", "answer": row["prediction"]} for place, row in enumerate(files.rows)]
    by_id = llmkit("eval", data, "--predictions", write_jsonl(tmp_path / "by_id.jsonl", mine[::-1]), "--json")
    assert by_id.json["metrics"] == ran.json["metrics"]


def test_gates_and_baselines_work_on_answers(llmkit, run, reader, data, tmp_path):
    base = tmp_path / "base.json"
    assert llmkit("eval", data, "-m", run, "-o", base, "--fail-under", "f1=0.3").code == 0
    worse = llmkit("eval", data, "-m", reader, "--baseline", base, "--max-drop", "f1=0.01")
    assert worse.code == 1
    assert "f1 went from" in worse.err
    same = llmkit("eval", data, "-m", run, "--batch-size", 5, "--baseline", base, "--max-drop", "f1=0", "--strict")
    assert same.code == 0, same.err


def test_generate_answers_from_a_text_a_file_and_standard_input(llmkit, on_terminal, run, tmp_path):
    row = tiny.questions(1, seed=9)[0]
    asked = ("generate", row["question"], "-m", run)
    said = llmkit(*asked, "--context", row["context"], "--json")
    assert said.code == 0, said.err
    found = said.rows[0]
    assert set(found) == {"question", "answer", "score", "start", "end"}
    assert (found["start"], found["end"]) == plain_answer(run, row["question"], row["context"])
    assert row["context"][found["start"] : found["end"]] == found["answer"]
    assert 0 < found["score"] <= 1
    (tmp_path / "context.txt").write_text(row["context"], encoding="utf-8")
    assert llmkit(*asked, "--context", tmp_path / "context.txt", "--json").rows == said.rows
    assert llmkit(*asked, "--context", "-", "--json", stdin=row["context"]).rows == said.rows
    several = llmkit(*asked, "--context", row["context"], "--top", 3, "--json").rows[0]["answers"]
    assert len(several) == 3
    assert several[0]["answer"] == found["answer"]
    assert several[0]["score"] >= several[1]["score"] >= several[2]["score"]
    table = on_terminal(*asked, "--context", row["context"]).out
    assert found["answer"] in table
    alone = llmkit(*asked)
    assert alone.code == 2
    assert "--context" in alone.error
    sampled = llmkit(*asked, "--context", row["context"], "--temperature", "0.5")
    assert sampled.code == 2
    assert "--temperature" in sampled.error


def test_files_of_questions_are_answered_and_keep_their_columns(llmkit, run, tmp_path):
    made = tiny.questions(3, seed=2)
    rows = [{"n": str(n), "question": row["question"], "context": row["context"]} for n, row in enumerate(made)]
    rows.append({"n": "3", "question": "", "context": "a fox"})
    source = write_csv(tmp_path / "q.csv", rows)
    assert llmkit("generate", "-m", run, "-i", source, "-o", tmp_path / "a.jsonl").code == 0
    done = read_jsonl(tmp_path / "a.jsonl")
    assert [row["n"] for row in done] == ["0", "1", "2", "3"]
    assert all(row["answer"] == row["context"][row["start"] : row["end"]] for row in done[:3])
    assert done[3]["answer"] is None


def test_the_best_span_is_found_in_whichever_window_it_stands(llmkit, run, tmp_path):
    row = tiny.questions(1, seed=9)[0]
    dice = random.Random(4)
    filler = " ".join(dice.choice(tiny.THINGS + tiny.GOOD + tiny.BAD) for _ in range(150)) + " "
    context = f"{filler}{row['context']} {filler}"
    answers = {"text": row["answers"]["text"], "answer_start": [row["answers"]["answer_start"][0] + len(filler)]}
    data = write_jsonl(tmp_path / "long.jsonl", [{**row, "context": context, "answers": answers}] * 2)
    ran = llmkit("eval", data, "-m", run, "--json", "-o", tmp_path / "r.json", "--batch-size", 3)
    assert ran.code == 0, ran.err
    assert ran.json["n"] == 2
    assert len(json.loads((tmp_path / "r.json").read_text())["rows"]["prediction"]) == 2
    tokenizer = AutoTokenizer.from_pretrained(run)
    model = AutoModelForQuestionAnswering.from_pretrained(run).eval()
    windows = tokenizer([row["question"]], [context], truncation="only_second", max_length=64, stride=16, padding=True,
                        return_overflowing_tokens=True, return_offsets_mapping=True, return_tensors="pt")  # fmt: skip
    inputs = {name: windows[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    with torch.inference_mode():
        outputs = model(**inputs)
    best = max(
        (float(outputs.start_logits[w, a] + outputs.end_logits[w, b]), windows["offset_mapping"][w, a, 0].item(),
         windows["offset_mapping"][w, b, 1].item())
        for w in range(len(windows["input_ids"]))
        for a in range(64) for b in range(a, min(64, a + LONGEST))
        if windows.sequence_ids(w)[a] == 1 and windows.sequence_ids(w)[b] == 1
    )  # fmt: skip
    found = llmkit("generate", row["question"], "--context", context, "-m", run, "--json").rows[0]
    assert (found["start"], found["end"]) == best[1:]


def test_no_answer_is_learned_remembered_and_can_be_turned_off(llmkit, reader, tmp_path):
    rows = tiny.questions(32)
    for row in rows[::2]:
        row |= {"question": "the moon was", "answers": {"text": [], "answer_start": []}}
    data = write_jsonl(tmp_path / "v2.jsonl", rows)
    run = tmp_path / "run"
    ran = llmkit("finetune", data, "-m", reader, "-o", run, "--max-steps", 60, "--learning-rate", "5e-3", "--json")
    assert ran.code == 0, ran.err
    assert json.loads((run / "config.json").read_text())["no_answer"] is True
    context = rows[0]["context"]
    none = llmkit("generate", "the moon was", "--context", context, "-m", run, "--json").rows[0]
    assert (none["answer"], none["start"], none["end"]) == ("", 0, 0)
    some = llmkit("generate", "the moon was", "--context", context, "-m", run, "--always-answer", "--json").rows[0]
    assert some["answer"]
    assert llmkit("eval", data, "-m", run, "--json").json["metrics"] == ran.json["metrics"]
    usual, always = (
        llmkit("eval", data, "-m", run, "--split", "train", *flags, "--json").json
        for flags in ((), ("--always-answer",))
    )
    assert values(always)["exact_match"] < values(usual)["exact_match"]


def test_chinese_answers_are_found_by_characters(llmkit, tmp_path):
    from llmkit.tokenization import train_wordpiece

    context, question = "安娜住在北京\uff0c汤姆住在上海。", "安娜住在哪里\uff1f"
    rows = [{"question": question, "context": context, "answers": {"text": ["北京"], "answer_start": [4]}}] * 16
    base = tiny.bert_folder(tmp_path / "base", kind="reader")
    train_wordpiece([context, question] * 5, 300, tiny.CONTEXT).save_pretrained(base)
    data, run = write_jsonl(tmp_path / "zh.jsonl", rows), tmp_path / "run"
    ran = llmkit("finetune", data, "-m", base, "-o", run, "--max-steps", 30, "--learning-rate", "5e-3", "--json")
    assert ran.code == 0, ran.err
    assert values(ran.json) == {"exact_match": 1, "f1": 1}
    found = llmkit("generate", question, "--context", context, "-m", run, "--json").rows[0]
    assert (found["answer"], found["start"], found["end"]) == ("北京", 4, 6)


GOOD = {"question": "who?", "context": "Anna saw Rome", "answers": {"text": ["Rome"], "answer_start": [9]}}


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ({"text": ["Paris"], "answer_start": [9]}, "row 2: the answer 'Paris' is not in its context"),
        ({"text": ["Rome"], "answer_start": [8]}, "row 2: the answer 'Rome' starts at 9, not at answer_start 8"),
        ({"text": ["Rome"], "answer_start": [9, 1]}, "row 2: 1 answers and 2 of their starts"),
    ],
)
def test_answers_that_contradict_their_context_are_named(llmkit, reader, tmp_path, answers, sentence):
    data = write_jsonl(tmp_path / "rows.jsonl", [GOOD, {**GOOD, "answers": answers}])
    for command in (("finetune", data, "-m", reader, "-o", tmp_path / "run"), ("eval", data, "-m", reader)):
        ran = llmkit(*command)
        assert ran.code == 2
        assert sentence in ran.error
    assert not (tmp_path / "run").exists()


def test_a_string_where_the_answers_belong_is_a_sentence(llmkit, reader, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", [{**GOOD, "answers": "Rome"}] * 2)
    ran = llmkit("eval", data, "-m", reader)
    assert ran.code == 2
    assert "row 1: its answers are 'Rome'" in ran.error
