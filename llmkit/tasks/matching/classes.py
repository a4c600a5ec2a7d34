"""Which columns are a text, its partner and its label: for tasks of one label a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from llmkit.data.columns import usual_among
from llmkit.data.conversions.labels import values as label_values
from llmkit.data.conversions.labels.kinds import require_one_kind
from llmkit.data.conversions.renamed import NumbersAsText
from llmkit.data.evidence import ColumnProfile, Evidence
from llmkit.tasks.base import names
from llmkit.tasks.base.candidates import Candidate, Confidence

MIN_FILLED = 0.5  # of the cells of a label that is not called so by its whole name


def class_candidates(evidence: Evidence, given: Mapping[str, str]) -> list[Candidate]:
    """Return the ways to read a dataset as texts with a label, the surest first."""
    candidates = []
    for confidence, label in _labels(evidence, given):
        choices = text_choices(evidence, given, label.name)
        if confidence is Confidence.POSSIBLE and len(choices) > 1:
            candidates += [_candidate(texts, label, confidence) for texts in choices]
        elif choices:
            candidates.append(_candidate(choices[0], label, confidence))
    return [_with_judgements(candidate, evidence) for candidate in candidates]


def _with_judgements(candidate: Candidate, evidence: Evidence) -> Candidate:
    """Return a reading with the problem that a person rejected some of the labels, as prodigy writes it."""
    judged = evidence.columns.get("answer")
    words = {str(cell).lower() for cell in judged.cells} if judged is not None else set()
    if not words <= {"accept", "reject", "ignore"} or not words & {"reject", "ignore"}:
        return candidate
    if "answer" in candidate.columns.values():
        return candidate
    sentence = (
        "answer says that some labels were rejected or ignored, and training would learn them: keep the rows with "
        "'accept' in a file of their own without answer, or train on the judgement by --column label=answer"
    )
    return replace(candidate, problem=sentence)


def _candidate(texts: dict[str, str], label: ColumnProfile, confidence: Confidence) -> Candidate:
    how = "is called so" if confidence is Confidence.CERTAIN else f"holds {label.summary}"
    return Candidate({**texts, "label": label.name}, confidence, f"{label.name} {how}")


def _labels(evidence: Evidence, given: Mapping[str, str]) -> list[tuple[Confidence, ColumnProfile]]:
    """Return the columns that can be the label, the surest first, of those that say the same the first."""
    from datasets import ClassLabel

    columns = evidence.columns
    if "label" in given:
        return [(Confidence.CERTAIN, columns[given["label"]])]
    declared = [column for column in columns.values() if isinstance(column.feature, ClassLabel)]
    usual = [columns[name] for name in usual_among(columns, names.LABELS)]
    whole = [column for column in (*(declared if len(declared) == 1 else ()), *usual) if _holds_labels(column)]
    free = [column for column in columns.values() if column.name not in given.values()]
    if whole and not _is_a_topic(whole[0], free):
        return [(Confidence.CERTAIN, whole[0])]
    likely = [column for column in free if is_called_label(column) and column.filled >= MIN_FILLED]
    strong = [column for column in likely if not _is_weakly_called(column)] or likely
    exact = [column for column in strong if len(column.words_of_name) == 1]
    named = exact if len(exact) == 1 else strong
    others = [column for column in free if _can_be_label(column) and column not in named]
    if named and not (others and all(map(_is_weakly_called, named))):
        return _unlike([(Confidence.LIKELY, column) for column in named])
    others = others if named or others else [column for column in free if _can_be_measured(column)]
    return _unlike([(Confidence.POSSIBLE, column) for column in (*named, *others)])


def _is_a_topic(column: ColumnProfile, others: list[ColumnProfile]) -> bool:
    """Tell whether a `target` of names is what is spoken of, as another column says more: a stance, a sentiment."""
    if column.name.lower() != "target" or not column.is_string:
        return False
    named = [other for other in others if is_called_label(other) and not _is_weakly_called(other)]
    return any(other is not column and not _say_the_same(column, other) for other in named)


def _can_be_measured(column: ColumnProfile) -> bool:
    """Tell whether a column holds numbers that can be what is told by a text: prices, points."""
    return column.measures and not names.has_word(column.name, names.OTHER_WORDS | names.METADATA_WORDS)


def _unlike(found: list[tuple[Confidence, ColumnProfile]]) -> list[tuple[Confidence, ColumnProfile]]:
    """Leave out labels that are another one in other words, as an id beside a name."""
    kept = list[tuple[Confidence, ColumnProfile]]()
    for confidence, column in sorted(found, key=lambda pair: "id" in pair[1].words_of_name):
        if not any(_say_the_same(column, other) for _, other in kept):
            kept.append((confidence, column))
    return kept


def _say_the_same(one: ColumnProfile, other: ColumnProfile) -> bool:
    if len(one.cells) != len(other.cells) or one.distinct != other.distinct:
        return False
    return len(set(zip(map(str, one.cells), map(str, other.cells), strict=True))) == one.distinct


def _holds_labels(column: ColumnProfile) -> bool:
    """Tell whether a column that is called a label can be one: a class, a name, a number, or nothing yet."""
    if column.is_list or isinstance(column.feature, dict):
        return False
    return not (column.is_text and not column.repeats and len(column.cells) > 1)


def is_called_label(column: ColumnProfile) -> bool:
    """Tell whether a column is called a label in some words, and can be one."""
    words = column.words_of_name
    named = names.has_word(column.name, names.LABEL_WORDS) and not names.has_word(column.name, names.OTHER_WORDS)
    flagged = bool(words) and words[0] in {"is", "has"} and column.is_flag
    holds = column.can_be_class or column.is_number or column.pattern == "number"
    few = len(column.cells) < 3 and not column.is_text and not column.is_list and not isinstance(column.feature, dict)
    return (named or flagged) and (holds or few) and not column.is_constant


def _is_weakly_called(column: ColumnProfile) -> bool:
    return not names.has_word(column.name, names.STRONG_LABEL_WORDS)


def _can_be_label(column: ColumnProfile) -> bool:
    """Tell whether a column can be the label by what it holds alone."""
    from datasets import ClassLabel

    if isinstance(column.feature, ClassLabel):
        return True
    if not column.can_be_class or column.filled < MIN_FILLED:
        return False
    if names.has_word(column.name, names.LABEL_WORDS):
        return True
    others = (names.OTHER_WORDS | names.METADATA_WORDS) - names.PERSON_WORDS
    return not (column.is_identifier or names.has_word(column.name, others))


def text_choices(evidence: Evidence, given: Mapping[str, str], *taken: str) -> list[dict[str, str]]:
    """Return the text of a row, with its partner where there is one, for each column that can be the text.

    The likeliest is first; a pair of columns that are named as one is the only one.
    """
    if "text" in given:
        return [{role: given[role] for role in ("text", "pair") if role in given}]
    columns = [column for column in evidence.strings(taken) if not column.is_blank] or evidence.strings(taken)
    columns = [column for column in columns if column.filled >= MIN_FILLED] or columns
    columns = columns or _numbers_as_texts(evidence, taken) or _links_as_texts(evidence, taken)
    pair = names.pair_among([column for column in columns if column.name not in given.values()])
    if pair is not None:
        return [{"text": pair[0], "pair": given.get("pair", pair[1])}]
    more = {"pair": given["pair"]} if "pair" in given else {}
    columns = [column for column in columns if not column.is_constant] or columns
    return [{"text": column.name, **more} for column in ranked_texts(columns) if column.name not in more.values()]


def ranked_texts(columns: list[ColumnProfile]) -> list[ColumnProfile]:
    """Return the columns that can be the text: those called so first, then the one with the most characters."""
    by_name = [
        column
        for _, column in sorted(names.ranked_by_name(columns, names.TEXT_WORDS), key=lambda pair: pair[0])
        if column.is_text or len(column.words_of_name) == 1 or column.distinct == len(column.cells)
    ]
    by_name = [column for column in by_name if not column.can_be_class or column.name.lower() in {"text", "sentence"}]
    if by_name and names.has_word(by_name[0].name, names.TITLE_WORDS):  # of something longer
        by_name.sort(key=lambda column: names.has_word(column.name, names.TITLE_WORDS))
        by_name = by_name if not names.has_word(by_name[0].name, names.TITLE_WORDS) else []
    texts = [column for column in columns if column.is_text and not (column.can_be_class and not column.words > 3)]
    longest = sorted(texts, key=lambda column: -column.characters)
    others = sorted(
        (column for column in columns if not column.is_identifier and not column.can_be_class),
        key=lambda column: -column.characters,
    )
    rest = columns if not (by_name or longest or others) else []
    return list(dict.fromkeys([*by_name, *longest, *others, *rest]))


def _numbers_as_texts(evidence: Evidence, taken: tuple[str, ...]) -> list[ColumnProfile]:
    """Return a column of numbers that is called a text."""
    found = [column for column in evidence.columns.values() if column.is_number and column.name not in taken]
    return [column for column in found if names.has_word(column.name, names.TEXT_WORDS[:14])]


def _links_as_texts(evidence: Evidence, taken: tuple[str, ...]) -> list[ColumnProfile]:
    """Return the columns of links and the like, which are the texts where there is no other."""
    return [column for column in evidence.columns.values() if column.is_string and column.name not in taken]


def with_labels_read(candidate: Candidate, evidence: Evidence, regression: bool | None) -> Candidate:
    """Return a reading with its labels in one type over all splits, as numbers or as classes, and its texts as texts.

    `regression` is what a flag or a model says; None: what the labels are decides.

    Raises:
        DataError: splits contradict each other, or a cell is no number where numbers are asked for.
    """
    from datasets import ClassLabel

    texts = tuple(
        NumbersAsText(name)
        for role, name in candidate.columns.items()
        if role in {"text", "pair"} and name in evidence.columns and evidence.columns[name].is_number
    )
    label = candidate.columns.get("label", "")
    parts = evidence.parts_with(label)
    if not parts or any(isinstance(part.features[label], ClassLabel) for part in parts.values()):
        return replace(candidate, conversions=(*candidate.conversions, *texts))
    require_one_kind(parts, label)
    read = label_values.reading(parts, label, regression)
    conversion = label_values.find(parts, label, regression)
    found = (conversion,) if conversion is not None else ()
    remark = read.sentence if read.decided and conversion is None else ""
    return replace(candidate, conversions=(*candidate.conversions, *texts, *found), remark=remark)
