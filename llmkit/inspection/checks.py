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

import numpy as np
from datasets import Dataset

from llmkit.data.columns import are_blank
from llmkit.data.label_sets import holds_sets, sets_of
from llmkit.data.labels import names_of, natural
from llmkit.data.parts import Part
from llmkit.errors import EmptyError, listing
from llmkit.inspection.findings import Finding, RowsOf, finding_of
from llmkit.inspection.lookalikes import differences, lookalikes
from llmkit.inspection.row_codes import content_codes
from llmkit.metrics.observations import Bools, Ints
from llmkit.output.report import Report
from llmkit.tasks import Task, input_columns

MAX_TRIAL_ROWS = 20  # who trains on one row, so often, wants to see that it can be learned
MAX_LABELS_COMPARED = 10_000  # more are no classes
Columns = dict[str, str]
Places = dict[str, tuple[int, Ints]]  # of each label: how often it is there, and in which rows


@dataclass(frozen=True)
class Inspected:
    """Rows with what is asked of them again and again."""

    part: Part
    codes: Ints  # of the inputs of each row, over all parts: see `content_codes`
    empty: Bools
    labelled: bool  # whether targets are there: a test set often hides them
    labels: Places

    @property
    def filled(self) -> Ints:
        """The places of the rows that are not blank, (n,)."""
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
    inspected = tuple(_inspected(task, columns, *part_and_codes) for part_and_codes in zip(parts, codes, strict=True))
    train = inspected[0]
    findings: list[Finding] = []
    for rows in inspected:
        findings += _unusable(task, columns, rows, first=rows is train)
        findings += _repeated(task, columns, rows)
        findings += _labels_amiss(train, rows)
        findings += _labels_alike(train, rows)
    for earlier, later in combinations(inspected, 2):
        findings += _shared(task, columns, earlier, later)
    return Inspection(inspected, tuple(findings))


def check(task: Task, columns: Columns, parts: Sequence[Part], kept_apart: bool, report: Report) -> None:
    """Warn of what is wrong with the rows to train on, to measure on, and of a test that there may be.

    Args:
        task: what is trained for.
        columns: by role.
        parts: the rows to train on, to measure on, and others that training should not see.
        kept_apart: whether the rows to measure on are what the dataset keeps for that, not a cut, nor named by the
            user, who may want to see a model learn them by heart.
        report: gets the warnings.

    Raises:
        EmptyError: the training would be in vain.
    """
    inspection = inspect(task, columns, parts)
    _require_worth(inspection.parts[0], inspection.parts[1], kept_apart)
    for finding in inspection.findings:
        in_question = finding.split in [part.name for part in parts[:2]]  # what is wrong in a test alone can wait
        if finding.other is not None or in_question:
            report.warn(finding.sentence)


def _require_worth(train: Inspected, validation: Inspected, kept_apart: bool) -> None:
    rows = len(train.codes)
    if rows > MAX_TRIAL_ROWS and len(np.unique(train.codes)) == 1:
        raise EmptyError(f"all {rows} {train.part.name} rows have the same inputs: there is nothing to learn from them")
    shared = np.isin(validation.codes[validation.filled], train.codes)
    if kept_apart and shared.all():
        raise EmptyError(
            f"all {len(shared)} {validation.part.name} rows are trained on too, so that no figure would say anything; "
            "`llmkit data` shows them, and --validation names others"
        )


def _inspected(task: Task, columns: Columns, part: Part, codes: Ints) -> Inspected:
    inputs = input_columns(columns)
    needed = [column for role, column in inputs.items() if role not in task.columns.optional_roles]
    empty = np.any([are_blank(part.rows, column) for column in needed], axis=0)
    has_targets = inputs != columns and set(columns.values()) <= set(part.rows.column_names)
    labelled = has_targets and task.columns.has_labels(part.rows, columns)
    return Inspected(part, codes, empty, labelled, _labels_of(task, part.rows, columns) if labelled else {})


def _labels_of(task: Task, rows: Dataset, columns: Columns) -> Places:
    """Return the labels of rows in natural order: each distinct cell is looked at once."""
    column = task.columns.class_column(rows, columns)
    if column is None:
        return {}
    _, firsts, cell_of_row = np.unique(content_codes([rows], [column])[0], return_index=True, return_inverse=True)
    cells, times = rows.select(firsts), np.bincount(cell_of_row, minlength=len(firsts))
    counts, cells_with = Counter[str](), dict[str, list[int]]()
    for cell, names in enumerate(_names_of(cells, column)):
        for name, often in Counter(names).items():
            counts[name] += often * int(times[cell])
            cells_with.setdefault(name, []).append(cell)
    rows_by_cell = np.argsort(cell_of_row, kind="stable")
    edges = np.cumsum([0, *times])
    places = {
        name: np.sort(np.concatenate([rows_by_cell[edges[cell] : edges[cell + 1]] for cell in cells_of_name]))
        for name, cells_of_name in cells_with.items()
    }
    return {name: (counts[name], places[name]) for name in sorted(counts, key=natural)}


def _names_of(rows: Dataset, column: str) -> list[tuple[str, ...]]:
    """Return the labels of each row, of any number."""
    if holds_sets(rows, column):
        return [tuple(names or ()) for names in sets_of(rows, column)]
    return [() if name is None else (name,) for name in names_of(rows, column)]


