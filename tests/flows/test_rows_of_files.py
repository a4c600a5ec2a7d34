from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import write_csv, write_jsonl

import llmkit as package
from llmkit.data.columns import prompt_cells
from llmkit.errors import DataError
from llmkit.options import AskOptions

NULL = {"label": None, "score": None, "scores": None}


@pytest.fixture
def classified(llmkit, classifier, tmp_path):
    """Classify the rows of a JSONL file."""

    def run(rows: list[dict], *flags: str):
        return llmkit("classify", "-i", write_jsonl(tmp_path / "in.jsonl", rows), "-m", classifier, *flags)

    return run


@pytest.mark.parametrize("command", ["classify", "embed", "generate"])
@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (["a", "b"], 'is a list, ["a", "b"]; a text is wanted'),
        (["a" * 50], 'is a list, ["aaa'),
        ({"文": 1}, 'is an object, {"文": 1}; a text is wanted'),
        ([{"role": "user", "content": "hi"}], "is a conversation, a list of messages, ["),
    ],
)
def test_a_cell_that_is_no_text_is_refused_by_its_row(request, llmkit, tmp_path, command, cell, words):
    role = "prompt" if command == "generate" else "text"
    data = write_jsonl(tmp_path / "in.jsonl", [{role: "the fox"}, {role: cell}])
    model = request.getfixturevalue({"classify": "classifier", "embed": "encoder", "generate": "llama"}[command])
    ran = llmkit(command, "-i", data, "-m", model)
    assert ran.code == 2
    assert ran.error.startswith(f"row 2: its {role} {words}")
    assert ran.out == ""


def test_numbers_and_truth_values_are_read_as_they_are_written(classified):
    cells = [1, "1", 1.5, "1.5", True, "true", False, "false", 0, "0"]
    ran = classified([{"text": cell} for cell in cells])
    assert [row["text"] for row in ran.rows] == cells
    scores = [row["score"] for row in ran.rows]
    assert scores[0::2] == pytest.approx(scores[1::2], abs=1e-6)


@pytest.mark.parametrize("nothing", [None, "", "  ", "\n", [], {}, float("nan")])
def test_rows_without_a_text_are_answered_null_and_counted(classified, nothing):
    ran = classified([{"text": "the fox", "id": 1}, {"text": nothing, "id": 2}, {"id": 3}])
    assert ran.code == 0, ran.err
    assert ran.err.splitlines().count("2 of 3 rows have no text, and are answered null") == 1
    assert [{name: row[name] for name in NULL} for row in ran.rows[1:]] == [NULL, NULL]
    assert ran.rows[0]["label"] is not None
    assert "1 of 2 rows has no text, and is answered null" in classified([{"text": "a"}, {"text": nothing}]).err


def test_embed_says_the_same_of_its_nulls(llmkit, encoder, tmp_path):
    data = write_jsonl(tmp_path / "in.jsonl", [{"text": "the fox"}, {"text": None}, {"text": " "}])
    ran = llmkit("embed", "-i", data, "-m", encoder, "-o", tmp_path / "v.npy")
    assert "2 of 3 rows have no text, and are answered null" in ran.err
    assert np.isnan(np.load(tmp_path / "v.npy")).all(1).tolist() == [False, True, True]


@pytest.mark.parametrize("command", ["classify", "embed"])
def test_a_file_without_any_text_asks_nothing(request, llmkit, tmp_path, command):
    data = write_jsonl(tmp_path / "in.jsonl", [{"text": None}, {"text": " "}])
    ran = llmkit(command, "-i", data, "-m", request.getfixturevalue("classifier"))
    assert (ran.code, "none of 2 rows has a text" in ran.error) == (5, True)


def test_all_rows_say_which_columns_a_file_has(classified):
    rows = [{"premise": "the fox was good"}, {"premise": "the king", "hypothesis": "was bad"}, {"hypothesis": "a song"}]
    ran = classified(rows)
    assert "columns: text=premise, pair=hypothesis" in ran.err
    assert "1 of 3 rows has no pair, and its text is read alone" in ran.err
    assert "1 of 3 rows has no text, and is answered null" in ran.err
    assert [row["label"] is None for row in ran.rows] == [False, False, True]
    assert ran.rows[1]["scores"] == pytest.approx(classified(rows[1:2]).rows[0]["scores"], abs=1e-6)
    late = classified([{"id": 1}, {"id": 2, "review": "the fox"}])
    assert "columns: text=review" in late.err
    assert late.rows[1]["label"] is not None


def test_choices_are_read_by_row(llmkit, chooser, tmp_path):
    cells = [["a fox", 1, True], [], None, '["a fox", "1", "true"]']
    data = write_jsonl(tmp_path / "c.jsonl", [{"question": "what", "choices": cell} for cell in cells])
    ran = llmkit("classify", "-i", data, "-m", chooser)
    assert ran.code == 0, ran.err
    assert "2 of 4 rows have no choices, and are answered null" in ran.err
    assert [row["choices"] for row in ran.rows] == cells
    first, second, third, last = (row["scores"] for row in ran.rows)
    assert (second, third) == (None, None)
    assert set(first) == {"a fox", "1", "true"}
    assert first == pytest.approx(last, abs=1e-6)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("a|b", 'row 2: its choices are "a|b"; a list of texts is wanted'),
        (["a", ["b"]], 'row 2: one of its choices is a list, ["b"]; a text is wanted'),
        (["a", {"b": 1}], 'row 2: one of its choices is an object, {"b": 1}; a text is wanted'),
        ({"a": 1}, 'row 2: its choices are {"a": 1}; a list of texts is wanted'),
        ({"text": "a"}, 'row 2: its choices are {"text": "a"}; a list of texts is wanted'),
        ({"text": ["a", "b"]}, "row 2: choices is an object, and a list in row 1; write all rows alike"),
        (["a", None], "row 2: choice 2 of 2 is empty"),
    ],
)
def test_choices_that_are_no_texts_are_refused_by_row(llmkit, chooser, tmp_path, cell, words):
    rows = [{"question": "what", "choices": ["a", "b"]}, {"question": "what", "choices": cell}]
    ran = llmkit("classify", "-i", write_jsonl(tmp_path / "c.jsonl", rows), "-m", chooser)
    assert (ran.code, ran.error) == (2, words)


