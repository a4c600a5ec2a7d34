"""Data in object stores and on web servers, by fsspec: what is there, a copy of it, or parts of it as needed."""

from __future__ import annotations

from llmkit.data.remote.copies import Copy, copied, on_disk, outline
from llmkit.data.remote.objects import Listing, RemoteFile, listed

__all__ = ["Copy", "Listing", "RemoteFile", "copied", "listed", "on_disk", "outline"]
