"""The way to the Hub: one question with a deadline before any download, and the cache when the Hub is away."""

from __future__ import annotations

from pathlib import Path

from llmkit.errors import HubError
from llmkit.errors.libraries import Kind, translated
from llmkit.output.report import Report

DEADLINE = 20.0  # seconds for the first answer; transformers alone would wait for ever


def commit(kind: Kind, name: str, revision: str | None, report: Report) -> str | None:
    """Return the commit that `name` has on the Hub, or None when the Hub is away and the cache must do.

    Raises:
        ModelError, DataError: the Hub has no such repository or revision.
        HubError: access is refused. (A Hub that cannot be reached is said, and answered with None.)
    """
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return None
    try:
        with translated(kind, name):
            sha = HfApi().repo_info(name, repo_type=kind, revision=revision, timeout=DEADLINE).sha
            return str(sha) if sha else None
    except HubError as error:
        if not is_cached(kind, name):
            raise
        report.warn(f"{error}; using the copy in the cache")
        return None


def is_cached(kind: Kind, name: str) -> bool:
    """Tell whether anything of the repository is in the Hub cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    snapshots = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind) / "snapshots"
    return snapshots.is_dir() and any(snapshots.iterdir())


def download(name: str, revision: str | None, patterns: list[str], cached_only: bool) -> Path:
    """Return the local folder that holds the files of a Hub model that match `patterns`.

    Of its folders only those that begin with a digit: there sentence-transformers keeps how a model pools.

    Raises:
        HubError: the network or the access failed, or `cached_only` and the files are not in the cache.
    """
    from huggingface_hub import snapshot_download

    with translated("model", name):
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=patterns,
            ignore_patterns=["[!0-9]*/*"],
            local_files_only=cached_only,
        )
    return Path(folder)
