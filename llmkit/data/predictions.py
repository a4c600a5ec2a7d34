"""Files of predictions: written for each row of an evaluation, and read back from any system to be scored."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, SupportsFloat

from llmkit.data import columns, files
from llmkit.data.columns import Row
from llmkit.data.label_sets import as_list, label_set_problem
from llmkit.data.labels import PLACEHOLDER, Labels, by_number, found_in, is_number, names_of, natural, spelled_as
from llmkit.errors import DataError, OptionError, did_you_mean, listing, shortened
from llmkit.options import FileOptions
from llmkit.output.atomic import staged
from llmkit.output.report import to_json

if TYPE_CHECKING:
    from datasets import Dataset

# taken where there is no `prediction`; the second only where none of the first is
OTHER_COLUMNS = (("label", "labels", "answer", "output", "completion"), ("score",))


def content_id(content: Sequence[object]) -> str:
    """Return the id of a row by its inputs in the order of their roles: 16 hex digits of the SHA-256 of their JSON."""
    return hashlib.sha256(json.dumps(list(content), default=str).encode()).hexdigest()[:16]


def row_ids(columns: Sequence[Sequence[object]]) -> list[str]:
    """Return the content id of each row of some input columns, which come in the order of their roles."""
    return [content_id(content) for content in zip(*columns, strict=True)]


def write_predictions(path: Path, rows: Iterable[Row]) -> None:
    """Write rows as .jsonl or .csv; the file is there whole or not at all. A CSV holds `scores` as JSON.

    Raises:
        OptionError: the name ends in neither.
    """
    if path.suffix not in {".jsonl", ".csv"}:
        raise OptionError(f"--save-predictions must end in .jsonl or .csv, not {path.name!r}")
    with staged(path) as beside, beside.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(to_json(row) + "\n" for row in rows)
            return
        cells = [{name: _cell(value) for name, value in row.items()} for row in rows]
        # the usual quoting leaves a bare return as it is, which splits the row
        writer = csv.DictWriter(file, columns.names_of(cells), lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        writer.writeheader()
        writer.writerows(cells)


def _cell(value: object) -> object:
    return to_json(value) if isinstance(value, Mapping | list | tuple) else value


@dataclass(frozen=True)
class Predictions:
    """The rows of a file: each has `prediction`, and `scores` (label -> number) or None there."""

    path: Path
    rows: list[Row]
    column: str  # that was read as the prediction

    @property
    def note(self) -> str | None:
        """A sentence for the user where another column than `prediction` was taken."""
        if self.column == "prediction":
            return None
        return f"predictions: column {self.column!r} of {self.path}, which has no 'prediction'"


def read_predictions(path: Path, options: FileOptions | None = None) -> Predictions:
    """Read any system's output: rows with a `prediction`, or else a label, answer, output, completion or score.

    A .json file can also be one object from ids to texts.

    Raises:
        DataError: no column or several could be the prediction, a row has none, or its scores are no object.
        EmptyError: the file holds no rows.
    """
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r}")
    rows = _one_each(files.read_rows(path, options), path)
    column = _prediction_column(path, dict.fromkeys(name for row in rows for name in row))
    for number, row in enumerate(rows, start=1):
        if row.get(column) is None:
            raise DataError(f"{path}, row {number} has no {column!r}; a prediction is wanted in each row")
    read: list[Row] = [
        {**row, "prediction": row[column], "scores": _scores(row.get("scores"), f"{path}, row {number}")}
        for number, row in enumerate(rows, start=1)
    ]
    return Predictions(path, read, column)


def _one_each(rows: Sequence[Row], path: Path) -> Sequence[Row]:
    """Return a row for each prediction where they are one object from id to text, as the script of SQuAD takes them."""
    named = {"id", "prediction", *itertools.chain(*OTHER_COLUMNS)}
    if files.format_of(path) != "json" or len(rows) != 1 or named & set(rows[0]):
        return rows
    texts = [{"id": name, "prediction": text} for name, text in rows[0].items() if isinstance(text, str)]
    return texts if len(texts) == len(rows[0]) else rows


def _prediction_column(path: Path, names: Iterable[str]) -> str:
    known = list(names)
    if "prediction" in known:
        return "prediction"
    for group in OTHER_COLUMNS:
        present = [name for name in group if name in known]
        if len(present) > 1:  # a label beside an answer is likely the target, and would score 100%
            raise DataError(f"{path}: which is the prediction, {' or '.join(present)}? Name that column 'prediction'")
        if present:
            return present[0]
    raise DataError(f"{path} has no column 'prediction'; it has {listing(known)}")


def _scores(value: object, where: str) -> dict[str, object] | None:
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise DataError(f"{where}: its scores are not JSON: {error.msg}") from None
    if value in (None, ""):
        return None
    if not isinstance(value, dict):
        raise DataError(f'{where}: its scores must be an object such as {{"positive": 0.9, "negative": 0.1}}')
    return value


def measured_in(dataset: Dataset, column: str) -> Labels:
    """Return the labels that predictions are measured by: as training finds them, but one alone will do.

    Raises:
        DataError: no row has a label, or the column holds lists or objects.
    """
    names = set() if is_number(dataset, column) else {name for name in names_of(dataset, column) if name is not None}
    if len(names) == 1 and not hasattr(dataset.features[column], "names"):
        return Labels((*names,))
    if not names and not is_number(dataset, column):
        raise DataError(f"no row has a label in column {column!r}, so nothing can be measured")
    return Labels(tuple(dataset.features[column].names)) if len(names) == 1 else found_in(dataset, column)


def with_predicted(labels: Labels, predictions: Sequence[Row]) -> Labels:
    """Return the labels with those that the scores of every prediction name besides, as a model has them.

    Where there is one label alone, what is predicted is a label too.
    """
    if labels.regression or not predictions:
        return labels
    scored = [set(row["scores"] or ()) for row in predictions]
    named = set.intersection(*scored)
    if len(labels.names) == 1:
        named = set.union(*scored, *(_labels_in(row["prediction"]) for row in predictions))
    if all(name.isdecimal() for name in labels.names):
        named = {found[1] if (found := PLACEHOLDER.fullmatch(name)) else name for name in named}
    known = {name for name in named if spelled_as(name, labels.names) or by_number([name], labels.names)}
    others = {name for name in named - known if name and not (name.isdecimal() and len(labels.names) > 1)}
    names = (*labels.names, *sorted(others, key=natural))  # a dataset's labels have an order of their own
    return Labels(names if len(labels.names) > 1 else tuple(sorted(names, key=natural)))


def _labels_in(prediction: object) -> set[str]:
    value = as_list(prediction)
    items = value if isinstance(value, list) else [value]
    return {cell_text(item).strip() for item in items if isinstance(item, str | int | float)}


def remark_on_labels(labels: Labels, predictions: Sequence[Row]) -> str | None:
    """Return a sentence where predictions name labels that no row has, else None."""
    others = [name for name in with_predicted(labels, predictions).names if name not in labels.names]
    if not others:
        return None
    known, more = (listing(map(repr, names), 3) for names in (labels.names, others))
    return f"the rows have {known}; the predictions name {more} besides"


def as_classes(
    values: Sequence[object], names: Sequence[str], places: Sequence[int] | None = None, by_id: bool = False
) -> list[int]:
    """Return the id among `names` of each predicted label, found as the model's labels are found: see `labels.match`.

    Args:
        values: predicted labels; any of text, integers and booleans.
        names: of the dataset's labels in the order of their ids.
        places: the number of each in its file, for errors; default: from 1.
        by_id: integers are ids, as in a dataset with declared class labels; not where a name is an integer itself.

    Raises:
        DataError: a value is not among the names; its row is named.
    """
    ids = {name: number for number, name in enumerate(names)}
    by_id = by_id and not any(name.isdecimal() for name in names)
    id_of: dict[str, int | None] = {}
    for place, value in enumerate(values):
        name = cell_text(value).strip()
        if name not in id_of:
            label = spelled_as(name, names) or by_number([name], names).get(name)
            as_id = int(name) if by_id and name.isdecimal() and int(name) < len(names) else None
            id_of[name] = as_id if label is None else ids[label]
        if id_of[name] is None:
            raise DataError(
                f"predictions, row {_place(place, places)}: {shortened(name)} is none of the dataset's labels"
                f"{did_you_mean(name, names)}; they are {listing(map(repr, names))}"
            )
    return [number for value in values if (number := id_of[cell_text(value).strip()]) is not None]


def as_sets(
    values: Sequence[object], names: Sequence[str], places: Sequence[int] | None = None, by_id: bool = False
) -> list[list[int]]:
    """Return the ids of each predicted list of labels, which a CSV holds in JSON: see `as_classes`.

    Raises:
        DataError: a value is no list of labels, or one of them is not among the names; its row is named.
    """
    sets = []
    for place, value in enumerate(values):
        reason, number = label_set_problem(value), _place(place, places)
        if reason is not None:
            raise DataError(f"predictions, row {number}: {reason}")
        labels = as_list(value)
        sets.append(as_classes(labels, names, [number] * len(labels), by_id))
    return sets


def as_numbers(values: Sequence[object], places: Sequence[int] | None = None) -> list[float]:
    """Return each prediction as a number.

    Raises:
        DataError: one is none, or not finite; its row is named.
    """
    numbers = [number_of(value) for value in values]
    place = next((place for place, number in enumerate(numbers) if not math.isfinite(number)), None)
    if place is not None:
        raise DataError(f"predictions, row {_place(place, places)}: {shortened(values[place])} is not a finite number")
    return numbers


def as_probabilities(
    scores: Sequence[Mapping[str, object] | None],
    names: Sequence[str],
    places: Sequence[int] | None = None,
    by_id: bool = False,
    exclusive: bool = True,
) -> list[list[float]] | None:
    """Return the scores of each row in the order of `names`, (rows, labels); None where no row has any.

    `exclusive`: one label holds of a row, so that they sum to 1.

    Raises:
        DataError: a row has none or lacks a label's, or they are no probabilities; the row is named.
    """
    if not any(scores):
        return None
    probabilities = []
    for place, row in enumerate(scores):
        where = f"predictions, row {_place(place, places)}"
        given = row or {}
        numbers = [number_of(value) for value in given.values()]
        ids = as_classes(list(given), names, [_place(place, places)] * len(given), by_id)
        if sorted(ids) != list(range(len(names))):
            raise DataError(
                f"{where}: its scores are of {listing(map(repr, given)) or 'no label'}; one for each label "
                f"is wanted ({listing(map(repr, names))}), or no scores at all"
            )
        if not all(0 <= number <= 1 for number in numbers) or (exclusive and abs(sum(numbers) - 1) > 0.02):
            kind = "probabilities that sum to 1" if exclusive else "probabilities"
            raise DataError(f"{where}: its scores must be {kind}, not {shortened(to_json(given))}")
        probabilities.append([number for _, number in sorted(zip(ids, numbers, strict=True))])
    return probabilities


def _place(place: int, places: Sequence[int] | None) -> int:
    return place + 1 if places is None else places[place]


def cell_text(value: object) -> str:
    """Write a cell as CSV would: 3 for 3.0, nothing for a null."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(int(value) if isinstance(value, float) and value.is_integer() else value)


def number_of(value: object) -> float:
    """Return a value as a number, NaN when it is none."""
    if isinstance(value, bool) or not isinstance(value, SupportsFloat | str | bytes):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
