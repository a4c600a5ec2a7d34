"""Files of chats, preferences, entities, questions and choices as people have them: their task, and their rows."""

from __future__ import annotations

import json

import pytest

from llmkit import tasks
from llmkit.data import open_dataset
from llmkit.errors import DataError, UndecidedError
from llmkit.options import DataOptions
from llmkit.tasks import Evidence

ROWS = 12
SENTENCE = (["Ann", "Roe", "saw", "Rome", "."], ["B-PER", "I-PER", "O", "B-LOC", "O"])
TEXT = "Ann Roe saw Rome ."
CONTEXT = "The mayor of town {} is Bob Ray."


def lines(row) -> str:
    """Rows as JSON, one a line, with {} in them the number of the row."""
    return "".join(json.dumps(row, ensure_ascii=False).replace("{}", str(number)) + "\n" for number in range(ROWS))


def table(header: str, row: str) -> str:
    return f"{header}\n" + "".join(row.replace("{}", str(number)) + "\n" for number in range(ROWS))


def conll(line: str = "{word}\t{tag}", header: str = "") -> str:
    block = "".join(line.format(word=word, tag=tag) + "\n" for word, tag in zip(*SENTENCE))
    return header + "\n".join(block.replace("saw", f"saw{number}") for number in range(ROWS))


def resolved(path, text: str):
    path.write_text(text, encoding="utf-8")
    source = open_dataset(str(path))
    able = tasks.for_inspection(None, None, DataOptions())
    return tasks.resolve_task(able, Evidence.of(source), {}, "finetune", DataOptions(), None), source.any()


def first_row(path, text: str) -> tuple[str, dict[str, object]]:
    resolution, rows = resolved(path, text)
    row = resolution.convert(rows)[0]
    return resolution.task.name, {role: row[name] for role, name in resolution.columns.items()}


def said(messages) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in messages]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", lines({"conversations": ["Why {}?", "So."]})),
        ("a.jsonl", lines({"id": "{}", "data": ["Why {}?", "So."]})),
        ("a.jsonl", lines({"conversation": [{"human": "Why {}?", "assistant": "So."}]})),
        ("a.jsonl", lines({"turns": [{"speaker": "USER", "utterance": "Why {}?"}, {"speaker": "BOT", "text": "So."}]})),
        ("a.jsonl", lines([{"role": "user", "content": "Why {}?"}, {"role": "assistant", "content": "So."}])),
        ("a.jsonl", lines({"messages": [{"Role": "User", "Content": "Why {}?"}, {"Role": "AI", "Content": "So."}]})),
    ],
)
def test_turns_are_read_in_whatever_form(tmp_path, name, text):
    task, row = first_row(tmp_path / name, text)
    assert task == "conversational"
    turns = [{key.lower(): value for key, value in turn.items()} for turn in row["messages"]]
    assert said(turns) == [("user", "Why 0?"), ("assistant", "So.")]


@pytest.mark.parametrize("turns", [("turn", (1, 0)), ("other", (0, 1))])
def test_one_turn_a_row_is_made_into_conversations(tmp_path, turns):
    name, (first, second) = turns
    said_in_turn = [(0, "user", "Why {}?"), (1, "assistant", "So.")]
    rows = "".join(
        f"{number},{place},{role},{text.replace('{}', str(number))}\n"
        for number in range(ROWS)
        for place, role, text in (said_in_turn[first], said_in_turn[second])
    )
    task, row = first_row(tmp_path / "a.csv", f"conversation_id,{name},role,content\n{rows}")
    assert (task, said(row["messages"])) == ("conversational", [("user", "Why 0?"), ("assistant", "So.")])


def test_trees_of_turns_are_refused(tmp_path):
    more = {"message_tree_id": "{}", "parent_id": "p"}
    turns = lines({"role": "user", "text": "Why {}?", **more}) + lines({"role": "assistant", "text": "So {}.", **more})
    with pytest.raises(DataError, match="the rows are turns"):
        resolved(tmp_path / "a.jsonl", turns)


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "citations"])
def test_what_turns_say_and_nothing_reads_is_named(tmp_path, key):
    messages = [{"role": "user", "content": "Why {}?"}, {"role": "assistant", "content": "So.", key: "I think so too."}]
    resolution, _ = resolved(tmp_path / "a.jsonl", lines({"messages": messages}))
    assert resolution.sentences()[-1] == f"not used of the turns: {key}"


