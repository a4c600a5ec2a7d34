"""The command line: the app, and one file per verb: flags in, one call, one report out."""

from __future__ import annotations

from llmkit.cli.app import COMMANDS, main

__all__ = ["COMMANDS", "main"]
