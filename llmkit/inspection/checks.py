"""What is wrong with the rows of a dataset, counted exactly: before a person looks at it, and before every training.

Two rows are the same where their inputs are, the columns that the model reads; a row whose inputs are blank is no copy
of another. A million rows take seconds: columns are compared as arrow holds them, and only copies are looked at one by
one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from datasets import Dataset

from llmkit.data.label_sets import holds_sets, sets_of
from llmkit.data.labels import names_of, natural
from llmkit.data.parts import Part
from llmkit.errors import EmptyError, listing
from llmkit.inspection.findings import Finding, finding
from llmkit.inspection.row_codes import Bools, Ints, content_codes, is_blank
from llmkit.output.report import Report
from llmkit.tasks import Task, input_columns

TRIAL = 20  # rows: who trains on one row, so often, wants to see that it can be learned
Columns = dict[str, str]
Places = dict[str, tuple[int, Ints]]  # of each label: how often it is there, and in which rows


@dataclass(frozen=True)
class Inspected:
    """Rows with what is asked of them again and again."""

    part: Part
    codes: Ints  # of the inputs of each row, over all parts: see `content_codes`
    empty: Bools
    labelled: bool  # whether truths are there: a test set often hides them
    labels: Places

    @property
    def full(self) -> Ints:
        """The places of the rows that are not blank."""
        return np.flatnonzero(~self.empty)


@dataclass(frozen=True)
class Inspection:
    """What was counted of each part, and what is wrong."""

    parts: tuple[Inspected, ...]
    findings: tuple[Finding, ...]


def inspect(task: Task, columns: Columns, parts: Sequence[Part]) -> Inspection:
    """Count what rows hold, and find what is wrong with them; the first part is the one that is trained on."""
    inputs = input_columns(columns)
    codes = content_codes([part.rows for part in parts], list(inputs.values()))
    seen = tuple(_inspected(task, columns, part, some) for part, some in zip(parts, codes, strict=True))
    findings: list[Finding] = []
    for number, one in enumerate(seen):
        findings += _unusable(task, columns, one, first=number == 0)
        findings += _repeated(task, columns, one)
        findings += _labels_amiss(seen[0], one, first=number == 0)
    for one, other in combinations(seen, 2):
        findings += _shared(task, columns, one, other)
    return Inspection(seen, tuple(findings))


def check(task: Task, columns: Columns, parts: Sequence[Part], own: bool, report: Report) -> None:
    """Warn of what is wrong with the rows to train on, to measure on, and of a test that there may be.

    Args:
        task: what is trained for.
        columns: by role.
        parts: the rows to train on, to measure on, and others that training should not see.
        own: whether the rows to measure on are what the dataset keeps for that, not a cut, nor named by the user, who
            may want to see a model learn them by heart.
        report: is told.

    Raises:
        EmptyError: the training would be in vain.
    """
    found = inspect(task, columns, parts)
    _require_worth(found.parts[0], found.parts[1], own)
    for one in found.findings:
        if one.other is not None or one.split in [part.name for part in parts[:2]]:  # a test's own faults can wait
            report.warn(one.sentence)


def _require_worth(train: Inspected, validation: Inspected, own: bool) -> None:
    rows = len(train.codes)
    if rows > TRIAL and len(np.unique(train.codes)) == 1:
        raise EmptyError(f"all {rows} {train.part.name} rows have the same inputs: there is nothing to learn from them")
    learned = np.isin(validation.codes[validation.full], train.codes)
    if own and learned.all():
        raise EmptyError(
            f"all {len(learned)} {validation.part.name} rows are trained on too, so that no figure would say anything; "
            "`llmkit data` shows them, and --validation names others"
        )


def _inspected(task: Task, columns: Columns, part: Part, codes: Ints) -> Inspected:
    inputs = input_columns(columns)
    needed = [column for role, column in inputs.items() if role not in task.columns.optional_roles]
    empty = np.any([is_blank(part.rows, column) for column in needed], axis=0)
    there = inputs != columns and set(columns.values()) <= set(part.rows.column_names)
    labelled = there and task.columns.has_labels(part.rows, columns)
    return Inspected(part, codes, empty, labelled, _labels_of(task, part.rows, columns) if labelled else {})


def _labels_of(task: Task, rows: Dataset, columns: Columns) -> Places:
    """Return the labels of rows in natural order: each distinct cell is looked at once."""
    column = task.columns.class_column(rows, columns)
    if column is None:
        return {}
    _, firsts, which = np.unique(content_codes([rows], [column])[0], return_index=True, return_inverse=True)
    cells, times = rows.select(firsts), np.bincount(which, minlength=len(firsts))
    counts, holders = Counter[str](), dict[str, list[int]]()
    for cell, names in enumerate(_names_of(cells, column)):
        for name, often in Counter(names).items():
            counts[name] += often * int(times[cell])
            holders.setdefault(name, []).append(cell)
    return {name: (counts[name], np.flatnonzero(np.isin(which, holders[name]))) for name in sorted(counts, key=natural)}


def _names_of(rows: Dataset, column: str) -> list[tuple[str, ...]]:
    """Return the labels of each row, of any number."""
    if holds_sets(rows, column):
        return [tuple(names or ()) for names in sets_of(rows, column)]
    return [() if name is None else (name,) for name in names_of(rows, column)]


def _unusable(task: Task, columns: Columns, one: Inspected, first: bool) -> Iterator[Finding]:
    part, inputs = one.part, input_columns(columns)
    if part.sifted:
        return
    wanted = listing(name for role, name in inputs.items() if role not in task.columns.optional_roles)
    yield from finding("empty", part, np.flatnonzero(one.empty), f"are blank in {wanted}")
    complete = one.labelled or inputs == columns
    if complete or first:
        lost = ~one.empty
        if complete:
            lost[task.columns.usable_rows(part.rows, columns)] = False
        yield from finding("unusable", part, np.flatnonzero(lost), f"have {task.columns.unusable_reason}")


def _repeated(task: Task, columns: Columns, one: Inspected) -> Iterator[Finding]:
    """Find rows that repeat an earlier one, and those that have the inputs of another and not its truth."""
    full = one.full
    _, firsts, which = np.unique(one.codes[full], return_index=True, return_inverse=True)
    originals = full[firsts][which]
    again = full != originals
    yield from finding("duplicate", one.part, full[again], "repeat an earlier row", twins=originals[again])
    if not one.labelled or not again.any():
        return
    shared = np.isin(originals, originals[again])
    truths = task.columns.targets(one.part.rows.select(full[shared]), columns)
    groups: dict[int, list[tuple[int, Any]]] = {}
    for row, original, truth in zip(full[shared].tolist(), originals[shared].tolist(), truths, strict=True):
        if truth is not None:
            groups.setdefault(original, []).append((row, truth))
    found = dict(pair for members in groups.values() for pair in _contradictory(members))
    rows, twins = (np.array([*some], dtype=np.int64) for some in (sorted(found), [found[row] for row in sorted(found)]))
    says = "have the inputs of another row and not its label"
    yield from finding("contradiction", one.part, rows, says, twins=twins)


def _contradictory(members: Sequence[tuple[int, Any]]) -> Iterator[tuple[int, int]]:
    """Yield each row of those with the same inputs that another contradicts, and the first that does."""
    first, others = members[0], [member for member in members if member[1] != members[0][1]]
    for row, truth in members if others else ():
        yield row, others[0][0] if truth == first[1] else first[0]


def _labels_amiss(train: Inspected, one: Inspected, first: bool) -> Iterator[Finding]:
    """Find a label that is alone in training, or that a later part has and training has not."""
    if first:
        for name, (_, places) in one.labels.items() if len(one.labels) == 1 else ():
            says = f"have the label {name!r}, and none another"
            yield from finding("one-label", one.part, places, says, label=name)
    for name, (_, places) in one.labels.items() if train.labels else ():
        if name not in train.labels:
            says = f"have the label {name!r}, which no {train.part.name} row has"
            yield from finding("unseen-label", one.part, places, says, other=train.part, label=name)


def _shared(task: Task, columns: Columns, one: Inspected, other: Inspected) -> Iterator[Finding]:
    """Find the rows of a part that are in an earlier one too, and those of them that have another truth there."""
    firsts = np.full(max(one.codes.max(initial=-1), other.codes.max(initial=-1)) + 1, -1)
    backwards = one.full[::-1]
    firsts[one.codes[backwards]] = backwards  # what is written last stays: the first row
    twins = firsts[other.codes]
    shared = np.flatnonzero((twins >= 0) & ~other.empty)
    twins = twins[shared]
    says = f"are {one.part.name} rows too"
    yield from finding("overlap", other.part, shared, says, twins=twins, other=one.part)
    if one.labelled and other.labelled and len(shared):
        here = task.columns.targets(other.part.rows.select(shared), columns)
        there = task.columns.targets(one.part.rows.select(twins), columns)
        apart = np.array([None not in (a, b) and a != b for a, b in zip(here, there, strict=True)], dtype=bool)
        says = f"are {one.part.name} rows too, with another label there"
        yield from finding("contradiction", other.part, shared[apart], says, twins=twins[apart], other=one.part)
