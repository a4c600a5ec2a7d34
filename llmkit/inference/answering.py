"""What answers rows: one interface for predictions, generated texts and vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import numpy as np

from llmkit import models, tasks
from llmkit.data.columns import Row, text_of
from llmkit.errors import ModelError, OptionError
from llmkit.inference.row_files import RowJob, SpelledRows, TextCounts
from llmkit.inference.row_files.precision import Precision
from llmkit.inference.row_files.profile import RowProfile
from llmkit.models import ResolvedModel
from llmkit.options import AskOptions, ModelOptions
from llmkit.output.report import Report
from llmkit.tasks import Task
from llmkit.tasks.base.answers import Answer

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

Prepared = TypeVar("Prepared")
ROWS_PER_CHUNK = 1024
LARGE_MODEL = 500_000_000  # parameters


@dataclass(frozen=True)
class LongTexts:
    """The texts of a command that have more tokens than its model reads."""

    counts: TextCounts
    max_length: int

    @property
    def described(self) -> str:
        """How many they are, as the beginning of a sentence."""
        counts = self.counts
        be, plural = "is" if counts.cut == 1 else "are", "" if counts.total == 1 else "s"
        return f"{counts.cut} of {counts.total} {counts.kind}{plural} {be} longer than {self.max_length} tokens"

    def unread(self, side: str) -> str:
        """Return what of them is not read by a tokenizer that cuts on this side."""
        part, roles = "beginning" if side == "left" else "rest", self.counts.cut_roles
        if roles == {self.counts.kind} and self.counts.kind != "pair":
            return f"{'its' if self.counts.cut == 1 else 'their'} {part}"
        return f"the {part} of the {' or the '.join(sorted(roles, reverse=True))}"


class Answerer(ABC, Generic[Prepared]):
    """A model that answers rows: with labels, texts or vectors.

    The inputs of rows, by role, are prepared, which checks all of them; then they are answered, in one call or several.
    The weights are loaded when the first row is answered.
    """

    announces_columns: ClassVar[bool] = True  # whether it is said which columns of a file are read
    one_piece_endings: ClassVar[frozenset[str]] = frozenset()  # of output files that are not written chunk by chunk

    computes_here: ClassVar[bool] = True  # not on a server
    profile: RowProfile | None = None  # of the rows of a file, under --profile
    precision = Precision()  # in which the rows of a file are answered, once that is settled
    spelled: SpelledRows | None = None  # what the rows of a file spell that is text, where that is looked for
    role: str  # of the first input: what --column and a line of JSON call it
    hidden_roles: frozenset[str] = frozenset()  # those of the inputs that a line of JSON does not repeat
    list_roles: frozenset[str] = frozenset()  # those whose cells are lists, not texts
    optional_roles: frozenset[str] = frozenset()  # those that a row can do without
    rows_per_chunk: int = 128  # of a file that are answered and written together, where no batch size says
    auto_class: str  # the transformers Auto class that opens the model

    def __init__(self, resolved: ResolvedModel, options: ModelOptions) -> None:
        self.resolved, self.options, self.counts = resolved, options, TextCounts()
        self.tokenizer = models.load_tokenizer(resolved, options)

    @cached_property
    def model(self) -> PreTrainedModel:
        """The weights, loaded when they are first needed.

        Raises:
            ModelError: they are missing or damaged.
        """
        return models.load_model(self.resolved, self.auto_class, self.tokenizer, self.options).eval()

    @abstractmethod
    def columns(self, rows: Sequence[Row], given: dict[str, str]) -> dict[str, str]:
        """Return the columns of the rows of a file by role; `given` are those that the user names.

        Raises:
            OptionError: a role that there is not.
            DataError: a column that is needed cannot be told, or a named one does not exist.
        """

    @abstractmethod
    def prepare(self, inputs: Sequence[Row], names: Sequence[str], again: bool = False) -> list[Prepared]:
        """Return the inputs of rows, by role, in the form in which they are answered; `names` are theirs in errors.

        Nothing is said of rows that are prepared `again`.

        Raises:
            OptionError: an input that is needed is missing.
            DataError: an input is longer than the model takes.
        """

    def is_answerable(self, inputs: Row) -> bool:
        """Tell whether the inputs of a row, by role, ask anything: what is needed is there and not blank."""
        return bool(text_of(inputs.get(self.role)).strip())

    @abstractmethod
    def answer(self, prepared: Sequence[Prepared], batch_size: int | None, start: int = 0) -> list[Answer]:
        """Return the answer to each row; nulls where it asks nothing. `start` is the number of rows before these.

        `batch_size` rows go through the model together; None: as many as are fast.

        Raises:
            DataError: a row contradicts itself, or the model cannot answer it.
        """

    @abstractmethod
    def dry_run(self, rows: int, columns: Mapping[str, str] | None = None, prepared: Sequence[Prepared] = ()) -> str:
        """Return what a dry run says of so many rows: of a file with these columns, else of the `prepared` ones."""

    def say_truncated(self, report: Report) -> None:
        """Warn of the texts that were answered until now of which not all was read."""
        return

    @abstractmethod
    def identity(self) -> dict[str, object]:
        """Return what the answers depend on, for the note beside an output file."""

    def write_in_one_piece(self, job: RowJob[Prepared]) -> None:
        """Answer rows into an output file whose name ends in one of `one_piece_endings`.

        Raises:
            OptionError: the file exists, and --overwrite was not given.
        """
        raise NotImplementedError(f"{type(self).__name__} writes row by row")

    def headings(self) -> list[str]:
        """Return the headings of the table of answers."""
        raise NotImplementedError(f"{type(self).__name__} answers in texts")

    def cells(self, inputs: Row, answer: Answer) -> list[str]:
        """Return the cells of one row of that table; several lines in a cell stand one below the other."""
        raise NotImplementedError(f"{type(self).__name__} answers in texts")


class TwoPrecisions(Answerer[Prepared]):
    """An answerer of rows in float32, or in bfloat16 once that is settled."""

    half_sentence: ClassVar[str]  # what is said where so many {rows} have the same answers in bfloat16

    @cached_property
    def half_model(self) -> PreTrainedModel:
        """The weights in bfloat16, loaded when they are first needed; on a CPU laid out for its products.

        Raises:
            ModelError: they are missing or damaged.
        """
        from llmkit.models.text.packed_linear import pack_linear_layers

        options = replace(self.options, dtype="bfloat16")
        model = models.load_model(self.resolved, self.auto_class, self.tokenizer, options).eval()
        pack_linear_layers(model)
        return model

    @property
    def settled_model(self) -> PreTrainedModel:
        """The weights in the precision that is settled."""
        return self.half_model if self.precision.is_half else self.model

    @property
    def leaves_precision_open(self) -> bool:
        """Whether the rows of a file may be answered in bfloat16 by weights of float32."""
        return self.options.dtype == "auto" and self.options.quantize is None

    def half_error(self, prepared: Sequence[Prepared]) -> float | None:
        """Return the largest error that bfloat16 makes in the numbers of some rows; None where it answers otherwise."""
        raise NotImplementedError(f"{type(self).__name__} answers in one precision")


def rows_together(config: PretrainedConfig) -> int:
    """Return how many rows of a file are sorted by length and written together: fewer where a row takes seconds."""
    own = config.get_text_config()
    hidden, layers = getattr(own, "hidden_size", 0), getattr(own, "num_hidden_layers", 0)
    return ROWS_PER_CHUNK if 12 * layers * hidden**2 < LARGE_MODEL else Answerer.rows_per_chunk


def first_not_finite(predictions: Sequence[Sequence[float]]) -> int | None:
    """Return the place of the first prediction that is not of finite numbers, or None."""
    return next((number for number, each in enumerate(predictions) if not np.isfinite(each).all()), None)


def not_finite(model: str, row: int, dtype: str) -> ModelError:
    """Return what is said of a model whose answer to a row is not of finite numbers."""
    return ModelError(f"{model!r} answers row {row} with what is no finite number: {why_not_finite(dtype)}")


def why_not_finite(dtype: str) -> str:
    """Return a phrase on what may be wrong with a model of a precision whose answers are not finite numbers."""
    name, damaged = dtype.removeprefix("torch."), "its weights are damaged"
    return damaged if name == "float32" else f"{damaged}, or {name} overflows and --dtype float32 would not"


def resolve_task_and_model(
    verb: str,
    options: ModelOptions,
    asked: AskOptions,
    report: Report,
    default: str | None = None,
    inputs: Collection[str] = (),
) -> tuple[Task, ResolvedModel]:
    """Return the task that a model does in a command, and the model; `inputs`: roles that are given beside the first.

    Raises:
        ModelError, OptionError: there is no such model, or it does no task of the command.
    """
    tasks.require_known(asked.task)
    resolved = models.resolve_model(options, report, default)
    task = tasks.for_model(resolved.config, verb, resolved.name, asked.task, asked, inputs)[0]
    if asked.windows is not None and not task.answers.pools_windows:
        by_itself = "windows" in (task.encoding.overlong_rows or "")
        why = "reads a long text in windows without it" if by_itself else "reads no text in windows"
        raise OptionError(f"--windows: {task.name} {why}; leave it out")
    return task, resolved
