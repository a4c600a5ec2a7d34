"""Tables that are not quite CSV, other encodings, and binary tables."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

from found.writing import LABELS, TEXTS, Writer, csv_of, cycled, one, reviews, table

PLAIN = csv_of(reviews())
WINDOWS = csv_of(table({"text": [f"it\u2019s caf\u00e9 \u201c{text}\u201d" for text in TEXTS], "label": LABELS}))
# two cells that open with a quote which closes none, so that a reader takes the lines between them for one cell
LONE_QUOTES = [f'"{text}' if row in {4, 9} else text for row, text in enumerate(TEXTS)]


def rows(line: Callable[[str, str], str], header: str) -> str:
    """Return a line for each review, below a header."""
    return "".join(f"{one}\n" for one in (header, *(line(text, label) for text, label in zip(TEXTS, LABELS))))


def parquet(texts: pa.Array, labels: pa.Array) -> Writer:
    """Write a table of arrow's types."""

    def write(folder: Path) -> Path:
        pq.write_table(pa.table({"text": texts, "label": labels}), folder / "train.parquet")
        return folder / "train.parquet"

    return write


def workbook(folder: Path) -> Path:
    book = openpyxl.Workbook()
    for row in [("text", "label"), *zip(TEXTS, LABELS)]:
        book.active.append(row)
    book.create_sheet("notes").append(["nothing here"])
    book.save(folder / "reviews.xlsx")
    return folder / "reviews.xlsx"


KINDS: dict[str, Writer] = {
    "no_header": one("rows.csv", csv_of(reviews(), header=False)),
    "sentiment140": one(
        "tweets.csv",
        "".join(
            f'"{label}","{3000 + row}","Tue Mar 03 08:1{row % 10}:45 PDT 2009","NO_QUERY","user{row}","{text}"\n'
            for row, (text, label) in enumerate(zip(TEXTS, cycled(0, 4)))
        ),
    ),
    "sep_line": one("export.csv", "sep=;\n" + csv_of(reviews(), delimiter=";")),
    "utf16": one("export.csv", PLAIN.encode("utf-16")),
    "cp1252": one("export.csv", WINDOWS.encode("cp1252")),
    "xlsx": workbook,
    "xlsx_broken": one("reviews.xlsx", b"PK but no workbook"),
    "title_row": one("survey.csv", "Answers of spring,\n" + PLAIN),
    "comment_lines": one("export.csv", "# made by a script\n" + PLAIN),
    "tsv_quote_odd": one("tweets.tsv", rows("{}\t{}".format, "text\tlabel").replace(TEXTS[5], '"' + TEXTS[5])),
    "trailing_comma": one("export.csv", rows("{},{},".format, "text,label")),
    "space_before_quote": one(
        "export.csv", rows(lambda text, label: f'{label}, "well, {text}, and so on"', "label, text")
    ),
    "pq_binary": parquet(pa.array([text.encode() for text in TEXTS], pa.binary()), pa.array(LABELS)),
    "pq_decimal": parquet(
        pa.array(TEXTS), pa.array(cycled(Decimal("1.50"), Decimal("0.25"), Decimal("2.75")), pa.decimal128(5, 2))
    ),
    "pq_view": parquet(pa.array(TEXTS, pa.string_view()), pa.array(LABELS, pa.string_view())),
    "delimiter_guess_header": one(
        "export.csv", rows(lambda text, label: f'"{text}, so, well";{label}', '"opinion, or text";label')
    ),
    "duplicate_column": one("export.csv", rows("{0},{1},{1}".format, "text,label,label")),
    "duplicate_column_unused": one("export.csv", rows("{},{},x,y".format, "text,label,note,note")),
    "quote_swallows_rows_csv": one(
        "tweets.csv", "label,text\n" + "".join(f"{label},{text}\n" for text, label in zip(LONE_QUOTES, LABELS))
    ),
    "quote_swallows_rows_tsv": one(
        "tweets.tsv", "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in zip(LONE_QUOTES, LABELS))
    ),
    "txt_lines": one("lines.txt", "".join(f"{text}.\n" for text in TEXTS)),
    "txt_fasttext": one("train.txt", "".join(f"__label__{label} {text}\n" for text, label in zip(TEXTS, LABELS))),
    "poem": one("poem.txt", "".join(f"verse {row} of a song: {text},\n" for row, text in enumerate(TEXTS * 5))),
}
