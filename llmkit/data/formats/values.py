"""Values that have no one type, as JSON text."""

from __future__ import annotations

import json


def as_json(value: object) -> str:
    """Return a value as JSON text, whatever it is."""
    return json.dumps(value, ensure_ascii=False, default=str)
