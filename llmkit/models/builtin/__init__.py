"""The small model that ships inside the package: a demonstration that answers without a network."""

from __future__ import annotations

from pathlib import Path

BUILTIN = Path(__file__).parent / "model"
