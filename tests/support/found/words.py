"""Words with tags and texts with spans, as the tools of annotation write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict

from found.writing import Row, Writer, csv_of, jsonl_of, one

PEOPLE, PLACES = ("Mary", "John Smith", "Ada", "Li Wei"), ("Oslo", "Hong Kong", "Lima", "Rio de Janeiro")


def _sentences() -> list[tuple[list[str], list[str]]]:
    """Return words and IOB2 tags: each third sentence names no one."""
    made = []
    for row in range(18):
        person, place = PEOPLE[row % 4].split(), PLACES[row // 2 % 4].split()
        if row % 3 == 2:
            made.append((["it", "rained", "for", str(row), "days", "."], ["O"] * 6))
            continue
        words = [*person, "flew", "to", *place, "on", "day", str(row), "."]
        tags = ["B-PER", *["I-PER"] * (len(person) - 1), "O", "O", "B-LOC", *["I-LOC"] * (len(place) - 1), *["O"] * 4]
        made.append((words, tags))
    return made


SENTENCES = _sentences()
IOB2 = [tags for _, tags in SENTENCES]
ENDS = {"B": "S", "I": "E"}  # the last tag of an entity in BIOES, by what it is in IOB2


def _bioes(tags: list[str], middle: str = "I") -> list[str]:
    following = [*tags[1:], "O"]
    made = []
    for tag, after in zip(tags, following):
        if tag == "O":
            made.append(tag)
            continue
        part, _, kind = tag.partition("-")
        is_last = not after.startswith("I-")
        made.append(f"{ENDS[part] if is_last else {'B': 'B', 'I': middle}[part]}-{kind}")
    return made


def rows(change: Any = lambda tags: tags) -> list[dict[str, Any]]:
    """Return sentences with their tags written otherwise."""
    return [{"tokens": words, "ner_tags": change(tags)} for words, tags in SENTENCES]


def tagged(change: Any) -> Writer:
    return one("train.jsonl", jsonl_of(rows(lambda tags: [change(tag) for tag in tags])))


def spans(words: list[str], tags: list[str]) -> list[tuple[int, int, str]]:
    """Return where each entity stands in the words joined by blanks."""
    found: list[tuple[int, int, str]] = []
    place = 0
    for word, tag in zip(words, tags):
        if tag.startswith("B-"):
            found.append((place, place + len(word), tag[2:]))
        elif tag.startswith("I-"):
            found[-1] = (found[-1][0], place + len(word), tag[2:])
        place += len(word) + 1
    return found


def annotated(make: Any) -> list[Row]:
    """Return a row for each sentence, of its number, its text and its spans."""
    return [make(row, " ".join(words), spans(words, tags)) for row, (words, tags) in enumerate(SENTENCES)]


def _label_studio(row: int, text: str, found: list[tuple[int, int, str]]) -> Row:
    label = [{"start": start, "end": end, "text": text[start:end], "labels": [kind]} for start, end, kind in found]
    return {"text": text, "id": row, "label": label, "annotator": 2, "created_at": "2023-01-09T10:00:00Z"}


def _word_rows() -> list[Row]:
    return [
        {"Sentence #": "" if place else f"Sentence: {row + 1}", "Word": word, "POS": "X" + str(place % 3), "Tag": tag}
        for row, (words, tags) in enumerate(SENTENCES)
        for place, (word, tag) in enumerate(zip(words, tags))
    ]


def saved_without_labels(folder: Path) -> Path:
    made = {"tokens": [["a", "b", "c"]] * 22, "ner_tags": [[-100, 1, 0], [1, -100, -100]] * 11}
    DatasetDict(train=Dataset.from_dict(made)).save_to_disk(folder / "saved")
    return folder / "saved"


def _iob1(tags: list[str]) -> list[str]:
    return [tag.replace("B-", "I-") for tag in tags]


CONLL = "-DOCSTART- O\n\n" + "\n".join("".join(f"{word} {tag}\n" for word, tag in zip(*both)) for both in SENTENCES)

KINDS: dict[str, Writer] = {
    "ner_conll_txt": one("train.txt", CONLL),
    "ner_kaggle_csv": one("words.csv", csv_of(_word_rows())),
    "ner_doccano": one(
        "all.jsonl",
        jsonl_of(annotated(lambda row, text, found: {"id": row, "text": text, "label": [list(one) for one in found]})),
    ),
    "ner_labelstudio_min": one("project-7.json", json.dumps(annotated(_label_studio))),
    "ner_json_csv": one(
        "train.csv", csv_of([{name: json.dumps(cell) for name, cell in row.items()} for row in rows()])
    ),
    "disk_ner_minus100": saved_without_labels,
    "ner_bioes": one("train.jsonl", jsonl_of(rows(_bioes))),
    "ner_bmes_advice": one("train.jsonl", jsonl_of(rows(lambda tags: _bioes(tags, middle="M")))),
    "ner_suffix": tagged(lambda tag: "-".join(reversed(tag.split("-")))),
    "ner_underscore": tagged(lambda tag: tag.replace("-", "_")),
    "ner_lower": tagged(str.lower),
    "ner_zero_outside": tagged(lambda tag: tag.replace("O", "0") if tag == "O" else tag),
    "ner_empty_outside": tagged(lambda tag: "" if tag == "O" else tag),
    "ner_iob1": one("train.jsonl", jsonl_of(rows(_iob1))),
    "ner_tags_string": one("train.jsonl", jsonl_of(rows(" ".join))),
}
