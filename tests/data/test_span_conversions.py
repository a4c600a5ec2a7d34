from __future__ import annotations

import json

import pytest
from datasets import Dataset

from llmkit.data.conversions.tagging import spans, token_spans
from llmkit.data.files import from_rows, read_file
from llmkit.data.formats.annotations import read_annotations, span_objects
from llmkit.errors import DataError

TEXTS = ["Anna met Bob Ray in New Delhi.", "Nobody was there.", "我在北京见李雷"]
SPANS = [[(0, 4, "PER"), (9, 16, "PER"), (20, 29, "LOC")], [], [(2, 4, "LOC"), (5, 7, "PER")]]
TOKENS = [
    ["Anna", "met", "Bob", "Ray", "in", "New", "Delhi", "."],
    ["Nobody", "was", "there", "."],
    ["我", "在", "北", "京", "见", "李", "雷"],
]
TAGS = [
    ["B-PER", "O", "B-PER", "I-PER", "O", "B-LOC", "I-LOC", "O"],
    ["O", "O", "O", "O"],
    ["O", "O", "B-LOC", "I-LOC", "O", "B-PER", "I-PER"],
]


Spans = list[list[dict[str, object]]]


def triples() -> list[list[list[object]]]:
    return [[list(span) for span in row] for row in SPANS]


def objects(
    start: str = "start", end: str = "end", label: str = "label", **more: object
) -> list[list[dict[str, object]]]:
    return [[{start: s, end: e, label: name, **more} for s, e, name in row] for row in SPANS]


def with_texts(shift: int = 0, label: str = "label", listed: bool = False) -> list[list[dict[str, object]]]:
    return [
        [{"start": s, "end": e - shift, "text": text[s:e], label: [name] if listed else name} for s, e, name in row]
        for text, row in zip(TEXTS, SPANS, strict=True)
    ]


def regions(row: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{"id": "a", "from_name": "label", "to_name": "text", "type": "labels", "value": one} for one in row]


ROWS = {
    "doccano": [{"id": 1, "text": text, "label": row} for text, row in zip(TEXTS, triples(), strict=True)],
    "doccano labels": [{"data": text, "labels": row} for text, row in zip(TEXTS, triples(), strict=True)],
    "doccano entities": [
        {"id": 7, "text": text, "entities": row, "relations": []}
        for text, row in zip(TEXTS, objects("start_offset", "end_offset", id=3), strict=True)
    ],
    "label studio min": [
        {"id": 1, "text": text, "label": row, "annotator": 1}
        for text, row in zip(TEXTS, with_texts(label="labels", listed=True), strict=True)
    ],
    "prodigy": [
        {"text": text, "tokens": [{"text": text, "id": 0}], "spans": row, "answer": "accept"}
        for text, row in zip(TEXTS, objects(token_start=0), strict=True)
    ],
    "spacy": [{"text": text, "entities": row} for text, row in zip(TEXTS, triples(), strict=True)],
    "hub": [{"sentence": text, "entities": row} for text, row in zip(TEXTS, objects(label="type"), strict=True)],
    "json cells": [{"text": text, "label": json.dumps(row)} for text, row in zip(TEXTS, triples(), strict=True)],
    "spacy cells": [
        {"text": text, "annotations": json.dumps({"entities": row})} for text, row in zip(TEXTS, triples(), strict=True)
    ],
    "last character": [{"text": text, "entities": row} for text, row in zip(TEXTS, with_texts(1), strict=True)],
    "dataturks": [
        {"content": text, "annotation": [{"label": one["label"], "points": [one]} for one in row]}
        for text, row in zip(TEXTS, with_texts(1, listed=True), strict=True)
    ],
}
FILES = {
    "pairs": [[text, {"entities": row}] for text, row in zip(TEXTS, triples(), strict=True)],
    "annotator": {
        "classes": ["PER", "LOC"],
        "annotations": [None, *([text, {"entities": row}] for text, row in zip(TEXTS, triples(), strict=True))],
    },
    "label studio": [
        {"id": 1, "data": {"text": text}, "annotations": [{"id": 5, "was_cancelled": False, "result": regions(row)}]}
        for text, row in zip(TEXTS, with_texts(label="labels", listed=True), strict=True)
    ],
    "light tag": {
        "examples": [
            {"content": text, "annotations": row, "metadata": {}}
            for text, row in zip(TEXTS, objects(label="tag"), strict=True)
        ]
    },
}


