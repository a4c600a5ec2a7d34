"""Join predictions to the rows of a dataset: by id or by content, never by position."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmkit.data.columns import Row
from llmkit.data.predictions import Predictions, cell_text, number_of
from llmkit.errors import DataError, listing, shortened
from llmkit.tasks.base.settings import TARGET_ROLES

SHOWN = 3  # rows that an error names


@dataclass(frozen=True)
class Joined:
    """Predictions in the order of a dataset's rows."""

    rows: list[Row]
    places: list[int]  # the number of each in its file, from 1
    how: str


@dataclass(frozen=True)
class _Way:
    """One way to join: a key for each row of the dataset and of the file."""

    name: str
    wanted: list[Any]
    found: list[Any]
    unique: bool = False  # the keys are meant to tell all rows apart
    shown: Sequence[Any] | None = None  # what to name the dataset's rows by; the keys when None


def join(
    predictions: Predictions,
    dataset_rows: Sequence[Mapping[str, Any]],
    ids: Sequence[str],
    columns: Mapping[str, str],
    id_column: str | None = None,
) -> Joined:
    """Return the prediction of each row of a dataset, whatever order the file has.

    The first way that finds any row is taken: an id column (`id` or `idx`, or the one named) of both; the content ids
    that llmkit writes as `id`; equal input columns. Equal rows are paired by occurrence; where their predictions
    differ, the file's `row` (the row's number in the dataset) tells them apart.

    Args:
        predictions: of `read_predictions`.
        dataset_rows: the rows that are measured.
        ids: their content ids.
        columns: the columns of the dataset by role; those of `TARGET_ROLES` are no inputs.
        id_column: the only column to join by, in both files.

    Raises:
        DataError: rows are missing or too many (the first of them are named), equal ids have different predictions,
            or there is nothing to join by.
    """
    inputs = [name for role, name in columns.items() if role not in TARGET_ROLES]
    ways = _ways(predictions.rows, dataset_rows, ids, inputs, id_column)
    way = next((way for way in ways if id_column or not set(way.wanted).isdisjoint(way.found)), None)
    if way is None:
        or_inputs = f", or its {' and '.join(map(repr, inputs))}" if inputs else ""
        raise DataError(
            f"{predictions.path}: none of its rows is one of the dataset's: each needs the 'id' that llmkit "
            f"--save-predictions writes, or the dataset's own id{or_inputs}"
        )
    places = _paired(way, predictions)
    if way.unique:
        _refuse_other_rows(way, places, predictions, dataset_rows, inputs)
    return Joined([predictions.rows[place] for place in places], [place + 1 for place in places], way.name)


def _ways(
    rows: list[Row],
    dataset_rows: Sequence[Mapping[str, Any]],
    ids: Sequence[str],
    inputs: Sequence[str],
    id_column: str | None,
) -> Iterable[_Way]:
    names, theirs = (set().union(*map(set, some)) for some in (dataset_rows, rows))
    if id_column and not (id_column in names and id_column in theirs):
        raise DataError(f"there is no column {id_column!r} to join by in both the dataset and the predictions")
    usual = [id_column] if id_column else ["id", "idx"]
    for own, other in itertools.product(usual, usual):
        if own in names and other in theirs:
            wanted = [cell_text(row.get(own)) for row in dataset_rows]
            found = [cell_text(row.get(other)) for row in rows]
            yield _Way(f"joined by the column {other!r}", wanted, found, unique=True)
    texts = [_texts(row, inputs) for row in dataset_rows]
    if "id" in theirs:
        found = [cell_text(row.get("id")) for row in rows]
        yield _Way("joined by the content ids", list(ids), found, shown=texts if inputs else None)
    if inputs and set(inputs) <= theirs:
        yield _Way(f"joined by equal {' and '.join(map(repr, inputs))}", texts, [_texts(row, inputs) for row in rows])


def _texts(row: Mapping[str, Any], inputs: Sequence[str]) -> tuple[str, ...]:
    return tuple(cell_text(row.get(name)) for name in inputs)


