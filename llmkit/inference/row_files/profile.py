"""Where the time of a file of rows goes, under --profile: phases, tokens, FLOPs, and a trace of some rows."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import OptionError
from llmkit.runs import peak_memory_bytes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmkit.inference.answering import Answerer
    from llmkit.runs.throughput import Phases

TRACED_ROWS = 8  # answered once more, before the others
MODEL = "model"  # the phase of forward passes, and of what becomes of them: batches, texts, labels


class RowProfile:
    """The seconds of each phase of a file of rows, and the tokens that went through a model."""

    def __init__(self) -> None:
        self.begun = time.perf_counter()
        self.phases: Phases | None = None
        self.watched: list[PreTrainedModel] = []

    def watch(self, model: PreTrainedModel) -> None:
        """Count the tokens that go through a model from now on."""
        import torch

        from llmkit.runs.throughput import Phases

        if self.phases is None:
            self.phases = Phases(torch.device(model.device), is_exact=True)
        phases = self.phases

        def count(module: torch.nn.Module, inputs: tuple[object, ...], named: dict[str, object]) -> None:
            phases.count(named)

        if model not in self.watched:
            self.watched.append(model)
            model.register_forward_pre_hook(count, with_kwargs=True)

    def lines(self) -> list[str]:
        """Return the table: phases, tokens per second, padding, FLOPs per second against a matrix product, memory."""
        from llmkit.runs.throughput import matmul_peak, phase_lines

        taken = time.perf_counter() - self.begun
        lines = phase_lines({} if self.phases is None else self.phases.seconds, taken)
        seconds = 0.0 if self.phases is None else self.phases.seconds.get(MODEL, 0.0)
        if self.phases is not None and self.phases.places and seconds:
            tokens, places, model = int(self.phases.tokens), self.phases.places, self.watched[-1]
            lines.append(f"{tokens / seconds:,.0f} tokens/s in the model, {1 - tokens / places:.1%} padding")
            flops = 2 * _weights(model) * places / seconds
            share = flops / matmul_peak(model.device, model.dtype)
            lines.append(f"{flops / 1e9:,.1f} GFLOP/s, {share:.1%} of those of a matrix product here")
        return [*lines, f"peak memory {peak_memory_bytes() / 1e9:.2f} GB"]


def phase(profile: RowProfile | None, name: str) -> contextlib.AbstractContextManager[None]:
    """Return what counts the seconds of a phase, where a profile is wanted and its model is there."""
    if profile is None or profile.phases is None:
        return contextlib.nullcontext()
    return profile.phases.phase(name)


def _weights(model: PreTrainedModel) -> int:
    """Return how many weights each token is multiplied with; logits of tokens are computed of few, and left out."""
    from llmkit.runs.throughput import linear_layers

    logits = model.get_output_embeddings()
    return sum(layer.weight.numel() for layer in linear_layers(model) if layer is not logits)


def computing_model(answerer: Answerer[Any]) -> PreTrainedModel:
    """Return the model that answers rows in this process.

    Raises:
        OptionError: a server computes.
    """
    from llmkit.inference.answering import TwoPrecisions

    if not answerer.computes_here:
        raise OptionError("--profile tells what is computed here, and a server answers: leave it out")
    return answerer.settled_model if isinstance(answerer, TwoPrecisions) else answerer.model


def write_trace(answerer: Answerer[Any], prepared: Sequence[Any], batch_size: int | None, file: Path) -> None:
    """Write a trace of answers to some rows by torch's profiler, which chrome://tracing and Perfetto show."""
    import torch

    counts = answerer.counts
    with torch.profiler.profile() as profiler:
        answerer.answer(prepared, batch_size)
    answerer.counts = counts
    file.parent.mkdir(parents=True, exist_ok=True)
    profiler.export_chrome_trace(str(file))
