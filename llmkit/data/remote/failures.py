"""What object stores and web servers raise, in a sentence: told by status and by name, as each library has its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from llmkit.errors import DataError, HubError, LlmkitError, brief
from llmkit.errors.causes import causes
from llmkit.errors.libraries import translate
from llmkit.options.urls import STORES, full_url, scheme_of

WITHOUT_KEYS = {
    "CredentialRetrievalError",
    "DefaultCredentialsError",
    "NoAuthTokenError",
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
}
FORBIDDEN = {"ClientAuthenticationError", "PermissionError", "RefreshError"}
AWAY = {
    "ClientConnectionError",  # aiohttp
    "ClientPayloadError",
    "ConnectionClosedError",  # botocore
    "ConnectionError",
    "EndpointConnectionError",
    "FSTimeoutError",
    "HTTPClientError",
    "IncompleteReadError",
    "ServiceRequestError",  # azure
    "ServiceResponseError",
    "TimeoutError",
    "TransportError",  # google, httpx
}
WRONG_NAMES = {"InvalidBucketName", "InvalidURL", "ParamValidationError"}
MISSING = {"FileNotFoundError", "NoSuchBucket", "NoSuchKey", "NotADirectoryError", "ResourceNotFoundError"}


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn what a library raises about an object into a sentence that calls it `name`."""
    try:
        yield
    except LlmkitError:
        raise
    except Exception as error:
        raise failure(error, name) from (error if full_url(name) == name else None)  # it can hold the signature


def failure(error: BaseException, name: str) -> LlmkitError:
    """Return the error in llmkit's words."""
    chain = list(causes(error))
    of_hub = translate(error, "dataset", name) if scheme_of(name) == "hf" or isinstance(error, MemoryError) else None
    if of_hub is not None:
        return of_hub
    kinds = {kind.__name__ for link in chain for kind in type(link).__mro__}
    status = next((code for code in map(_status, chain) if code is not None), None)
    keys = STORES[scheme_of(name)].keys
    if kinds & WITHOUT_KEYS or any("Must provide either a connection_string" in str(link) for link in chain):
        return HubError(f"there are no keys to read {name}: {keys} in the environment gives access")
    if status in {401, 403} or kinds & FORBIDDEN:
        return HubError(f"access to {name} is forbidden ({status or 403}); check the name and the rights of {keys}")
    if kinds & WRONG_NAMES:
        return DataError(f"{name} is no valid name of an object: {brief(chain[-1])}")
    if status in {404, 410} or (status is None and kinds & MISSING and not kinds & AWAY):
        return DataError(f"there is no {name}")
    if status in {429, 503}:
        return HubError(f"the server asked to slow down ({status}) when asked for {name}; try again in a few minutes")
    if status is not None and status >= 400:
        return HubError(f"the server failed ({status}) when asked for {name}; try again later")
    if kinds & AWAY or any(isinstance(link, socket.gaierror) for link in chain):
        return HubError(f"the server of {name} cannot be reached; check the network, and the address")
    return _unknown(error, name)


def _unknown(error: BaseException, name: str) -> LlmkitError:
    known = translate(error, "dataset", name)
    if known is not None and "the Hub" not in str(known):
        return known
    cause = "" if full_url(name) != name else f": {brief(error)}"
    return HubError(f"{name} cannot be read ({type(error).__name__}{cause})")


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error holds: botocore's in a dictionary, the others' as an attribute."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return _number(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    values = [getattr(error, name, None) for name in ("status", "status_code", "code")]
    return next(filter(None, map(_number, [*values, getattr(response, "status_code", None)])), None)


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and 100 <= value < 600 else None
