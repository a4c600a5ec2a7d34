"""What a task is, and what several tasks share."""

from __future__ import annotations

from llmkit.tasks.base.encoding import Collator
from llmkit.tasks.base.task import Task

__all__ = ["Collator", "Task"]
