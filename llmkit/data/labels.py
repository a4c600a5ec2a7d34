"""Label names: found in a dataset, kept in a model's config, matched by name and never by position."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.data.columns import cells_of, class_names
from llmkit.errors import DataError, OptionError, did_you_mean, listing

if TYPE_CHECKING:
    from datasets import ClassLabel, Dataset, Value

MAX_LABELS_SHOWN = 12  # names, or flags, that a sentence holds
INTEGER = re.compile(r"-?[0-9]+")
DIGITS, PLACEHOLDER = re.compile(r"([0-9]+)"), re.compile(r"label[_ -]([0-9]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Labels:
    """The classes of a classifier in the order of their ids; none for a regression."""

    names: tuple[str, ...]

    @property
    def regression(self) -> bool:
        """Whether the label is a number to be predicted."""
        return not self.names

    def config(self) -> dict[str, object]:
        """Return what the model's config holds of them."""
        if self.regression:
            return {"num_labels": 1, "problem_type": "regression"}
        return {
            "id2label": dict(enumerate(self.names)),
            "label2id": {name: number for number, name in enumerate(self.names)},
            "problem_type": "single_label_classification",
        }


def natural(name: str) -> tuple[tuple[tuple[int, int | str], ...], str]:
    """A sort key that puts "10" after "2"; no two names have the same."""
    pieces = [name] if re.fullmatch(r"-?\d+", name) else re.split(r"(\d+)", name)
    key = ((0, int(piece)) if re.fullmatch(r"-?\d+", piece) else (1, piece) for piece in pieces if piece)
    return tuple(key), name


def is_number(dataset: Dataset, column: str) -> bool:
    """Tell whether the label column holds floats: a regression."""
    return str(getattr(dataset.features[column], "dtype", "")).startswith("float")


def names_of(dataset: Dataset, column: str) -> list[str | None]:
    """Return the label name of each row; None where a row has none (null, empty, or -1 of a class label).

    Raises:
        DataError: the column holds lists or objects.
    """
    from datasets import ClassLabel, Value

    feature = dataset.features[column]
    if isinstance(feature, ClassLabel):
        values = dataset[column][:]
        return [feature.names[value] if value is not None and value >= 0 else None for value in values]
    if not isinstance(feature, Value):
        raise DataError(f"column {column!r} holds lists or objects, and a label is a name or a number")
    names: list[str | None] = class_names(cells_of(dataset, column)).to_pylist()
    return names


def found_in(dataset: Dataset, column: str) -> Labels:
    """Return the labels of a dataset: declared ones as declared, others in natural order.

    Raises:
        DataError: no row has a label, or all rows have the same.
    """
    from datasets import ClassLabel

    if is_number(dataset, column):
        return Labels(())
    present = {name for name in names_of(dataset, column) if name is not None}
    if len(present) < 2:
        labels = f"only the label {next(iter(present))!r}" if present else "no label at all"
        hint = "; the first rows of a sorted dataset can be all of one class" if present else ""
        raise DataError(f"the training rows have {labels} in column {column!r}; a classifier needs two or more{hint}")
    feature = dataset.features[column]
    return Labels(tuple(feature.names) if isinstance(feature, ClassLabel) else tuple(sorted(present, key=natural)))


def refuse_unseen(labels: Labels, dataset: Dataset, column: str, where: str) -> None:
    """Refuse rows whose label the training rows do not have.

    Raises:
        DataError: naming the labels and the first such row.
    """
    if not labels.regression:
        refuse_others(labels, [() if name is None else (name,) for name in names_of(dataset, column)], where)


def refuse_others(labels: Labels, rows: Sequence[Iterable[str]], where: str) -> None:
    """Refuse rows with a label, of any number that each has, that is none of these: see `refuse_unseen`.

    Raises:
        DataError: naming the labels and the first such row.
    """
    unseen = sorted({name for names in rows for name in names} - set(labels.names), key=natural)
    if unseen:
        row = next(number for number, names in enumerate(rows, start=1) if unseen[0] in names)
        raise DataError(
            f"{where}: label {listing(map(repr, unseen))} (first in row {row}) does not occur in training, "
            f"which has {listing(map(repr, labels.names))}"
        )


