"""Copies of remote files on the disk of this machine, kept as long as the process lives, and read as any other."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from llmkit.data import files
from llmkit.data.remote.failures import translated
from llmkit.data.remote.objects import Listing, RemoteFile, listed, page_error
from llmkit.errors import DataError, HubError, LlmkitError, ResourceError
from llmkit.options.urls import is_url, scheme_of, spelled
from llmkit.output.report import Report

PAGES = (b"<!doctype html", b"<html")


@dataclass(frozen=True)
class Copy:
    """A remote file or folder on this machine."""

    path: Path
    folder: Path  # in which it is
    root: str  # the URL of that folder
    inside: str | None  # the sheet or table that is named

    def renamed(self, text: str) -> str:
        """Return a sentence with the names that the user knows."""
        return text.replace(str(self.folder), self.root)

    def report(self, report: Report) -> Report:
        """Return a report that says these names."""
        return _NamingReport(report, self)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Let errors of reading the copy say these names."""
        try:
            yield
        except LlmkitError as error:
            error.args = tuple(self.renamed(value) if isinstance(value, str) else value for value in error.args)
            for name, value in vars(error).items():
                if isinstance(value, str):
                    setattr(error, name, self.renamed(value))
            raise


class _NamingReport(Report):
    """A report that says the remote name of what is read from a copy."""

    def __init__(self, report: Report, copy: Copy) -> None:
        self.__dict__.update(vars(report))  # its warnings are the same list
        self.copy = copy

    def say(self, text: str) -> None:
        super().say(self.copy.renamed(text))

    def warn(self, text: str) -> None:
        super().warn(self.copy.renamed(text))


def copied(reference: str) -> Copy:
    """Return a copy of what a URL names; of a folder, of the files that hold data.

    Raises:
        OptionError, DataError, HubError: as `listed`.
        ResourceError: it does not fit on the disk.
    """
    listing = listed(reference)
    wanted = {
        name: file
        for name, file in listing.objects.items()
        if not listing.is_folder or files.format_of(Path(name)) is not None
    }
    if not wanted:
        raise DataError(f"{listing.root} holds no data file ({', '.join(files.FORMATS)})")
    folder = _all_copies() / _key(listing.root, wanted)
    if not folder.is_dir():
        _fetch(listing, wanted, folder)
    path = folder if listing.is_folder else folder / next(iter(wanted))
    return Copy(path, folder, listing.root, listing.inside)


@contextmanager
def on_disk(path: Path) -> Iterator[Path]:
    """Yield a path, or that of a copy where it is a URL; errors of reading it name what was typed.

    Raises:
        OptionError, DataError, HubError, ResourceError: as `copied`.
    """
    if not is_url(path):
        yield path
        return
    copy = copied(spelled(path))
    if copy.inside is not None:
        raise DataError(f"{spelled(path)}: {copy.inside!r} cannot be named here; save it as a file")
    with copy.named():
        yield copy.path


@cache
def _all_copies() -> Path:
    return Path(_temporary_folder().name).resolve()


@cache
def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="llmkit-data-", ignore_cleanup_errors=True)  # removed at exit


def _key(root: str, wanted: Mapping[str, RemoteFile]) -> str:
    """Return a name for what is copied, another one once an object was written again."""
    digest = hashlib.sha256(root.encode())
    for file in wanted.values():
        digest.update(f"\0{file.url}\0{file.size}\0{file.version}".encode())
    return digest.hexdigest()[:16]


@contextmanager
def outline(listing: Listing) -> Iterator[Copy]:
    """Yield a folder of files with the names and sizes of remote ones, and nothing in them."""
    with tempfile.TemporaryDirectory(prefix="llmkit-names-") as name:
        folder = Path(name).resolve()
        for inside, file in listing.objects.items():
            path = folder / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                stream.truncate(file.size or 0)  # which takes no room on the disk
        copy = Copy(folder, folder, listing.root, None)
        with copy.named():
            yield copy


def _fetch(listing: Listing, wanted: Mapping[str, RemoteFile], folder: Path) -> None:
    """Copy objects into a folder, which is there once all of them are whole."""
    size, free = sum(file.size or 0 for file in wanted.values()), shutil.disk_usage(_all_copies()).free
    if size > free:
        raise ResourceError(
            f"{listing.root} holds {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free on the disk; --streaming "
            "reads rows as they are needed, and TMPDIR names another disk"
        )
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    first = next(iter(wanted.values()))
    for name in wanted:
        (part / name).parent.mkdir(parents=True, exist_ok=True)
    with translated(first.url if len(wanted) == 1 else listing.root):
        first.store.get([file.place for file in wanted.values()], [str(part / name) for name in wanted])
    for name, file in wanted.items():
        _check(part / name, file)
    part.rename(folder)


def _check(path: Path, file: RemoteFile) -> None:
    size = path.stat().st_size
    if file.size is not None and size < file.size:
        raise HubError(f"{file.url} was cut after {size} of {file.size} bytes; try again")
    with path.open("rb") as stream:
        is_page = stream.read(512).lstrip().lower().startswith(PAGES)
    if is_page and files.format_of(path) != "txt" and scheme_of(file.url) != "memory":
        raise page_error(file.url)
