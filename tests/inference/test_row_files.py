from __future__ import annotations

import csv
import errno
import io
import json

import pytest
from answered_rows import answered, read_rows
from conftest import write_jsonl

from llmkit.data.columns import column_for, with_answer
from llmkit.errors import DataError, EmptyError, Interrupted, OptionError, Stopped
from llmkit.inference.row_files.job import BATCHES_PER_WRITE
from llmkit.options import RowOptions, TalkOptions
from llmkit.output.report import Report

ROWS = [{"id": number, "text": f'第{number}行,\r\n"zwei"\n{number}', "meta": {"n": [number]}} for number in range(20)]


ENDINGS = pytest.mark.parametrize("ending", [".jsonl", ".csv"])


@pytest.fixture
def job(tmp_path):
    """Answer the rows of a file into out.jsonl or out.csv, and return which rows were worked on."""
    source = write_jsonl(tmp_path / "in.jsonl", ROWS)

    def run(ending: str, command: str = "same", fail_at: int | None = None, **options: object) -> list[int]:
        worked: list[int] = []

        def work(part, start):
            if fail_at is not None and start + len(part) > fail_at:
                raise KeyboardInterrupt
            worked.extend(int(row["id"]) for row in part)
            assert start == int(part[0]["id"])
            return [{"answer": row["text"].upper()} for row in part]

        chosen = RowOptions(input=source, output=tmp_path / f"out{ending}", **{"batch_size": 1, **options})
        answered(work, chosen, command, Report(TalkOptions(quiet=True)))
        return worked

    return run


def answers(data: bytes, ending: str) -> list[tuple[int, str]]:
    text = data.decode()
    read = csv.DictReader(io.StringIO(text, newline="")) if ending == ".csv" else map(json.loads, text.splitlines())
    return [(int(row["id"]), row["answer"]) for row in read]


@ENDINGS
def test_columns_and_order_are_kept(job, tmp_path, ending):
    assert job(ending) == list(range(20))
    output = (tmp_path / f"out{ending}").read_bytes()
    assert answers(output, ending) == [(row["id"], row["text"].upper()) for row in ROWS]
    if ending == ".jsonl":
        assert [json.loads(line) for line in output.splitlines()] == [{**r, "answer": r["text"].upper()} for r in ROWS]
    else:
        rows = list(csv.DictReader(io.StringIO(output.decode(), newline="")))
        assert [json.loads(row["meta"]) for row in rows] == [row["meta"] for row in ROWS]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", f"out{ending}", f"out{ending}.llmkit.json"]


@ENDINGS
def test_a_run_that_was_stopped_goes_on_and_ends_as_one_that_was_not(job, tmp_path, ending):
    job(ending)
    whole = (tmp_path / f"out{ending}").read_bytes()
    (tmp_path / f"out{ending}").unlink()
    with pytest.raises(Stopped, match="stopped after 16 of 20 rows"):
        job(ending, fail_at=17)
    assert job(ending) == [16, 17, 18, 19]
    assert (tmp_path / f"out{ending}").read_bytes() == whole


@ENDINGS
def test_a_file_that_was_cut_at_any_byte_is_mended(job, tmp_path, ending):
    job(ending)
    path = tmp_path / f"out{ending}"
    whole = path.read_bytes()
    last = whole.rindex("第".encode())
    start_of_chunk = whole.index(f"第{BATCHES_PER_WRITE}行".encode())
    cuts = [0, 3, *range(start_of_chunk - 12, start_of_chunk + 6), *range(last, len(whole) + 1)]
    wrong = {}
    for length in cuts:
        path.write_bytes(whole[:length])
        try:
            job(ending)
            wrong |= {} if path.read_bytes() == whole else {length: "other bytes"}
        except Exception as error:
            wrong[length] = repr(error)
    assert wrong == {}


def test_every_kind_of_line_end_in_a_cell_comes_back(tmp_path):
    texts = ["a\rb", "a\r\nb", "a\nb", "a\u2028b", 'a"b', ""]
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    options = RowOptions(input=source, output=tmp_path / "out.csv")
    answered(lambda part, start: [{"n": 1} for _ in part], options)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert [row["text"] for row in csv.DictReader(file)] == texts


