"""The documents that are written and printed as JSON."""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]  # what a schema describes, and no TypedDict