@pytest.mark.parametrize("name", ROWS)
def test_spans_of_characters_are_words_and_tags(name):
    rows = from_rows(ROWS[name])
    conversion = spans.find(rows)
    assert conversion.sentence.startswith(f"spans of {conversion.text} in {conversion.spans}: words and IOB2 tags")
    assert ("the end of a span is its last character" in conversion.sentence) == (
        name in {"last character", "dataturks"}
    )
    converted = conversion.apply(rows)
    assert converted["tokens"][:] == TOKENS
    assert converted["tags"][:] == TAGS
    assert converted[conversion.text][:] == TEXTS
    assert conversion.spans not in converted.column_names


@pytest.mark.parametrize("name", FILES)
def test_files_of_tools_are_rows(name, tmp_path):
    path = tmp_path / "all.json"
    path.write_text(json.dumps(FILES[name]), encoding="utf-8")
    rows = read_file(path)
    assert rows.column_names[:2] == ["text", "entities"]
    converted = spans.find(rows).apply(rows)
    assert (converted["tokens"][:], converted["tags"][:]) == (TOKENS, TAGS)


def test_the_text_is_that_in_which_the_spans_lie():
    rows = Dataset.from_dict(
        {"title": ["a"], "review": ["Anna left"], "spans": [[{"start": 0, "end": 4, "label": "X"}]]}
    )
    assert spans.find(rows).text == "review"
    assert spans.find(rows.rename_columns({"title": "text"})).text == "review"
    assert spans.find(rows.remove_columns("review")) is None


def test_words_are_split_where_spans_begin_and_end():
    rows = Dataset.from_dict({"text": ["unhappily so"], "spans": [[{"start": 2, "end": 7, "label": "X"}]]})
    converted = spans.find(rows).apply(rows)
    assert converted["tokens"][:] == [["un", "happi", "ly", "so"]]
    assert converted["tags"][:] == [["O", "B-X", "O", "O"]]


def test_spans_side_by_side_stay_two_and_blanks_at_their_ends_count_nothing():
    rows = from_rows([{"text": "New Delhi Rome, x", "label": [[0, 10, "LOC"], [10, 14, "LOC"]]}])
    assert spans.find(rows).apply(rows)["tags"][:] == [["B-LOC", "I-LOC", "B-LOC", "O", "O"]]


def test_of_spans_that_overlap_the_longest_is_kept_and_counted():
    rows = from_rows([{"text": "New Delhi City", "label": [[4, 9, "X"], [0, 14, "LOC"], [0, 14, "LOC"], [0, 3, "Y"]]}])
    conversion = spans.find(rows)
    assert "of spans that overlap the longest is kept (2 left out)" in conversion.sentence
    assert conversion.apply(rows)["tags"][:] == [["B-LOC", "I-LOC", "I-LOC"]]


def test_rows_rejected_or_not_annotated_are_left_out_and_counted():
    one = [{"start": 0, "end": 1, "label": "X"}]
    answers = ["accept", "reject", "ignore", "accept"]
    rows = Dataset.from_dict({"text": ["a b"] * 4, "spans": [one, one, one, None], "answer": answers})
    conversion = spans.find(rows)
    assert "2 rows without annotations, or rejected, are left out" in conversion.sentence
    assert conversion.apply(rows)["tags"][:] == [["B-X", "O"], ["O", "O"]]
    exported = [
        {"data": {"text": "a"}, "annotations": done}
        for done in ([], [{"result": regions([{**one[0], "labels": ["X"]}])}])
    ]
    rows = from_rows(read_annotations(exported, "x"))
    conversion = spans.find(rows)
    assert "1 rows" in conversion.sentence
    assert conversion.apply(rows)["tokens"][:] == [["a"]]


