"""Join predictions to the rows of a dataset: by id or by content, never by position."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from llmkit.data.columns import Row
from llmkit.data.predictions import Predictions, cell_text, number_of
from llmkit.errors import DataError, listing, shortened
from llmkit.tasks.base.settings import TARGET_ROLES

MAX_ROWS_NAMED = 3  # in an error


@dataclass(frozen=True)
class Joined:
    """Predictions in the order of a dataset's rows."""

    rows: list[Row]
    numbers: list[int]  # of each row in its file, from 1
    how: str


@dataclass(frozen=True)
class _Keys:
    """One way to join: a key for each row of the dataset and of the file."""

    name: str
    dataset: list[Hashable]
    file: list[Hashable]
    unique: bool = False  # the keys are ids, which tell all rows apart
    labels: Sequence[object] | None = None  # what to name the dataset's rows by; the keys when None


@dataclass(frozen=True)
class _DatasetRows:
    rows: Sequence[Row]
    ids: Sequence[str]
    inputs: Sequence[str]  # the columns that the model reads


def join(
    predictions: Predictions,
    dataset_rows: Sequence[Row],
    ids: Sequence[str],
    columns: Mapping[str, str],
    measured: Sequence[int] | None = None,
    id_column: str | None = None,
) -> Joined:
    """Return the prediction of each row of a dataset that is measured, whatever order the file has.

    The first way that finds any row is taken: an id column (`id` or `idx`, or the one named) of both; the content ids
    that llmkit writes as `id`; equal input columns. Equal rows are paired by occurrence; where their predictions
    differ, the file's `row` (the row's number in the dataset) tells them apart.

    Args:
        predictions: of `read_predictions`.
        dataset_rows: the rows of the dataset.
        ids: their content ids.
        columns: the columns of the dataset by role; those of `TARGET_ROLES` are no inputs.
        measured: the numbers of the rows that are measured, from 0; None: all. Of others, such as rows without a
            label, the file can have predictions or not.
        id_column: the only column to join by, in both files.

    Raises:
        DataError: rows are missing or too many (the first of them are named), equal ids have different predictions,
            or there is nothing to join by.
    """
    inputs = [name for role, name in columns.items() if role not in TARGET_ROLES]
    dataset = _DatasetRows(dataset_rows, ids, inputs)
    ways = _ways(predictions.rows, dataset, id_column)
    keys = next((keys for keys in ways if id_column or not set(keys.dataset).isdisjoint(keys.file)), None)
    if keys is None:
        or_inputs = f", or its {' and '.join(map(repr, inputs))}" if inputs else ""
        raise DataError(
            f"{predictions.path}: none of its rows is one of the dataset's: each needs the 'id' that llmkit "
            f"--save-predictions writes, or the dataset's own id{or_inputs}"
        )
    numbers = range(len(dataset_rows)) if measured is None else measured
    paired = _paired(keys, predictions, numbers)
    if keys.unique:
        _refuse_other_rows(keys, [dataset_rows[number] for number in numbers], paired, predictions, inputs)
    return Joined([predictions.rows[index] for index in paired], [index + 1 for index in paired], keys.name)


def _ways(rows: Sequence[Row], dataset: _DatasetRows, id_column: str | None) -> Iterable[_Keys]:
    of_dataset: set[str] = set().union(*map(set, dataset.rows))
    of_file: set[str] = set().union(*map(set, rows))
    if id_column and not (id_column in of_dataset and id_column in of_file):
        raise DataError(f"there is no column {id_column!r} to join by in both the dataset and the predictions")
    usual = [id_column] if id_column else ["id", "idx"]
    for dataset_column, file_column in itertools.product(usual, usual):
        if dataset_column in of_dataset and file_column in of_file:
            name = f"joined by the column {file_column!r}"
            yield _Keys(name, _cells(dataset.rows, dataset_column), _cells(rows, file_column), unique=True)
    texts = _texts(dataset.rows, dataset.inputs)
    if "id" in of_file:
        labels = texts if dataset.inputs else None
        yield _Keys("joined by the content ids", list(dataset.ids), _cells(rows, "id"), labels=labels)
    if dataset.inputs and set(dataset.inputs) <= of_file:
        name = f"joined by equal {' and '.join(map(repr, dataset.inputs))}"
        yield _Keys(name, texts, _texts(rows, dataset.inputs))


def _cells(rows: Sequence[Row], column: str) -> list[Hashable]:
    return [cell_text(row.get(column)) for row in rows]


