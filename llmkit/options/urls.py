"""References to data that is not on this machine: which they are, and what of them is secret.

A signed URL opens its object for whoever has it. So the signature is taken off where a command begins, and only what
fetches the object asks for it again: nothing that is said, written or compared later can hold it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TypeVar

from llmkit.errors import OptionError


@dataclass(frozen=True)
class Store:
    """Where objects of a scheme lie."""

    keys: str  # that give access, in words
    extra: str | None = None  # of llmkit, that can read it
    module: str = ""


S3 = Store("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_ENDPOINT_URL for other servers)", "s3", "s3fs")
GOOGLE = Store("GOOGLE_APPLICATION_CREDENTIALS", "gcs", "gcsfs")
AZURE = Store("AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY", "azure", "adlfs")
WEB = Store("a signed URL")
STORES = {
    "s3": S3,
    "s3a": S3,
    "gs": GOOGLE,
    "gcs": GOOGLE,
    "az": AZURE,
    "abfs": AZURE,
    "abfss": AZURE,
    "hf": Store("HF_TOKEN, or `hf auth login`"),
    "http": WEB,
    "https": WEB,
    "memory": Store("nothing"),
}
WEB_SCHEMES = {"http", "https"}
URL = re.compile(rf"(?i)({'|'.join(STORES)}):/{{1,2}}(?=[^/])")  # one slash: a Path has no two
WEIGHT = re.compile(r"@\d+(\.\d+)?$")  # of a dataset of several
SECRETS = re.compile(r"(?i)sig|key|auth|.*(signature|credential|token|secret|password|access_?key|accessid|api_?key).*")
SIGNING = re.compile(  # what stands beside a signature, and differs from one to the next of an object
    r"(?i)x-(amz|goog)-.*|expires|policy|key-pair-id|s[vertspikd]|spr|sip|srt|skoid|sktid|skt|ske|sks|skv"
)
SIGNED = "REDACTED"
REFERENCES = {"corpus", "dataset", "input", "predictions", "retrieve", "validation"}  # options that name data
_SIGNATURES: dict[str, str] = {}  # by what is left of a URL: the URL

Value = TypeVar("Value")


def is_url(reference: str | Path) -> bool:
    """Tell whether a reference is to an object store or a web server."""
    return URL.match(str(reference)) is not None


def scheme_of(reference: str) -> str:
    """Return the scheme of a URL, in small letters."""
    return reference.partition(":")[0].lower()


def spelled(reference: str | Path) -> str:
    """Return a reference as it was typed: the slashes that a Path takes away come back."""
    return URL.sub(lambda found: f"{found[1].lower()}://", str(reference), count=1)


def folder_name(reference: str, whole: bool = False) -> str:
    """Return what files about a URL's data can be called: its last part without a pattern; `whole` has its ending."""
    path = reference.partition("?")[0] if scheme_of(reference) in WEB_SCHEMES else reference
    parts = [part for part in path.split("/")[2:] if part and not re.search(r"[*?\[]", part)]
    name = re.sub(r"[^\w.-]", "_", parts[-1]) if parts else "data"
    return name if whole else name.split(".")[0] or "data"


def full_url(reference: str) -> str:
    """Return a URL with the signature that was taken off."""
    return _SIGNATURES.get(reference, reference)


def unsigned(value: Value) -> Value:
    """Return a value of an option, or a list of them, in which URLs have no signature.

    Raises:
        OptionError: a URL holds a key or a password.
    """
    if isinstance(value, list):
        return type(value)(map(unsigned, value))
    if isinstance(value, str | Path) and is_url(value):
        return type(value)(_unsigned(spelled(value)))
    return value


def unsigned_fields(group: object) -> None:
    """Take the signatures off the URLs in the options of a frozen group.

    Raises:
        OptionError: as `unsigned`.
    """
    for name in REFERENCES & vars(group).keys():
        object.__setattr__(group, name, unsigned(getattr(group, name)))


def _unsigned(url: str) -> str:
    scheme, _, rest = url.partition("://")
    authority = rest.partition("/")[0]
    password = re.search(r":(?!\d+$)", authority) if scheme in WEB_SCHEMES else re.search(":", authority)
    if password or (scheme in WEB_SCHEMES and "@" in authority):
        raise OptionError(
            f"the {scheme}:// reference holds a name and a password, which would be written down; give access by "
            f"{STORES[scheme].keys}"
        )
    base, mark, query = url.partition("?")
    if not mark or scheme not in WEB_SCHEMES:
        return url
    weight = WEIGHT.search(query)
    tail = weight[0] if weight else ""
    parameters = query.removesuffix(tail).split("&")
    names = [parameter.partition("=")[0] for parameter in parameters]
    if not any(map(SECRETS.fullmatch, names)):
        return url
    is_kept = [not SECRETS.fullmatch(name) and not SIGNING.fullmatch(name) for name in names]
    left = "&".join([*compress(parameters, is_kept), SIGNED])
    if SIGNED not in parameters:
        _SIGNATURES[f"{base}?{left}"] = f"{base}?{query.removesuffix(tail)}"
    return f"{base}?{left}{tail}"
