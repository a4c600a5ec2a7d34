"""Which task a dataset is read as: by what its columns hold and by what they are called."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from datasets import Dataset

from llmkit import tasks
from llmkit.errors import DataError, UndecidedError
from llmkit.options import DataOptions
from llmkit.tasks import Evidence

ROWS = 60
SCHEMAS = (Path(__file__).parent.parent / "support" / "schemas.txt").read_text(encoding="utf-8")
DECIDED, UNDECIDED, UNKNOWN = (part.strip().splitlines()[1:] for part in SCHEMAS.split("\n\n"))
WORDS = [f"{first}{last}" for first in ("ro", "ba", "ti", "ne", "lu") for last in ("om", "st", "ed", "ly", "ng")]


@pytest.fixture
def make() -> Callable[[dict[str, str]], Dataset]:
    """Make rows whose columns hold what a word says."""
    draw = random.Random(0)
    numbers = count()

    def prose(words: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(words + draw.randrange(5))).capitalize() + "."

    def cell(kind: str, row: int) -> object:
        if "|" in kind:
            values = kind.split("|")
            return values[(row * 7 + row // 3) % len(values)]
        if kind.startswith("="):
            return kind[1:]
        made = {
            "text": lambda: prose(8),
            "short": lambda: prose(3),
            "long": lambda: prose(50),
            "zh": lambda: f"这家酒店的第{next(numbers)}个房间真的很不错",
            "row": lambda: row,
            "id": lambda: f"{draw.getrandbits(64):016x}",
            "url": lambda: f"https://t.co/{draw.getrandbits(40):x}",
            "date": lambda: f"2015-02-{row % 27 + 1:02d} 11:35:52 -0800",
            "name": lambda: f"ann{row}",
            "count": lambda: draw.randrange(4),
            "stars": lambda: row % 5 + 1,
            "flag": lambda: int(draw.random() < 0.3),
            "bool": lambda: row % 3 == 0,
            "float": lambda: round(draw.uniform(0, 5), 3),
            "blank": lambda: None,
            "rest": lambda: ["GE", "GE", "a rest"][row // 5] if row < 15 else None,  # of a cell without quotes
            "money": lambda: f"${draw.randrange(1, 2000):,}.50",
            "names": lambda: [["a"], ["a", "b"], ["c"]][row % 3],
            "words": lambda: ["Bob", "ran", f"x{row}"],
            "tags": lambda: ["B-PER", "O", "O"],
            "ids": lambda: [1, 2, 3],
            "options": lambda: ["one", "two", "three", "four"],
            "messages": lambda: [{"role": "user", "content": "hi"}, {"role": "assistant", "content": prose(3)}],
            "turns": lambda: [{"from": "human", "value": "hi"}, {"from": "gpt", "value": prose(3)}],
            "squad": lambda: {"text": ["the"], "answer_start": [0]},
        }
        return made[kind]()

    return lambda columns: Dataset.from_list(
        [{name: cell(kind, row) for name, kind in columns.items()} for row in range(ROWS)]
    )


def parsed(line: str) -> tuple[dict[str, str], str, dict[str, str]]:
    """Return the columns, the task and the roles of a line: `NAME:KIND ... > TASK role=NAME ...`."""
    left, right = line.split(" > ")
    columns = dict(pair.rsplit(":", 1) for pair in left.split(", "))
    task, *roles = right.split(", ")
    return columns, task, dict(role.split("=", 1) for role in roles)


@pytest.mark.parametrize("line", DECIDED)
def test_a_dataset_is_read_by_what_its_columns_hold_and_are_called(make, line):
    columns, task, roles = parsed(line)
    resolution = resolved(make(columns))
    assert (resolution.task.name, resolution.columns) == (task, roles)


@pytest.mark.parametrize("line", DECIDED)
def test_the_order_of_the_columns_does_not_matter(make, line):
    columns, task, _ = parsed(line)
    rows = make(columns)
    turned = rows.select_columns(rows.column_names[::-1])
    assert resolved(turned).task.name == task


@pytest.mark.parametrize("line", UNDECIDED)
def test_readings_that_are_as_sure_as_each_other_are_refused_with_the_flags_of_each(make, line):
    columns = dict(pair.rsplit(":", 1) for pair in line.split(", "))
    rows = make(columns)
    with pytest.raises(UndecidedError) as refused:
        resolved(rows)
    readings = refused.value.readings
    assert len(readings) > 1
    for _, flags in readings:
        assert dict(flag_pairs(flags)).keys() <= {"--task", "--column"}
    task, given = asked_for(readings[0][1])
    assert resolved(rows, task, given).given_columns == given


@pytest.mark.parametrize("line", UNKNOWN)
def test_columns_that_say_nothing_are_no_text_to_learn_from(make, line):
    columns = dict(pair.rsplit(":", 1) for pair in line.split(", "))
    with pytest.raises(DataError, match="name it and its columns") as refused:
        resolved(make(columns))
    assert all(name in str(refused.value) for name in columns)


@pytest.mark.parametrize(("count", "held"), [(4, "A|B|C|D"), (4, "B|D"), (5, "A|C|E"), (2, "A|B")])
def test_a_table_without_a_header_is_of_choices_where_its_last_column_holds_their_letters(make, count, held):
    choices = {f"column_{number}": "short" for number in range(2, count + 2)}
    resolution = resolved(make({"column_1": "text", **choices, f"column_{count + 2}": held}))
    assert resolution.task.name == "multiple-choice"
    assert resolution.candidate.reason == f"column_{count + 2} holds the letters of the {count} columns before it"


@pytest.mark.parametrize("held", ["A|B|C|D|E", "yes|no", "=A"])
def test_other_last_columns_are_no_letters_of_choices(make, held):
    columns = {"column_1": "text", **{f"column_{number}": "short" for number in range(2, 6)}, "column_6": held}
    with pytest.raises(DataError):
        resolved(make(columns), "multiple-choice")


def test_a_language_model_is_taken_where_it_is_asked_for(make):
    rows = make({"text": "text", "emotion": "joy|anger"})
    assert resolved(rows, "causal-lm").columns == {"text": "text"}
    assert resolved(rows).task.name == "text-classification"


def test_what_was_chosen_by_what_columns_hold_is_said(make):
    said = resolved(make({"text": "text", "emotion": "joy|anger"})).sentences()
    assert said == [
        "read as text-classification: emotion holds 2 values that repeat; --task and --column say otherwise"
    ]
    assert resolved(make({"text": "text", "label": "joy|anger"})).sentences() == []


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"text": "long"}, "a text is all there is"),
        ({"text": "long", "url": "url"}, "the other columns do not say more than text"),
    ],
)
def test_a_text_is_all_there_is_only_where_no_column_stands_beside_it(make, columns, reason):
    assert resolved(make(columns)).reason == reason


def test_a_reading_of_what_the_conversion_reads_is_no_other_reading():
    rows = Dataset.from_dict(
        {
            "Sentence #": ["Sentence: 1", None, None, "Sentence: 2", None],
            "Word": ["Anna", "lives", "here", "Tom", "sings"],
            "Tag": ["B-PER", "O", "O", "B-PER", "O"],
        }
    )
    resolution = resolved(rows)
    assert resolution.task.name == "token-classification"
    assert not [said for said in resolution.sentences() if "another reading" in said]


def test_other_tags_that_are_asked_for_are_said_as_those_that_are_read():
    rows = Dataset.from_dict(
        {"sent_id": [1, 1, 2], "word": ["Anna", "sings", "Tom"], "tag": ["B-PER", "O", "B-PER"], "pos": ["N", "V", "N"]}
    )
    said = resolved(rows, "token-classification", {"tags": "pos"}).sentences()
    assert "tags from pos" in said[0]
    assert "tags too" not in said[0]
    assert "tags from tag; pos holds tags too (--column tags=pos)" in resolved(rows).sentences()[0]


def resolved(rows: Dataset, task: str | None = None, given: dict[str, str] | None = None) -> tasks.Resolution:
    able = tasks.for_inspection(None, task, DataOptions())
    return tasks.resolve_task(able, Evidence(rows), given or {}, "finetune", DataOptions(), None)


def flag_pairs(flags: str) -> Iterator[tuple[str, str]]:
    import shlex

    words = shlex.split(flags)
    return zip(words[::2], words[1::2], strict=True)


def asked_for(flags: str) -> tuple[str, dict[str, str]]:
    pairs = list(flag_pairs(flags))
    return pairs[0][1], dict(value.split("=", 1) for name, value in pairs if name == "--column")


@pytest.mark.parametrize("words", ["accept|reject", "accept|ignore", "accept|reject|ignore"])
def test_labels_that_a_person_rejected_are_not_learned(make, words):
    rows = make({"text": "text", "label": "a|b|c|d|e", "answer": words})
    with pytest.raises(DataError, match="--column label=answer"):
        resolved(rows)
    assert resolved(rows, None, {"label": "answer"}).columns == {"text": "text", "label": "answer"}
