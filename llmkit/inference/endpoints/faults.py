"""What goes wrong between a request and its answer, as one sentence each that holds no key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx2

from llmkit.errors import DataError, HubError, LlmkitError, ModelError, OptionError, one_line, shortened
from llmkit.output.documents import JsonObject

BUSY = (408, 425, 429)  # a later request can do better
ABOUT_THE_REQUEST = (400, 413, 422)
LONGEST_MESSAGE = 200  # characters of a server's own words


class Fault(HubError):
    """A server that fails, or refuses a request: `kind` is the error that it is to the user."""

    def __init__(
        self,
        sentence: str,
        kind: type[LlmkitError] = HubError,
        is_final: bool = True,
        status: int | None = None,
        of_request: bool = False,
    ) -> None:
        super().__init__(sentence)
        self.kind, self.is_final, self.status, self.of_request = kind, is_final, status, of_request
        self.exit_code = kind.exit_code

    def of_row(self, name: str) -> Fault:
        """Return the fault with the name of its row, where it is about the row."""
        if not self.of_request:
            return self
        return Fault(f"{name}: {self}", self.kind, self.is_final, self.status, True)


def read_json(response: httpx2.Response, url: str) -> JsonObject:
    """Return the JSON object of an answer.

    Raises:
        Fault: it is a web page, no JSON, or no object.
    """
    text = response.text
    if "html" in response.headers.get("content-type", "") or text.lstrip()[:1] == "<":
        raise Fault(f"{url} answers with a web page: --endpoint is the address of the API, which often ends in /v1")
    try:
        value = json.loads(text)
    except ValueError:
        raise Fault(f"{url} answers with what is no JSON: {shortened(text)}") from None
    if not isinstance(value, dict):
        raise Fault(f"{url} answers with JSON that is no object: {shortened(text)}")
    return value


def fault_of(error: httpx2.HTTPError, url: str) -> Fault:
    """Return the sentence for a connection that fails; another can do better, unless the certificate is wrong."""
    text = one_line(error, LONGEST_MESSAGE)
    if "CERTIFICATE" in text.upper() or "SSL" in text.upper():
        return Fault(f"{url}: no secure connection ({text}); is it http:// in place of https://, or its certificate?")
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
        return Fault(f"{url} cannot be reached ({text}): is a server running there?", is_final=False)
    if isinstance(error, httpx2.RemoteProtocolError | httpx2.ReadError):
        return Fault(f"{url} broke off its answer ({text}); the same command tries again", is_final=False)
    return Fault(f"{url}: the request failed ({text or type(error).__name__})", is_final=False)


def refusal(response: httpx2.Response, url: str, key_variable: str, key: str | None, tries: int) -> Fault:
    """Return the sentence for an answer that is an error by its status."""
    status = response.status_code
    said = _message(response, key)
    if status in (401, 403):
        return Fault(_about_key(status, url, key_variable, key is not None), status=status)
    if status in BUSY or status >= 500:
        often = f", {tries} times" if tries > 1 else ""
        what = "asks to slow down" if status == 429 else "fails"
        wait = retry_after(response)
        later = f"; it asks to wait {wait:.0f} s" if wait else "; try again later, or with a lower --concurrency"
        return Fault(f"{url} {what} ({status}{often}){_quoted(said)}{later}", is_final=status == 501, status=status)
    if 300 <= status < 400:
        return Fault(
            f"{url} sends on to {_without_secrets(response.headers.get('location', ''))!r} ({status}), which is not "
            "followed: give that address as --endpoint, if you trust it",
            status=status,
        )
    if status == 404:
        return Fault(f"{url} has no such address or model (404){_quoted(said)}", OptionError, status=status)
    if status in ABOUT_THE_REQUEST:
        return Fault(f"{url} refuses it ({status}){_quoted(said)}", DataError, status=status, of_request=True)
    return Fault(f"{url} refuses the request ({status}){_quoted(said)}", status=status)


def unknown_model(url: str, model: str, known: str) -> ModelError:
    """Return the error for a model that a server does not have; `known` is a list of those that it has."""
    return ModelError(f"{url} has no model {model!r}; it has {known}: say -m")


def retry_after(response: httpx2.Response) -> float | None:
    """Return how many seconds a server asks to wait, given as a number or as a date."""
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((aware - datetime.now(UTC)).total_seconds(), 0.0)


def _about_key(status: int, url: str, variable: str, given: bool) -> str:
    if not given:
        return f"{url} wants a key ({status}): export {variable or 'OPENAI_API_KEY'}=KEY, or name --api-key-env"
    if status == 401:
        return f"{url} refuses the key in {variable} ({status}): export another, or name its variable by --api-key-env"
    return f"{url} forbids this to the key in {variable} ({status}): check what the key may do"


def _message(response: httpx2.Response, key: str | None) -> str:
    """Return what a server says of an error in its own words, without the key."""
    try:
        value = response.json()
    except ValueError:
        text = "" if response.text.lstrip()[:1] == "<" else response.text
    else:
        text = _words(value)
    text = one_line(text)
    return (text.replace(key, "***") if key else text)[:LONGEST_MESSAGE]


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        found = next((value[name] for name in ("error", "message", "detail", "msg") if value.get(name)), "")
        return _words(found)
    if isinstance(value, list):
        return "; ".join(filter(None, map(_words, value)))
    return value if isinstance(value, str) else ""


def _quoted(said: str) -> str:
    return f": {said}" if said else ""


def _without_secrets(location: str) -> str:
    """Return where a server sends on to, without a user, a password or a query."""
    try:
        parts = urlsplit(location)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return ""
    return f"{parts.scheme}://{host}{parts.path}" if host else parts.path
