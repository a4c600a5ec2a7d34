"""The choices of a row of multiple choice, and which of them is right, in the shapes that datasets have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from llmkit.data.columns import Row, text_of
from llmkit.data.conversions.questions.choice_answers import choice_number
from llmkit.data.label_sets import as_list
from llmkit.errors import shortened


def choices_of(row: Row, columns: Mapping[str, str]) -> list[str]:
    """Return the texts of the choices of a row."""
    if "choices" not in columns:
        return [text_of(row[columns[role]]) for role in _choice_roles(columns)]
    cell = as_list(row[columns["choices"]])
    return [text_of(text) for text in (cell["text"] if isinstance(cell, dict) else cell)]


def choice_names(row: Row, columns: Mapping[str, str]) -> list[str] | None:
    """Return the names of the choices where the row gives them, as ARC's A, B, C, D."""
    cell = as_list(row[columns["choices"]]) if "choices" in columns else None
    return [str(name) for name in cell["label"]] if isinstance(cell, dict) and cell.get("label") else None


def right_choice(row: Row, columns: Mapping[str, str], feature: object) -> int:
    """Return the number of the right choice, from 0; -1 where it is none. `feature` is of the column of answers."""
    from datasets import ClassLabel

    answer = row[columns["answer"]]
    if isinstance(feature, ClassLabel):
        return int(answer)
    number = choice_number(answer, choices_of(row, columns), choice_names(row, columns))
    return -1 if number is None else number


def invalid_choices(row: Row, columns: Mapping[str, str]) -> str | None:
    """Return a phrase on what is wrong with the choices or the answer of a row, or None."""
    if "choices" in columns:
        cell = as_list(row[columns["choices"]])
        texts = cell.get("text") if isinstance(cell, dict) else cell
        if not isinstance(texts, list):
            return f"its choices are {shortened(cell)}, and a list of texts is wanted"
    else:
        texts = [row[columns[role]] for role in _choice_roles(columns)]
    if len(texts) < 2:
        return f"{len(texts) or 'no'} choice{'' if texts else 's'}, and two or more are wanted"
    empty = next((number for number, text in enumerate(texts) if not text_of(text).strip()), None)
    if empty is not None:
        return f"choice {empty + 1} of {len(texts)} is empty"
    answer = row[columns["answer"]] if "answer" in columns else None
    if answer in (None, "", -1, "-1"):
        return None
    if choice_number(answer, choices_of(row, columns), choice_names(row, columns)) is not None:
        return None
    return f"the answer {shortened(answer)} is none of the {len(texts)} choices: by name, text, or number from 0"


def _choice_roles(columns: Mapping[str, str]) -> Iterator[str]:
    """Yield the roles of columns that hold one choice each."""
    return (role for role in columns if role.startswith("choice") and role != "choices")
