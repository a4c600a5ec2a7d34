"""Columns that could matter to a training and that no role reads: named once, so that nothing is dropped in silence."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset

from llmkit.data.columns import cells_of, is_list_type, is_text_type
from llmkit.errors import listing
from llmkit.output.report import Report
from llmkit.tasks import Resolution

ROWS_READ = 2000  # of a dataset, the first
MANY = 20  # rows, from which on a column whose cells all differ can be told to number them
SHARE = 0.9  # of the cells, that make a column one of links, of dates
LETTERS_OF_TEXT = 12  # of a cell on average, from which on it is prose beside other texts
MAX_CLASSES = 50  # distinct cells that repeat

# what columns are for by the words of their names, each with a reason; the first that fits counts
NAMED: tuple[tuple[str, str], ...] = (
    (r"weights?|loss_?weights?|sample_?weights?|权重", "weights of rows"),
    (r"tools?|functions?|tool_?calls?|function_?call", "tools"),
    (r"systems?|system_?prompts?|instructions?|系统", "a system prompt or an instruction"),
    (r"histor(?:y|ies)|context_?messages|dialog_?history|previous|历史", "earlier turns"),
    (r"images?|pictures?|photos?|audios?|videos?|pixel_?values|图片", "images or sounds"),
    (r"train|loss|mask|trainable|train_?on|include", "what is trained on"),
    (r"split|fold|subset|is_?test|is_?train", "a split"),
    (r"(?:ner|pos|chunk)?_?tags?|pos|chunks?|entities|spans", "tags"),
)
CONSTANT_MATTERS = frozenset({"tools", "a system prompt or an instruction", "earlier turns", "images or sounds"})
NO_MATTER = re.compile(
    r"(?:.*[_\W])?(?:id|ids|idx|index|uuid|guid|hash|md5|sha256|url|urls|link|links|href|path|file|filename|date|dates|"
    r"datetime|time|timestamp|created|updated|published|authors?|user|username|email|lang|language|source|license|"
    r"version|model|unnamed(?:[ :_]*\d+)?|__index_level_\d+__|编号|序号|链接|日期|时间)"
    r"(?:[_\W](?:at|on|utc|no|num|number))?"
)
LINK, DATE = r"^\s*(?:https?://|www\.)\S+\s*$", r"^\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[T ].*)?\s*$"


@dataclass(frozen=True)
class UnusedColumn:
    """A column that no role reads, and what it could be."""

    name: str
    reason: str
    roles: tuple[str, ...] = ()  # that could read it, the likeliest first


def unused_columns(rows: Dataset, used: Collection[str]) -> list[UnusedColumn]:
    """Return the columns that could matter and are not used; ids, links, dates, constants and blanks do not matter."""
    head = rows.select(range(min(ROWS_READ, len(rows))))
    found = []
    for name, feature in rows.features.items():
        is_part = any(name in use or use.startswith(f"{name}.") for use in used)
        column = None if is_part or not name.strip() else _described(name, feature, cells_of(head, name))
        if column is not None:
            found.append(column)
    return found


def sentence(unused: Sequence[UnusedColumn], roles: Iterable[str]) -> str | None:
    """Return `not used: weight (weights of rows), sent_1 (a text: --column pair=sent_1 uses it)`; None where all are.

    Args:
        unused: the columns.
        roles: that the task has and no column was given.
    """
    free, phrases = list(roles), []
    for column in unused:
        role = next((role for role in column.roles if role in free), None)
        if role is not None:
            free.remove(role)
        use = f": --column {role}={_quoted(column.name)} uses it" if role else ""
        phrases.append(f"{column.name} ({column.reason}{use})")
    return f"not used: {listing(phrases)}" if phrases else None


def _described(name: str, feature: object, cells: pa.ChunkedArray) -> UnusedColumn | None:
    """Return what a column could be; None where it does not matter."""
    cells = cells.drop_null()
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    if isinstance(feature, Mapping) or not len(cells):
        return _by_name(name, snake) if len(cells) else None
    if is_list_type(cells.type):
        is_filled = pc.any(pc.greater(pc.list_value_length(cells), 0)).as_py()
        return (_by_name(name, snake) or UnusedColumn(name, "lists", ("labels", "tags"))) if is_filled else None
    if isinstance(feature, ClassLabel):
        return UnusedColumn(name, "labels", ("label",))
    if not is_text_type(cells.type):
        return _number(name, snake, cells) if len(cells.unique()) > 1 else None
    texts = pc.utf8_trim_whitespace(pc.cast(cells, pa.large_string()))
    texts = texts.filter(pc.not_equal(texts, ""))
    distinct = len(texts.unique())
    if distinct < 2:
        named = _by_name(name, snake) if distinct else None
        return named if named is not None and named.reason in CONSTANT_MATTERS else None
    return _by_name(name, snake) or _text(name, snake, texts, distinct)


def _by_name(name: str, snake: str) -> UnusedColumn | None:
    words = [snake, *re.split(r"[_\W]+", snake)]
    for pattern, reason in NAMED:
        if any(re.fullmatch(pattern, word) for word in words):
            roles = {
                "tags": ("tags",),
                "weights of rows": (),
                "tools": ("tools",),
                "a system prompt or an instruction": ("system",),
            }.get(reason, ())
            return UnusedColumn(name, reason, roles)
    return None


def _number(name: str, snake: str, cells: pa.ChunkedArray) -> UnusedColumn | None:
    """Return a column of numbers, true or false that repeat, which could be labels."""
    named, distinct = _by_name(name, snake), len(cells.unique())
    is_index = pa.types.is_integer(cells.type) and distinct == len(cells)
    is_of_other_type = pa.types.is_temporal(cells.type) or pa.types.is_binary(cells.type)
    if named is not None or is_index or is_of_other_type or NO_MATTER.fullmatch(snake):
        return named
    few = distinct <= MAX_CLASSES and distinct < len(cells)
    return UnusedColumn(name, "numbers or labels" if few else "numbers", ("label",))


def _text(name: str, snake: str, texts: pa.ChunkedArray, distinct: int) -> UnusedColumn | None:
    """Return a column of texts, as labels where few repeat, or as prose; None for ids, links and dates."""
    if NO_MATTER.fullmatch(snake) or any(_share(texts, pattern) >= SHARE for pattern in (LINK, DATE)):
        return None
    if distinct <= MAX_CLASSES and 2 * distinct <= len(texts):
        return UnusedColumn(name, "labels", ("label", "labels"))
    has_words = _share(texts, r"\pL\pL.*\s+\S*\pL|[\x{3040}-\x{9fff}]{4}") >= 0.5
    length = pc.mean(pc.utf8_length(texts)).as_py() or 0
    if has_words and length >= LETTERS_OF_TEXT:
        return UnusedColumn(name, "a text", ("pair", "context", "title", "text"))
    if len(texts) >= MANY and distinct == len(texts):
        return None  # they number the rows
    return UnusedColumn(name, "short texts", ("label",)) if distinct < len(texts) else None


def _share(texts: pa.ChunkedArray, pattern: str) -> float:
    return float(pc.mean(pc.cast(pc.match_substring_regex(texts, pattern), pa.float64())).as_py() or 0)


def _quoted(name: str) -> str:
    return f'"{name}"' if re.search(r"\s", name) else name


def say_unused(resolution: Resolution, rows: Dataset, report: Report) -> None:
    """Name the columns that could matter and that the task does not read."""
    used = resolution.columns_read
    free = [role for role in resolution.task.columns.roles if role not in resolution.columns]
    text = sentence(unused_columns(rows, used), free)
    if text is not None:
        report.say(text)
