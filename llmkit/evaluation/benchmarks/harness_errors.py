"""lm-eval's talk, kept off stdout, and its refusals, said as llmkit's own errors."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from llmkit.errors import DataError, HubError, LlmkitError, OptionError, one_line
from llmkit.errors.libraries import translate
from llmkit.output.report import Report


@contextlib.contextmanager
def quiet(report: Report) -> Iterator[None]:
    """Silence lm-eval: its prints, logs and bars; with --verbose its words go to stderr."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    log, level, init = logging.getLogger("lm_eval"), logging.getLogger("lm_eval").level, tqdm.__init__
    multiprocessing = os.environ.get("DISABLE_MULTIPROC")
    with contextlib.ExitStack() as stack:
        sink = sys.stderr if report.verbose else stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        stack.enter_context(contextlib.redirect_stdout(sink))
        stack.enter_context(warnings.catch_warnings())
        if not report.verbose:
            warnings.simplefilter("ignore")
        log.setLevel(logging.INFO if report.verbose else logging.CRITICAL)
        tqdm.__init__ = functools.partialmethod(init, disable=True)
        os.environ["DISABLE_MULTIPROC"] = "1"  # no forks of this process for its bootstrap
        try:
            yield
        finally:
            log.setLevel(level)
            tqdm.__init__ = init
            if multiprocessing is None:
                del os.environ["DISABLE_MULTIPROC"]


@contextlib.contextmanager
def explained(task: str, dataset: str | None) -> Iterator[None]:
    """Turn what a task's data or code raises into one sentence that names them."""
    try:
        yield
    except LlmkitError:
        raise
    except Exception as error:  # a task is anyone's code over anyone's data
        raise _explain(error, task, dataset) from error


def _explain(error: Exception, task: str, dataset: str | None) -> LlmkitError:
    text = one_line(error, 300)
    what = f"dataset {dataset!r} of {task}" if dataset else f"the dataset of {task}"
    known = translate(error, "dataset", dataset or f"of {task}")
    if known is not None:
        return known
    if type(error).__name__ == "DatasetNotFoundError":
        return DataError(f"{what} is neither here on disk nor on the Hub (a private one needs `hf auth login`)")
    if "Dataset scripts are no longer supported" in text:
        return DataError(f"{what} is a Python script on the Hub, which no longer runs; name a task with other data")
    if "Couldn't find cache for" in text or "offline" in text.lower():
        return HubError(f"{what} is not on this machine and the Hub cannot be asked")
    if isinstance(error, ModuleNotFoundError):
        return OptionError(f"lm-eval: {task} needs the package {error.name}: pip install {error.name}")
    if "marked as unsafe" in text:
        return OptionError(f"lm-eval: {task} runs code that the model writes, which llmkit does not do")
    if isinstance(error, FileNotFoundError):
        return DataError(f"{what} cannot be opened: {text}")
    return LlmkitError(f"{task} failed within lm-eval: {type(error).__name__}: {text}")
