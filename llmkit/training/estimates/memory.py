"""The memory of a training, by part, and what there is of it here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

GB = 10**9
CGROUPS = (  # what a container may use and uses, of both versions of the kernel's interface
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


@dataclass(frozen=True)
class Memory:
    """The bytes that a training holds when it holds the most, by part."""

    parameters: int = 0  # all weights, frozen ones too, buffers, and what an adapter adds
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0  # what the backward pass needs of the forward pass
    temporary: int = 0  # of single operations, the loss most of all
    teacher: int = 0  # its weights
    process: int = 0  # the interpreter, its libraries, the rows; on a GPU its context
    allocator: int = 0  # held by the allocator and used by no tensor

    @property
    def total(self) -> int:
        """The bytes of all parts together."""
        return sum(asdict(self).values())

    @property
    def parts(self) -> dict[str, int]:
        """The bytes of each part that there is, by name."""
        return {name: value for name, value in asdict(self).items() if value}

    @property
    def description(self) -> str:
        """A phrase for the user: `3.9 GB (parameters 0.54, gradients 0.54, ...)`."""
        parts = ", ".join(f"{name} {value / GB:.2g}" for name, value in self.parts.items() if value >= GB / 200)
        return f"{gigabytes(self.total)} ({parts or 'next to nothing'})"


def gigabytes(count: float) -> str:
    """Return bytes as a person reads them: `3.9 GB`, `540 MB`."""
    if count < GB:
        return f"{count / 10**6:.0f} MB"
    return f"{count / GB:.1f} GB" if count < 100 * GB else f"{count / GB:,.0f} GB"


def memory_here(device: torch.device) -> int:
    """Return the bytes of memory that a training has here: all of a GPU; on a CPU what is free, and what it holds."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return min(_of_machine(), *_of_containers(), 2**63) + resident()


def _of_machine() -> int:
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of_containers() -> Iterator[int]:
    """Yield the bytes that are free of what a container may use, where this is one that has a limit."""
    for limit, usage in CGROUPS:
        values = [line for path in (limit, usage) for line in _lines(path)[:1]]
        if len(values) == 2 and all(value.isdigit() for value in values):
            yield max(0, int(values[0]) - int(values[1]))


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    pages = _lines("/proc/self/statm")[:1]
    return int(pages[0].split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages else 0


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="ascii").split("\n")
    except OSError:  # no Linux, or no such limit
        return []