def _refuse_other_rows(
    way: _Way,
    places: Sequence[int],
    predictions: Predictions,
    dataset_rows: Sequence[Mapping[str, Any]],
    inputs: Sequence[str],
) -> None:
    """Refuse rows of another split, which can have the same ids, where the file has the inputs to tell."""
    for row, place in zip(dataset_rows, places, strict=True):
        theirs = predictions.rows[place]
        for name in inputs:
            if name in theirs and _words(theirs[name]) != _words(row.get(name)):
                raise DataError(
                    f"{predictions.path}, row {place + 1} ({way.name}: {shortened(way.found[place])}) is of another "
                    f"{name!r}, {shortened(theirs[name])}, than the dataset's, {shortened(row.get(name))}: is it of "
                    "another split?"
                )


def _words(value: Any) -> list[str]:
    return cell_text(value).casefold().split()


def _paired(way: _Way, predictions: Predictions) -> list[int]:
    """Return the place in the file of each row of the dataset."""
    places: dict[Any, list[int]] = {}
    for place, key in enumerate(way.found):
        places.setdefault(key, []).append(place)
    wanted = set(way.wanted)
    for key, several in places.items():
        if len(several) > 1 and key in wanted:
            places[key] = _told_apart(several, key, way, predictions)
    rest = {key: iter(several) for key, several in places.items()}
    paired = [next(rest.get(key, iter(())), None) for key in way.wanted]
    found = [place for place in paired if place is not None]
    missing = [number for number, place in enumerate(paired) if place is None]
    extra = sorted(set(range(len(way.found))) - set(found))
    if missing or extra:
        raise DataError(f"{predictions.path} {_misfit(way, missing, extra)}")
    return found


def _told_apart(places: list[int], key: Any, way: _Way, predictions: Predictions) -> list[int]:
    """Return the places of equal keys in the order of the dataset's rows.

    Raises:
        DataError: their predictions differ, and nothing says which is whose.
    """
    rows = [predictions.rows[place] for place in places]
    if all(_same(rows[0]["prediction"], row["prediction"]) for row in rows):
        return places
    numbers = [cell_text(row.get("row")) for row in rows]
    if not way.unique and len(set(numbers)) == len(numbers) and all(number.isdecimal() for number in numbers):
        return [place for _, place in sorted(zip(map(int, numbers), places, strict=True))]
    first, other = rows[0], next(row for row in rows if not _same(rows[0]["prediction"], row["prediction"]))
    advice = "" if way.unique else "; give each row an id, or its number in the dataset as 'row'"
    raise DataError(
        f"{predictions.path}: {shortened(key)} occurs {len(rows)} times with different predictions, "
        f"{shortened(first['prediction'])} and {shortened(other['prediction'])}{advice}"
    )


def _misfit(way: _Way, missing: list[int], extra: list[int]) -> str:
    shown = way.wanted if way.shown is None else way.shown
    phrases = []
    if missing:
        phrases.append(_phrase(missing, "of the dataset's rows {} missing from it", lambda n: shortened(shown[n])))
    if extra:
        naming = "of its rows {} not in the dataset, or too often"
        phrases.append(_phrase(extra, naming, lambda n: f"row {n + 1}: {shortened(way.found[n])}"))
    advice = "--split and --limit must be those that were predicted"
    return f"does not fit the dataset ({way.name}): {' and '.join(phrases)}; {advice}"


def _phrase(rows: list[int], text: str, name: Callable[[int], str]) -> str:
    verb = "is" if len(rows) == 1 else "are"
    return f"{len(rows)} {text.format(verb)} ({listing(map(name, rows), SHOWN)})"


def _same(one: Any, other: Any) -> bool:
    """Tell whether two predictions are equal; the last digits of a number depend on the batch that it was in."""
    numbers = [number_of(value) for value in (one, other)]
    return cell_text(one) == cell_text(other) or math.isclose(*numbers, rel_tol=1e-5, abs_tol=1e-8)
