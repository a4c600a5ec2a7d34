"""Tables as people have them: their dialects, their first lines, and quotes that take rows into a cell."""

from __future__ import annotations

import pytest

from llmkit.data import open_dataset
from llmkit.data.files import read_rows
from llmkit.errors import DataError
from llmkit.options import FileOptions
from llmkit.output.report import Report

TEXTS = ["The soup was cold.", "A kind waiter, too!", "Never again.", "Best pudding; really.", "Slow and loud."] * 4
SIDES = ["bad", "good", "bad", "good", "bad"] * 4


def lines(*rows: str) -> str:
    return "".join(f"{row}\n" for row in rows)


def quoted(delimiter: str = ",") -> list[str]:
    return [f'"{text}"{delimiter}{side}' for text, side in zip(TEXTS, SIDES)]


EXPECTED = [{"text": text, "label": side} for text, side in zip(TEXTS, SIDES)]


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        pytest.param("a.csv", lines("text,label", *quoted()), {}, id="commas"),
        pytest.param("a.csv", lines("text;label", *quoted(";")), {}, id="semicolons"),
        pytest.param("a.csv", lines("sep=;", "text;label", *quoted(";")), {}, id="Excel's line"),
        pytest.param("a.csv", lines('"sep=,"', "text,label", *quoted()), {}, id="Excel's line in quotes"),
        pytest.param("a.csv", lines("sep=;\r", "text;label", *quoted(";")).encode("utf-16"), {}, id="and UTF-16"),
        pytest.param("a.csv", lines("text~label", *quoted("~")), {"delimiter": "~"}, id="a delimiter that is named"),
        pytest.param("a.csv", lines("Survey 2024,", "text,label", *quoted()), {"skip_rows": 1}, id="a title"),
        pytest.param("a.csv", lines("# by me", "text,label", *quoted(), "# end"), {"comment": "#"}, id="comments"),
        pytest.param("a.csv", lines("text,label,", *(f"{row}," for row in quoted())), {}, id="a comma at each end"),
        pytest.param("a.csv", lines("text,label", *(f"{row}," for row in quoted())), {}, id="but not of the header"),
        pytest.param("a.csv", lines("text,label,,", *(f"{row},," for row in quoted())), {}, id="two at each end"),
    ],
)
def test_a_table_is_read_however_it_is_written(rows_of, tmp_path, name, content, options):
    assert rows_of(name, content, **options) == EXPECTED
    assert read_rows(tmp_path / name, FileOptions(**options)) == EXPECTED


def test_a_blank_before_a_quote_is_no_part_of_the_cell(rows_of):
    rows = [f'{side}, "{text}"' for text, side in zip(TEXTS, SIDES)]
    assert rows_of("a.csv", lines("label, text", *rows)) == EXPECTED


def test_a_delimiter_within_quotes_is_none(rows_of):
    rows = rows_of("a.csv", lines('"text, or review";label', *quoted(";")))
    assert list(rows[0]) == ["text, or review", "label"]


def test_a_delimiter_that_cannot_be_told_is_asked_for(rows_of):
    content = lines("a,b;c", *(f"x{number},y;z" for number in range(9)))
    with pytest.raises(DataError, match="--delimiter ',' or --delimiter ';'"):
        rows_of("a.csv", content)
    assert list(rows_of("a.csv", content, delimiter=";")[0]) == ["a,b", "c"]


@pytest.mark.parametrize(
    ("content", "phrases"),
    [
        pytest.param(lines(*quoted()), ["--no-header", "column_1 to column_2"], id="no header"),
        pytest.param(lines(*(f"{n},{text}" for n, text in enumerate(SIDES, 7))), ["'7'", "--no-header"], id="numbers"),
        pytest.param(lines(*(f"2024-01-0{n},w{n}" for n in range(1, 9))), ["is a date", "--no-header"], id="dates"),
        pytest.param(lines(*(f"https://x.y/{n},w{n}" for n in range(9))), ["is an address"], id="addresses"),
        pytest.param(lines("Survey,", "text,label", *quoted()), ["is in line 2: --skip-rows 1"], id="title"),
        pytest.param(lines("Survey", "", "text,label", *quoted()), ["in line 3: --skip-rows 2"], id="title, one cell"),
        pytest.param(lines("# by me", "# today", "text,label", *quoted()), ["--comment '#'", "--skip-rows 2"], id="#"),
        pytest.param(lines("text,label", *quoted(), "# the end, of, it"), ["line 22: 3 cells", "--comment"], id="end"),
    ],
)
def test_a_first_line_that_names_no_columns_is_refused(rows_of, content, phrases):
    with pytest.raises(DataError) as refusal:
        rows_of("a.csv", content)
    assert [phrase for phrase in phrases if phrase not in str(refusal.value)] == []


HEADERS = "text,label|0,1|1,2|,0|Text,Mood|How was your stay?,Would you come again?|satz,klasse|文本,标签|V1,V2|A,B"


@pytest.mark.parametrize("header", HEADERS.split("|"))
def test_a_header_is_not_taken_for_data(rows_of, header):
    assert list(rows_of("a.csv", lines(header, *quoted()))[0]) == header.split(",")


@pytest.mark.parametrize("header", ["country,2019,2020", "id,0.1,0.5", "word,tag"])
def test_neither_are_names_that_are_numbers_or_words(rows_of, header):
    rows = [f"word,{n}.5,{n}" for n in range(9)] if header.count(",") == 2 else ["the,O", "word,O", "fox,B-X"] * 3
    assert list(rows_of("a.csv", lines(header, *rows))[0]) == header.split(",")


