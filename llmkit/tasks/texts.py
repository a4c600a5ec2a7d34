"""What the language-model tasks share: the text column, and streams of tokens cut into blocks."""

from __future__ import annotations

from datasets import Dataset

from llmkit.tasks.base import longest_text, string_columns


def text_column(dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
    """Return the text column: the one given, else `text`, else the string column with the most characters."""
    if "text" in given:
        return {"text": given["text"]}
    names = string_columns(dataset)
    if not names:
        return None
    return {"text": "text" if "text" in names else longest_text(dataset, names)}


def usable_texts(dataset: Dataset, columns: dict[str, str]) -> list[int]:
    """Return the indices of the rows whose text is not blank."""
    return [row for row, text in enumerate(dataset[columns["text"]]) if str(text or "").strip()]


def in_blocks(stream: list[int], size: int) -> list[list[int]]:
    """Cut a stream into blocks of `size`; the rest is dropped, unless it is all there is."""
    if len(stream) < size:
        return [stream] if len(stream) > 1 else []
    return [stream[start : start + size] for start in range(0, len(stream) - size + 1, size)]
