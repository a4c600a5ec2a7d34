"""What a repository on the Hub holds, and what a push makes of it: which files are llmkit's, and which of other hands.

A push leaves the list of its files there, with their hashes. A file that is not in that list, or is another one than it
says, is of another hand: it is neither replaced nor removed without --replace.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.errors import OptionError, listing
from llmkit.output.report import to_json
from llmkit.runs.card import is_untouched
from llmkit.runs.folder import MADE_HERE, SCHEMA

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

CARD, RUN, MANIFEST, ATTRIBUTES = "README.md", "run.json", "llmkit_files.json", ".gitattributes"
# of a push without a list: what only llmkit writes, and the weights and config that a run.json always came with
OF_EVERY_RUN = re.compile(
    r"run\.json|metrics\.jsonl|(curves|confusion|calibration|metrics|trials)\.png|(generation_|adapter_)?config\.json|"
    r"(adapter_)?model\.safetensors|model-\d+-of-\d+\.safetensors|model\.safetensors\.index\.json"
)
BYTES_PER_READ = 1 << 20
MAX_FILES_SHOWN = 12

Content = Path | bytes


@dataclass(frozen=True)
class Repository:
    """The files of a repository, and those of its small ones that say whose they are."""

    files: Mapping[str, RepoSibling] = field(default_factory=dict)
    commit: str | None = None
    texts: Mapping[str, str] = field(default_factory=dict)  # of the card, run.json and the list of files
    is_new: bool = False

    @property
    def has_list(self) -> bool:
        """Whether a push left the list of its files here."""
        return self._listed() is not None

    @property
    def is_earlier_push(self) -> bool:
        """Whether an llmkit that left no list pushed here."""
        run_record = _object(self.texts.get(RUN, ""))
        return not self.has_list and {"schema", "status", "command", "versions"} <= run_record.keys()

    def keeps_card(self, content: Content | None) -> bool:
        """Tell whether the card here was written by hand and stays, where `content` would take its place.

        One that a push put here from a run gives way to what was since written by hand there.
        """
        if CARD not in self.files or is_untouched(self.texts.get(CARD, "")):
            return False
        if content is None:
            return True
        there, listed = self.files[CARD], (self._listed() or {}).get(CARD)
        if _is(there, _hashes(content)):
            return False
        return not _is(there, listed) or is_untouched(_text(content))

    def is_own(self, name: str, content: Content | None = None) -> bool:
        """Tell whether a push put a file here as it is, or is to put the same one; `content` would take its place."""
        listed = self._listed()
        if name == CARD:
            return not self.keeps_card(content)
        if name == MANIFEST:
            return listed is not None
        if listed is not None:
            return _is(self.files[name], listed.get(name))
        tokenizer = content is not None and is_made_here(name)
        return self.is_earlier_push and (tokenizer or OF_EVERY_RUN.fullmatch(name) is not None)

    def _listed(self) -> Mapping[str, object] | None:
        files = _object(self.texts.get(MANIFEST, "")).get("files")
        return files if isinstance(files, dict) else None


@dataclass(frozen=True)
class Changes:
    """What a push does to a repository, by names."""

    uploaded: dict[str, Content]
    replaced: list[str]  # of those that are uploaded
    removed: list[str]
    unchanged: list[str]
    kept: list[str]
    refused: list[str]  # of other hands, in the way without --replace

    def require_allowed(self, repo: str) -> None:
        """Refuse to write over files of other hands.

        Raises:
            OptionError: naming them.
        """
        if self.refused:
            raise OptionError(
                f"{repo} holds files that llmkit did not put there and that this run has too "
                f"({listing(self.refused, MAX_FILES_SHOWN)}): --replace writes over them, another name leaves them"
            )


def changes(repository: Repository, files: Mapping[str, Content], replace: bool) -> Changes:
    """Return what a push of these files comes to; `replace` counts those of other hands as its own."""
    there = repository.files
    keeps_card = not replace and repository.keeps_card(files.get(CARD))
    files = {name: content for name, content in files.items() if not (keeps_card and name == CARD)}
    hashes = {name: _hashes(content) for name, content in sorted(files.items())}
    files[MANIFEST] = (to_json({"schema": SCHEMA, "files": hashes}, indent=2) + "\n").encode()
    hashes[MANIFEST] = _hashes(files[MANIFEST])
    same = {name for name in files.keys() & there.keys() if _is(there[name], hashes[name])}
    changed = {name: content for name, content in files.items() if name not in same}
    replaced = sorted(changed.keys() & there.keys())
    refused = [name for name in replaced if not (replace or repository.is_own(name, files[name]))]
    others = [name for name in there if name not in files and name != ATTRIBUTES]
    removed = [name for name in others if _can_go(repository, name, replace)]
    kept = sorted(set(others) - set(removed))
    return Changes(changed, replaced, sorted(removed), sorted(files.keys() - changed.keys()), kept, refused)


def is_made_here(name: str) -> bool:
    """Tell whether a file at the top of a repository is called as one that runs leave."""
    return "/" not in name and any(Path(name).match(pattern) for pattern in MADE_HERE)


def size(content: Content) -> int:
    """Return how many bytes a file to be uploaded has."""
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def _text(content: Content) -> str:
    return (content if isinstance(content, bytes) else content.read_bytes()).decode("utf-8", errors="replace")


def _can_go(repository: Repository, name: str, replace: bool) -> bool:
    if "/" in name:
        return False
    return repository.is_own(name) or (replace and is_made_here(name))


def _hashes(content: Content) -> dict[str, str]:
    """Return the two hashes by which the Hub may name a file: of its bytes, or as git does."""
    sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size(content), usedforsecurity=False)
    if isinstance(content, bytes):
        sha256.update(content)
        blob.update(content)
    else:
        with content.open("rb") as file:
            while chunk := file.read(BYTES_PER_READ):
                sha256.update(chunk)
                blob.update(chunk)
    return {"sha256": sha256.hexdigest(), "blob": blob.hexdigest()}


def _is(entry: RepoSibling, hashes: object) -> bool:
    """Tell whether the Hub's file is the one of these hashes."""
    if not isinstance(hashes, dict):
        return False
    if entry.lfs is not None:
        return bool(entry.lfs.sha256 == hashes.get("sha256"))
    return bool(entry.blob_id == hashes.get("blob"))


def _object(text: str) -> dict[str, object]:
    with contextlib.suppress(ValueError):
        document = json.loads(text)
        return document if isinstance(document, dict) else {}
    return {}