def _unusable(task: Task, columns: Columns, inspected: Inspected, first: bool) -> Iterator[Finding]:
    part, inputs = inspected.part, input_columns(columns)
    if part.filtered:
        return
    needed = listing(name for role, name in inputs.items() if role not in task.columns.optional_roles)
    yield from finding_of("empty", part, np.flatnonzero(inspected.empty), f"are blank in {needed}")
    complete = inspected.labelled or inputs == columns
    if complete or first:
        lost = ~inspected.empty
        if complete:
            lost[task.columns.usable_rows(part.rows, columns)] = False
        yield from finding_of("unusable", part, np.flatnonzero(lost), f"have {task.columns.unusable_reason}")


def _repeated(task: Task, columns: Columns, inspected: Inspected) -> Iterator[Finding]:
    """Find rows that repeat an earlier one, and those that have the inputs of another and not its target."""
    part, filled = inspected.part, inspected.filled
    _, firsts, which = np.unique(inspected.codes[filled], return_index=True, return_inverse=True)
    originals = filled[firsts][which]
    again = filled != originals
    twins = RowsOf(part, originals[again])
    yield from finding_of("duplicate", part, filled[again], "repeat an earlier row", twins=twins)
    if not inspected.labelled or not again.any():
        return
    shared = np.isin(originals, originals[again])
    targets = task.columns.targets(part.rows.select(filled[shared]), columns)
    groups: dict[int, list[tuple[int, object]]] = {}
    for row, original, target in zip(filled[shared].tolist(), originals[shared].tolist(), targets, strict=True):
        if target is not None:
            groups.setdefault(original, []).append((row, target))
    twin_of = dict(pair for members in groups.values() for pair in _contradictory(members))
    rows = np.array(sorted(twin_of), dtype=np.int64)
    twins = RowsOf(part, np.array([twin_of[row] for row in sorted(twin_of)], dtype=np.int64))
    yield from finding_of("contradiction", part, rows, "have the inputs of another row and not its label", twins=twins)


def _contradictory(members: Sequence[tuple[int, object]]) -> Iterator[tuple[int, int]]:
    """Yield each row of those with the same inputs that another contradicts, and the first that does."""
    first, others = members[0], [member for member in members if member[1] != members[0][1]]
    for row, target in members if others else ():
        yield row, others[0][0] if target == first[1] else first[0]


def _labels_amiss(train: Inspected, inspected: Inspected) -> Iterator[Finding]:
    """Find a label that is the only one in training, or that a later part has and training has not."""
    part = inspected.part
    if inspected is train:
        for name, (_, places) in train.labels.items() if len(train.labels) == 1 else ():
            yield from finding_of("one-label", part, places, f"have the label {name!r}, and none another", label=name)
    nothing = RowsOf(train.part, np.empty(0, dtype=np.int64))
    for name, (_, places) in inspected.labels.items() if train.labels else ():
        if name not in train.labels:
            what = f"have the label {name!r}, which no {train.part.name} row has"
            yield from finding_of("unseen-label", part, places, what, twins=nothing, label=name)


def _labels_alike(train: Inspected, inspected: Inspected) -> Iterator[Finding]:
    """Find labels that look like one that more rows have, or that training has; and those that one row has."""
    part, labels = inspected.part, inspected.labels
    if len(labels) > MAX_LABELS_COMPARED:
        return
    counts = {name: count for name, (count, _) in (labels | train.labels).items()}
    for group in lookalikes(counts):
        usual = max([name for name in group if name in train.labels] or group, key=counts.__getitem__)
        often = counts[usual]
        for name in group:
            if name != usual and name in labels and (inspected is train or name not in train.labels):
                count = f"of {often} {'row' if often == 1 else 'rows'}"
                what = f"have the label {name!r}, which looks like {usual!r} {count}: {differences(name, usual)}"
                yield from finding_of("lookalike-label", part, labels[name][1], what, label=name)
    single = [places for count, places in labels.values() if count == 1]
    if inspected is train and len(single) < len(labels) and len(part.rows) > MAX_TRIAL_ROWS:
        places = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *single]))
        yield from finding_of("single-label", part, places, "have a label that no other row has")


def _shared(task: Task, columns: Columns, earlier: Inspected, later: Inspected) -> Iterator[Finding]:
    """Find the rows of a part that are in an earlier one too, and those of them that have another target there."""
    firsts = np.full(max(earlier.codes.max(initial=-1), later.codes.max(initial=-1)) + 1, -1)
    backwards = earlier.filled[::-1]
    firsts[earlier.codes[backwards]] = backwards  # what is written last stays: the first row
    twins = firsts[later.codes]
    shared = np.flatnonzero((twins >= 0) & ~later.empty)
    twins = twins[shared]
    what = f"are {earlier.part.name} rows too"
    yield from finding_of("overlap", later.part, shared, what, twins=RowsOf(earlier.part, twins))
    if earlier.labelled and later.labelled and len(shared):
        here = task.columns.targets(later.part.rows.select(shared), columns)
        there = task.columns.targets(earlier.part.rows.select(twins), columns)
        apart = np.array([None not in (a, b) and a != b for a, b in zip(here, there, strict=True)], dtype=bool)
        what = f"are {earlier.part.name} rows too, with another label there"
        yield from finding_of(
            "contradiction", later.part, shared[apart], what, twins=RowsOf(earlier.part, twins[apart])
        )
