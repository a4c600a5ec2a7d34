"""The same command on several processes: accelerate's own launcher, called in this process with a list of arguments."""

from __future__ import annotations

from llmkit.cli.launch.starting import run_on_ranks

__all__ = ["run_on_ranks"]