def _texts(rows: Sequence[Row], inputs: Sequence[str]) -> list[Hashable]:
    return [tuple(cell_text(row.get(name)) for name in inputs) for row in rows]


def _refuse_other_rows(
    keys: _Keys, rows: Sequence[Row], paired: Sequence[int], predictions: Predictions, inputs: Sequence[str]
) -> None:
    """Refuse rows of another split, which can have the same ids, where the file has the inputs to tell."""
    for row, index in zip(rows, paired, strict=True):
        answer = predictions.rows[index]
        for name in inputs:
            if name in answer and _words(answer[name]) != _words(row.get(name)):
                raise DataError(
                    f"{predictions.path}, row {index + 1} ({keys.name}: {shortened(keys.file[index])}) is of another "
                    f"{name!r}, {shortened(answer[name])}, than the dataset's, {shortened(row.get(name))}: is it of "
                    "another split?"
                )


def _words(value: object) -> list[str]:
    return cell_text(value).casefold().split()


def _paired(keys: _Keys, predictions: Predictions, measured: Collection[int]) -> list[int]:
    """Return the row of the file, from 0, of each row of the dataset that is measured."""
    by_key: dict[Hashable, list[int]] = {}
    for index, key in enumerate(keys.file):
        by_key.setdefault(key, []).append(index)
    asked = set(keys.dataset)
    for key, indices in by_key.items():
        if len(indices) > 1 and key in asked:
            by_key[key] = _told_apart(indices, key, keys, predictions)
    occurs, scored = Counter(keys.dataset), set(measured)
    rest = {key: iter(indices) for key, indices in by_key.items()}
    paired: dict[int, int] = {}
    for number, key in enumerate(keys.dataset):  # the file has each occurrence of a text, or those that are measured
        given = by_key.get(key, [])
        found = next(rest[key], None) if given and (number in scored or len(given) >= occurs[key]) else None
        if found is not None:
            paired[number] = found
    missing = [number for number in measured if number not in paired]
    extra = sorted(set(range(len(keys.file))) - set(paired.values()))
    if missing or extra:
        raise DataError(f"{predictions.path} {_difference(keys, missing, extra)}")
    return [paired[number] for number in measured]


def _told_apart(indices: list[int], key: Hashable, keys: _Keys, predictions: Predictions) -> list[int]:
    """Return the rows of equal keys in the order of the dataset's rows.

    Raises:
        DataError: their predictions differ, and nothing says which is whose.
    """
    rows = [predictions.rows[index] for index in indices]
    different = [row for row in rows if not _equal(rows[0]["prediction"], row["prediction"])]
    if not different:
        return indices
    numbers = [cell_text(row.get("row")) for row in rows]
    if not keys.unique and len(set(numbers)) == len(numbers) and all(number.isdecimal() for number in numbers):
        return [index for _, index in sorted(zip(map(int, numbers), indices, strict=True))]
    advice = "" if keys.unique else "; give each row an id, or its number in the dataset as 'row'"
    raise DataError(
        f"{predictions.path}: {shortened(key)} occurs {len(rows)} times with different predictions, "
        f"{shortened(rows[0]['prediction'])} and {shortened(different[0]['prediction'])}{advice}"
    )


def _difference(keys: _Keys, missing: list[int], extra: list[int]) -> str:
    labels = keys.dataset if keys.labels is None else keys.labels
    phrases = []
    if missing:
        names = [shortened(labels[row]) for row in missing]
        phrases.append(_phrase(missing, "of the dataset's rows {} missing from it", names))
    if extra:
        names = [f"row {row + 1}: {shortened(keys.file[row])}" for row in extra]
        phrases.append(_phrase(extra, "of its rows {} not in the dataset, or too often", names))
    advice = "--split and --limit must be those that were predicted"
    return f"does not fit the dataset ({keys.name}): {' and '.join(phrases)}; {advice}"


def _phrase(rows: list[int], text: str, names: list[str]) -> str:
    verb = "is" if len(rows) == 1 else "are"
    return f"{len(rows)} {text.format(verb)} ({listing(names, MAX_ROWS_NAMED)})"


def _equal(first: object, second: object) -> bool:
    """Tell whether two predictions are equal; the last digits of a number depend on the batch that it was in."""
    numbers = [number_of(value) for value in (first, second)]
    return cell_text(first) == cell_text(second) or math.isclose(*numbers, rel_tol=1e-5, abs_tol=1e-8)
