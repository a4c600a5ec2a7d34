"""What a run depended on: versions, platform, git state, memory."""

from __future__ import annotations

import contextlib
import platform
import subprocess
import sys
from importlib import metadata

from llmkit.runs.record import Environment, GitRecord

LIBRARIES = ("torch", "transformers", "tokenizers", "datasets", "accelerate", "evaluate", "huggingface_hub", "peft")


def peak_memory_bytes() -> int:
    """Return the most resident memory that the process has had."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes but for macOS


def versions(*more: str) -> dict[str, str]:
    """Return the versions of llmkit, Python and the libraries (`more` of them too) that a figure may depend on."""
    installed = {"llmkit": metadata.version("llmkit"), "python": platform.python_version()}
    for name in (*LIBRARIES, *more):
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[name] = metadata.version(name)
    return installed


def environment() -> Environment:
    """Return the versions, the platform and the git state that a run may depend on."""
    return {"versions": versions(), "platform": f"{platform.system()} {platform.machine()}", "git": git_state()}


def git_state() -> GitRecord | None:
    """Return the commit of the working directory and whether it has changes, or None outside a repository."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()
