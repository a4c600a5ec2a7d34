"""Rows of which nothing is learned once they are model inputs: counted, named, left out, and refused where many are."""

from __future__ import annotations

import numpy as np
from datasets import Dataset

from llmkit.errors import DataError, listing
from llmkit.findings import FIRST, Part
from llmkit.report import Report
from llmkit.tasks import Setup, Task

SILENT_SHARE = 0.1  # of the rows, above which the limit does not suit the data


def sift(task: Task, prepared: Dataset, part: Part, setup: Setup, report: Report) -> Dataset:
    """Return the prepared rows of a part without those of which nothing is learned, and say which these are.

    Raises:
        DataError: they are more than a tenth.
    """
    silent = task.silent(prepared)
    if not silent:
        return prepared
    rows = prepared["row"] if "row" in prepared.column_names else range(len(prepared))
    named = listing((part.number(rows[place]) for place in silent), FIRST)
    said = (
        f"{len(silent)} of {len(prepared)} {part.name} rows have nothing to learn within {setup.max_length} tokens "
        f"({'row' if len(silent) == 1 else 'rows'} {named})"
    )
    if len(silent) > SILENT_SHARE * len(prepared):
        raise DataError(f"{said}, more than {SILENT_SHARE:.0%}: take more with --max-length")
    report.warn(f"{said}, left out")
    return prepared.select(np.setdiff1d(np.arange(len(prepared)), silent))
