"""What the libraries raise, said as llmkit's own errors: the Hub, the network, memory and disk."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from llmkit.errors import DataError, HubError, LlmkitError, ModelError, ResourceError
from llmkit.errors.causes import causes

Kind = Literal["model", "dataset"]


@contextmanager
def translated(kind: Kind, name: str) -> Iterator[None]:
    """Turn a library's error about the named model or dataset into a sentence; let the unknown ones pass."""
    try:
        yield
    except LlmkitError:
        raise
    except Exception as error:
        known = translate(error, kind, name)
        if known is None:
            raise
        raise known from error


def translate(error: BaseException, kind: Kind = "model", name: str = "") -> LlmkitError | None:
    """Return the error in llmkit's words, or None when it is none of the known ones."""
    for link in causes(error):
        known = _hub(link, kind, name) or _machine(link)
        if known is not None:
            return known
    return None


def _hub(error: BaseException, kind: Kind, name: str) -> LlmkitError | None:
    if "huggingface_hub" not in sys.modules:
        return None
    from huggingface_hub import errors as hub

    what = f"{kind} {name!r}" if name else f"the {kind}"
    wrong = ModelError if kind == "model" else DataError
    if isinstance(error, hub.GatedRepoError):
        return HubError(f"{what} is gated: ask for access on its Hub page, then log in with `hf auth login`")
    if isinstance(error, hub.RevisionNotFoundError):
        return wrong(f"{what} has no such --revision on the Hub")
    if isinstance(error, hub.RepositoryNotFoundError):
        return wrong(f"{what} is neither here on disk nor on the Hub (a private one needs `hf auth login`)")
    if isinstance(error, hub.HFValidationError):
        return wrong(f"{what} is neither here on disk nor a valid Hub name, which reads owner/name")
    if isinstance(error, hub.OfflineModeIsEnabled | hub.LocalEntryNotFoundError):
        return HubError(f"{what} is not on this machine and the Hub cannot be asked (offline, or no network)")
    if isinstance(error, hub.HfHubHTTPError):
        return _status(error, what)
    return _network(error, what)


def _status(error: BaseException, what: str) -> LlmkitError:
    code = getattr(getattr(error, "response", None), "status_code", None)
    if code == 401:
        return HubError(f"the Hub refused your token when asked for {what}; log in again with `hf auth login`")
    if code == 403:
        return HubError(f"the Hub forbids access to {what}; check the rights of your token")
    if code == 429:
        return HubError(f"the Hub asked to slow down (429) when asked for {what}; try again in a few minutes")
    return HubError(f"the Hub failed ({code}) when asked for {what}; try again later")


def _network(error: BaseException, what: str) -> LlmkitError | None:
    kinds = {kind.__name__ for kind in type(error).__mro__}  # by name: the Hub's HTTP library has changed before
    if "TimeoutException" in kinds:
        return HubError(f"the Hub did not answer in time when asked for {what}; try again, or use --offline")
    if os.environ.get("HF_HUB_OFFLINE") == "1" and isinstance(error, ConnectionError):
        return HubError(f"{what} is not on this machine and the Hub cannot be asked (offline)")
    if "TransportError" in kinds or (isinstance(error, ConnectionError) and not isinstance(error, BrokenPipeError)):
        return HubError(
            f"the Hub cannot be reached for {what}; check the network, or use --offline with what is cached"
        )
    return None


def _machine(error: BaseException) -> LlmkitError | None:
    text = str(error)
    if isinstance(error, UnicodeEncodeError) and "surrogates not allowed" in text:
        what = f"\\u{ord(error.object[error.start]):04x}, which is half of a character (a lone surrogate)"
        return DataError(f"a text holds {what}; write the whole character, or remove it")
    out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if out_of_memory or (isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate" in text):
        return ResourceError("out of memory; try a smaller --batch-size or --max-length")
    if "No space left on device" in text or (isinstance(error, RuntimeError) and "inline_container" in text):
        return ResourceError("no space left on the disk; what was complete before is kept")
    if "File too large" in text:  # EFBIG, as an OSError or of safetensors
        return ResourceError("a file would be larger than is allowed here (ulimit -f, or the disk's file system)")
    return None
