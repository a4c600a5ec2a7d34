"""Which columns are a text and its target: a translation, a summary."""

from __future__ import annotations

from collections.abc import Mapping

from llmkit.data.evidence import ColumnProfile, Evidence
from llmkit.tasks.base import names
from llmkit.tasks.base.candidates import Candidate, Confidence

SHORTER = 0.7  # times as long as its text is a summary, at most


def source_and_target(evidence: Evidence, given: Mapping[str, str]) -> list[Candidate]:
    """Return a source and a target by their usual names, where they are texts that hardly repeat."""
    columns = {column.name.lower(): column for column in evidence.strings() if column.name not in given.values()}
    source = given.get("text") or next((columns[name].name for name in names.SOURCES if name in columns), None)
    target = given.get("target") or next((columns[name].name for name in names.TARGETS if name in columns), None)
    if source is None or target is None or source == target:
        return []
    if evidence.columns[target].can_be_class:
        return []
    return [Candidate({"text": source, "target": target}, Confidence.LIKELY, f"{source} and {target} are called so")]


def text_and_summary(evidence: Evidence, given: Mapping[str, str]) -> list[Candidate]:
    """Return a text and its summary by their names, where the summary is the shorter."""
    texts = [column for column in evidence.strings() if column.name not in given.values()]
    target = _given(evidence, given, "target") or names.first_named(texts, names.SUMMARY_WORDS)
    if target is None or (target.can_be_class and not target.is_text):
        return []
    others = [column for column in texts if column.name != target.name]
    text = _given(evidence, given, "text") or names.first_named(others, names.SUMMARIZED_WORDS)
    if text is None or text.is_identifier:
        return []
    is_shorter = target.characters <= SHORTER * text.characters
    confidence = Confidence.LIKELY if is_shorter else Confidence.POSSIBLE
    reason = f"{target.name} is a shorter text than {text.name}" if is_shorter else f"{target.name} is called so"
    return [Candidate({"text": text.name, "target": target.name}, confidence, reason)]


def _given(evidence: Evidence, given: Mapping[str, str], role: str) -> ColumnProfile | None:
    return evidence.columns[given[role]] if role in given else None
