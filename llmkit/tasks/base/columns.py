"""Which rows a task takes: their columns by role, their labels, and which of them can be used."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.data.columns import Row, column_for, names_of, text_of
from llmkit.data.evidence import Evidence
from llmkit.data.labels import Labels, Matching
from llmkit.errors import DataError, OptionError
from llmkit.options import TaskFlags
from llmkit.tasks.base.candidates import Candidate
from llmkit.tasks.base.names import TEXT_WORDS, only_named
from llmkit.tasks.base.settings import TARGET_ROLES, TaskSettings

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedTokenizerBase


class Columns(ABC):
    """The columns of a task by role, as in --column ROLE=NAME; `task` is its name."""

    roles: ClassVar[tuple[str, ...]]  # what its columns can be: the words of --column ROLE=NAME
    optional_roles: ClassVar[frozenset[str]] = frozenset()  # those of them whose cells can be blank
    input_roles: ClassVar[tuple[str, ...]] = ()  # the roles that classify and generate are given, the argument's first
    required_roles: ClassVar[tuple[str, ...]] = ()  # those of them that a row cannot do without
    list_roles: ClassVar[frozenset[str]] = frozenset()  # those of the inputs whose cells are lists, not texts
    column_names: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # usual names of the columns of a file, by role
    alternative_roles: ClassVar[tuple[str, ...]] = ()  # of the texts of a row that are compared, in order
    unusable_reason: ClassVar[str] = "no text or no label"  # what rows that are left out have

    def __init__(self, task: str) -> None:
        self.task = task

    @abstractmethod
    def candidates(self, evidence: Evidence, given: Mapping[str, str], flags: TaskFlags) -> list[Candidate]:
        """Return the ways to read a dataset as this task, the surest first; none where it cannot be this task."""

    def match(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        """Return the columns by role when rows can be this task, else None."""
        found = self.candidates(Evidence(dataset), given, TaskFlags())
        return found[0].columns if found else None

    def refine(
        self, candidate: Candidate, evidence: Evidence, flags: TaskFlags, config: PretrainedConfig | None
    ) -> Candidate:
        """Return the reading that was chosen, with what its rows tell when all of them are read.

        Raises:
            DataError: they cannot be read so; the row is named.
        """
        return candidate

    def explicit_columns(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        """Return the columns by their names where nothing matches and no other task is in question.

        `first_invalid_row` then tells what is wrong with them.
        """
        return None

    def assign(
        self,
        columns: dict[str, str],
        dataset: Dataset,
        given: Mapping[str, str],
        flags: TaskFlags,
        config: PretrainedConfig | None,
    ) -> dict[str, str]:
        """Return the columns that `match` found in the roles that flags, or else the model's config, give them.

        Raises:
            DataError: there is no such column.
        """
        return columns

    @abstractmethod
    def requirement(self) -> str:
        """Return a phrase: what columns the task needs."""

    def match_file(self, rows: Sequence[Row], given: dict[str, str]) -> dict[str, str]:
        """Return the columns of the rows of a file, by the roles in `input_roles`.

        Raises:
            DataError: a column that is needed cannot be told, or a named one does not exist.
        """
        columns: dict[str, str] = {}
        of_file = names_of(rows)
        for role in self.input_roles:
            names = self.column_names.get(role, (role,))
            if role == "text":
                names = (*names, *only_named(of_file, TEXT_WORDS))
            if role in self.required_roles or role in given or any(name in of_file for name in names):
                column = column_for(rows, role, given, names)
                if column in columns.values() and column in given.values():
                    raise DataError(f"column {column!r} is named for two roles, one of them {role}; name another")
                if column in columns.values():
                    raise DataError(f"which column holds the {role}, beside {column!r}? Say --column {role}=NAME")
                columns[role] = column
        return columns

    def labels(self, train: Dataset, validation: Dataset | None, columns: dict[str, str]) -> Labels | None:
        """Return the labels that training rows define, or None for a task without labels."""
        return None

    def prediction_labels(self, parts: Sequence[Dataset], columns: dict[str, str]) -> Labels | None:
        """Return the labels that predictions of any system can be of: those of all parts of the dataset."""
        return None

    def match_labels(
        self, dataset: Dataset, columns: dict[str, str], config: PretrainedConfig, mapping: dict[str, str]
    ) -> Matching | None:
        """Return the model's labels after checking that the dataset's are among them, by name or by `mapping`."""
        if mapping:
            raise OptionError(f"--label-map names classes, and {self.task} has none")
        return None

    def class_column(self, dataset: Dataset, columns: dict[str, str]) -> str | None:
        """Return the column that holds classes, of which a cut must leave some to train on, or None."""
        return None

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        """Tell whether rows of the dataset can be scored."""
        return True

    def targets(self, rows: Dataset, columns: dict[str, str]) -> Sequence[object]:
        """Return what is right of each row, equal where rows agree; None where nothing is, or several things can be."""
        cells = [rows[column][:] for role, column in columns.items() if role in TARGET_ROLES]
        spelled = [tuple(map(repr, row)) for row in zip(*cells, strict=True)] if cells else [()] * len(rows)
        return [None if set(row) <= {"None", "nan"} else row for row in spelled]

    def first_invalid_row(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        """Return the index of the first row that contradicts itself and a phrase on what is wrong, or None."""
        return None

    @abstractmethod
    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        """Return the indices of the rows that can be trained or measured on."""

    def evaluation_rows(self, dataset: Dataset, settings: TaskSettings) -> list[int]:
        """Return the indices of the rows that an evaluation takes."""
        return self.usable_rows(dataset, settings.columns)

    def is_answerable(self, inputs: Row) -> bool:
        """Tell whether the inputs of a row, by role, ask anything: all that the task needs is there and not blank."""
        return all(text_of(inputs.get(role)).strip() for role in self.required_roles)

    def sample_inputs(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
        """Return inputs by role, made of any texts: what a model is asked where no rows are given."""
        following = [*texts[1:], *texts[:1]]
        pairs = zip(texts, following, strict=True)
        return [dict(zip(self.required_roles or ("text",), pair, strict=False)) for pair in pairs]
