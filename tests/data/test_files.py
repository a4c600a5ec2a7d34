from __future__ import annotations

import gzip
import io
import json

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from llmkit.data.files import FORMATS, HOLDERS, from_rows, read_file, read_rows
from llmkit.errors import DataError, EmptyError

ROWS = [{"text": "a, b", "label": "x"}, {"text": "ça 大", "label": "y"}]


def plain_bytes(kind: str) -> bytes:
    table, buffer = pa.Table.from_pylist(ROWS), io.BytesIO()
    if kind == "parquet":
        pyarrow.parquet.write_table(table, buffer)
    elif kind == "arrow":
        with pa.ipc.new_stream(buffer, table.schema) as stream:
            stream.write_table(table)
    else:
        lines = {
            "csv": 'text,label\n"a, b",x\nça 大,y\n',
            "tsv": "text\tlabel\na, b\tx\nça 大\ty\n",
            "json": json.dumps(ROWS),
            "jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS),
            "txt": "a, b\nça 大\n",
        }
        return lines[kind].encode()
    return buffer.getvalue()


def compressed(data: bytes, ending: str) -> bytes:
    if ending == ".gz":
        return gzip.compress(data)
    return pa.compress(data, codec="zstd", asbytes=True) if ending == ".zst" else data


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
@pytest.mark.parametrize("kind", [kind for kind in FORMATS if kind not in HOLDERS])
def test_every_format_reads_plain_and_compressed(rows_of, kind, ending):
    found = rows_of(f"data.{kind}{ending}", compressed(plain_bytes(kind), ending))
    assert found == (ROWS if kind != "txt" else [{"text": "a, b\nça 大\n"}])


def test_the_other_arrow_layout_and_upper_case_endings_read_too(rows_of, tmp_path):
    table, buffer = pa.Table.from_pylist(ROWS), io.BytesIO()
    with pa.ipc.new_file(buffer, table.schema) as file:
        file.write_table(table)
    assert rows_of("data.arrow", buffer.getvalue()) == ROWS
    assert rows_of("DATA.CSV.GZ", gzip.compress(plain_bytes("csv"))) == ROWS
    assert rows_of("v1.2.ndjson", plain_bytes("jsonl")) == ROWS


def test_parquet_keeps_the_class_names_that_datasets_wrote(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["ham", "spam"])})
    Dataset.from_dict({"text": ["a"], "label": [1]}, features=features).to_parquet(tmp_path / "x.parquet")
    assert read_file(tmp_path / "x.parquet").features["label"].names == ["ham", "spam"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        pytest.param("bom.csv", "\ufefftext,label\na,x\n", [{"text": "a", "label": "x"}], id="BOM in a CSV"),
        pytest.param("bom.jsonl", '\ufeff{"text": "a"}\n', [{"text": "a"}], id="BOM in JSON lines"),
        pytest.param("a.csv", "text;label\na, b;x\n", [{"text": "a, b", "label": "x"}], id="semicolons"),
        pytest.param("a.csv", "text\tlabel\na, b\tx\n", [{"text": "a, b", "label": "x"}], id="tabs in a .csv"),
        pytest.param("a.csv", "text|label\na, b|x\n", [{"text": "a, b", "label": "x"}], id="bars"),
        pytest.param("a.csv", "text\nhello\n", [{"text": "hello"}], id="one column"),
        pytest.param("a.csv", "text,label\r\na,x\r\n", [{"text": "a", "label": "x"}], id="line ends of Windows"),
        pytest.param("a.csv", " text , label\na,x\n", [{"text": "a", "label": "x"}], id="blanks in the header"),
        pytest.param(
            "a.csv",
            'text,label\n"a\n\n""b""",x\nc,y\n',
            [{"text": 'a\n\n"b"', "label": "x"}, {"text": "c", "label": "y"}],
            id="newlines and quotes in a cell",
        ),
        pytest.param(
            "a.csv",
            "text,label\nNA,null\nnan,None\n",
            [{"text": "NA", "label": "null"}, {"text": "nan", "label": "None"}],
            id="NA is a text",
        ),
        pytest.param(
            "a.csv", "text,label\na,1\nb,\n", [{"text": "a", "label": 1}, {"text": "b", "label": None}], id="no number"
        ),
        pytest.param("a.json", '{"text": "a"}', [{"text": "a"}], id="one JSON object"),
        pytest.param("a.json", '{"text": "a"}\n{"text": "b"}\n', [{"text": "a"}, {"text": "b"}], id="lines as .json"),
        pytest.param(
            "a.jsonl",
            '{"text": "a"}\n\n{"text": "b", "n": 2}\n',
            [{"text": "a", "n": None}, {"text": "b", "n": 2}],
            id="a key that some rows lack",
        ),
        pytest.param(
            "a.jsonl", '{"t": 1}\n{"t": 1180591620717411303424}\n', [{"t": "1"}, {"t": str(2**70)}], id="71 bits"
        ),
        pytest.param("a.jsonl", '{"n": 1}\n{"n": 2.5}\n', [{"n": 1.0}, {"n": 2.5}], id="integers and floats"),
        pytest.param("a.jsonl", '{"text": "a\u2028b"}\r\n', [{"text": "a\u2028b"}], id="line separator in JSON"),
    ],
)
def test_a_file_reads_as_these_rows(rows_of, name, content, expected):
    assert rows_of(name, content) == expected


