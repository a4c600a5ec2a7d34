from __future__ import annotations

import re
from itertools import pairwise

import pytest
from conftest import write_csv, write_jsonl
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from llmkit.errors import DataError, EmptyError, HubError
from llmkit.inference.passages import Document, Passage, cut, read_documents
from llmkit.options import FileOptions, TalkOptions
from llmkit.output.report import Report

LONG = "the fox was good and the king was cold. " * 30  # 10 tokens a sentence


@pytest.fixture(scope="module")
def tokenizer(request):
    return AutoTokenizer.from_pretrained(request.getfixturevalue("encoder"))


def pieces(text: str, tokenizer, max_length: int = 64) -> list[str]:
    return [passage.text for passage in cut([Document("a.txt", text)], tokenizer, max_length)]


def count(text: str, tokenizer) -> int:
    return len(tokenizer(text)["input_ids"])


def test_short_paragraphs_are_put_together_as_long_as_they_fit(tokenizer):
    paragraphs = [f"the {word} was good" for word in ("fox", "king", "river", "song")] * 6  # 4 tokens each
    text = "\n\n".join(paragraphs)
    found = pieces(text, tokenizer, 64)  # 56 tokens less 2 special ones: 13 paragraphs
    assert found == ["\n\n".join(paragraphs[:13]), "\n\n".join(paragraphs[13:])]
    assert pieces("the fox was good\n \n\n\tthe king\n", tokenizer) == ["the fox was good\n \n\n\tthe king"]


def test_a_long_paragraph_is_cut_between_sentences_that_overlap_by_one(tokenizer):
    sentence = "the fox was good and the king was cold."
    found = pieces(LONG, tokenizer)
    assert {count(piece, tokenizer) for piece in found[:-1]} == {52}  # 5 sentences and 2 special tokens, of 54
    assert all(piece == " ".join([sentence] * 5) for piece in found[:-1])
    spans = [(passage.start, passage.end) for passage in cut([Document("a", LONG)], tokenizer, 64)]
    for (_, end), (start, _) in pairwise(spans):
        assert LONG[start:end].strip() == sentence
    assert (spans[0][0], spans[-1][1]) == (0, len(LONG.rstrip()))


def test_a_sentence_that_is_too_long_is_cut_between_tokens(tokenizer):
    text = " ".join(["fox"] * 200)
    found = pieces(text, tokenizer)
    assert " ".join(found) == text
    assert [piece.count("fox") for piece in found] == [54, 54, 54, 38]


def test_chinese_sentences_end_without_a_space(tokenizer):
    sentence = "狐狸很好。“国王很冷。”"
    found = pieces(sentence * 20, tokenizer)
    assert len(found) > 1
    assert all(re.fullmatch("(狐狸很好。|“国王很冷。”)+", piece) for piece in found)


def test_a_model_that_reads_more_gets_passages_of_at_most_180_tokens(tokenizer):
    assert max(count(piece, tokenizer) for piece in pieces(LONG, tokenizer, 512)) == 182  # with 2 special ones


@settings(max_examples=60, deadline=None)
@given(text=st.text(alphabet='ab .!?\n。狐\u3000\u2019"', max_size=400), max_length=st.integers(8, 64))
def test_nothing_is_lost_nothing_is_blank_and_nothing_is_too_long(tokenizer, text, max_length):
    document = Document("a", text)
    found = cut([document], tokenizer, max_length)
    held = {place for passage in found for place in range(passage.start, passage.end)}
    assert [text[place] for place in range(len(text)) if place not in held and not text[place].isspace()] == []
    assert all(passage.text.strip() for passage in found)
    assert all(count(passage.text, tokenizer) <= max_length for passage in found)
    assert [passage.start for passage in found] == sorted(passage.start for passage in found)


def documents(reference, said: list[str] | None = None, encoding: str = "utf-8") -> list[Document]:
    report = Report(TalkOptions())
    if said is not None:
        report.say = said.append  # type: ignore[method-assign]
    return read_documents(str(reference), FileOptions(encoding=encoding), report)


def test_a_folder_gives_its_texts_and_the_rows_of_its_tables(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    (tmp_path / "deep" / "er" / "b.md").write_text("# Fox\n\nquick", encoding="utf-8")
    (tmp_path / "a.txt").write_text("\ufeffwas gut für", encoding="utf-8")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / ".git" / "c.txt").write_text("hidden")
    (tmp_path / "d.png").write_bytes(b"\x89PNG")
    write_jsonl(tmp_path / "rows.jsonl", [{"title": "One", "text": "first"}, {"title": None, "text": "second"}])
    write_csv(tmp_path / "numbers.csv", [{"n": 1}, {"n": 2}])
    said: list[str] = []
    assert documents(tmp_path, said) == [
        Document("a.txt", "was gut für"),
        Document("deep/er/b.md", "# Fox\n\nquick"),
        Document("rows.jsonl", "first", 1, "One"),
        Document("rows.jsonl", "second", 2, None),
    ]
    assert any("1 of 6 files" in line and "left out" in line for line in said)
    assert any("numbers.csv has no column of texts" in line for line in said)


def test_a_file_or_a_dataset_is_read_as_rows(tmp_path):
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"name": "One", "body": "first long text"}])
    assert documents(rows) == [Document(str(rows), "first long text", 1, "One")]
    (tmp_path / "a.md").write_text("text")
    assert documents(tmp_path / "a.md") == [Document("a.md", "text")]
    saved = tmp_path / "saved"
    parts = {name: Dataset.from_dict({"text": [name, ""], "title": ["T", "U"]}) for name in ("train", "test")}
    DatasetDict(parts).save_to_disk(str(saved))
    assert documents(saved) == [Document(f"{saved}, {name}", name, 1, "T") for name in ("train", "test")]


def test_a_passage_says_where_it_stands():
    text = "the fox. the king."
    assert Passage(Document("a.txt", text), 9, 18).text == "the king."
    assert Passage(Document("a.txt", text), 0, 8).place == "a.txt"
    assert Passage(Document("b.csv", text, 3), 0, 8).place == "b.csv, row 3"
    assert Passage(Document("b.csv", text, 3, "Fox"), 0, 8).place == "Fox"


def test_what_cannot_be_read_is_one_sentence(tmp_path):
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "a.txt").write_bytes("für".encode("latin-1"))
    (tmp_path / "blank").mkdir()
    (tmp_path / "blank" / "a.txt").write_text("\n")
    with pytest.raises(DataError, match=r"a\.txt, line 1: .*--encoding latin-1"):
        documents(tmp_path / "latin")
    assert documents(tmp_path / "latin", encoding="latin-1") == [Document("a.txt", "für")]
    with pytest.raises(EmptyError, match="no text in it"):
        documents(tmp_path / "blank")
    with pytest.raises(DataError, match="no such folder or file"):
        documents(tmp_path / "absent")
    with pytest.raises((DataError, HubError), match="absent: there is no such folder or file here, and"):
        documents("absent")
