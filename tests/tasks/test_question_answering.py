from __future__ import annotations

import csv
import json
import random

import pytest
import tiny
import torch
from conftest import write_csv, write_jsonl
from datasets import Dataset
from evaluating import Files, read_jsonl, trained, valid, values
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, PreTrainedTokenizerFast

from llmkit.tasks import TASKS, TaskSettings, question_answering
from llmkit.tasks.encoding.context_windows import MAX_ANSWER_TOKENS, windows_of
from llmkit.tasks.encoding.squad_answers import ReferenceAnswers, problem_with_answers


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model that has learned where the answers of `tiny.questions` stand, as far as it can."""
    folder = tmp_path_factory.mktemp("reader")
    data = write_jsonl(folder / "train.jsonl", tiny.questions(400))
    trained(
        data,
        tiny.bert_folder(folder / "base", kind="reader", hidden=64),
        folder / "run",
        max_steps=120,
        batch_size=32,
        learning_rate=5e-3,
    )
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
    pairs = [(float(start[a] + end[b]), a, b) for a in inside for b in inside if a <= b < a + MAX_ANSWER_TOKENS]
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
    official = tmp_path / "official.json"
    official.write_text(json.dumps({row["id"]: row["answer"] for row in mine}), encoding="utf-8")
    assert llmkit("eval", data, "--predictions", official, "--json").json["metrics"] == ran.json["metrics"]


def test_gates_and_baselines_work_on_answers(llmkit, run, reader, data, tmp_path):
    base = tmp_path / "base.json"
    assert llmkit("eval", data, "-m", run, "-o", base, "--fail-under", "f1=0.3").code == 0
    worse = llmkit("eval", data, "-m", reader, "--baseline", base, "--max-drop", "f1=0.01")
    assert worse.code == 1
    assert "f1 went from" in worse.err
    same = llmkit("eval", data, "-m", run, "--baseline", base, "--max-drop", "f1=0", "--strict")
    assert same.code == 0, same.err


def test_neither_figures_nor_answers_depend_on_the_batches(llmkit, run, data, tmp_path):
    seen = []
    for size in (1, 3, 16):
        saved = tmp_path / f"{size}.jsonl"
        ran = llmkit("eval", data, "-m", run, "--batch-size", size, "--save-predictions", saved, "--json")
        assert ran.code == 0, ran.err
        assert ran.json["invariance"]["changed"] == 0
        seen.append((ran.json["metrics"], [row["prediction"] for row in read_jsonl(saved)]))
    assert seen[0] == seen[1] == seen[2]


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
    (tmp_path / "windows.txt").write_bytes(b"\xef\xbb\xbfone\r\n\r\n" + row["context"].encode())
    moved = llmkit(*asked, "--context", tmp_path / "windows.txt", "--json").rows[0]
    assert ("one\r\n\r\n" + row["context"])[moved["start"] : moved["end"]] == moved["answer"]
    missing = llmkit(*asked, "--context", tmp_path / "missing.txt")
    assert missing.code == 2
    assert "there is no such file" in missing.error
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
    assert llmkit("generate", "-m", run, "-i", source, "-o", tmp_path / "a.csv", "--top", 2).code == 0
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    assert [row["answer"] for row in cells] == [row["answer"] or "" for row in done]
    assert [len(json.loads(row["answers"])) for row in cells[:3]] == [2, 2, 2]
    shown = llmkit("generate", "-m", run, "-i", source)
    assert [row["answer"] for row in shown.rows] == [row["answer"] for row in done]


def test_a_table_has_an_answer_and_its_start_in_columns(llmkit, run, data, reader, tmp_path):
    made = tiny.questions(24, seed=5)
    flat = [
        {**row, "answers": None, "answer": row["answers"]["text"][0], "answer_start": row["answers"]["answer_start"][0]}
        for row in made
    ]
    for row in flat:
        del row["answers"]
    table = write_csv(tmp_path / "flat.csv", flat)
    ran = llmkit("eval", table, "-m", run, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["metrics"] == llmkit("eval", data, "-m", run, "--json").json["metrics"]
    flat[3] |= {"answer": "", "answer_start": ""}  # makes the other starts 12.0 where pandas wrote them
    flat[4] |= {"answer_start": f"{flat[4]['answer_start']}.0"}
    gaps = write_csv(tmp_path / "gaps.csv", flat)
    lacking = llmkit("eval", gaps, "-m", run, "--json")
    assert lacking.code == 0, lacking.err
    assert lacking.json["n"] == 24
    assert "1 of 24 questions have no answer, and the model always gives one (--no-answer" in lacking.err
    flat[6]["answer_start"] += 1
    wrong = llmkit("finetune", write_csv(tmp_path / "wrong.csv", flat), "-m", reader, "-o", tmp_path / "never")
    assert wrong.code == 2
    assert "training, row 7: the answer" in wrong.error
    assert not (tmp_path / "never").exists()


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
    windows = tokenizer(
        [row["question"]],
        [context],
        truncation="only_second",
        max_length=64,
        stride=21,
        padding=True,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_tensors="pt",
    )
    inputs = {name: windows[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    with torch.inference_mode():
        outputs = model(**inputs)
    best = max(
        (
            float(outputs.start_logits[w, a] + outputs.end_logits[w, b]),
            windows["offset_mapping"][w, a, 0].item(),
            windows["offset_mapping"][w, b, 1].item(),
        )
        for w in range(len(windows["input_ids"]))
        for a in range(64)
        for b in range(a, min(64, a + MAX_ANSWER_TOKENS))
        if windows.sequence_ids(w)[a] == 1 and windows.sequence_ids(w)[b] == 1
    )
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
    assert "questions have no answer, and the model may give none" in ran.err
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
    from llmkit.models.tokenizer_training import train_wordpiece

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
        ({"text": ["Rome"], "answer_start": [-4]}, "row 2: the answer 'Rome' starts at 9, not at answer_start -4"),
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
    data = write_jsonl(tmp_path / "rows.jsonl", [{**GOOD, "answers": "nowhere"}] * 2)
    ran = llmkit("eval", data, "-m", reader)
    assert ran.code == 2
    assert "the answer 'nowhere'" in ran.error


def test_an_answer_that_is_no_text_is_a_sentence():
    assert problem_with_answers("in 1953", {"text": [1953], "answer_start": [3]}) == "the answer '1953' is no text"
    assert problem_with_answers("in 1953", {"text": "1953", "answer_start": None}).endswith(
        "starts at 3, not at answer_start None"
    )
    assert problem_with_answers("in 1953", {"text": ["", " "], "answer_start": [-1, 0]}) is None


def test_a_model_that_cannot_do_it_and_windows_that_hold_nothing_are_refused(llmkit, reader, llama, data, tmp_path):
    for flags, sentence in (
        (("-m", llama), "needs a tokenizer that puts a token such as [CLS]"),
        (("-m", reader, "--max-length", 8), "--max-length 8 is too short"),
    ):
        ran = llmkit("finetune", data, *flags, "-o", tmp_path / "never")
        assert ran.code == 2
        assert sentence in ran.error
        assert not (tmp_path / "never").exists()


def test_training_windows_mark_the_first_answer_or_the_first_token(reader):
    tokenizer = AutoTokenizer.from_pretrained(reader)
    rows = tiny.questions(6)
    filler = "the king was lost and " * 12
    contexts = [f"{filler}{row['context']} {filler}" for row in rows]
    answers = [
        {
            "text": [row["answers"]["text"][0], "the"],
            "answer_start": [row["answers"]["answer_start"][0] + len(filler), 0],
        }
        for row in rows
    ]
    answers[2] = {"text": [], "answer_start": []}
    data = Dataset.from_list(
        [
            {"question": row["question"], "context": context, "answers": several}
            for row, context, several in zip(rows, contexts, answers, strict=True)
        ]
    )
    settings = TaskSettings(columns={role: role for role in ("question", "context", "answers")}, max_length=48)
    prepared = TASKS["question-answering"].encoding.encode(data, tokenizer, settings, training=True)
    found: dict[int, set[str]] = {}
    for window in prepared:
        start, end = window["start_positions"], window["end_positions"]
        text = tokenizer.decode(window["input_ids"][start : end + 1])
        assert (text == "[CLS]") == (start == end == 0)
        found.setdefault(window["row"], set()).add(text)
    assert found == {row: {"[CLS]", *(several["text"][:1])} for row, several in enumerate(answers)}


def test_rows_are_windowed_alike_however_many_are_tokenized_at_a_time(reader, monkeypatch):
    tokenizer, task = AutoTokenizer.from_pretrained(reader), TASKS["question-answering"]
    data = Dataset.from_list(tiny.questions(7))
    settings = TaskSettings(columns={role: role for role in ("question", "context", "answers")}, max_length=16)
    for training in (True, False):
        whole = task.encoding.encode(data, tokenizer, settings, training).to_list()
        monkeypatch.setattr(question_answering, "ROWS_PER_SLICE", 3)
        assert task.encoding.encode(data, tokenizer, settings, training).to_list() == whole
        assert {row["row"] for row in whole} == set(range(7))
        monkeypatch.undo()


def test_the_blank_that_sentencepiece_takes_for_a_part_of_a_word_is_none_of_the_answer():
    words = ["<s>", "</s>", "<unk>", "<pad>", "\u2581who", "\u2581Anna", "\u2581saw", "\u2581Rome"]
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", "<s> $A </s> </s> $B </s>", [("<s>", 0), ("</s>", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, cls_token="<s>", sep_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    text = "Anna saw Rome"
    raw = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
    (window,) = windows_of(["who"], [text], tokenizer, 16)
    spans = [text[a:b] for a, b, inside in zip(window.starts, window.ends, window.in_context, strict=True) if inside]
    assert [text[a:b] for a, b in raw][1:] == [" saw", " Rome"]
    assert spans == ["Anna", "saw", "Rome"]
    assert window.positions(ReferenceAnswers(("saw Rome",), (5,))) == (5, 6)


def test_files_that_lack_a_column_or_mix_kinds_are_refused(llmkit, reader, data, tmp_path):
    alone = write_jsonl(tmp_path / "alone.jsonl", [{"question": "who?"}])
    mixed = write_jsonl(tmp_path / "mixed.jsonl", [{"question": "who?", "context": some} for some in ("a fox", ["a"])])
    other = write_csv(tmp_path / "other.csv", [{"question": "who?", "context": "a fox"}])
    for command, sentence in (
        (("generate", "-i", alone), "which column holds the context, beside 'question'?"),
        (("generate", "-i", mixed), 'row 2: its context is a list, ["a"]; a text is wanted'),
        (("finetune", data, "--validation", other, "-o", tmp_path / "never"), "has no column 'answers' for answers"),
    ):
        ran = llmkit(*command, "-m", reader)
        assert ran.code == 2
        assert sentence in ran.error
        assert ran.out == ""
    assert not (tmp_path / "never").exists()
