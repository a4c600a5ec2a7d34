"""Questions with answers in a context or with choices, and texts with their translation or summary."""

from __future__ import annotations

import json
from typing import Any

from found.writing import TEXTS, Writer, csv_of, cycled, jsonl_of, one, table

# the astronaut takes three code points, five units of UTF-16 and eleven bytes
ASTRONAUT = "\U0001f469\u200d\U0001f680"
CONTEXT = f"{ASTRONAUT} Zo\u00eb lives in Malm\u00f6. The zoo of Malm\u00f6 is old, and Ben lives in Turku."
ANSWERS = ("Turku", "Ben")


def asked(answers: Any) -> list[dict[str, Any]]:
    """Return questions with their context and what `answers` makes of each answer and its place."""
    return [
        {"id": f"q{row}", "question": f"Who or where, {row}?", "context": CONTEXT, **answers(text, CONTEXT.index(text))}
        for row, text in enumerate(cycled(*ANSWERS))
    ]


def _squad_lists(text: str, start: int) -> dict[str, Any]:
    return {"answers": {"text": [text], "answer_start": [start]}}


def _units(place: int) -> int:
    return len(CONTEXT[:place].encode("utf-16-le")) // 2


def _squad_file() -> dict[str, Any]:
    asking = [
        {
            "id": row["id"],
            "question": row["question"],
            "is_impossible": place % 4 == 3,
            "answers": [] if place % 4 == 3 else row["answers"],
        }
        for place, row in enumerate(asked(lambda text, start: {"answers": [{"text": text, "answer_start": start}]}))
    ]
    return {"version": "v2.0", "data": [{"title": "Towns", "paragraphs": [{"context": CONTEXT, "qas": asking}]}]}


CHOICES = {name: cycled(f"{name} is it", f"no, {name}") for name in "ABCD"}
ASKED = [f"What is number {row}?" for row in range(24)]

KINDS: dict[str, Writer] = {
    "mc_cols": one("exam.csv", csv_of(table({"question": ASKED, **CHOICES, "answer": cycled("B", "A", "D", "C")}))),
    "mc_int1": one(
        "exam.jsonl",
        jsonl_of(
            table(
                {
                    "question": ASKED,
                    "choices": [list(row) for row in zip(*CHOICES.values())],
                    "answer": cycled(4, 3, 2, 1),
                }
            )
        ),
    ),
    "mc_mmlu_csv": one(
        "exam.csv", csv_of(table({"question": ASKED, **CHOICES, "answer": cycled("B", "A", "D", "C")}), header=False)
    ),
    "qa_squad_file": one("train-v2.0.json", json.dumps(_squad_file())),
    "qa_flat": one("qa.jsonl", jsonl_of(asked(lambda text, start: {"answer": text}))),
    "qa_flat_twice": one("qa.jsonl", jsonl_of(asked(lambda text, start: {"answer": "lives"}))),
    "qa_utf16_offsets": one("qa.jsonl", jsonl_of(asked(lambda text, start: _squad_lists(text, _units(start))))),
    "qa_list_of_dicts": one(
        "qa.jsonl", jsonl_of(asked(lambda text, start: {"answers": [{"text": text, "answer_start": start}]}))
    ),
    "qa_csv_repr": one(
        "qa.csv", csv_of(asked(lambda text, start: {"answers": repr(_squad_lists(text, start)["answers"])}))
    ),
    "mt_src_tgt": one(
        "pairs.csv",
        csv_of(table({"source": [f"{text}." for text in TEXTS], "target": [f"es war {row} mal" for row in range(24)]})),
    ),
    "sum_csv": one(
        "news.csv",
        csv_of(
            table(
                {
                    "article": [f"{text} and more was said of it. it was day {row}" for row, text in enumerate(TEXTS)],
                    "highlights": [f"day {row}" for row in range(24)],
                }
            )
        ),
    ),
}
