"""The groups that several commands take: the model, the data, the training, the run folder, files of rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from llmkit.options.base import Options, named_twice
from llmkit.options.flags import flag
from llmkit.options.tasks import TaskFlags


@dataclass(frozen=True, kw_only=True)
class FileOptions(Options):
    """How data files are read, where they do not tell themselves."""

    encoding: Annotated[str, flag(panel="Data", help="Character encoding of text files.")] = "utf-8"
    delimiter: Annotated[
        str | None, flag(panel="Data", help="What stands between the cells of a CSV; else told from its first lines.")
    ] = None
    header: Annotated[
        bool, flag("--header/--no-header", panel="Data", help="Does a table begin with the names of its columns.")
    ] = True
    skip_rows: Annotated[int, flag(panel="Data", help="Lines above the header of a table, left out.")] = 0
    comment: Annotated[str | None, flag(panel="Data", help="Leave out lines of a table that begin so, e.g. #.")] = None

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from self.at_least(0, "skip_rows")
        if self.delimiter is not None and len(self.delimiter) != 1:
            yield f"--delimiter is one character, not {self.delimiter!r}"
        if self.comment is not None and not self.comment.strip():
            yield "--comment takes what such lines begin with, as #"


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(FileOptions):
    """How to read rows, whatever they are for."""

    column: Annotated[
        list[str] | None, flag(panel="Data", help="role=name, e.g. text=review label=stars; repeatable.")
    ] = None
    limit: Annotated[int | None, flag(panel="Data", help="Use at most so many rows (of each split).")] = None

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from self.at_least(1, "limit")
        for pair in self.column or ():
            role, _, name = pair.partition("=")
            if not (role and name):
                yield f"--column takes role=name (text=review), not {pair!r}"
        twice = named_twice(pair.partition("=")[0] for pair in set(self.column or ()))
        if twice is not None:
            yield f"--column names two columns for {twice}; one is wanted"

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
    batch_size: Annotated[
        int | None, flag(panel="Data", help="Rows per forward pass; default: as many as are fast.")
    ] = None
    profile: Annotated[
        bool,
        flag("--profile/--no-profile", panel="Data", help="Tell where the time goes, and write OUTPUT.trace.json."),
    ] = False

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from self.at_least(1, "batch_size")
        if self.profile and not self.input:
            yield "--profile shows where the time of a file goes, and needs --input"
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


@dataclass(frozen=True, kw_only=True)
class SurveyOptions(Options):
    """What to look for in a dataset, and where to put what was found."""

    near: Annotated[
        bool, flag("--near/--no-near", panel="Survey", help="Look for rows that are nearly the same too, by MinHash.")
    ] = False
    near_threshold: Annotated[
        float | None, flag(panel="Survey", help="Jaccard similarity from which rows are near; default 0.8.")
    ] = None
    batch_size: Annotated[int, flag(panel="Survey", help="Show so many rows, as one batch that the model sees.")] = 3
    output: Annotated[Path | None, flag("--output", "-o", panel="Survey", help="JSON file to write the result to.")] = (
        None
    )
    picture: Annotated[
        Path | None, flag(panel="Survey", help="PNG file of histograms: lengths in tokens, and labels.")
    ] = None

    @property
    def threshold(self) -> float:
        """The similarity from which rows are near."""
        return 0.8 if self.near_threshold is None else self.near_threshold

    def problems(self) -> Iterator[str]:
        yield from self.at_least(1, "batch_size")
        yield from self.writable_file(self.output, "--output")
        yield from self.writable_file(self.picture, "--picture")
        if self.near_threshold is not None and not 0.5 <= self.near_threshold <= 1:
            yield f"--near-threshold must be from 0.5 to 1, not {self.near_threshold}"
        if self.near_threshold is not None and not self.near:
            yield "--near-threshold is for --near, which looks for rows that are nearly the same"
        if self.picture and self.picture.suffix != ".png":
            yield f"--picture must end in .png, not {self.picture.name!r}"
        if self.picture and self.output and self.picture.resolve() == self.output.resolve():
            yield "--picture and --output name the same file"
