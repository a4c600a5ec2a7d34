"""Runs: the run folder, what it depended on, its card, how it is stopped and put on the Hub."""

from __future__ import annotations

from llmkit.runs.folder import (
    MADE_HERE,
    SCHEMA,
    RunFolder,
    drop_incomplete,
    newest_checkpoint,
    open_run,
    read_run,
    require_shared,
)
from llmkit.runs.provenance import environment, git_state, peak_memory_bytes, versions
from llmkit.runs.record import split_special_tokens_of

__all__ = [
    "MADE_HERE",
    "SCHEMA",
    "RunFolder",
    "drop_incomplete",
    "environment",
    "git_state",
    "newest_checkpoint",
    "open_run",
    "peak_memory_bytes",
    "read_run",
    "require_shared",
    "split_special_tokens_of",
    "versions",
]
