"""Pairs of answers as people have them: dialogues, messages with their prompt inside, system messages, JSON."""

from __future__ import annotations

import json

import pytest
from conftest import write_jsonl
from datasets import Dataset

from llmkit.data.conversions import preferences
from llmkit.data.preferences import preference_pair
from llmkit.errors import DataError
from llmkit.options import DataOptions

ANSWERS = {"chosen": "chosen", "rejected": "rejected"}
PAIR = {"prompt": "prompt", **ANSWERS}


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


ASKED, GOOD, BAD = said("user", "Wer?"), said("assistant", "狐狸"), said("assistant", "Nein.")
WHOLE = {"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]}
HUMAN = "\n\nHuman: Wer?\n\nAssistant:"


def converted(rows: list[dict], columns: dict[str, str], **flags):
    """The pairs of rows, None where one is left out, and the conversion that they went through."""
    dataset = Dataset.from_list(rows)
    conversion = preferences.find(dataset, columns, DataOptions(**flags))
    if conversion is not None:
        dataset, columns = conversion.apply(dataset), conversion.columns
    assert len(dataset) == len(rows)
    left_out = [row[columns["chosen"]] is None for row in dataset]
    return [None if gone else preference_pair(row, columns) for row, gone in zip(dataset, left_out)], conversion


def turns(messages) -> list[str]:
    return [f"{turn['role'][0]}:{turn['content']}" for turn in messages]


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"chosen": f"{HUMAN} 狐狸", "rejected": f"{HUMAN} Nein."}, ANSWERS),
        ({"chosen": f"{HUMAN} 狐狸".strip(), "rejected": f"{HUMAN} Nein.".replace("\n", "\r\n")}, ANSWERS),
        ({"prompt": HUMAN, "chosen": "狐狸", "rejected": "Nein."}, PAIR),
        (WHOLE, ANSWERS),
        ({"prompt": "Wer?", **WHOLE}, PAIR),
        ({"prompt": [ASKED], **WHOLE}, PAIR),
        ({"prompt": [ASKED], "chosen": GOOD, "rejected": BAD}, PAIR),
        ({"prompt": "Wer?", "chosen": [GOOD], "rejected": [BAD]}, PAIR),
        ({"prompt": "Wer?", "chosen": json.dumps([GOOD]), "rejected": str([BAD])}, PAIR),
        ({"prompt": json.dumps([ASKED]), "chosen": json.dumps(GOOD), "rejected": json.dumps(BAD)}, PAIR),
        (
            {
                "conversations": [{"from": "human", "value": "Wer?"}],
                "chosen": {"from": "gpt", "value": "狐狸"},
                "rejected": {"from": "gpt", "value": "Nein."},
            },
            {"prompt": "conversations", **ANSWERS},
        ),
        ({"question": "Wer?", "system": "", "chosen": "狐狸", "rejected": "Nein."}, {"prompt": "question", **ANSWERS}),
    ],
    ids=[
        "dialogues",
        "stripped dialogues",
        "prompt of a dialogue",
        "conversations",
        "prompt beside conversations",
        "prompt of both",
        "one message",
        "lists",
        "json lists",
        "json messages",
        "sharegpt ranking",
        "question",
    ],
)
def test_pairs_of_every_shape_are_the_same(row, columns):
    (found,), _ = converted([row], columns)
    assert turns(found.prompt) == ["u:Wer?"]
    assert [turns(answer) for answer in found.answers] == [["a:狐狸"], ["a:Nein."]]


def test_plain_pairs_stay_as_they_are():
    for row in (
        {"prompt": "Wer?", "chosen": "a", "rejected": "b"},
        {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]},
    ):
        assert preferences.find(Dataset.from_list([row]), PAIR, DataOptions()) is None


def test_a_system_column_and_an_input_stand_before_and_behind_the_question():
    row = {"question": "Wer?", "input": "Füchse", "system": "Kurz.", "chosen": "a", "rejected": "b"}
    columns = {"prompt": "question", "input": "input", "system": "system", **ANSWERS}
    (found,), conversion = converted([row], columns)
    assert turns(found.prompt) == ["s:Kurz.", "u:Wer?\nFüchse"]
    assert conversion.columns == PAIR
    assert not found.is_text
    (bare,), _ = converted([{**row, "input": None}], {role: name for role, name in columns.items() if role != "system"})
    assert bare.is_text
    assert turns(bare.prompt) == ["u:Wer?"]