def test_rows_that_come_later_may_have_no_span_at_all():
    conversion = spans.find(from_rows(ROWS["doccano"]))
    later = from_rows([{"text": "It rains.", "label": []}, {"text": "", "label": []}])
    assert conversion.apply(later)["tags"][:] == [["O", "O", "O"], []]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "ab", "label": [[0, 9, "X"]]}, r"row 2: the span \[0, 9\] 'X' is none of a text of 2 characters"),
        ({"text": "ab", "label": [[-1, 1, "X"]]}, r"row 2: the span \[-1, 1\] 'X' is none"),
        ({"text": "ab", "label": [[1, 1, "X"]]}, r"row 2: the span \[1, 1\] 'X' is none"),
        ({"text": "a  b", "label": [[1, 3, "X"]]}, r"row 2: the span \[1, 3\] 'X' holds but blanks"),
        ({"text": "ab", "label": [[0, 1, " "]]}, r"row 2: the span \[0, 1\] has 1 labels, and one is wanted"),
    ],
)
def test_spans_that_cannot_be_are_named_by_their_row(row, message):
    with pytest.raises(DataError, match=message):
        spans.find(from_rows([ROWS["doccano"][0], row]))


@pytest.mark.parametrize(
    ("start", "wanted"),
    [(5, "it counts UTF-16 units, in which an emoji is two"), (6, "the same characters are wanted")],
)
def test_spans_of_other_characters_are_named(start, wanted):
    one = {"start": start, "end": start + 4, "text": "Anna", "labels": ["PER"]}
    with pytest.raises(DataError, match=wanted):
        spans.find(from_rows([{"text": "🎉🎉 Anna left.", "label": [one]}]))


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": "a", "label": ["x", "y"]}],
        [{"text": "a", "label": "x"}],
        [{"text": "a", "label": []}],
        [{"text": "a", "label": 1}],
        [{"text": "a", "label": [1, 0]}],
        [{"tokens": ["a"], "ner_tags": ["O"], "text": "a", "entities": [{"start": 0, "end": 1, "type": "X"}]}],
        [{"context": "a b", "question": "c", "answers": {"text": ["a"], "answer_start": [0]}}],
        [{"messages": [{"role": "user", "content": "a"}], "labels": ["a"]}],
        [{"label": [{"start": 0, "end": 1, "label": "X"}]}],
    ],
)
def test_other_rows_have_no_spans(rows):
    assert spans.find(from_rows(rows)) is None


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        [1, 2],
        [["a", "b"]],
        [["a", {"x": 1}]],
        [{"text": "a"}],
        {"data": [{"text": "a"}]},
        [{"data": {"text": "a"}}],
        {"classes": ["a"], "rows": []},
        {"annotations": []},
    ],
)
def test_other_json_is_no_annotated_text(value):
    assert read_annotations(value, "x") is None


def test_a_broken_pair_is_named():
    with pytest.raises(DataError, match=r"a\.json, item 2: "):
        read_annotations([["a", {"entities": []}], ["b", {"entities": [[0, 1]]}]], "a.json")


@pytest.mark.parametrize(
    "cells", [[["a", "b"]], [[[1, 2]]], [[[0, 1, "X"]], "x"], [], [[]], [None], [[[True, 1, "X"]]]]
)
def test_lists_of_other_things_stay(cells):
    assert span_objects(cells) is None


def test_spans_of_words_are_tags():
    rows = from_rows(
        [
            {"tokenized_text": ["New", "Delhi", "is", "big"], "ner": [[0, 1, "loc"], [1, 1, "x"], [3, 3, "size"]]},
            {"tokenized_text": ["It", "rains"], "ner": []},
        ]
    )
    assert spans.find(rows) is None
    conversion = token_spans.find(rows)
    assert "the longest is kept (1 left out)" in conversion.sentence
    converted = conversion.apply(rows)
    assert converted["tokens"][:] == [["New", "Delhi", "is", "big"], ["It", "rains"]]
    assert converted["tags"][:] == [["B-loc", "I-loc", "O", "B-size"], ["O", "O"]]
    beyond = from_rows([{"tokenized_text": ["a"], "ner": [[0, 1, "x"]]}])
    with pytest.raises(DataError, match=r"row 1: the span \[0, 1\] 'x' is none of 1 words"):
        token_spans.find(beyond).apply(beyond)


@pytest.mark.parametrize(
    "row", [{"tokenized_text": ["a"], "ner": []}, {"tokenized_text": "a", "ner": ["x"]}, {"ner": 1}]
)
def test_other_rows_have_no_spans_of_words(row):
    assert token_spans.find(from_rows([row])) is None