def test_a_line_of_a_text_file_ends_at_a_line_feed_alone(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("one\u2028still one\x0cstill one\r\n\nthree".encode())  # as for wc, paste and jq
    assert [row["text"] for row in read_rows(path)] == ["one\u2028still one\x0cstill one", "", "three"]


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.csv", "id,text\n007,1.50\n010,\n", [{"id": "007", "text": "1.50"}, {"id": "010", "text": ""}]),
        ("a.tsv", "id\ttext\nTrue\t2024-01-02T10:00Z\n", [{"id": "True", "text": "2024-01-02T10:00Z"}]),
        ("a.json", '[{"id": 1}, {"id": "x", "m": {"a": null}}]', [{"id": 1}, {"id": "x", "m": {"a": None}}]),
        ("a.parquet", None, ROWS),
    ],
)
def test_rows_that_will_be_written_again_are_read_as_they_are(tmp_path, name, content, rows):
    (tmp_path / name).write_bytes(plain_bytes("parquet") if content is None else content.encode())
    assert read_rows(tmp_path / name) == rows


@pytest.mark.parametrize("read", [read_file, read_rows])
def test_both_ways_to_read_name_the_same_broken_line(tmp_path, read):
    (tmp_path / "a.csv").write_text('text,label\n"a\n",x\nb\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 4: 1 cells where the header has 2"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "content", "phrases"),
    [
        pytest.param("a.csv", "text,label\na,x\nb\n", ["line 3", "1 cells where the header has 2"], id="short row"),
        pytest.param("a.csv", "text,label\na,x,z\n", ["line 2", "3 cells where the header has 2"], id="long row"),
        pytest.param("a.csv", 'text,label\n"a\n\nb",x\n\nc\n', ["line 6", "1 cells"], id="short, after a long cell"),
        pytest.param("a.csv", '"te\nxt",label\nc\n', ["line 3", "1 cells"], id="short, after a header of two lines"),
        pytest.param("a.tsv", "text\tlabel\na\tx\n\tb\tc\n", ["line 3", "3 cells"], id="long row of a TSV"),
        pytest.param("a.csv", 'text,label\na,x\n"b,y\nc,z\n', ["line 3"], id="a quote that nothing closes"),
        pytest.param("a.csv", "text,label,text \na,x,b\n", ["header", "text", "twice"], id="a name given twice"),
        pytest.param(
            "a.csv",
            "text,label\na,x\ncaf\xe9,y\n".encode("latin-1"),
            ["line 3", "0xe9", "--encoding"],
            id="another encoding in a CSV",
        ),
        pytest.param(
            "a.jsonl",
            '{"text": "a"}\n{"text": "caf\xe9"}\n'.encode("latin-1"),
            ["line 2", "--encoding"],
            id="another encoding in JSON lines",
        ),
        pytest.param("a.jsonl", '{"text": "a"}\n\n{"text": \n', ["line 3", "not JSON"], id="broken JSON line"),
        pytest.param("a.jsonl", '{"text": "a"}\n["b"]\n', ["line 2", "object"], id="a JSON line that is no object"),
        pytest.param("a.jsonl", '{"t": "a"}\n{"t": 1}\n', ["'t'", "str in row 1", "int in row 2"], id="mixed types"),
        pytest.param("a.jsonl", '{"t": "cut \\ud83d"}\n', ["'t'"], id="half of a character"),
        pytest.param("a.json", '[{"text": "a"},\n{"text": }]', ["line 2", "not JSON"], id="broken JSON"),
        pytest.param("a.json", "[1, 2]", ["a list of objects"], id="JSON without objects"),
        pytest.param("a.csv.gz", b"text\na\n", ["cannot be read"], id="no gzip under the name .gz"),
        pytest.param("a.csv.gz", gzip.compress(b"text\n" + b"abc\n" * 9999)[:60], ["cannot be read"], id="half a gzip"),
        pytest.param("a.csv.zst", b"text\na\n", ["cannot be read"], id="no zstd under the name .zst"),
        pytest.param("a.parquet", b"PAR1 and no more", ["not a readable parquet file"], id="half a parquet file"),
        pytest.param("a.arrow", b"no arrow", ["not a readable arrow file"], id="no arrow"),
        pytest.param("a.docx", b"PK", ["unknown format", "parquet"], id="a format that llmkit does not read"),
    ],
)
def test_a_broken_file_is_refused_in_one_sentence_that_names_the_place(rows_of, tmp_path, name, content, phrases):
    with pytest.raises(DataError) as refusal:
        rows_of(name, content)
    sentence = str(refusal.value)
    assert str(tmp_path / name) in sentence
    assert [phrase for phrase in phrases if phrase not in sentence] == []


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", ""), ("a.csv", " \n\n"), ("a.csv", "text,label\n"), ("a.jsonl", "\n"), ("a.json", "[]"), ("a.txt", "")],
)
def test_a_file_without_rows_is_empty(rows_of, name, content):
    with pytest.raises(EmptyError, match=r"is empty|holds no rows"):
        rows_of(name, content)


