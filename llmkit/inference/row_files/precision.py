"""In which precision the rows of a file are answered where nobody says: settled by their first ones, once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmkit.inference.row_files.job import RowJob

FEWEST_ROWS = 512  # of a file: with fewer the comparison takes what bfloat16 would save
ROWS_COMPARED = 64
SAFETY = 1.5  # times the largest error among the rows compared: float32 decides the labels that it could change


@dataclass(frozen=True)
class Precision:
    """Whether answers are computed in bfloat16, and the largest error of their numbers among the rows compared."""

    is_half: bool = False
    error: float = 0.0

    @property
    def reach(self) -> float:
        """How far the numbers of a row may be off: where its label could change by that, float32 decides."""
        return SAFETY * self.error

    @classmethod
    def read(cls, note: object) -> Precision:
        """Return what a note beside an output file records.

        Raises:
            TypeError, ValueError, KeyError: it is broken.
        """
        if note is None:  # an older version began the file
            return cls()
        if not isinstance(note, Mapping):
            raise TypeError("no precision")
        return cls(bool(note["is_half"]), float(note["error"]))

    def note(self) -> dict[str, object]:
        """Return it for the note beside an output file."""
        return asdict(self)


def settled(job: RowJob[Any]) -> Precision:
    """Return the precision for the rows of a job, and say why it is taken.

    bfloat16 is taken where the checkpoint is float32, --dtype leaves it open, a product is clearly faster in bfloat16
    on this machine, and the first rows, which are answered in both, have the same answers in it.
    """
    answerer, report = job.answerer, job.report
    if job.rows.total < FEWEST_ROWS:
        return Precision()
    from llmkit.inference.answering import TwoPrecisions
    from llmkit.models.precision import faster_dtype
    from llmkit.tasks.encoding.batches import tokens_per_batch

    if not (isinstance(answerer, TwoPrecisions) and answerer.computes_here and answerer.leaves_precision_open):
        return Precision()
    model = answerer.model
    choice = faster_dtype(model.config, tokens_per_batch(model), model.device)
    if str(model.dtype) != "torch.float32" or not choice.is_bfloat16:
        return Precision()
    start, rows = next(job.rows.chunks(ROWS_COMPARED))
    error = answerer.half_error(job.prepared(rows, start))
    times = "" if choice.factor is None else f", whose products are {choice.factor:.1f} times as fast here"
    if error is None:
        report.say(f"float32: in bfloat16{times}, the first rows are answered otherwise (--dtype bfloat16 for it)")
        return Precision()
    why = answerer.half_sentence.format(rows=len(rows))
    report.say(f"bfloat16{times}: {why} (--dtype float32 for float32 throughout)")
    return Precision(True, rounded_up(error))


def rounded_up(error: float) -> float:
    """Return an error in two digits: on other numbers of threads the last of a float are others."""
    if not error:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(error)) - 1)
    return math.ceil(error / unit) * unit