@dataclass(frozen=True)
class Matching:
    """Which label of the dataset each output of a model counts towards.

    `labels` are the classes that are predicted, in the dataset's spelling. `merge[i]` is the id among them that the
    model's output i counts towards; None where every output is its own class, in this order. `how` is a sentence where
    something else than equal names settled it.
    """

    labels: Labels
    merge: tuple[int, ...] | None = None
    how: str | None = None


def match(dataset: Dataset, column: str, model: Labels, mapping: Mapping[str, str] | None = None) -> Matching:
    """Return how the model's labels and the dataset's belong together: by `mapping`, else by name, never by position.

    Names may differ in case and separators, and `LABEL_1` is the integer 1. The classes have the order of a dataset
    that has one (class labels, integers), so that a model with other ids has the same class 1; else the model's.

    Args:
        dataset: the rows to be measured.
        column: the column of their labels.
        model: the labels of the model.
        mapping: model label -> dataset label; several may count towards one.

    Raises:
        DataError: the dataset has labels that the model lacks, or one of them is a number and the other a class.
        OptionError: the mapping names a label that the model or the dataset lacks.
    """
    from datasets import ClassLabel

    mapping = mapping or {}
    feature = dataset.features[column]
    if _is_regression(dataset, column, model):
        if mapping:
            raise OptionError(f"--label-map is for classes, and column {column!r} holds numbers")
        return Matching(model)
    present = sorted({name for name in names_of(dataset, column) if name is not None}, key=natural)
    declared = tuple(feature.names) if isinstance(feature, ClassLabel) else tuple(present)
    _check(mapping, model.names, declared)
    targets = _targets(model.names, declared, mapping)
    missing = [name for name in present if name not in targets.values()]
    if missing:
        raise DataError(_unmatched(missing, declared, targets, mapping))
    names = _ordered(targets.values(), declared, feature)
    merge = tuple(names.index(targets[name]) for name in model.names)
    identity = merge == tuple(range(len(names)))
    return Matching(Labels(names), None if identity else merge, _how(targets, mapping, merge))


def spelled_as(name: str, declared: Iterable[str]) -> str | None:
    """Return the one declared name that is `name`, or else that only case and separators tell from it."""
    known = dict.fromkeys(declared)
    if name in known:
        return name
    candidates = [known_name for known_name in known if _folded(known_name) == _folded(name)]
    return candidates[0] if len(candidates) == 1 else None


def by_number(names: Iterable[str], declared: Iterable[str]) -> dict[str, str]:
    """Pair `LABEL_1` with "1" where all of one side are such placeholders and all of the other are integers."""
    for pattern, declared_pattern in ((PLACEHOLDER, DIGITS), (DIGITS, PLACEHOLDER)):
        by_id, declared_by_id = _numbered(names, pattern), _numbered(declared, declared_pattern)
        if by_id and declared_by_id:
            return {name: declared_by_id[number] for number, name in by_id.items() if number in declared_by_id}
    return {}


def _numbered(names: Iterable[str], pattern: re.Pattern[str]) -> dict[int, str]:
    """Return the names by their numbers; nothing when one has none, or two have the same."""
    distinct = dict.fromkeys(names)
    by_id = {int(number[1]): name for name in distinct if (number := pattern.fullmatch(name))}
    return by_id if len(by_id) == len(distinct) else {}


def _folded(name: str) -> str:
    """Write a name without case, its separators as spaces; the minus of a number is no separator."""
    return re.sub(r"(?:[_\s]|(?<=\S)-|-(?!\d))+", " ", name.casefold()).strip(" ")