@pytest.mark.parametrize("encoding", ["latin-1", "gb18030", "utf-16", "UTF-8"])
def test_the_named_encoding_is_used(rows_of, encoding):
    text = "naïve" if encoding == "latin-1" else "naïve 好"
    assert rows_of("a.csv", f"text,label\n{text},x\n".encode(encoding), encoding=encoding)[0]["text"] == text


def test_an_unknown_encoding_is_refused(rows_of):
    with pytest.raises(DataError, match="--encoding 'klingon'"):
        rows_of("a.csv", "text\na\n", encoding="klingon")


def test_rows_from_python_say_where_they_came_from():
    with pytest.raises(DataError, match=r"^the rows: column 'n' mixes types: int in row 1, str in row 3"):
        from_rows([{"n": 1}, {}, {"n": "two"}])


@pytest.mark.parametrize(
    ("name", "content", "code", "phrase"),
    [
        ("a.csv", b"text,label\na,x\nb\n", 2, "line 3"),
        ("a.csv", b"", 5, "is empty"),
        ("a.jsonl", b'{"text": "cut \\ud83d", "label": "x"}\n', 2, "text"),
        ("a.csv", b"text,label\ncaf\xe9,x\n", 2, "line 2"),
    ],
)
def test_a_broken_file_ends_the_command_and_leaves_nothing(llmkit, tmp_path, monkeypatch, name, content, code, phrase):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    ran = llmkit("finetune", name)
    assert (ran.code, ran.out) == (code, "")
    assert phrase in ran.error
    assert [path.name for path in tmp_path.iterdir()] == [name]
