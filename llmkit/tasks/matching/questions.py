"""Which columns are a question with its context and answers, or with its choices."""

from __future__ import annotations

from collections.abc import Mapping

from llmkit.data.columns import is_string, item_of
from llmkit.data.evidence import ColumnProfile, Evidence
from llmkit.tasks.base import names
from llmkit.tasks.base.candidates import Candidate, Confidence

QUESTION_WORDS = ("question", "query", "q", "问题", "pregunta", "frage", "вопрос", "質問", "질문")
CONTEXT_WORDS = ("context", "passage", "paragraph", "article", "document", "上下文", "材料", "文章", "段落", "contexto")
ANSWER_WORDS = ("answers", "answer", "答案", "respuesta", "antwort", "ответ", "回答")
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
    answers = _column(evidence, given, "answers") or _named(
        [column for column in others if column.is_string or column.is_list or isinstance(column.feature, dict)],
        ANSWER_WORDS,
    )
    if question is None or context is None or answers is None:
        return []
    starts = [column for column in others if column.is_number or (column.is_list and column.name != answers.name)]
    start = _column(evidence, given, "answer_start") or next(
        (column for column in starts if column.name.lower() in START_WORDS), None
    )
    found = {"question": question.name, "context": context.name, "answers": answers.name}
    structured = not answers.is_string or start is not None
    if not structured and not _stand_in(evidence, context, answers):
        return []
    if start is not None and not isinstance(answers.feature, dict):
        found["answer_start"] = start.name
    reason = f"{answers.name} stand in {context.name}"
    return [Candidate(found, Confidence.CERTAIN if structured else Confidence.LIKELY, reason)]


def _column(evidence: Evidence, given: Mapping[str, str], role: str) -> ColumnProfile | None:
    return evidence.columns[given[role]] if role in given else None


def _named(columns: list[ColumnProfile], words: tuple[str, ...]) -> ColumnProfile | None:
    whole = [column for word in words for column in columns if column.name.lower() == word]
    return whole[0] if whole else names.first_named(columns, words)


def _stand_in(evidence: Evidence, context: ColumnProfile, answers: ColumnProfile) -> bool:
    """Tell whether most answers stand in their contexts, or are written as SQuAD writes them."""
    if answers.cells and answers.cells[0].lstrip().startswith(("{", "[")):
        return True
    step = max(1, len(evidence.rows) // 200)
    rows = evidence.rows.select(range(0, len(evidence.rows), step))
    pairs = [(str(row[context.name] or ""), str(row[answers.name] or "").strip()) for row in rows]
    inside = [answer in text for text, answer in pairs if answer]
    return bool(inside) and sum(inside) >= 0.5 * len(inside)


def choice_columns(evidence: Evidence, given: Mapping[str, str], listed: tuple[str, ...]) -> str | None:
    """Return the column of lists of choices, by its name or by what it holds."""
    columns = evidence.columns
    by_name = [columns[name] for name in listed if name in columns]
    fitting = [column for column in by_name if _holds_choices(column)]
    return fitting[0].name if fitting else None


def _holds_choices(column: ColumnProfile) -> bool:
    kind = column.feature
    return isinstance(kind, dict) or is_string(kind) or is_string(item_of(kind)) or isinstance(item_of(kind), dict)
