"""JSON as people have it, beside lines and lists of objects."""

from __future__ import annotations

import json

import pytest

from llmkit.data import open_dataset
from llmkit.data.files import read_rows
from llmkit.errors import DataError
from llmkit.output.report import Report

ROWS = [{"text": "one", "label": "a"}, {"text": "two", "label": "b"}, {"text": "three", "label": "a"}]
LISTS = [["one", "a"], ["two", "b"], ["three", "a"]]
BY_COLUMN = {name: {str(n): row[name] for n, row in enumerate(ROWS)} for name in ("text", "label")}
BY_NUMBER = {str(n): row for n, row in enumerate(ROWS)}
SCHEMA = {"fields": [{"name": "index"}, {"name": "text"}, {"name": "label"}], "primaryKey": ["index"]}
TABLE = {"schema": SCHEMA, "data": [{"index": n, **row} for n, row in enumerate(ROWS)]}
SPLIT = {"columns": ["text", "label"], "index": [0, 1, 2], "data": LISTS}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        pytest.param("a.json", ROWS, "", id="records"),
        pytest.param("a.jsonl", ROWS, "one JSON array", id="an array in .jsonl"),
        pytest.param("a.jsonl", "\n".join(json.dumps(row, indent=1) for row in ROWS), "several lines", id="pretty"),
        pytest.param("a.json", "\n".join(json.dumps(row, indent=1) for row in ROWS), "several lines", id="in .json"),
        pytest.param("a.jsonl", "".join(json.dumps(row) for row in ROWS), "each is a row", id="without line feeds"),
        pytest.param("a.json", SPLIT, "orient split", id="split"),
        pytest.param("a.json", TABLE, "orient table", id="table"),
        pytest.param("a.json", BY_COLUMN, "orient columns", id="columns"),
        pytest.param("a.json", BY_NUMBER, "orient index", id="index"),
        pytest.param("a.json", [["text", "label"], *LISTS], "names the columns text, label", id="lists with a header"),
        pytest.param("a.json", {"version": "1", "data": ROWS}, "list under 'data'", id="data"),
        pytest.param("a.json", {"info": {"by": "me"}, "Examples": ROWS, "n": 3}, "list under 'Examples'", id="a list"),
    ],
)
def test_json_is_read_however_it_is_laid_out(tmp_path, capsys, name, value, said):
    (tmp_path / name).write_text(value if isinstance(value, str) else json.dumps(value))
    source = open_dataset(str(tmp_path / name), report=Report())
    assert source.splits["train"].to_list() == ROWS
    assert read_rows(tmp_path / name) == ROWS
    written = capsys.readouterr().err
    assert said in written
    assert bool(said) == bool(written)


def test_objects_by_name_keep_it_as_their_id(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"q-1": ROWS[0], "q-2": ROWS[1], "q-3": ROWS[2]}))
    assert read_rows(tmp_path / "a.json")[1] == {"id": "q-2", **ROWS[1]}


def test_lists_without_names_are_columns_by_number(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(LISTS))
    assert read_rows(tmp_path / "a.json")[0] == {"column_1": "one", "column_2": "a"}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
        {"text": "Anna", "spans": [{"start": 0, "end": 4}], "notes": [{"by": "me"}]},
        {"q1": "an answer", "q2": "another"},
        {"question": "x", "meta": {"id": 1}},
        {"meta": {"id": 1, "by": "me"}},
    ],
)
def test_one_row_stays_one_row(tmp_path, row):
    (tmp_path / "a.json").write_text(json.dumps(row))
    assert read_rows(tmp_path / "a.json") == [row]


@pytest.mark.parametrize(
    ("name", "content", "phrases"),
    [
        ("a.json", json.dumps({"train": ROWS, "test": ROWS}), ["train, test", "file of its own"]),
        ("a.json", json.dumps({**SPLIT, "data": [["one"]]}), ["row 1 has 1 values for 2 columns"]),
        ("a.json", json.dumps([["one", "a"], ["two"]]), ["row 2 has 1 values"]),
        ("a.json", '{"n": ' + "9" * 5000 + "}", ["thousands of digits"]),
        ("a.jsonl", '{"n": ' + "9" * 5000 + "}", ["line 1", "thousands of digits"]),
        ("a.json", "[" * 100_000 + "]" * 100_000, ["nested too deeply"]),
        ("a.jsonl", '{"text": "a"}\n{"n": ' + "[" * 100_000 + "]" * 100_000 + "}", ["line 2", "nested too deeply"]),
        ("a.jsonl", '[{"text": "a"}, 3]', ["a list of objects is wanted"]),
        ("a.json", '["a", "b"]', ["a list of objects is wanted"]),
    ],
)
def test_json_that_cannot_be_rows_is_refused_in_one_sentence(tmp_path, name, content, phrases):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as refusal:
        read_rows(tmp_path / name)
    assert [phrase for phrase in phrases if phrase not in str(refusal.value)] == []


def test_words_for_no_number_are_floats(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"n": NaN}\n{"n": -Infinity}\n{"n": 1}\n')
    assert str(open_dataset(str(tmp_path / "a.jsonl")).any()["n"][:]) == "[nan, -inf, 1.0]"


PARTS = [{"type": "text", "text": "What is"}, {"type": "text", "text": "a fox?"}]


@pytest.mark.parametrize("contents", [(PARTS, "An animal."), ("Hello.", PARTS)])
@pytest.mark.parametrize("keys", [("role", "content"), ("from", "value")])
def test_turns_of_texts_and_of_parts_are_one_chat(llmkit, tmp_path, contents, keys):
    role, content = keys
    turns = [{role: who, content: said} for who, said in zip(("user", "assistant"), contents, strict=True)]
    plain = [{role: "user", content: "Why?"}, {role: "assistant", content: "So."}]
    file = tmp_path / "chat.jsonl"
    file.write_text("\n".join(json.dumps({"messages": row}) for row in (turns, plain)))
    ran = llmkit("data", file)
    assert ran.code == 0, ran.err
    assert "task: conversational" in ran.err
    assert "\ntrain\t2\t" in ran.out


def test_lists_of_no_turns_keep_their_mixed_types(tmp_path):
    file = tmp_path / "mixed.jsonl"
    file.write_text('{"text": "one", "messages": [{"a": 1}, 2]}\n{"text": "two", "messages": ["x", 1]}')
    assert "messages" in open_dataset(str(file), report=Report()).mixed


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", '{"text": "c"}\n{"text": "a", "text": "b"}\n', "a.jsonl, line 2: an object names 'text' twice"),
        ("a.jsonl", '{"text": "c", "m": {"x": 1, "x": 2}}\n', "a.jsonl, line 1: an object names 'x' twice"),
        ("a.json", '[{"text": "a", "text": null}]', "a.json: an object names 'text' twice"),
        ("a.json", '{"data": [{"text": "a", "text": "b"}]}', "a.json: an object names 'text' twice"),
        ("a.jsonl", '{\n"text": "a",\n"text": "b"}\n{"text": "c"}\n', "a.jsonl, line 1: not JSON"),
    ],
)
def test_an_object_with_two_values_of_one_name_is_refused(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=words):
        read_rows(tmp_path / name)


def test_a_value_that_is_written_twice_is_one(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a", "text": "a"}\n')
    assert read_rows(tmp_path / "a.jsonl") == [{"text": "a"}]
