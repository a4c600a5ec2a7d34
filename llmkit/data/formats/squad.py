"""SQuAD's own file, a tree of articles, paragraphs and questions, and its relatives, into a row for each question.

Relatives: SQuAD 1 and 2, MLQA, XQuAD, CMRC 2018 (both of its shapes), DRCD, KorQuAD, GermanQuAD, MRQA's lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from llmkit.errors import DataError, shortened, shortened_repr

CONTEXTS = ("context", "context_text")  # the second is CMRC 2018's
QUESTIONS = ("question", "query_text")
IDS = ("id", "qid", "query_id")
OPTIONAL_COLUMNS = ("id", "title")  # left out where no question has them
SquadRow = dict[str, object]


def read_squad(value: object, where: str) -> list[SquadRow] | None:
    """Return a row for each question of a SQuAD file, or None where a value in JSON is none.

    A row has `id`, `title`, `context`, `question` and `answers`: `{"text": [...], "answer_start": [...]}`, or a list of
    texts in a file that never says where answers start; null where a question has no such entry.

    Raises:
        DataError: it is one, and a part of it lacks what is needed; the part is named.
    """
    articles = _articles(value)
    if articles is None:
        return None
    rows = [row for place, article in articles for row in _article_rows(article, f"{where}, {place}")]
    pairs = [pair for row in rows for pair in _pairs(row)]
    with_starts = not pairs or any(start is not None for _, start in pairs)
    for row in rows:
        if row["answers"] is not None:
            texts, starts = [text for text, _ in _pairs(row)], [start for _, start in _pairs(row)]
            row["answers"] = {"text": texts, "answer_start": starts} if with_starts else texts
    unused = [name for name in OPTIONAL_COLUMNS if all(row[name] is None for row in rows)]
    return [{name: cell for name, cell in row.items() if name not in unused} for row in rows]


def _articles(value: object) -> list[tuple[str, object]] | None:
    """Return the articles, or the paragraphs that stand in their place, each with its path in the file."""
    if isinstance(value, Mapping):
        data = value.get("data")
        prefix, items = ("data", data) if isinstance(data, list) else ("", [value])
    elif isinstance(value, list):
        prefix, items = "", [item for item in value if not (isinstance(item, Mapping) and set(item) == {"header"})]
    else:
        return None
    if not items or not _is_article(items[0]):
        return None
    return [(f"{prefix}[{number}]", item) for number, item in enumerate(items)]


def _is_article(item: object) -> bool:
    if not isinstance(item, Mapping):
        return False
    paragraphs = item.get("paragraphs")
    if isinstance(paragraphs, list):
        return all(isinstance(paragraph, Mapping) and "qas" in paragraph for paragraph in paragraphs)
    return isinstance(item.get("qas"), list) and any(name in item for name in CONTEXTS)


def _article_rows(article: object, where: str) -> Iterator[SquadRow]:
    if not isinstance(article, Mapping):
        raise DataError(f"{where}: an article with its paragraphs is wanted, not {shortened(article)}")
    title = article.get("title")
    if "paragraphs" not in article:
        yield from _paragraph_rows(article, title, where)
        return
    for number, paragraph in enumerate(_list(article, "paragraphs", where)):
        yield from _paragraph_rows(paragraph, title, f"{where}.paragraphs[{number}]")


def _paragraph_rows(paragraph: object, title: object, where: str) -> Iterator[SquadRow]:
    if not isinstance(paragraph, Mapping):
        raise DataError(f"{where}: a paragraph with its questions is wanted, not {shortened(paragraph)}")
    context = _text(paragraph, CONTEXTS, where)
    for number, entry in enumerate(_list(paragraph, "qas", where)):
        place = f"{where}.qas[{number}]"
        if not isinstance(entry, Mapping):
            raise DataError(f"{place}: a question with its answers is wanted, not {shortened(entry)}")
        question, name = _text(entry, QUESTIONS, place), _first(entry, IDS)
        yield {
            "id": None if name is None else str(name),
            "title": None if title is None else str(title),
            "context": context,
            "question": question,
            "answers": _answers(entry, context, place),
        }


def _answers(entry: Mapping[str, object], context: str, where: str) -> list[tuple[str, object]] | None:
    """Return the texts of the answers with their starts; plausible answers to a question that has none are none."""
    if entry.get("is_impossible") is True:
        return []
    if isinstance(entry.get("detected_answers"), list):
        return list(_detected(_list(entry, "detected_answers", where), context, where))
    answers = entry.get("answers", entry.get("answer"))
    if answers is None:
        return None
    return [_answer(answer, where) for answer in (answers if isinstance(answers, list) else [answers])]


def _answer(answer: object, where: str) -> tuple[str, object]:
    if isinstance(answer, str):
        return answer, None
    text = answer.get("text") if isinstance(answer, Mapping) else None
    if not isinstance(answer, Mapping) or not isinstance(text, str):
        raise DataError(
            f'{where}: an answer such as {{"text": ..., "answer_start": 0}} is wanted, not {shortened_repr(answer)}'
        )
    return text, answer.get("answer_start")


def _detected(answers: Sequence[object], context: str, where: str) -> Iterator[tuple[str, object]]:
    """Yield MRQA's answers: the first of the spans of each, which holds its last character."""
    for answer in answers:
        spans = answer.get("char_spans") if isinstance(answer, Mapping) else None
        try:
            start, last = spans[0]  # type: ignore[index]  # what is no pair of numbers is named below
            yield context[start : last + 1], start
        except (TypeError, ValueError, IndexError):
            raise DataError(
                f"{where}: an answer with char_spans [[start, last]] is wanted, not {shortened_repr(answer)}"
            ) from None


def _pairs(row: SquadRow) -> list[tuple[str, object]]:
    answers = row["answers"]
    return answers if isinstance(answers, list) else []


def _text(entry: Mapping[str, object], names: Sequence[str], where: str) -> str:
    text = _first(entry, names)
    if not isinstance(text, str):
        raise DataError(f"{where}: a text {names[0]!r} is wanted, not {shortened(text)}")
    return text


def _list(entry: Mapping[str, object], name: str, where: str) -> list[object]:
    items = entry.get(name)
    if not isinstance(items, list):
        raise DataError(f"{where}: a list {name!r} is wanted, not {shortened(items)}")
    return items


def _first(entry: Mapping[str, object], names: Sequence[str]) -> object:
    return next((entry[name] for name in names if entry.get(name) is not None), None)