@pytest.mark.parametrize(
    ("prompt", "completion"),
    [("User", "AI"), ("Patient", "Doctor"), ("inputs", "targets"), ("Context", "Response"), ("问题", "回答")],
)
def test_columns_of_questions_and_answers_are_known_by_name(tmp_path, prompt, completion):
    task, row = first_row(tmp_path / "a.csv", table(f"{prompt},{completion}", "Why is it {} now?,So it is {} then."))
    assert (task, row["prompt"], row["completion"]) == ("conversational", "Why is it 0 now?", "So it is 0 then.")


def test_answers_that_are_numbers_are_answers(tmp_path):
    rows = [{"question": f"What is {number} and {number}?", "answer": 2 * number} for number in range(ROWS)]
    task, row = first_row(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert (task, row["completion"]) == ("conversational", 0)


@pytest.mark.parametrize(
    ("row", "chosen"),
    [
        ({"prompt": "Why {}?", "response_0": "Good {}.", "response_1": "Bad {}.", "better_response_id": 0}, "Good 0."),
        ({"prompt": "Why {}?", "response_0": "Bad {}.", "response_1": "Good {}.", "better_response_id": 1}, "Good 0."),
        ({"history": "Why {}?", "human_ref_A": "Good {}.", "human_ref_B": "Bad {}.", "labels": 1}, "Good 0."),
        ({"instruction": "Why {}?", "output_1": "Bad {}.", "output_2": "Good {}.", "preference": 2}, "Good 0."),
        ({"prompt": "Why {}?", "response_a": "Bad {}.", "response_b": "Good {}.", "winner": "model_b"}, "Good 0."),
        (
            {
                "prompt": "Why {}?",
                "response_a": "Bad {}.",
                "response_b": "Good {}.",
                "winner_model_a": 0,
                "winner_model_b": 1,
                "winner_tie": 0,
            },
            "Good 0.",
        ),
        ({"question": "Why {}?", "good_answer": "Good {}.", "bad_answer": "Bad {}."}, "Good 0."),
        ({"question": "Why {}?", "preferred_output": "Good {}.", "non_preferred_output": "Bad {}."}, "Good 0."),
    ],
)
def test_the_better_answer_is_the_chosen_one(tmp_path, row, chosen):
    task, found = first_row(tmp_path / "a.jsonl", lines(row))
    assert (task, found["chosen"], found["rejected"]) == ("preference-optimization", chosen, "Bad 0.")


def test_a_tie_is_left_out_and_counted(tmp_path):
    row = {"prompt": "Why {}?", "response_a": "Good {}.", "response_b": "Bad {}.", "winner": "a"}
    tie = json.dumps({**row, "winner": "tie"}) + "\n"
    resolution, rows = resolved(tmp_path / "a.jsonl", tie + lines(row))
    assert len(resolution.convert(rows)) == len(rows) - 1
    assert resolution.sentences()[0].endswith("; 1 rows where neither is better are left out")


def test_two_answers_of_which_nothing_says_which_is_better_are_refused(tmp_path):
    with pytest.raises(UndecidedError) as refused:
        resolved(tmp_path / "a.jsonl", lines({"prompt": "Why {}?", "completion_a": "One {}.", "completion_b": "Two."}))
    flags = {flags for _, flags in refused.value.readings}
    pair = "--task preference-optimization --column prompt=prompt"
    assert f"{pair} --column chosen=completion_a --column rejected=completion_b" in flags
    assert f"{pair} --column chosen=completion_b --column rejected=completion_a" in flags


@pytest.mark.parametrize("bad", ["\U0001f44e", "dislike", False, "incorrect"])
def test_messages_that_are_judged_are_refused(tmp_path, bad):
    messages = [{"role": "user", "content": "Why {}?"}, {"role": "assistant", "content": "So."}]
    with pytest.raises(DataError, match="feedback says which answers are good"):
        resolved(tmp_path / "a.jsonl", lines({"messages": messages, "feedback": bad}))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.tsv", conll()),
        ("a.tsv", conll("{word}\t{tag}", "word\ttag\n")),
        ("a.csv", conll('"{word}",{tag}', "word,tag\n")),
        ("a.conll", "#begin document (x)\n" + conll("x/y 0 1 {word} NN * - - - Ann {tag} -")),
        ("a.jsonl", lines([TEXT, {"entities": [[0, 7, "PER"], [12, 16, "LOC"]]}])),
        ("a.csv", table("text,entities", f"{TEXT},\"[(0, 7, 'PER'), (12, 16, 'LOC')]\"")),
        ("a.json", lines({"text": TEXT, "label": {"PER": {"Ann Roe": [[0, 6]]}, "LOC": {"Rome": [[12, 15]]}}})),
        ("a.jsonl", lines({"text": TEXT, "spans": [{"type": "PER", "pos": [0, 7]}, {"type": "LOC", "pos": [12, 16]}]})),
        ("a.csv", table("sentence,word_labels", f'{TEXT},"{",".join(SENTENCE[1])}"')),
        ("a.csv", table("text,labels", f"{TEXT},{' '.join(SENTENCE[1])}")),
    ],
)
def test_words_and_tags_are_read_in_whatever_form(tmp_path, name, text):
    task, row = first_row(tmp_path / name, text)
    assert (task, row["tags"]) == ("token-classification", SENTENCE[1])
    assert [word.rstrip("0") for word in row["tokens"]] == SENTENCE[0]


