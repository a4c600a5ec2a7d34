"""Text files whose lines are the rows of a table, or labels and texts: they are no documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmkit.data import files, open_dataset
from llmkit.data.streams import open_streams
from llmkit.errors import DataError
from llmkit.options import FileOptions
from llmkit.output.report import Report

ROWS = [("good", "the soup, was warm"), ("bad", "never again"), ("good", "lovely place"), ("bad", "it is loud")] * 3


@pytest.mark.parametrize("mark", ["\t", "|", ";"])
@pytest.mark.parametrize("header", ["label{}text", "Etikett{}Beitrag"])
def test_lines_with_as_many_marks_are_rows(tmp_path, mark, header):
    lines = [header.format(mark), *(f"{label}{mark}{text}" for label, text in ROWS)]
    path = _written(tmp_path, "\n".join(lines))
    rows = files.read_file(path)
    assert rows.column_names == header.split("{}")
    assert [tuple(row.values()) for row in rows] == ROWS
    streamed = open_streams(str(path), FileOptions(), Report()).splits["train"].batches()
    assert [row for batch in streamed for row in batch.to_list()] == rows.to_list()
    assert files.read_rows(path) == rows.to_list()


def test_commas_are_marks_where_the_first_line_names_columns(tmp_path):
    path = _written(tmp_path, 'text,label\n"a, b",x\nc d,y\n')
    assert files.read_file(path).to_list() == [{"text": "a, b", "label": "x"}, {"text": "c d", "label": "y"}]


@pytest.mark.parametrize(
    "text",
    [
        "one line\twith a tab",
        "he said; and left\nshe came; and stayed\n",
        "a, b\nc, d\n",
        "a\tb\nno tab\n",
        "\tx\n\ty\n",
    ],
)
def test_prose_stays_one_text(tmp_path, text):
    assert files.read_file(_written(tmp_path, text)).to_list() == [{"text": text}]


def test_a_name_that_ends_in_md_keeps_the_text(tmp_path):
    assert len(files.read_file(_written(tmp_path, "text\tlabel\na b\tx\n", "data.md"))) == 1


def test_a_table_without_a_header_is_refused_with_the_flag(tmp_path):
    path = _written(tmp_path, "".join(f"{text}\t{label}\n" for label, text in ROWS))
    with pytest.raises(DataError, match="--no-header"):
        files.read_file(path)
    rows = files.read_file(path, FileOptions(header=False))
    assert rows.column_names == ["column_1", "column_2"]
    assert len(rows) == len(ROWS)


def test_a_delimiter_that_is_named_makes_a_table(tmp_path):
    path = _written(tmp_path, "a:b\nc d:e\n")
    assert files.read_file(path, FileOptions(delimiter=":")).to_list() == [{"a": "c d", "b": "e"}]


@pytest.mark.parametrize("lines", [["__label__a one two", "__label__b three"], ["__label__a , __label__b one"]])
def test_each_line_with_a_label_of_fasttext_is_a_text(tmp_path, capsys, lines):
    path = _written(tmp_path, "\n".join(lines) + "\n")
    rows = [{"text": line} for line in lines]
    assert files.read_file(path, report=Report()).to_list() == rows
    assert "to train a classifier, write a table" in capsys.readouterr().err
    streamed = list(open_streams(str(path), FileOptions(), Report()).splits["train"].batches())
    assert streamed[0].to_list() == rows


def test_folders_of_classes_lie_deeper(tmp_path):
    for split in ("train", "test"):
        for label in ("pos", "neg"):
            for number in range(3):
                path = tmp_path / "data" / "aclImdb" / split / label / f"{number}_7.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"a text\tof {number}\nand {label}\n")
    source = open_dataset(str(tmp_path))
    assert {name: sorted(set(part["label"])) for name, part in source.splits.items()} == {
        "train": ["neg", "pos"],
        "test": ["neg", "pos"],
    }


def _written(folder: Path, text: str, name: str = "data.txt") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("text,label\na b,x\nc d,y\n", [{"text": "a b", "label": "x"}, {"text": "c d", "label": "y"}]),
        ("label\ttext\nx\ta b\n", [{"label": "x", "text": "a b"}]),
        ("tweet_body;mood_of\na b;x\nc;y\nd;x\ne;y\n", None),
        ('{"data": [{"text": "a"}, {"text": "b"}]}', [{"text": "a"}, {"text": "b"}]),
        ('[["a", {"entities": [[0, 1, "X"]]}]]', [{"text": "a", "entities": [{"start": 0, "end": 1, "label": "X"}]}]),
        ("[1] A text, of a book\nthat goes on", [{"text": "[1] A text, of a book\nthat goes on"}]),
    ],
)
def test_standard_input_is_read_as_files_are(tmp_path, monkeypatch, text, rows):
    path = _written(tmp_path, text)
    monkeypatch.setattr("sys.stdin", path.open(encoding="utf-8"))
    found = open_dataset("-").splits["train"].to_list()
    assert found == rows if rows is not None else len(found) == 4


@pytest.mark.parametrize(
    ("choices", "rows"),
    [
        ([["Good"], ["Bad"], []], [("a 0", "Good"), ("a 1", "Bad"), ("a 2", None)]),
        ([["Good", "Bad"], ["Bad"]], [("a 0", ["Good", "Bad"]), ("a 1", ["Bad"])]),
    ],
)
def test_classes_of_label_studio_are_labels(tmp_path, choices, rows):
    items = [
        {
            "data": {"text": f"a {number}"},
            "annotations": [{"result": [{"value": {"choices": names}, "to_name": "text", "type": "choices"}]}],
        }
        for number, names in enumerate(choices)
    ]
    path = _written(tmp_path, json.dumps(items), "data.json")
    assert [tuple(row.values()) for row in files.read_file(path)] == rows
