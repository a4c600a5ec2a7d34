"""Files of answers beside which a note is broken, and cells that both kinds of files write alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from answered_rows import answered as answered_rows
from answered_rows import read_rows
from conftest import write_jsonl

from llmkit.errors import DataError, OptionError
from llmkit.options import RowOptions

BROKEN = ["{bad", "[]", "5", "", '{"command": "x"}', '{"command": "x", "ends": "x"}', '{"command": "x", "ends": 5}']


@pytest.fixture
def answered(tmp_path):
    """Answer the rows of a file into another."""
    data = write_jsonl(tmp_path / "in.jsonl", [{"text": "a", "ok": True, "l": [False]}])

    def run(name: str, **more: object) -> None:
        answered_rows(lambda part, start: [{} for _ in part], RowOptions(input=data, output=tmp_path / name, **more))

    return run


@pytest.mark.parametrize("content", [*map(str.encode, BROKEN), b"\xff"])
def test_a_note_that_is_broken_is_said_to_be(answered, tmp_path, content):
    answered("out.jsonl")
    before = (tmp_path / "out.jsonl").read_bytes()
    (tmp_path / "out.jsonl.llmkit.json").write_bytes(content)
    with pytest.raises(OptionError, match="which says what wrote it, is broken; add --overwrite, or name another"):
        answered("out.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == before
    answered("out.jsonl", overwrite=True)
    answered("out.jsonl")  # the same command, which has nothing left to do


def test_a_note_that_is_a_folder_is_refused(answered, tmp_path):
    (tmp_path / "out.jsonl.llmkit.json").mkdir()
    with pytest.raises(OptionError, match="which is a folder"):
        answered("out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_truth_values_are_written_alike_in_both_kinds_of_files(answered, tmp_path):
    answered("out.csv")
    assert (tmp_path / "out.csv").read_text() == "text,ok,l\na,true,[false]\n"
    answered("out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == '{"text": "a", "ok": true, "l": [false]}\n'


def test_half_of_a_character_in_the_name_of_a_column_is_refused_with_its_row(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n{"text": "a", "\\ud800": 1}\n')
    with pytest.raises(DataError, match=r"in.jsonl, row 2: the name of a column holds \\ud800"):
        read_rows(RowOptions(input=tmp_path / "in.jsonl"))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (".", "--input '.' is a folder; a file of rows is wanted"),
        ("-", "there is no file '-'; without --input, standard input is read"),
        ("a.jsonl", "there is no file 'a.jsonl'"),
    ],
)
def test_an_input_that_is_no_file_is_called_what_it_is(tmp_path, monkeypatch, name, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as refusal:
        read_rows(RowOptions(input=Path(name)))
    assert str(refusal.value) == sentence