@ENDINGS
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_that_died_in_its_first_write_goes_on_too(job, tmp_path, monkeypatch, ending, overwrite):
    if overwrite:
        job(ending)

    def fail(number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("os.fsync", fail)
        with pytest.raises(OSError, match="No space"):
            job(ending, overwrite=overwrite)
    torn = (tmp_path / f"out{ending}").read_bytes()[:-7]
    (tmp_path / f"out{ending}").write_bytes(torn)
    job(ending)
    output = (tmp_path / f"out{ending}").read_bytes()
    assert answers(output, ending) == [(row["id"], row["text"].upper()) for row in ROWS]


def test_rows_whose_keys_differ_stay_under_their_headings(tmp_path):
    rows = [{"text": "a", "n": 1}] * BATCHES_PER_WRITE + [{"n": 2, "note": "new", "text": "b"}] + [{"text": "c"}]
    options = RowOptions(input=write_jsonl(tmp_path / "in.jsonl", rows), output=tmp_path / "out.csv", batch_size=1)
    answered(lambda part, start: [{"ok": 1} for _ in part], options)
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [(row["text"], row["n"], row["note"], row["ok"]) for row in written] == [
        *[("a", "1", "", "1")] * BATCHES_PER_WRITE,
        ("b", "2", "new", "1"),
        ("c", "", "", "1"),
    ]


@ENDINGS
def test_a_file_that_is_complete_is_left_alone(job, tmp_path, ending):
    job(ending)
    before = (tmp_path / f"out{ending}").read_bytes()
    assert job(ending) == []
    assert (tmp_path / f"out{ending}").read_bytes() == before


@pytest.mark.parametrize("changed", [{"command": "other"}, {"limit": 5}, {"batch_size": 2}, {"column": ["text=text"]}])
def test_a_file_that_another_command_wrote_is_refused_and_kept(job, tmp_path, changed):
    job(".jsonl")
    before = (tmp_path / "out.jsonl").read_bytes()
    with pytest.raises(OptionError, match="another command wrote it; add --overwrite, or name another"):
        job(".jsonl", **changed)
    assert (tmp_path / "out.jsonl").read_bytes() == before
    assert job(".jsonl", **changed, overwrite=True) == list(range(5 if "limit" in changed else 20))


def test_another_input_is_another_command(job, tmp_path):
    job(".jsonl")
    write_jsonl(tmp_path / "in.jsonl", ROWS[::-1])
    with pytest.raises(OptionError, match="another command"):
        job(".jsonl")


def test_a_file_of_the_users_is_never_written_over(job, tmp_path):
    (tmp_path / "out.csv").write_text("mine", encoding="utf-8")
    with pytest.raises(OptionError, match="another command wrote it"):
        job(".csv")
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "mine"


def test_an_interrupt_before_the_first_write_leaves_nothing(job, tmp_path):
    with pytest.raises(Interrupted):
        job(".jsonl", fail_at=0)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_without_an_output_rows_go_to_stdout_as_they_come(tmp_path, capsys):
    options = RowOptions(input=write_jsonl(tmp_path / "in.jsonl", ROWS), batch_size=1)
    answered(lambda part, start: [{"a": int(row["id"])} for row in part], options)
    assert [json.loads(line)["a"] for line in capsys.readouterr().out.splitlines()] == list(range(20))


def test_a_column_of_the_answers_name_is_kept_under_another():
    row = {"text": "t", "label": "old"}
    assert with_answer(row, {"label": "new"}) == {"text": "t", "input_label": "old", "label": "new"}
    twice = with_answer({"input_label": "first", "label": "second"}, {"label": "third"})
    assert sorted(twice.values()) == ["first", "second", "third"]
    assert twice["label"] == "third"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.csv", "id,text,when,flag,n\n007,0,2024-01-02T10:00:00Z,true,1.50\n010,1,2024-01-03T10:00:00Z,false,\n"),
        ("in.tsv", "id\ttext\n007\t0\n010\t1\n"),
    ],
)
def test_cells_of_a_table_pass_through_as_they_are(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    options = RowOptions(input=tmp_path / name, output=tmp_path / "out.csv")
    answered(lambda part, start: [{} for _ in part], options)
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == content.replace("\t", ",")


def test_json_values_pass_through_as_they_are(tmp_path, capsys):
    rows = [{"text": "a", "id": 1, "meta": {"a": 1}}, {"text": "b", "id": "two", "meta": {"b": 2**70}}]
    options = RowOptions(input=write_jsonl(tmp_path / "in.jsonl", rows))
    answered(lambda part, start: [{} for _ in part], options)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows


def test_a_number_is_a_text_too(llmkit, classifier, tmp_path):
    (tmp_path / "in.csv").write_text("text\n0\n1\n", encoding="utf-8")
    ran = llmkit("classify", "-m", classifier, "--input", tmp_path / "in.csv")
    assert [row["label"] is None for row in ran.rows] == [False, False]


TABLE = [{"id": 1, "body": "a", "note": "b"}]


@pytest.mark.parametrize(
    ("rows", "given", "usual", "found"),
    [
        (TABLE, {"text": "note"}, ("body",), "note"),
        (TABLE, {}, ("text", "body"), "body"),
        ([{"id": 1, "words": "a"}], {}, ("text",), "words"),
        ([{"id": 1, "words": None}, {"id": 2, "words": "a"}], {}, ("text",), "words"),
    ],
)
def test_the_column_is_the_one_given_or_a_usual_one_or_the_only_one_of_strings(rows, given, usual, found):
    assert column_for(rows, "text", given, usual) == found


def test_a_column_that_cannot_be_told_is_asked_for():
    with pytest.raises(DataError, match=r"Say --column text=NAME; the file has id, body, note"):
        column_for(TABLE, "text", {}, ("text",))
    with pytest.raises(DataError, match="no column 'txet' for text; the file has id, body, note"):
        column_for(TABLE, "text", {"text": "txet"}, ())


def test_a_text_file_has_a_row_for_each_line_and_a_limit_is_kept(tmp_path):
    (tmp_path / "in.txt").write_text("one\n\nthree\n", encoding="utf-8")
    assert read_rows(RowOptions(input=tmp_path / "in.txt")) == [{"text": "one"}, {"text": ""}, {"text": "three"}]
    assert read_rows(RowOptions(input=tmp_path / "in.txt", limit=1)) == [{"text": "one"}]


def test_an_input_that_is_missing_or_empty_is_refused(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        read_rows(RowOptions(input=tmp_path / "none.csv"))
    (tmp_path / "empty.csv").touch()
    with pytest.raises(EmptyError, match="is empty"):
        read_rows(RowOptions(input=tmp_path / "empty.csv"))