def test_choices_and_contexts_may_come_in_later_rows(llmkit, chooser, reader, tmp_path):
    rows = [{"question": "what"}, {"question": "what", "choices": ["a fox", "a king"]}]
    ran = llmkit("classify", "-i", write_jsonl(tmp_path / "c.jsonl", rows), "-m", chooser)
    assert "1 of 2 rows has no choices, and is answered null" in ran.err
    assert [row["label"] is None for row in ran.rows] == [True, False]
    rows = [{"question": "what"}, {"question": "what", "context": "the fox was good"}]
    ran = llmkit("generate", "-i", write_jsonl(tmp_path / "q.jsonl", rows), "-m", reader)
    assert "1 of 2 rows has no context, and is answered null" in ran.err
    assert [row["answer"] is None for row in ran.rows] == [True, False]


def test_a_column_of_mixed_types_is_refused_before_anything_is_embedded(llmkit, encoder, tmp_path, monkeypatch):
    from llmkit.inference.embedding import Embedder

    monkeypatch.setattr(Embedder, "vectors", lambda *_, **__: pytest.fail("embedded"))
    data = write_jsonl(tmp_path / "in.jsonl", [{"text": "a", "id": 1}, {"text": "b", "id": "x"}])
    ran = llmkit("embed", "-i", data, "-m", encoder, "-o", tmp_path / "v.parquet")
    assert ran.code == 2
    assert ran.error == f"{data}: column 'id' mixes types: int in row 1, str in row 2; write all of its values alike"
    assert not (tmp_path / "v.parquet").exists()


def test_nan_among_texts_is_no_other_type(llmkit, encoder, tmp_path):
    data = write_jsonl(tmp_path / "in.jsonl", [{"text": float("nan")}, {"text": "a"}])
    assert llmkit("embed", "-i", data, "-m", encoder, "-o", tmp_path / "v.parquet").code == 0
    assert pq.read_table(tmp_path / "v.parquet")["text"].to_pylist() == [None, "a"]


def test_numbers_of_a_table_are_embedded_as_their_texts(llmkit, encoder, tmp_path):
    data = write_csv(tmp_path / "in.csv", [{"text": "5"}, {"text": "6"}])
    assert llmkit("embed", "-i", data, "-m", encoder, "-o", tmp_path / "v.parquet").code == 0
    vectors = np.stack(pq.read_table(tmp_path / "v.parquet")["embedding"].to_pylist())
    assert vectors == pytest.approx(package.embed(["5", "6"], model=str(encoder)), abs=1e-6)


def test_python_refuses_and_understands_the_same_cells(classifier, encoder):
    with pytest.raises(DataError, match=r'row 2: its text is a list, \["a"\]; a text is wanted'):
        package.classify(["a", ["a"]], str(classifier))
    with pytest.raises(DataError, match="row 1: its text is an object"):
        package.embed([{"a": 1}], model=str(encoder))
    assert package.classify(["a", None], str(classifier), asked=AskOptions())[1]["label"] is None
    assert np.isnan(package.embed(["a", None], model=str(encoder))).all(1).tolist() == [False, True]


def test_the_prompts_of_a_column_are_texts_or_nothing():
    rows = [{"p": "hi"}, {"p": None}, {}, {"p": " "}, {"p": 5}, {"p": True}]
    assert prompt_cells(rows, "p") == ["hi", None, None, None, "5", "true"]
    with pytest.raises(DataError, match="row 2: its p is a list"):
        prompt_cells([{"p": "hi"}, {"p": ["a"]}], "p")
    with pytest.raises(DataError, match="row 1: its p is binary data"):
        prompt_cells([{"p": b"a"}], "p")


def test_a_file_that_is_answered_keeps_the_cells_that_were_refused_nowhere(classified, tmp_path):
    rows = [{"text": "the fox", "tags": ["a"], "n": None}, {"text": "a song", "tags": [], "n": 1.5}]
    ran = classified(rows, "-o", str(tmp_path / "out.jsonl"))
    assert ran.code == 0, ran.err
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [{name: row[name] for name in ("text", "tags", "n")} for row in written] == rows


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that takes no files, of root either")
@pytest.mark.parametrize(("command", "name"), [("classify", "x.jsonl"), ("embed", "x.npy"), ("generate", "x.csv")])
def test_a_folder_that_takes_no_files_is_known_before_the_work(llmkit, tmp_path, command, name):
    data = write_jsonl(tmp_path / "in.jsonl", [{"text": "a"}])
    ran = llmkit(command, "-i", data, "-m", "never-opened", "-o", f"/proc/{name}")
    assert (ran.code, "'/proc' is no folder that can be written to" in ran.error) == (2, True)
