"""Which columns are a question with its context and answers, or with its choices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from llmkit.data.columns import is_label, is_string, item_of, usual_among
from llmkit.data.conversions import converted
from llmkit.data.conversions.questions import answers, choices, nested, positions
from llmkit.data.conversions.questions.choice_columns import find_choice_columns, find_distractors
from llmkit.data.evidence import ColumnProfile, Evidence, name_words, sampled
from llmkit.errors import DataError, listing
from llmkit.tasks.base import names
from llmkit.tasks.base.candidates import Candidate, Confidence

QUESTION_WORDS = ("question", "query", "q", "问题", "pregunta", "frage", "вопрос", "質問", "질문")
CONTEXT_WORDS = ("context", "passage", "paragraph", "article", "document", "上下文", "材料", "文章", "段落", "contexto")
ANSWER_WORDS = ("answers", "answer", "答案", "respuesta", "antwort", "ответ", "回答")
QUESTIONS = (
    "question",
    "question_stem",
    "goal",
    "query",
    "ctx",
    "startphrase",
    "premise",
    "sent1",
    "context",
    "problem",
)
LISTS_OF_CHOICES = ("choices", "options", "endings", "candidates", "选项")
KEY_NAMES = (  # of the right choice, their words with underscores between
    *("answer_key", "answer", "label", "gold", "correct", "correct_answer", "correct_option", "correct_choice"),
    *("answer_idx", "answer_index", "answer_id", "answer_letter", "correct_answer_id", "correct_answer_idx"),
    *("correct_index", "correct_idx", "correct_letter", "right_answer", "right_option", "best_answer", "gold_answer"),
    *("target", "cop", "key", "solution", "答案", "正确答案", "正解", "正答", "정답"),
)
ASKED_WORDS = 2  # of a question on average, at least: COPA's are cause and effect, and its premise asks
NUMBERED_KEYS = {name for name in KEY_NAMES if "_" in name} | {"label", "correct"}  # beside which answers are choices
MOST_CHOICES = 10  # that stand in columns of their own
LETTERS = "ABCDEFGHIJ"  # of the choices
NO_NAME = re.compile(r"column_\d+")  # of a table without a header
LEAST_IN_CONTEXT, SURE_IN_CONTEXT = 0.5, 0.9  # of the answers: how many stand in their contexts word for word
START_WORDS = ("answer_start", "start", "begin")


def answer_candidates(evidence: Evidence, given: Mapping[str, str]) -> list[Candidate]:
    """Return a question, its context and its answers, as far as the answers stand in the context."""
    columns = evidence.columns
    texts = [column for column in evidence.strings() if column.name not in given.values()]
    question = _column(evidence, given, "question") or _named(texts, QUESTION_WORDS)
    rest = [column for column in texts if question is None or column.name != question.name]
    context = _column(evidence, given, "context") or _named(rest, CONTEXT_WORDS)
    taken = {column.name for column in (question, context) if column is not None}
    others = [column for column in columns.values() if column.name not in {*taken, *given.values()}]
    answer = _column(evidence, given, "answers") or _named(
        [column for column in others if column.is_string or column.is_list or isinstance(column.feature, dict)],
        ANSWER_WORDS,
    )
    starts = [column for column in others if column.is_number or (column.is_list and column is not answer)]
    start = _column(evidence, given, "answer_start") or next(
        (column for column in starts if column.name.lower() in START_WORDS), None
    )
    if answer is None and start is not None and context is not None:
        strings = [column for column in others if column.is_string]
        answer = next((column for column in strings if _share_in(evidence, context, column) >= LEAST_IN_CONTEXT), None)
    if question is None or context is None:
        return []
    if answer is None:
        return _of_positions(evidence, question, context)
    found = {"question": question.name, "context": context.name, "answers": answer.name}
    is_told = start is not None or (answer.is_string and answer.name == "answers")
    structured = is_told or not (answer.is_string or _are_texts(answer))
    share = 1.0 if structured else _share_in(evidence, context, answer)
    if share < LEAST_IN_CONTEXT:
        return []
    if start is not None and not isinstance(answer.feature, dict):
        found["answer_start"] = start.name
    reason = f"what {answer.name} holds stands in {context.name}"
    return [Candidate(found, Confidence.CERTAIN if share >= SURE_IN_CONTEXT else Confidence.LIKELY, reason)]


def _of_positions(evidence: Evidence, question: ColumnProfile, context: ColumnProfile) -> list[Candidate]:
    """Return the reading of answers that are nothing but where they start and end."""
    columns = {"question": question.name, "context": context.name, "answers": "answers"}
    reason = f"answers are parts of {context.name}"
    try:
        found = positions.find(evidence.rows, context.name)
    except DataError as error:
        return [Candidate(columns, Confidence.LIKELY, reason, problem=str(error))]
    return [] if found is None else [Candidate(columns, Confidence.CERTAIN, reason, (found,))]


def _are_texts(answers: ColumnProfile) -> bool:
    """Tell whether answers are lists of texts, which do not say where they start."""
    return is_string(item_of(answers.feature)) and any(answers.cells)


def _column(evidence: Evidence, given: Mapping[str, str], role: str) -> ColumnProfile | None:
    return evidence.columns[given[role]] if role in given else None


def _named(columns: list[ColumnProfile], words: tuple[str, ...]) -> ColumnProfile | None:
    whole = [column for word in words for column in columns if column.name.lower() == word]
    return whole[0] if whole else names.first_named(columns, words)


def _share_in(evidence: Evidence, context: ColumnProfile, answers: ColumnProfile) -> float:
    """Return the share of the answers that stand in their contexts; 0.8 where they are written as SQuAD writes them."""
    if answers.is_string and answers.cells and answers.cells[0].lstrip().startswith(("{", "[")):
        return 0.8
    rows = sampled(evidence.rows, 200)
    cells = [(str(row[context.name] or ""), row[answers.name] or "") for row in rows]
    pairs = [(text, str(one).strip()) for text, cell in cells for one in (cell if isinstance(cell, list) else [cell])]
    inside = [answer in text for text, answer in pairs if answer]
    return sum(inside) / len(inside) if inside else 0.0


def with_answers_read(candidate: Candidate, evidence: Evidence, offsets: str | None) -> Candidate:
    """Return a reading with its answers as SQuAD has them.

    Raises:
        DataError: where an answer stands cannot be told; the row is named.
    """
    made = candidate.conversions
    if any(isinstance(each, positions.PositionConversion) for each in made):
        known = positions.find(evidence.rows, candidate.columns["context"], offsets)
        return candidate if known is None else replace(candidate, conversions=(known,))
    found = answers.find(evidence.rows, candidate.columns, offsets)
    if found is None:
        return candidate
    columns = {role: name for role, name in candidate.columns.items() if role != "answer_start"}
    return replace(candidate, columns={**columns, "answers": "answers"}, conversions=(*candidate.conversions, found))


def choice_candidates(evidence: Evidence, given: Mapping[str, str]) -> list[Candidate]:
    """Return a question, its choices in a list or in columns of their own, and the answer."""
    columns = evidence.columns
    choices = _choices(evidence, given)
    taken = {*choices.values(), *given.values()}
    keys = _by_words([name for name in columns if name not in taken])
    answer = given.get("answer") or next((keys[name] for name in KEY_NAMES if name in keys), None)
    if answer is not None and not choices and (objects := nested.find(evidence.rows)) is not None:
        reason = f"{objects.column} holds questions and their choices"
        columns_read = {"question": "question", "choices": "choices", "answer": answer}
        return [Candidate(columns_read, Confidence.CERTAIN, reason, (objects,))]
    if not choices and not given:
        return _choices_by_place(evidence)
    if not choices or answer is None or not is_label(evidence.features[answer]):
        return []
    free = [column for column in evidence.strings() if column.name not in {*taken, answer}]
    asking = [column.name for column in free if column.words >= ASKED_WORDS or 2 * column.distinct > len(column.cells)]
    usual = usual_among(asking, QUESTIONS) or usual_among([column.name for column in free], QUESTIONS)
    texts = [column.name for column in free if column.is_text]
    question = given.get("question") or next(iter([*usual, *texts]), None)
    if question is None or not is_string(evidence.features[question]):
        return []
    found = {"question": question, **choices, "answer": answer}
    return [Candidate(found, Confidence.CERTAIN, f"{answer} is one of {listing(choices.values(), 4)}")]


def _by_words(names_of_columns: list[str]) -> dict[str, str]:
    """Return names of columns by their words in lower case: `Correct Answer` by correct_answer."""
    return {"_".join(name_words(name)): name for name in reversed(names_of_columns)}


def _choices(evidence: Evidence, given: Mapping[str, str]) -> dict[str, str]:
    """Return the column of lists of choices, or else those that hold one choice each, by role."""
    explicit = {role: name for role, name in given.items() if role.startswith("choice")}
    if explicit:
        return explicit
    columns = evidence.columns
    listed = [name for name in usual_among(columns, LISTS_OF_CHOICES) if _holds_choices(columns[name])]
    if not listed and is_string(item_of(evidence.features.get("answers"))):
        listed = ["answers"] if _by_words(list(columns)).keys() & NUMBERED_KEYS else []
    if listed:
        return {"choices": listed[0]}
    names_left = [name for name in columns if name not in given.values()]
    single = find_choice_columns(names_left, evidence.features) or find_distractors(names_left, evidence.features)
    return {f"choice{number}": name for number, name in enumerate(single[:MOST_CHOICES])}


def _choices_by_place(evidence: Evidence) -> list[Candidate]:
    """Return the question, the choices and the answer of a table without a header, where the last is one's letter."""
    columns = list(evidence.columns.values())
    if not 4 <= len(columns) <= MOST_CHOICES + 2 or not all(NO_NAME.fullmatch(column.name) for column in columns):
        return []
    question, *choices, answer = columns
    held = {str(cell).strip() for cell in answer.cells}
    if not question.is_text or len(held) < 2 or not held <= set(LETTERS[: len(choices)]):
        return []
    if not all(column.is_string or column.is_number for column in choices):
        return []
    by_role = {f"choice{number}": column.name for number, column in enumerate(choices)}
    reason = f"{answer.name} holds the letters of the {len(choices)} columns before it"
    return [Candidate({"question": question.name, **by_role, "answer": answer.name}, Confidence.LIKELY, reason)]


def _holds_choices(column: ColumnProfile) -> bool:
    kind = column.feature
    return isinstance(kind, dict) or is_string(kind) or is_string(item_of(kind)) or isinstance(item_of(kind), dict)


def with_choices_read(candidate: Candidate, evidence: Evidence, answers_from: str | None) -> Candidate:
    """Return a reading with a list of choices, and its answer as the task takes it.

    Raises:
        DataError: how the answers name a choice cannot be told.
    """
    found = choices.find(converted(evidence.rows, candidate.conversions), candidate.columns, answers_from)
    if found is None:
        return candidate
    columns = {"question": candidate.columns["question"], "choices": "choices", "answer": "answer"}
    return replace(candidate, columns=columns, conversions=(*candidate.conversions, found))
