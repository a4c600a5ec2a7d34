"""Whether a text is all there is: what language models learn from."""

from __future__ import annotations

from llmkit.data.evidence import ColumnProfile, Evidence
from llmkit.tasks.base import names


def informative_columns(evidence: Evidence, text: str) -> list[str]:
    """Return the columns beside a text that say more than where it comes from; a language does where it is alone."""
    others = [column for column in evidence.columns.values() if column.name != text]
    is_alone = len(others) == 1 and others[0].can_be_class
    return [
        column.name
        for column in others
        if _is_informative(column) or (is_alone and names.has_word(column.name, names.CORPUS_WORDS))
    ]


def _is_informative(column: ColumnProfile) -> bool:
    if column.is_blank or column.pattern in {"url", "date", "email", "path"}:
        return False
    if column.is_constant:
        return names.has_word(column.name, names.STRONG_LABEL_WORDS) and not column.is_text
    if names.has_word(column.name, names.LABEL_WORDS) and not column.is_text:
        is_label = column.can_be_class or column.is_number or column.pattern == "number"
        return is_label and not names.has_word(column.name, names.CORPUS_WORDS)
    if column.can_be_class and names.has_word(column.name, names.PERSON_WORDS):
        return True
    if column.is_identifier:
        return False
    if column.measures:
        return not names.has_word(column.name, names.OTHER_WORDS | names.METADATA_WORDS)
    if column.is_text:
        return not names.has_word(column.name, names.TITLE_WORDS)
    return not names.has_word(column.name, names.METADATA_WORDS)
