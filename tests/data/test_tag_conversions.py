from __future__ import annotations

import json

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from llmkit.data.conversions.tagging import tags
from llmkit.data.conversions.tagging.lists import list_in
from llmkit.errors import DataError

WORDS = [["Anna", "met", "Bob", "Ray", "in", "New", "Delhi", "City"], ["Eve", "Li", "Lou", "left"], ["Rain", "fell"]]
IOB2 = [["B-PER", "O", "B-PER", "I-PER", "O", "B-LOC", "I-LOC", "I-LOC"], ["B-PER", "I-PER", "B-PER", "O"], ["O", "O"]]
BIOES = [["S-PER", "O", "B-PER", "E-PER", "O", "B-LOC", "I-LOC", "E-LOC"], ["B-PER", "E-PER", "S-PER", "O"], ["O", "O"]]
IOB1 = [["I-PER", "O", "I-PER", "I-PER", "O", "I-LOC", "I-LOC", "I-LOC"], ["I-PER", "I-PER", "B-PER", "O"], ["O", "O"]]
IOE1 = [["I-PER", "O", "I-PER", "I-PER", "O", "I-LOC", "I-LOC", "I-LOC"], ["I-PER", "E-PER", "I-PER", "O"], ["O", "O"]]
IOE2 = [["E-PER", "O", "I-PER", "E-PER", "O", "I-LOC", "I-LOC", "E-LOC"], ["I-PER", "E-PER", "E-PER", "O"], ["O", "O"]]
BIOE = [["B-PER", "O", "B-PER", "E-PER", "O", "B-LOC", "I-LOC", "E-LOC"], ["B-PER", "E-PER", "B-PER", "O"], ["O", "O"]]


def rewritten(rows: list[list[str]], **letters: str) -> list[list[str]]:
    """Marks of tags by other letters."""
    return [[letters.get(tag[0], tag[0]) + tag[1:] if tag != "O" else tag for tag in row] for row in rows]


def mapped(rows: list[list[str]], change) -> list[list[str]]:
    return [[tag if tag == "O" else change(*tag.split("-")) for tag in row] for row in rows]


def rows_of(of_tags: object, words: object = WORDS) -> Dataset:
    return Dataset.from_dict({"id": range(len(words)), "tokens": words, "ner_tags": of_tags})


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (BIOES, "BIOES"),
        (BIOE, "BIOE"),
        (IOB1, "IOB1"),
        (IOE1, "IOE"),
        (IOE2, "IOE"),
        (rewritten(BIOES, S="U", E="L"), "BILOU"),
        (rewritten(BIOES, I="M"), "BMES"),
        (rewritten(BIOES, I="M", S="W"), "BMEWO"),
        (mapped(IOB2, lambda mark, kind: f"{kind}-{mark}"), "'PER-B' is B-PER"),
        (mapped(BIOES, lambda mark, kind: f"{kind}_{mark}"), "BIOES, "),
        (mapped(IOB2, lambda mark, kind: f"{mark}_{kind}"), "'B_PER' is B-PER"),
        (mapped(IOB2, lambda mark, kind: f"{mark}.{kind}"), "'B.PER' is B-PER"),
        (mapped(IOB2, lambda mark, kind: f"{mark}:{kind}"), "'B:PER' is B-PER"),
        (mapped(IOB2, lambda mark, kind: f"{mark}/{kind}"), "'B/PER' is B-PER"),
        ([[tag.lower() for tag in row] for row in IOB2], "'b-per' is B-PER"),
        ([[tag.lower() for tag in row] for row in BIOES], "BIOES"),
        ([IOB2[0], ["b-per", "I-per", "B-PER", "O"], IOB2[2]], "'b-per' is B-PER"),
        ([[tag.replace("O", "0") if tag == "O" else tag for tag in row] for row in IOB2], "'0' is O"),
        ([["" if tag == "O" else tag for tag in row] for row in IOB2], "a blank is O"),
        ([[None if tag == "O" else tag for tag in row] for row in IOB2], "a blank is O"),
        ([["o" if tag == "O" else tag for tag in row] for row in IOB2], "'o' is O"),
        ([["OTHER" if tag == "O" else tag for tag in row] for row in IOB2], "'OTHER' is O"),
        ([json.dumps(row) for row in IOB2], "lists in ner_tags written as text"),
        ([str(row) for row in IOB2], "lists in ner_tags written as text"),
        ([str(row).replace(",", "") for row in IOB2], "lists in ner_tags written as text"),
        ([f"array({row}, dtype=object)" for row in IOB2], "lists in ner_tags written as text"),
        ([" ".join(row) for row in IOB2], "ner_tags split at blanks"),
        ([", ".join(row) for row in IOB2], "ner_tags split at ','"),
        ([" ".join(row) for row in BIOES], "BIOES"),
    ],
)
def test_tags_in_any_scheme_and_writing_become_iob2(written, said):
    rows = rows_of(written)
    conversion = tags.find(rows, "tokens", "ner_tags")
    assert conversion is not None
    assert conversion.sentence.startswith("tags in ner_tags: ")
    assert said in conversion.sentence
    assert conversion.sentence.endswith("read as IOB2")
    converted = conversion.apply(rows)
    assert converted["ner_tags"][:] == IOB2
    assert converted["tokens"][:] == WORDS
    assert converted.column_names == rows.column_names
    assert converted.features["ner_tags"] == List(Value("string"))