def test_a_column_of_sentences_has_a_header_of_one_word(rows_of):
    assert rows_of("a.csv", lines("text", "Never again.", "Slow and loud.")) == [
        {"text": "Never again."},
        {"text": "Slow and loud."},
    ]


def test_a_table_without_header_has_columns_by_number(rows_of):
    rows = rows_of("a.csv", lines(*quoted()), header=False)
    assert rows == [{"column_1": row["text"], "column_2": row["label"]} for row in EXPECTED]


@pytest.mark.parametrize("end", ["", '"'], ids=["and begins another cell", "and ends a later one"])
def test_an_odd_quote_in_a_tsv_is_a_character(rows_of, end):
    texts = [f'"{TEXTS[0]}', *TEXTS[1:4], f"{'' if end else chr(34)}{TEXTS[4]}{end}", *TEXTS[5:]]
    found = rows_of("a.tsv", lines("text\tlabel", *(f"{text}\t{side}" for text, side in zip(texts, SIDES))))
    assert found == [{"text": text, "label": side} for text, side in zip(texts, SIDES)]


def test_quotes_of_a_tsv_that_are_closed_are_quotes(rows_of):
    content = 'text\tlabel\n"one\ntwo"\tbad\n"he said ""no"""\tgood\n'
    assert rows_of("a.tsv", content) == [
        {"text": "one\ntwo", "label": "bad"},
        {"text": 'he said "no"', "label": "good"},
    ]


@pytest.mark.parametrize(
    ("places", "count"),
    [
        pytest.param({4: 'good,"{}', 9: 'bad,"{}'}, "6 lines", id="two quotes that open"),
        pytest.param({4: 'good,"{}', 9: 'bad,{}"'}, "6 lines", id="one opens and one closes"),
        pytest.param({4: 'good,"{}', 5: 'bad,{}"'}, "2 lines", id="in two lines"),
        pytest.param({4: 'good,"{}'}, "nothing closes it", id="one alone"),
    ],
)
def test_a_quote_that_takes_rows_into_a_cell_is_refused_by_its_line(rows_of, places, count):
    texts = [text.replace(",", "") for text in TEXTS]
    rows = [places.get(n, f"{side},{{}}").format(text) for n, (text, side) in enumerate(zip(texts, SIDES))]
    with pytest.raises(DataError, match=f"line 6: a quote opens a cell that .*{count}"):
        rows_of("a.csv", lines("label,text", *rows))
    turned = [",".join(reversed(row.split(","))) for row in rows]
    with pytest.raises(DataError, match=f"line 6: a quote opens a cell that .*{count}"):
        rows_of("a.csv", lines("text,label", *turned))


def test_a_cell_of_several_lines_is_no_row(rows_of):
    cell = "Dear all,\nthe soup, the bread\nwere good, bad,\nboth"
    content = lines("text,label", *quoted(), f'"{cell}",good', 'a 5" plate,bad', f'"{cell}",bad')
    assert rows_of("a.csv", content)[20:] == [
        {"text": cell, "label": "good"},
        {"text": 'a 5" plate', "label": "bad"},
        {"text": cell, "label": "bad"},
    ]


def test_a_name_of_two_columns_stops_who_uses_it_alone(tmp_path):
    (tmp_path / "a.csv").write_text(lines("text,label,label", "one,bad,0", "two,good,1"))
    source = open_dataset(str(tmp_path / "a.csv"))
    assert source.splits["train"]["text"][:] == ["one", "two"]
    assert source.mixed == {
        "label": f"{tmp_path / 'a.csv'}: the header names 'label' twice (columns 2, 3); rename one in the first line"
    }
    with pytest.raises(DataError, match="twice"):
        read_rows(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("text", "encoding", "advice"),
    [
        ("It\u2019s a café \u2013 yes", "cp1252", "cp1252, latin-1"),
        ("un café noir", "latin-1", "latin-1, gb18030"),
        ("这家餐厅的菜很好吃服务也好", "gb18030", "gb18030, latin-1"),
        ("このレストランはとてもおいしい", "shift_jis", "shift_jis, latin-1"),
        ("Очень вкусный суп и хороший хлеб", "cp1251", "cp1251, latin-1"),
    ],
)
def test_the_likely_encoding_is_named_first(rows_of, text, encoding, advice):
    with pytest.raises(DataError, match=f"line 2: byte .* for example --encoding {advice}"):
        rows_of("a.csv", f"text,label\n{text},good\n".encode(encoding))
    assert rows_of("a.csv", f"text,label\n{text},good\n".encode(encoding), encoding=encoding)[0]["text"] == text


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_byte_order_mark_tells_the_encoding(rows_of, name, encoding):
    content = "text,label\n好,x\n" if name == "a.csv" else '{"text": "好", "label": "x"}\n'
    assert rows_of(name, content.encode(encoding)) == [{"text": "好", "label": "x"}]


def test_utf16_without_its_mark_is_named(rows_of):
    with pytest.raises(DataError, match="--encoding utf-16-le"):
        rows_of("a.csv", "text,label\nhello,x\n".encode("utf-16-le"))


def test_latin_1_with_the_quotes_of_windows_is_a_warning(tmp_path, capsys):
    (tmp_path / "a.csv").write_bytes("text,label\nIt\u2019s,x\n".encode("cp1252"))
    open_dataset(str(tmp_path / "a.csv"), FileOptions(encoding="latin-1"), report=Report())
    assert "warning" in (said := capsys.readouterr().err)
    assert "--encoding cp1252" in said
