"""The groups that several commands take: the model, the data, the training, the run folder, files of rows."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from llmkit.errors import did_you_mean, listing
from llmkit.flags import flag
from llmkit.options.base import Options, seed_problems
from llmkit.options.task_flags import TaskFlags

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
DEVICES = "cpu, cuda, cuda:1, mps, or auto"


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """Which model, from where, on what, and in which precision."""

    model: Annotated[str | None, flag("--model", "-m", panel="Model", help="Hub id or folder.")] = None
    revision: Annotated[str | None, flag(panel="Model", help="Branch, tag or commit on the Hub.")] = None
    trust_remote_code: Annotated[
        bool,
        flag(
            "--trust-remote-code/--no-trust-remote-code",
            panel="Model",
            help="Run Python code that comes with the model.",
        ),
    ] = False
    device: Annotated[str, flag(panel="Model", help=f"{DEVICES}.")] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        flag(
            panel="Model",
            help="Precision; auto: the checkpoint's own, training in float32, with bf16 autocast where that is faster.",
        ),
    ] = "auto"
    offline: Annotated[
        bool, flag("--offline/--no-offline", panel="Model", help="Use only what is on this machine.")
    ] = False

    def problems(self) -> Iterator[str]:
        if self.device.split(":")[0] not in {"auto", "cpu", "cuda", "mps", "xpu"}:
            yield f"--device must be {DEVICES}, not {self.device!r}"
        if self.model is not None and not self.model.strip():
            yield "--model must not be empty"


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(Options):
    """How to read rows, whatever they are for."""

    column: Annotated[
        list[str] | None, flag(panel="Data", help="role=name, e.g. text=review or label=stars; repeatable.")
    ] = None
    limit: Annotated[int | None, flag(panel="Data", help="Use at most so many rows (of each split).")] = None
    encoding: Annotated[str, flag(panel="Data", help="Character encoding of text files.")] = "utf-8"

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from self.at_least(1, "limit")
        for pair in self.column or ():
            role, _, name = pair.partition("=")
            if not (role and name):
                yield f"--column takes role=name (text=review), not {pair!r}"

    @property
    def columns(self) -> dict[str, str]:
        """The mapping from role to column name that the user gave."""
        return dict(pair.split("=", 1) for pair in self.column or ())


@dataclass(frozen=True, kw_only=True)
class CorpusOptions(ReadingOptions):
    """How to read text to learn from."""

    task: Annotated[str | None, flag(panel="Data", help="The task, when its inference is not wanted.")] = None
    max_length: Annotated[int | None, flag(panel="Data", help="Tokens per row (or block, or window).")] = None

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from self.at_least(4, "max_length")


@dataclass(frozen=True, kw_only=True)
class DataOptions(CorpusOptions, TaskFlags):
    """How to read a dataset, and what its task is asked."""


@dataclass(frozen=True, kw_only=True)
class SplitOptions(Options):
    """Which rows to train and to measure on."""

    train_split: Annotated[str, flag(panel="Data", help='Split or slice, e.g. "train[:10%]".')] = "train"
    validation: Annotated[
        str | None, flag(panel="Data", help="Split, slice or file to measure on; cut from train when there is none.")
    ] = None
    streaming: Annotated[
        bool,
        flag("--streaming/--no-streaming", panel="Data", help="Read rows as they are needed, never all; --max-steps."),
    ] = False


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Options):
    """How to train; what is None is chosen from the model and the data, and said."""

    epochs: Annotated[float | None, flag(panel="Training", help="Passes over the training rows.")] = None
    max_steps: Annotated[int | None, flag(panel="Training", help="Stop after so many optimizer steps.")] = None
    batch_size: Annotated[int | None, flag(panel="Training", help="Rows per step and device.")] = None
    learning_rate: Annotated[float | None, flag(panel="Training", help="Peak learning rate.")] = None
    seed: Annotated[int, flag(panel="Training", help="Seed of everything random.")] = 42
    metric: Annotated[str | None, flag(panel="Training", help="The metric that keeps the best checkpoint.")] = None
    set: Annotated[
        list[str] | None,
        flag("--set", panel="Training", help="Any TrainingArguments field: --set max_grad_norm=0.5; repeatable."),
    ] = None

    def problems(self) -> Iterator[str]:
        if self.epochs is not None and not 0 < self.epochs < math.inf:
            yield f"--epochs must be more than 0, not {self.epochs}"
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            yield f"--learning-rate must be more than 0, not {self.learning_rate}"
        yield from self.at_least(1, "max_steps", "batch_size")
        yield from seed_problems(self.seed)
        if self.epochs is not None and self.max_steps is not None:
            yield "--epochs and --max-steps exclude each other"


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """The run folder."""

    output: Annotated[
        Path | None, flag("--output", "-o", panel="Run", help="Run folder; default runs/<dataset>-<model>.")
    ] = None
    resume: Annotated[
        bool, flag("--resume/--no-resume", panel="Run", help="Go on from the folder's newest checkpoint.")
    ] = False
    overwrite: Annotated[
        bool, flag("--overwrite/--no-overwrite", panel="Run", help="Replace what the folder holds.")
    ] = False

    track: Annotated[
        list[str] | None,
        flag(panel="Run", help=f"{', '.join(TRACKERS)} or none; repeatable; default: tensorboard where installed."),
    ] = None

    def problems(self) -> Iterator[str]:
        yield from self.writable(self.output)
        yield from self.tracker_problems()
        if self.resume and self.overwrite:
            yield "--resume and --overwrite exclude each other"

    def tracker_problems(self) -> Iterator[str]:
        """Yield a phrase for each tracker that there is not, or not here."""
        for name in self.track or ():
            if name not in (*TRACKERS, "none"):
                yield f"--track takes {listing(TRACKERS)} or none, not {name!r}{did_you_mean(name, TRACKERS)}"
            elif name != "none" and importlib.util.find_spec(name) is None:
                yield f"--track {name} needs a library: pip install 'llmkit[{name}]'"
        if self.track and "none" in self.track and len(self.track) > 1:
            yield "--track none and another tracker contradict each other"


@dataclass(frozen=True, kw_only=True)
class RowOptions(ReadingOptions):
    """Rows in, rows out: the batch mode of classify and generate."""

    endings: ClassVar[tuple[str, ...]] = (".jsonl", ".csv")
    output_alone: ClassVar[bool] = False  # whether texts from the shell can go into a file

    input: Annotated[Path | None, flag("--input", "-i", panel="Data", help="jsonl, csv, tsv or txt file of rows.")] = (
        None
    )
    output: Annotated[Path | None, flag("--output", "-o", panel="Data", help="jsonl or csv file to write.")] = None
    overwrite: Annotated[bool, flag("--overwrite/--no-overwrite", panel="Data", help="Replace the output file.")] = (
        False
    )
    batch_size: Annotated[int, flag(panel="Data", help="Rows per forward pass.")] = 16

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from self.at_least(1, "batch_size")
        yield from self.writable(self.output)
        if self.output and self.output.is_dir():
            yield f"--output {str(self.output)!r} is a folder; a file is wanted"
        if self.output and self.output.suffix not in self.endings:
            ends = f"{', '.join(self.endings[:-1])} or {self.endings[-1]}"
            yield f"--output must end in {ends}, not {self.output.name!r}"
        if self.output and not self.input and not self.output_alone:
            yield "--output goes with --input; send the answers to a file with > instead"
        if self.input and self.output and self.input.resolve() == self.output.resolve():
            yield "--output is the --input file itself; name another"
        if self.overwrite and not self.output:
            yield "--overwrite needs --output"
