"""Files that are read a few rows at a time give the rows, and the types, that the whole files give."""

from __future__ import annotations

import json

import pytest

from llmkit.data import open_dataset
from llmkit.data.files import batches
from llmkit.data.streams import open_streams
from llmkit.errors import DataError
from llmkit.options import FileOptions
from llmkit.output.report import Report


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(batches, "BYTES_PER_READ", 200)


def streamed(path, **options: object) -> list[dict[str, object]]:
    stream = open_streams(str(path), FileOptions(**options), Report()).splits["train"]
    return [row for batch in stream.batches() for row in batch.to_list()]


TEXTS = ['one\n\ntwo, "three"', "a, b", "x" * 500 + "\n" + "y" * 500, 'a 5" plate']


@pytest.mark.parametrize(
    ("name", "above", "end", "options"),
    [
        ("a.csv", "", "", {}),
        ("a.csv", "", ",", {}),
        ("a.csv", "sep=,\n", "", {}),
        ("a.csv", "a title\n", "", {"skip_rows": 1}),
        ("a.csv", "# a title\n", "", {"comment": "#"}),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_table_in_parts_is_the_whole_table(tmp_path, name, above, end, options, encoding):
    rows = [f'"{TEXTS[n % 4].replace(chr(34), chr(34) * 2)}",{n},0{n % 3}{end}' for n in range(60)]
    (tmp_path / name).write_text(above + "\n".join(["text,n,label" + end, *rows]), encoding=encoding, newline="")
    whole = open_dataset(str(tmp_path / name), FileOptions(**options)).any()
    assert whole["label"][:3] == ["00", "01", "02"]
    assert whole["n"][:] == list(range(60))
    assert whole["text"][:4] == TEXTS
    assert streamed(tmp_path / name, **options) == whole.to_list()


def test_an_odd_quote_of_a_tsv_is_a_character_in_parts_too(tmp_path):
    rows = [f"{chr(34) if n in {1, 4} else ''}text {n}\tlabel" for n in range(60)]
    (tmp_path / "a.tsv").write_text("\n".join(["text\tlabel", *rows]))
    assert len(streamed(tmp_path / "a.tsv")) == 60


@pytest.mark.parametrize(
    ("name", "first", "later", "phrases"),
    [
        ("a.csv", "1", "01", ["'label'", "whole numbers alone", "--streaming"]),
        ("a.csv", "1", "unknown", ["'label'", "whole numbers alone"]),
        ("a.csv", "1", "1.5", ["whole numbers alone"]),
        ("a.csv", "True", "1", ["true or false alone"]),
        ("a.jsonl", 1, "1", ["from line", "'label' mixes types", "int in row 1, str in row"]),
        ("a.jsonl", "1", 1, ["hold numbers in the column 'label'", "first rows hold text"]),
        ("a.jsonl", True, 1, ["from line", "'label' mixes types", "bool in row 1, int in row"]),
    ],
)
def test_rows_that_hold_something_else_than_the_first_are_refused(tmp_path, name, first, later, phrases):
    labels = [*([first] * 60), *([later] * 60)]
    csv = "".join(f"a text,{label}\n" for label in labels)
    lines = "".join(json.dumps({"text": "a text", "label": label}) + "\n" for label in labels)
    (tmp_path / name).write_text(f"text,label\n{csv}" if name == "a.csv" else lines)
    with pytest.raises(DataError) as refusal:
        streamed(tmp_path / name)
    assert [phrase for phrase in phrases if phrase not in str(refusal.value)] == []


@pytest.mark.parametrize("later", ["2", "", "x"])
def test_texts_stay_texts(tmp_path, later):
    (tmp_path / "a.csv").write_text("text,label\n" + "a text,x\n" * 60 + f"a text,{later}\n")
    assert streamed(tmp_path / "a.csv")[-1]["label"] == later


def test_classes_by_folder_come_in_turns(tmp_path):
    for name in ("neg/1", "neg/2", "pos/1", "pos/2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.txt").write_text(name)
    assert [row["text"] for row in streamed(tmp_path)] == ["neg/1", "pos/1", "neg/2", "pos/2"]
    assert [row["label"] for row in streamed(tmp_path)] == ["neg", "pos", "neg", "pos"]