def test_the_prompt_of_dialogues_is_all_that_they_begin_with():
    before = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: "
    (found,), conversion = converted([{"chosen": f"{before}d\n\nd2", "rejected": f"{before}e"}], ANSWERS)
    assert turns(found.prompt) == ["u:a", "a:b", "u:c"]
    assert turns(found.answers[0]) == ["a:d\n\nd2"]
    assert "the prompt is what both dialogues begin with" in conversion.sentence


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ({"chosen": f"{HUMAN} a", "rejected": f"{HUMAN} a"}, "its chosen and rejected answers are the same"),
        (
            {"chosen": f"{HUMAN} a\n\nHuman: b\n\nAssistant: c", "rejected": f"{HUMAN} x\n\nHuman: b\n\nAssistant: d"},
            "its chosen answer is to be one turn of the assistant's, and has assistant, user, assistant",
        ),
        ({"chosen": f"{HUMAN} a", "rejected": HUMAN}, "it has no rejected answer"),
        ({"chosen": "a", "rejected": f"{HUMAN} b"}, "its chosen is 'a', and a dialogue of Human: and Assistant:"),
    ],
)
def test_an_invalid_pair_is_named_or_left_out(row, wrong):
    rows = [{"chosen": f"{HUMAN} {number}", "rejected": f"{HUMAN} x"} for number in range(110)]
    rows[104] = row  # behind the rows that the form is judged by
    with pytest.raises(DataError) as raised:
        converted(rows, ANSWERS)
    assert str(raised.value).startswith("row 105: ")
    assert wrong in str(raised.value)
    found, conversion = converted(rows, ANSWERS, skip_invalid=0.1)
    assert [place for place, pair in enumerate(found) if pair is None] == [104]
    assert "--skip-invalid leaves out 1 of 110 rows (row 105" in conversion.sentence


def test_texts_stay_texts_where_rows_are_left_out():
    rows = [{"prompt": "p", "chosen": f"{number}", "rejected": "3"} for number in range(12)]
    found, conversion = converted(rows, PAIR, skip_invalid=0.1)
    assert [pair is None for pair in found] == [number == 3 for number in range(12)]
    assert conversion.as_text
    assert found[0].is_text


@pytest.mark.parametrize(
    ("name", "values", "found"),
    [
        ("label", [True, False, True], True),
        ("label", ["true", "false", None], True),
        ("kto_tag", [1, 0, 1], True),
        ("thumbs_up", [1.0, 0.0, None], True),
        ("isGood", ["yes", "no", "yes"], True),
        ("Label", [True, True, True], False),
        ("label", ["sport", "politics", "sport"], False),
        ("label", [0, 1, 2], False),
        ("is_english", [True, False, True], False),
        ("label", [None, None, None], False),
    ],
)
def test_a_column_that_calls_some_answers_bad_is_found(name, values, found):
    rows = Dataset.from_list([{"prompt": "p", "completion": "c", name: value} for value in values])
    column = preferences.judgement_column(rows, {"prompt": "prompt", "completion": "completion"})
    assert column == (name if found else None)


def test_answers_that_are_the_same_where_they_are_cut_are_left_out_or_refused(llmkit, assistant, tmp_path):
    long = "the good river was cold and the " * 6
    rows = [{"prompt": "p", "chosen": f"{number}", "rejected": "x"} for number in range(40)]
    for number in (7, 21):
        rows[number - 1] = {"prompt": "p", "chosen": f"{long}a", "rejected": f"{long}b"}
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    flags = ("-m", assistant, "--max-length", "32", "--dry-run", "-o", tmp_path / "run", "--validation", file)
    ran = llmkit("finetune", file, *flags)
    assert ran.code == 0, ran.err
    assert "2 of 40 training rows have nothing to learn within 32 tokens (rows 7, 21), left out" in ran.err
    many = llmkit("finetune", write_jsonl(tmp_path / "many.jsonl", [*rows, *[rows[6]] * 3]), *flags)
    assert many.code == 2
    assert "5 of 43 training rows have nothing to learn within 32 tokens" in many.error
    assert "more than 10%: take more with --max-length" in many.error
