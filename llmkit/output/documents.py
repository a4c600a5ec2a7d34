"""The documents that are written and printed as JSON."""

from __future__ import annotations

from typing import Any, TypedDict

JsonObject = dict[str, Any]  # what a schema describes, and no TypedDict

# what run.json holds of the model that answers are measured against; "sketch" is the fingerprint of a folder's weights
ReferenceRecord = TypedDict(
    "ReferenceRecord", {"name": str, "revision": str | None, "sketch": str | None, "beta": float}
)
