"""Columns that hold the choices of a question: one each, or the right one beside the wrong ones."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from llmkit.data.columns import is_string, item_of

PREFIXES = (
    *("choice", "choices", "option", "options", "opt", "op", "ending", "sol", "answer", "answers", "ans"),
    *("alternative", "alt", "candidate", "选项", "选择", "答案", "opción", "opcion", "réponse", "reponse", "antwort"),
    *("вариант", "حل", "選択肢"),
)
NAME = re.compile(
    rf"(?P<prefix>{'|'.join(sorted(PREFIXES, key=len, reverse=True))}|)[ _.-]*(?P<mark>[0-9]|1[0-9]|[a-j])"
)
BARE = 3  # columns named by nothing but a letter, A, B and C, that are choices
NUMBERS = ("string", "large_string", "int", "uint", "float", "double", "decimal", "null")  # types of a choice
RIGHT = ("correct_answer", "right_answer", "correct", "correct_option", "answer")  # the text of the right choice
WRONG = re.compile(r"(distractor|(incorrect|wrong|false)([ _.-]?(answer|option|choice))?)[ _.-]*(?P<mark>[0-9]|1[0-9])")
WRONG_LISTS = ("distractors", "incorrect_answers", "wrong_answers", "incorrect_options")


def find_choice_columns(names: Sequence[str], features: Mapping[str, object]) -> tuple[str, ...]:
    """Return the columns that hold one choice each, in their order, or nothing where there are not two of a series.

    A series counts on from A, 0 or 1: A, B, C; option_a, option_b; opa, opb; choice1, choice2; ending0, ending1; 选项A.
    """
    series: dict[str, dict[int, str]] = {}
    for name in names:
        match = NAME.fullmatch(name.strip().lower().strip("().:"))
        if match is not None and _holds_choice(features.get(name)):
            mark = match["mark"]
            place = int(mark) if mark.isdigit() else ord(mark) - ord("a")
            kind = "digits" if mark.isdigit() else "letters"
            series.setdefault(f"{match['prefix']} {kind}", {}).setdefault(place, name)
    found = [_run(kind, columns) for kind, columns in series.items()]
    return max(found, key=len, default=())


def find_distractors(names: Sequence[str], features: Mapping[str, object]) -> tuple[str, ...]:
    """Return the columns that hold a wrong choice each, or the one that holds a list of them; else nothing."""
    by_lower_case = {name.lower(): name for name in names}
    lists = [by_lower_case[name] for name in WRONG_LISTS if name in by_lower_case]
    lists = [name for name in lists if is_string(item_of(features.get(name))) or is_string(features.get(name))]
    single = [
        (int(match["mark"]), name)
        for name in names
        if (match := WRONG.fullmatch(name.lower())) is not None and _holds_choice(features.get(name))
    ]
    return tuple(lists[:1]) or tuple(name for _, name in sorted(single))


def _run(kind: str, columns: dict[int, str]) -> tuple[str, ...]:
    prefix, marks = kind.split(" ")
    first = 0 if marks == "letters" or 0 in columns else 1
    run: list[str] = []
    while first + len(run) in columns:
        run.append(columns[first + len(run)])
    least = 2 if prefix else BARE
    bare_digits = not prefix and marks == "digits"  # columns of a table without a header
    return tuple(run) if len(run) >= least and not bare_digits else ()


def _holds_choice(feature: object) -> bool:
    from datasets import Value

    return isinstance(feature, Value) and feature.dtype.startswith(NUMBERS)