def _is_regression(dataset: Dataset, column: str, model: Labels) -> bool:
    from datasets import ClassLabel

    feature = dataset.features[column]
    is_integer = not isinstance(feature, ClassLabel) and getattr(feature, "dtype", "").startswith(("int", "uint"))
    number = is_number(dataset, column) or (model.regression and is_integer)  # stars as integers are numbers too
    if number and not model.regression:
        # pandas writes 1.0 beside blanks
        number = any(not INTEGER.fullmatch(name) for name in names_of(dataset, column) if name)
    if model.regression != number:
        kinds = ("numbers", "classes") if number else ("classes", "numbers")
        raise DataError(f"column {column!r} holds {kinds[0]} and the model predicts {kinds[1]}")
    return number


def _check(mapping: Mapping[str, str], model: Sequence[str], declared: Sequence[str]) -> None:
    problems = [
        f"--label-map {name}={target}: {whose} has no label {label!r}{did_you_mean(label, known)}; "
        f"it has {listing(map(repr, known), MAX_LABELS_SHOWN)}"
        for name, target in mapping.items()
        for whose, label, known in (("the model", name, model), ("the dataset", target, declared))
        if label not in known
    ]
    if problems:
        raise OptionError(*problems)


def _targets(model: Sequence[str], declared: Sequence[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Return the dataset's label for each of the model's, which stays itself where there is none."""
    numbers = {} if mapping else by_number(model, declared)
    folded = [_folded(name) for name in dict.fromkeys(model) if name not in mapping]
    targets = {}
    for name in model:
        target = mapping.get(name) or numbers.get(name)
        if target is None and (name in declared or folded.count(_folded(name)) == 1):
            target = spelled_as(name, declared)
        targets[name] = target or name
    return targets


def _ordered(reached: Iterable[str], declared: Sequence[str], feature: ClassLabel | Value) -> tuple[str, ...]:
    from datasets import ClassLabel

    names = tuple(dict.fromkeys(reached))
    if isinstance(feature, ClassLabel):
        place = {name: number for number, name in enumerate(declared)}
        return tuple(sorted(names, key=lambda name: (place.get(name, len(place)), natural(name))))
    if feature.dtype.startswith(("bool", "int", "uint", "float")):
        return tuple(sorted(names, key=natural))
    return names


def _unmatched(
    missing: Sequence[str], declared: Sequence[str], targets: Mapping[str, str], mapping: Mapping[str, str]
) -> str:
    """Return the sentence on labels without a partner, with flags that would give it when the model has some left."""
    spare = [name for name, target in targets.items() if target not in declared]
    lacking = "--label-map leaves the model without a label" if mapping else "the model has no label"
    sentence = (
        f"{lacking} {listing(map(repr, missing), MAX_LABELS_SHOWN)}: the dataset's labels are "
        f"{listing(map(repr, declared), MAX_LABELS_SHOWN)}, the model's {listing(map(repr, targets), MAX_LABELS_SHOWN)}"
    )
    if len(spare) < len(missing):
        return sentence
    pairs = [f"{name}={missing[min(place, len(missing) - 1)]}" for place, name in enumerate(spare)]
    flags = " ".join(f"--label-map {shlex.quote(pair)}" for pair in pairs[:MAX_LABELS_SHOWN])
    more = f" and {len(pairs) - MAX_LABELS_SHOWN} more" if len(pairs) > MAX_LABELS_SHOWN else ""
    return f"{sentence}; say which is which, for example {flags}{more}"


def _how(targets: Mapping[str, str], mapping: Mapping[str, str], merge: Sequence[int]) -> str | None:
    others = {name: target for name, target in targets.items() if name != target and name not in mapping}
    numbers = all(DIGITS.fullmatch(name) or DIGITS.fullmatch(target) for name, target in others.items())
    ways = [
        (others, "by their number" if numbers else "by name, case and separators aside"),
        (mapping, "by --label-map"),
    ]
    phrases = [
        f"{listing((f'{a} is {b}' for a, b in pairs.items()), MAX_LABELS_SHOWN)}, {way}" for pairs, way in ways if pairs
    ]
    if not phrases and list(merge) != sorted(merge):
        phrases = ["the model has them in another order, matched by name"]
    return f"labels: {'; '.join(phrases)}" if phrases else None
