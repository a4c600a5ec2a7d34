"""What a reader of a file hands on: its columns, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmkit.output.report import Report

if TYPE_CHECKING:
    import pyarrow as pa

FileRow = dict[str, Any]  # the cells of a row of a file by column, which can be written again


@dataclass(frozen=True)
class Part:
    """The rows of one file."""

    where: str  # the file
    table: pa.Table
    written: bool = False  # whether its cells are text as written, of which the types are still to be told
    mixed: Mapping[str, str] = field(default_factory=dict)  # columns without one type, as JSON text: what they hold
    said: tuple[str, ...] = ()  # how the file was read, where that was a choice
    warnings: tuple[str, ...] = ()

    def tell(self, report: Report) -> None:
        """Say how the file was read."""
        for sentence in self.said:
            report.say(f"{self.where}: {sentence}")
        for sentence in self.warnings:
            report.warn(f"{self.where}: {sentence}")
