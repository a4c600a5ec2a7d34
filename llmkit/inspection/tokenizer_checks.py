"""Rows as a tokenizer takes them: what it cannot spell is refused, and what leaves nothing to learn is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from llmkit.data.parts import Part
from llmkit.data.splits import TrainAndValidation
from llmkit.errors import DataError, listing, shortened
from llmkit.inspection.findings import FIRST
from llmkit.output.report import Report
from llmkit.tasks import Task, TaskSettings

SILENT_SHARE = 0.1  # of the rows, above which the limit does not suit the data


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


def require_spelled(task: Task, part: Part, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> None:
    """Refuse rows that the model's tokenizer cannot spell, as turns that its chat template drops.

    Raises:
        DataError: naming the first such row.
    """
    found = task.encoding.first_unencodable_row(part.rows, tokenizer, settings)
    if found is not None:
        place, wrong = found
        first = part.rows[place][next(iter(settings.inputs.values()))]
        row = f"row {part.number(place)}" if part.named else f"the row {shortened(first)}"
        raise DataError(f"{part.name}, {row}: {wrong}")


def sift(task: Task, prepared: Dataset, part: Part, settings: TaskSettings, report: Report) -> Dataset:
    """Return the prepared rows of a part without those of which nothing is learned, and say which these are.

    Raises:
        DataError: they are more than a tenth.
    """
    silent = task.encoding.rows_without_targets(prepared)
    if not silent:
        return prepared
    said = (
        f"{len(silent)} of {len(prepared)} {part.name} rows have nothing to learn within {settings.max_length} tokens"
    )
    if part.named:
        rows = prepared["row"] if "row" in prepared.column_names else range(len(prepared))
        numbers = listing((part.number(rows[place]) for place in silent), FIRST)
        said += f" ({'row' if len(silent) == 1 else 'rows'} {numbers})"
    if len(silent) > SILENT_SHARE * len(prepared):
        raise DataError(f"{said}, more than {SILENT_SHARE:.0%}: take more with --max-length")
    report.warn(f"{said}, left out")
    return prepared.select(np.setdiff1d(np.arange(len(prepared)), silent))
