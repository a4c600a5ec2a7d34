"""Rows as a tokenizer takes them: what it cannot spell is refused, what leaves nothing to learn is left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from llmkit.data.parts import Part
from llmkit.data.splits import TrainAndValidation
from llmkit.errors import DataError, listing, shortened
from llmkit.inspection.findings import MAX_ROWS_NAMED
from llmkit.models.text.prompts import spellings_in
from llmkit.output.report import Report
from llmkit.tasks import Task, TaskSettings

MAX_NAMES = 3  # of control tokens that rows spell
MAX_SHARE_WITHOUT_TARGETS = 0.1  # of the rows, above which the limit does not suit the data


def numbered(parts: Sequence[Part], rows: TrainAndValidation) -> list[Part]:
    """Return parts whose rows have the numbers that they have in the dataset, also where some were cut from others.

    The rows of a mix, or of a stream, cannot be found by numbers.
    """
    if rows.places is None or rows.component_records or rows.streamed:
        return [replace(part, named=not rows.component_records and not rows.streamed) for part in parts]
    return [
        replace(part, numbers=[stood[part.number(place) - 1] + 1 for place in range(len(part.rows))], named=True)
        for part, stood in zip(parts, rows.places, strict=True)
    ]


def require_spelled(
    task: Task, part: Part, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, report: Report | None = None
) -> None:
    """Refuse rows that the model's tokenizer cannot spell, as turns that its chat template drops; or say which go.

    It is said too how many hold what spells a control token, and what becomes of that.

    Raises:
        DataError: naming the first such row.
    """
    unencodable = task.encoding.first_unencodable_row(part.rows, tokenizer, settings)
    if unencodable is not None:
        place, reason = unencodable
        first = part.rows[place][next(iter(settings.inputs.values()))]
        row = f"row {part.number(place)}" if part.named else f"the row {shortened(first)}"
        raise DataError(f"{part.name}, {row}: {reason}")
    left_out = task.encoding.unencodable_rows(part.rows, tokenizer, settings) if report else {}
    if report and left_out:
        place, reason = next(iter(left_out.items()))
        first = f" (row {part.number(place)}: {reason})" if part.named else f" ({reason})"
        report.warn(f"{len(left_out)} of {len(part.rows)} {part.name} rows are invalid, left out{first}")
    if report:
        report.say_all(_spelled_control_tokens(task, part, tokenizer, settings))


def _spelled_control_tokens(
    task: Task, part: Part, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
) -> Iterator[str]:
    """Yield a sentence on rows whose texts spell control tokens, where there are some."""
    found = [
        names
        for messages in task.encoding.messages_of_rows(part.rows, settings)
        if (names := spellings_in(tokenizer, messages))
    ]
    if not found:
        return
    names = list(dict.fromkeys(name for of_row in found for name in of_row))
    rows = "1 row holds" if len(found) == 1 else f"{len(found)} rows hold"
    stays, reads = ("stays", "it as the token") if len(names) == 1 else ("stay", "them as tokens")
    end = f"which {stays} text; --no-split-special-tokens reads {reads}" if settings.keeps_text else "read as tokens"
    yield f"{part.name}: {rows} {listing(names, MAX_NAMES)} in their texts, {end}"


def drop_rows_without_targets(
    task: Task, encoded: Dataset, part: Part, settings: TaskSettings, report: Report
) -> Dataset:
    """Return the encoded rows of a part without those of which nothing is learned, and warn of these.

    Raises:
        DataError: they are more than a tenth.
    """
    places = task.encoding.rows_without_targets(encoded)
    if not places:
        return encoded
    sentence = (
        f"{len(places)} of {len(encoded)} {part.name} rows have nothing to learn within {settings.max_length} tokens"
    )
    if part.named:
        rows = encoded["row"] if "row" in encoded.column_names else range(len(encoded))
        numbers = listing((part.number(rows[place]) for place in places), MAX_ROWS_NAMED)
        sentence += f" ({'row' if len(places) == 1 else 'rows'} {numbers})"
    if len(places) > MAX_SHARE_WITHOUT_TARGETS * len(encoded):
        raise DataError(f"{sentence}, more than {MAX_SHARE_WITHOUT_TARGETS:.0%}: take more with --max-length")
    report.warn(f"{sentence}, left out")
    return encoded.select(np.setdiff1d(np.arange(len(encoded)), places))
