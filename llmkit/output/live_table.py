"""The live table of a training run on a terminal: its measurements, and a line of where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

MAX_ROWS_SHOWN = 12  # measurements while it runs, so that the table fits on a screen; all of them stay at the end


@dataclass
class TrainingTable:
    """Draws while the context lasts; when it is left, the table of all measurements stays on the terminal."""

    console: Console
    best: str  # the metric in the last column
    lower_is_better: bool
    total: int
    rows: list[tuple[int, float | None, float | None, float | None, float]] = field(default_factory=list)
    loss: float | None = None
    rate: float | None = None

    def __enter__(self) -> Self:
        self._bar = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=self.console,
        )
        self._step = self._bar.add_task("training", total=self.total, figures="")
        self._live = Live(console=self.console, transient=True, refresh_per_second=4, get_renderable=self._drawn)
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)
        if self.rows:
            self.console.print(self._table(len(self.rows)))

    def advance(self, steps: int = 1) -> None:
        """Count steps that were taken."""
        self._bar.advance(self._step, steps)

    def log(self, logs: dict[str, float]) -> None:
        """Show the newest training loss and learning rate."""
        self.loss, self.rate = logs.get("loss", self.loss), logs.get("learning_rate", self.rate)
        parts = [f"loss {self.loss:.4f}" if self.loss is not None else ""]
        parts.append(f"learning rate {self.rate:.2e}" if self.rate is not None else "")
        self._bar.update(self._step, figures="  ".join(filter(None, parts)))

    def measured(self, step: int, epoch: float | None, value: float) -> None:
        """Add a row: the validation metric at a step."""
        self.rows.append((step, epoch, self.loss, self.rate, value))
        self._live.refresh()

    def _drawn(self) -> RenderableType:
        return Group(self._table(MAX_ROWS_SHOWN), self._bar) if self.rows else self._bar

    def _table(self, rows: int) -> Table:
        table = Table(header_style="bold")
        for heading in ("step", "epoch", "training loss", "learning rate", f"validation {self.best}"):
            table.add_column(heading, justify="right")
        order = min if self.lower_is_better else max
        best = order((row[-1] for row in self.rows if row[-1] == row[-1]), default=None)
        kept = max((row[0] for row in self.rows if row[-1] == best), default=None)  # the later of two equal ones
        for step, epoch, loss, rate, value in self.rows[-rows:]:
            cells = (f"{step}", _number(epoch, ".2f"), _number(loss, ".4f"), _number(rate, ".2e"), f"{value:.4f}")
            table.add_row(*cells, style="bold green" if step == kept else None)
        return table


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
