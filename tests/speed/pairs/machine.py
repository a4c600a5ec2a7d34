"""What is measured on and with: the processor, its cores, the memory, the versions. No names of hosts, no paths."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from pairs.ways import ROOT


def machine(gpu: str | None) -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "gpu": gpu,
    }


def processor() -> str:
    """Return the processor's name, with the instructions that decide how fast it multiplies."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    name = facts.get("model name") or platform.processor() or platform.machine()
    known = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 bf16", "avx512f": "AVX-512", "avx2": "AVX2"}
    best = next((text for flag, text in known.items() if flag in facts.get("flags", "").split()), "")
    return f"{name} ({best})" if best else name


def versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("torch", "transformers")}


def commit() -> str | None:
    """Return the commit that is measured, with a plus where files differ from it."""
    try:
        git = ["git", "describe", "--always", "--dirty=+", "--exclude", "*"]
        return subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