@pytest.mark.parametrize("write", [json.dumps, str, " ".join, lambda words: str(words).replace(",", "")])
@pytest.mark.parametrize("of_tags", [IOB2, [" ".join(row) for row in IOB2], [str(row) for row in IOB2]])
def test_words_written_as_text_are_lists(write, of_tags):
    rows = rows_of(of_tags, [write(words) for words in WORDS])
    conversion = tags.find(rows, "tokens", "ner_tags")
    assert "tokens" in conversion.sentence
    converted = conversion.apply(rows)
    assert converted["tokens"][:] == WORDS
    assert converted["ner_tags"][:] == IOB2


def test_chinese_text_has_a_tag_for_each_character():
    rows = rows_of([["B-LOC", "E-LOC", "O", "S-PER"], ["O", "O"]], ["北京 见我", "下雨"])
    conversion = tags.find(rows, "tokens", "ner_tags")
    assert "each character of tokens is a word" in conversion.sentence
    converted = conversion.apply(rows)
    assert converted["tokens"][:] == [["北", "京", "见", "我"], ["下", "雨"]]
    assert converted["ner_tags"][:] == [["B-LOC", "I-LOC", "O", "B-PER"], ["O", "O"]]


def test_types_keep_their_names():
    written = [["B-人名", "E-人名", "O"], ["S-Job Title", "O", "B-e-mail"]]
    rows = rows_of(written, [["a", "b", "c"]] * 2)
    converted = tags.find(rows, "tokens", "ner_tags").apply(rows)
    assert converted["ner_tags"][:] == [["B-人名", "I-人名", "O"], ["B-Job Title", "O", "B-e-mail"]]


def test_tags_without_types_are_of_one_type():
    rows = rows_of([["B", "I", "O"], ["O", "B", "O"]], [["a", "b", "c"]] * 2)
    converted = tags.find(rows, "tokens", "ner_tags").apply(rows)
    assert converted["ner_tags"][:] == [["B-ENTITY", "I-ENTITY", "O"], ["O", "B-ENTITY", "O"]]


@pytest.mark.parametrize(
    "written",
    [
        IOB2,
        [["B-PER", "O", "I-PER", "O", "O", "O", "O", "O"], ["O"] * 4, ["O"] * 2],  # one slip is no other scheme
        [["NN", "VB", "NN", "NN", "IN", "NN", "NN", "NN"], ["NN", "B", "NN-TL", "V-B"], ["N", "I"]],
        [["n", "v", "b", "m", "s", "ns", "e", "w"], ["n", "n", "n", "v"], ["a", "d"]],
        [["PER", "O", "PER", "PER", "O", "LOC", "LOC", "LOC"], ["PER", "E-MAIL", "PER", "O"], ["O", "O"]],
        [["S", "O", "V", "O", "O", "O", "O", "O"], ["S", "V", "O", "O"], ["S", "V"]],
        [[1, 0, 1, 2, 0, 3, 4, 4], [1, 2, 1, 0], [0, -100]],
        [["0", "1", "0", "0", "0", "0", "0", "0"], ["0"] * 4, ["1"] * 2],
        [["B-NP", "B-VP", "B-NP", "I-NP", "B-PP", "B-NP", "I-NP", "I-NP"], ["B-NP", "I-NP", "B-NP", "B-VP"], ["O"] * 2],
        [["-100" if number % 2 else tag for number, tag in enumerate(row)] for row in IOB2],
        [None, IOB2[1], IOB2[2]],
        [[], IOB2[1], IOB2[2]],
        ["Anna met Bob", "x", "y z q"],
        [1, 2, 3],
        [True, None, False],
    ],
)
def test_tags_as_they_should_be_and_parts_of_speech_stay(written):
    assert tags.find(rows_of(written), "tokens", "ner_tags") is None


@pytest.mark.parametrize(
    ("words", "of_tags"),
    [
        (["hello", "bye", "hi"], ["greeting", "parting", "greeting"]),
        (["hello", "good bye", "hi"], ["['a']", "['a', 'b']", "['c']"]),
        ([[1, 2], [3]], [[["a"], ["b"]], [["c"]]]),
        ([[{"a": 1}]], [["O"]]),
        ([["a", "b"]], [[0.5, 1.0]]),
        (["", None], ["", None]),
    ],
)
def test_classes_of_texts_are_no_tags(words, of_tags):
    assert tags.find(Dataset.from_dict({"tokens": words, "ner_tags": of_tags}), "tokens", "ner_tags") is None