def test_spans_in_brackets_are_tags(tmp_path):
    text = conll("x/y 0 1 {word} NN * - - - Ann {tag} -").replace("B-PER", "(PERSON*").replace("I-PER", "*)")
    _, row = first_row(tmp_path / "a.conll", text.replace("B-LOC", "(GPE)").replace(" O ", " * "))
    assert row["tags"] == ["B-PERSON", "I-PERSON", "O", "B-GPE", "O"]


def test_words_of_which_nothing_says_which_make_a_sentence_are_refused(tmp_path):
    with pytest.raises(DataError, match="--task text-classification --column text=word --column label=tag"):
        resolved(tmp_path / "a.csv", "word,tag\n" + "".join(f"{word},{tag}\n" for word, tag in zip(*SENTENCE)) * ROWS)


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Who {}?", "context": CONTEXT, "text": "Bob Ray", "answer_start": 23},
        {"question": "Who {}?", "context": CONTEXT, "start": 23, "end": 30},
        {"问题": "Who {}?", "上下文": CONTEXT, "答案": "Bob Ray"},
        {"question": "Who {}?", "context": CONTEXT, "answers": ["Bob Ray"]},
    ],
)
def test_answers_are_found_where_they_stand(tmp_path, row):
    resolution, rows = resolved(
        tmp_path / "a.jsonl", lines(row).replace("town 10", "town X").replace("town 11", "town X")
    )
    assert resolution.task.name == "question-answering"
    answers = resolution.convert(rows)[0][resolution.columns["answers"]]
    assert answers in ("Bob Ray", {"text": ["Bob Ray"], "answer_start": [23]})


@pytest.mark.parametrize(
    ("row", "right"),
    [
        ({"question": "Which {}?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B"}, "B"),
        (
            {
                "question": {
                    "stem": "Which {}?",
                    "choices": [{"label": "A", "text": "x"}, {"label": "B", "text": "y"}],
                },
                "answerKey": "B",
            },
            "B",
        ),
        ({"prompt": "Which {}?", "Option A": "x", "Option B": "y", "Option C": "z", "Correct Answer": "B"}, "B"),
        ({"context": "It is so.", "question": "Which {}?", "answers": ["x", "y"], "correct_answer_id": 0}, 0),
    ],
)
def test_the_right_choice_is_known(tmp_path, row, right):
    task, found = first_row(tmp_path / "a.jsonl", lines(row))
    assert (task, found["question"], found["answer"]) == ("multiple-choice", "Which 0?", right)


def test_the_premise_asks_where_the_question_is_cause_or_effect(tmp_path):
    row = {"premise": "It rained {} times.", "choice1": "wet", "choice2": "dry", "question": "cause", "label": 0}
    _, found = first_row(tmp_path / "a.jsonl", lines(row))
    assert (found["question"], found["answer"]) == ("It rained 0 times.", 0)


@pytest.mark.parametrize("wrong", [{"distractor1": "x", "distractor2": "y"}, {"incorrect_answers": ["x", "y"]}])
def test_the_right_answer_stands_beside_the_wrong_ones(tmp_path, wrong):
    _, found = first_row(tmp_path / "a.jsonl", lines({"question": "Which {}?", "correct_answer": "right", **wrong}))
    assert found["choices"][found["answer"]] == "right"
    assert sorted(found["choices"]) == ["right", "x", "y"]
