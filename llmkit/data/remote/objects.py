"""What an object store holds under a name: a file, the files of a folder, or those that a pattern takes."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from llmkit.data import files
from llmkit.data.remote.failures import translated
from llmkit.errors import DataError, did_you_mean
from llmkit.errors.extras import require_extra
from llmkit.options.urls import STORES, WEB_SCHEMES, full_url, scheme_of, spelled

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

PATTERN = re.compile(r"[*?\[]")
BLOCK = 4 << 20  # bytes that are asked for at once
CONNECT, READ = 30.0, 60.0  # seconds without an answer; the library's own limit is of a whole download


class Size(NamedTuple):
    """The size of a file, as `Path.stat` gives it."""

    st_size: int


@dataclass(frozen=True)
class RemoteFile:
    """An object, which is read as a file is where `Path` has the same names; its text is its URL."""

    url: str
    place: str  # by which the store knows it
    size: int | None
    version: str  # that differs once it was written again
    store: AbstractFileSystem = field(repr=False, compare=False)

    def __str__(self) -> str:
        return self.url

    @cached_property
    def _name(self) -> PurePosixPath:
        is_web = scheme_of(self.url) in WEB_SCHEMES
        return PurePosixPath(PurePosixPath(unquote(urlsplit(self.url).path) if is_web else self.url).name)

    @property
    def name(self) -> str:
        return self._name.name

    @property
    def suffix(self) -> str:
        return self._name.suffix

    @property
    def suffixes(self) -> list[str]:
        return self._name.suffixes

    def stat(self) -> Size:
        """Return its size, 0 where the server does not tell."""
        return Size(self.size or 0)

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Return the object as a file of bytes, of which blocks are fetched as they are read.

        Raises:
            DataError: it is not there any more.
            HubError: the store cannot be reached, or forbids access.
        """
        with translated(self.url):
            return io.BufferedReader(_Reader(self.store.open(self.place, mode, block_size=BLOCK), self.url), 1 << 16)


class _Reader(io.RawIOBase):
    """A remote file whose failures are sentences."""

    def __init__(self, file: Any, url: str) -> None:
        self.file, self.url = file, url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self.file.seekable())

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self.file.seek(offset, whence))

    def tell(self) -> int:
        return int(self.file.tell())

    def readinto(self, buffer: Any) -> int:
        with translated(self.url):
            data = self.file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self.file.close()
        super().close()


@dataclass(frozen=True)
class Listing:
    """The objects of a reference, by their names below `root`, which is a folder."""

    root: str
    objects: Mapping[str, RemoteFile]
    is_folder: bool
    inside: str | None = None  # the sheet or table that is named


def listed(reference: str) -> Listing:
    """Return the objects that a URL names: one, those of a folder, or those of a pattern.

    Raises:
        OptionError: the library of the store is missing.
        DataError: there is no such bucket or object, or the pattern takes none.
        HubError: the store cannot be reached, or forbids access.
    """
    url, inside = _parted(spelled(reference))
    with translated(url):
        store, place = _store(url)
        if scheme_of(url) in WEB_SCHEMES:
            info = store.info(place)
            return Listing(url.rpartition("/")[0], {_file(store, url, info).name: _file(store, url, info)}, False)
        if PATTERN.search(place):
            found = store.glob(place, detail=True)
            root = url[: PATTERN.search(url).start()].rpartition("/")[0]  # type: ignore[union-attr]  # it is in `place`
            objects = _below(store, root, found)
            if not objects:
                raise _no_bucket(store, url, place) or DataError(f"no object is called {url}; see what is in {root}/")
            return Listing(root, objects, True)
        return _exactly(store, url, place, inside)


def _parted(url: str) -> tuple[str, str | None]:
    """Return a URL and the sheet or table of the file that is named behind it."""
    base, _, inside = url.rpartition(":")
    holds_tables = files.format_of(PurePosixPath(base.rpartition("/")[2])) in files.HOLDERS
    return (base, inside) if inside and "/" not in inside and holds_tables else (url, None)


def _store(url: str) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs

    scheme = scheme_of(url)
    store = STORES[scheme]
    if store.extra is not None:
        require_extra(f"{scheme}://", store.extra, store.module)
    full = full_url(url)
    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if scheme in WEB_SCHEMES:
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, sock_connect=CONNECT, sock_read=READ)
        options |= {"client_kwargs": {"timeout": timeout, "trust_env": True}, "encoded": "%" in full}
    if scheme in {"hf", "memory"}:
        options = {"skip_instance_cache": True}
    made, place = url_to_fs(full, **options)
    return made, place


def _file(store: AbstractFileSystem, url: str, info: Mapping[str, Any]) -> RemoteFile:
    versions = [str(info[key]) for key in ("ETag", "etag", "LastModified", "Last-Modified", "created") if info.get(key)]
    place = full_url(url) if scheme_of(url) in WEB_SCHEMES else info["name"]
    file = RemoteFile(url, place, info.get("size"), "|".join(versions), store)
    if info.get("mimetype") == "text/html" and files.format_of(file) != "txt":
        raise page_error(url)
    return file


def page_error(url: str) -> DataError:
    """Return the error of a page where a file is wanted."""
    return DataError(f"{url} answers with a page of HTML; give the address of the file itself")


def _below(store: AbstractFileSystem, root: str, found: Mapping[str, Mapping[str, Any]]) -> dict[str, RemoteFile]:
    """Return objects by their names below a folder, in order."""
    start = str(store._strip_protocol(root)).rstrip("/") + "/"
    objects = {}
    for place in sorted(found):
        name = place.removeprefix(start)
        parts = PurePosixPath(name).parts
        if found[place].get("type") == "file" and name and not name.endswith("/") and ".." not in parts:
            objects[name] = _file(store, f"{root}/{name}", found[place])
    return objects


def _exactly(store: AbstractFileSystem, url: str, place: str, inside: str | None) -> Listing:
    try:
        info = store.info(place)
    except FileNotFoundError:
        raise _missing(store, url, place) from None
    if info["type"] == "file" and not url.endswith("/"):
        file = _file(store, url, info)
        return Listing(url.rpartition("/")[0], {file.name: file}, False, inside)
    root = url.rstrip("/")
    objects = _below(store, root, store.find(place, detail=True))
    if not objects:
        raise DataError(f"there is nothing in {url}")
    return Listing(root, objects, True)


def _no_bucket(store: AbstractFileSystem, url: str, place: str) -> DataError | None:
    bucket = place.strip("/").partition("/")[0]
    if scheme_of(url) in {"hf", "memory"} or store.exists(bucket):
        return None
    return DataError(f"there is no bucket {bucket!r} for {url}")


def _missing(store: AbstractFileSystem, url: str, place: str) -> DataError:
    """Return the error of a name that is not there: of its bucket, or else of the object."""
    no_bucket = _no_bucket(store, url, place)
    if no_bucket is not None:
        return no_bucket
    folder = place.rstrip("/").rpartition("/")[0]
    try:
        names = [entry.rstrip("/").rpartition("/")[2] for entry in store.ls(folder, detail=False)]
    except OSError:
        names = []
    return DataError(f"there is no {url}{did_you_mean(url.rstrip('/').rpartition('/')[2], names)}")