def test_class_ids_are_looked_at_by_their_names_and_minus_100_stays():
    names = ["O", "B-PER", "E-PER", "S-PER", "I-PER"]
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=names))})
    rows = Dataset.from_dict({"tokens": [["a", "b", "c"], ["d"]], "ner_tags": [[1, 2, 0], [3]]}, features=features)
    conversion = tags.find(rows, "tokens", "ner_tags")
    assert conversion.apply(rows)["ner_tags"][:] == [["B-PER", "I-PER", "O"], ["B-PER"]]
    plain = rows.cast_column("ner_tags", List(Value("int64")))
    assert tags.find(plain, "tokens", "ner_tags") is None
    written = rows_of([["S-PER", "-100", "B-PER", "-100", "E-PER"]], [["a", "b", "c", "d", "e"]])
    converted = tags.find(written, "tokens", "ner_tags").apply(written)
    assert converted["ner_tags"][:] == [["B-PER", "-100", "B-PER", "-100", "I-PER"]]


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (
            [["S", "B", "E"], ["B", "M", "E"]],
            [["B-ENTITY", "B-ENTITY", "I-ENTITY"], ["B-ENTITY", "I-ENTITY", "I-ENTITY"]],
        ),
        ([["per", "0", "0"], ["0", "0", "loc"]], [["per", "O", "O"], ["O", "O", "loc"]]),
        ([["B-A", "0", "O"], ["o", "", "B-A"]], [["B-A", "O", "O"], ["O", "O", "B-A"]]),
        ([["X", "b_a", "o"], ["o", "i_a", "o"]], [["X", "B-A", "O"], ["O", "B-A", "O"]]),
    ],
)
def test_odd_sets_of_tags(written, wanted):
    rows = rows_of(written, [["a", "b", "c"]] * 2)
    assert tags.find(rows, "tokens", "ner_tags").apply(rows)["ner_tags"][:] == wanted


@pytest.mark.parametrize("written", [[["NN", None], ["VB", "NN"]], [["X", "B-A"], ["O", "B-A"]], [None, None]])
def test_blanks_among_parts_of_speech_and_marks_of_tokenizers_stay(written):
    assert tags.find(rows_of(written, [["a", "b"]] * 2), "tokens", "ner_tags") is None


def test_rows_without_words_keep_their_place():
    rows = rows_of(["B-PER O O", None, "", "O O O"], ["Anna left .", None, "", "Rain fell ."])
    converted = tags.find(rows, "tokens", "ner_tags").apply(rows)
    assert converted["ner_tags"][:] == [["B-PER", "O", "O"], None, None, ["O", "O", "O"]]
    assert converted["tokens"][1:3] == [None, None]


def test_what_was_found_holds_for_other_rows_and_tags():
    conversion = tags.find(rows_of(BIOES), "tokens", "ner_tags")
    other = rows_of([["S-ORG", "B-ORG", "I-ORG", "E-ORG"], None], [["a", "b", "c", "d"], None])
    assert conversion.apply(other)["ner_tags"][:] == [["B-ORG", "B-ORG", "I-ORG", "I-ORG"], None]
    assert conversion.apply(rows_of([], []))["ner_tags"][:] == []


def test_whole_floats_are_ids():
    rows = rows_of([[1.0, 0.0], [2.0, -100.0]], [["a", "b"]] * 2)
    assert tags.find(rows, "tokens", "ner_tags").apply(rows)["ner_tags"][:] == [["1", "0"], ["2", "-100"]]


def test_marks_on_both_sides_are_refused():
    rows = rows_of([IOB2[0], ["PER-B", "I-PER", "O", "O"], ["O", "O"]])
    with pytest.raises(DataError, match=r"row 2: the marks of the tags in 'ner_tags' come first in 'B-PER' and last"):
        tags.find(rows, "tokens", "ner_tags")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('["a", "b"]', ["a", "b"]),
        ("['a', \"it's\"]", ["a", "it's"]),
        ("('a', 'b')", ["a", "b"]),
        ("['a' 'b'\n 'c']", ["a", "b", "c"]),
        ("[1 0 -100]", [1, 0, -100]),
        ("[1, None, nan]", [1, None, None]),
        ("array(['a', 'b'], dtype=object)", ["a", "b"]),
        (r"['\u00e9', 'x']", ["é", "x"]),
        ("[]", []),
        ("[ a , b ]", None),
        ("[SEP] text", None),
        ("['a' ... 'b']", None),
        ("a b", None),
        ('{"a": 1}', None),
    ],
)
def test_lists_in_text(text, wanted):
    assert list_in(text) == wanted
