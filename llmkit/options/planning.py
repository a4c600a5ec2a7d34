"""The group of `llmkit plan`: on what hardware, at what price."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from llmkit.options.base import Options
from llmkit.options.flags import flag


@dataclass(frozen=True, kw_only=True)
class PlanOptions(Options):
    """What a command is planned for; what is None is what is here."""

    gpus: Annotated[int | None, flag(panel="Plan", help="GPUs to divide it over, on paper; default: a table.")] = None
    gpu_memory: Annotated[
        float | None, flag(panel="Plan", help="GiB of memory of each GPU; default: the memory that is here.")
    ] = None
    gpu_tflops: Annotated[
        float | None, flag(panel="Plan", help="TFLOP/s of each GPU at its best, from its data sheet: gives a time.")
    ] = None
    utilization: Annotated[
        float, flag(panel="Plan", help="Share of --gpu-tflops that is reached: 0.4 is usual, and on paper.")
    ] = 0.4
    price_per_hour: Annotated[float | None, flag(panel="Plan", help="Price of a GPU for an hour: gives a cost.")] = None
    measure_steps: Annotated[
        int | None, flag(panel="Plan", help="Train so many steps here, in a folder that is thrown away, for the time.")
    ] = None

    def problems(self) -> Iterator[str]:
        yield from self.at_least(1, "gpus", "measure_steps")
        for name in ("gpu_memory", "gpu_tflops", "price_per_hour"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                yield f"--{name.replace('_', '-')} must be more than 0, not {value:g}"
        if not 0 < self.utilization <= 1:
            yield f"--utilization must lie between 0 and 1, not {self.utilization:g}"
