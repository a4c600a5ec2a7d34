"""The answers of one model, opened where they are kept, and what they rest on: files, precision, machine, versions."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig

from llmkit import models, runs
from llmkit.distributed.world import world
from llmkit.inference.answer_cache import AnswerCache
from llmkit.models import ResolvedModel
from llmkit.models.fingerprints import fingerprints
from llmkit.options import ModelOptions
from llmkit.output.report import Report
from llmkit.output.result import ModelOrigin
from llmkit.runs.interrupts import StopRequest

# of these the versions are part of the key of the cache
VERSIONED_LIBRARIES = ("llmkit", "torch", "transformers", "tokenizers", "peft", "lm_eval")


@dataclass(frozen=True, eq=False)
class AnswerSession:
    """The answers of a model that are known, to which new ones are added, and whether a signal asked to stop."""

    answers: AnswerCache
    stop_request: StopRequest | None = None

    @property
    def stopping(self) -> bool:
        """Whether to stop after the batch at hand."""
        return self.stop_request is not None and self.stop_request.asked


@contextlib.contextmanager
def open_session(
    origin: ModelOrigin, parts: Mapping[str, object], title: Mapping[str, object], cache: bool, report: Report
) -> Iterator[AnswerSession]:
    """Open the answers of a model (`origin`) to what `parts` tell; `title` says for people what they are of.

    Without a file that keeps the answers nothing would be left to go on from: signals then do what they usually do. Of
    several processes the main one has the file, and all know what it holds.

    Raises:
        DataError: of several processes one has another model, or other rows.
    """
    key = {
        **parts,
        **origin["fingerprints"],
        "dtype": origin["dtype"],
        "device": origin["device"],
        "batch_size": origin["batch_size"],
        "versions": {name: origin["versions"].get(name) for name in VERSIONED_LIBRARIES},
        "threads": torch.get_num_threads(),  # sums of floats depend on it
    }
    here = world()
    here.require_alike(dict(parts), f"the rows of {title['dataset']}")
    here.require_alike(origin["fingerprints"], f"the files of {title['model']}")
    with contextlib.ExitStack() as stack:
        answers = AnswerCache.open(key, title, report) if cache and here.is_main else AnswerCache()
        stack.callback(answers.close)
        kept, answers.done, answers.notes = here.from_main((answers.entry is not None, answers.done, answers.notes))
        stop_request = stack.enter_context(StopRequest(report)) if kept else None
        yield AnswerSession(answers, stop_request)


def origin_of(resolved: ResolvedModel, options: ModelOptions, batch_size: int | None, *libraries: str) -> ModelOrigin:
    """Return what a model's answers rest on, whatever it is asked: its files, its precision, the machine, versions."""
    return {
        "batch_size": batch_size,
        "dtype": dtype_name(options, resolved.config),
        "device": str(models.pick_device(options.device)),
        "fingerprints": fingerprints(resolved),
        "model_commit": resolved.commit,
        "versions": runs.versions(*libraries),
    }


def dtype_name(options: ModelOptions, config: PretrainedConfig) -> str:
    """Return the precision that a model is measured in."""
    own = "bfloat16" if options.quantize else str(config.dtype or "float32")
    dtype = (options.dtype if options.dtype != "auto" else own).removeprefix("torch.")
    return f"{dtype}, weights in {options.quantize}" if options.quantize else dtype
