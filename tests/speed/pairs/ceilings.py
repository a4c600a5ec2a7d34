"""What the machine can do at most: matrix products in bfloat16 and float32, memory read. Prints JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import torch


def best(work: Callable[[], object], seconds: float = 1.0) -> float:
    """Return the shortest time of a call, of as many as fit into these seconds."""
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def once() -> float:
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    once()
    times, until = [once()], time.perf_counter() + seconds
    while time.perf_counter() < until:
        times.append(once())
    return min(times)


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = 8192 if device == "cuda" else 2048
    found: dict[str, float | str | None] = {}
    with torch.inference_mode():
        for dtype in (torch.bfloat16, torch.float32):
            one, two = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
            seconds = best(lambda one=one, two=two: one @ two)
            found[f"{str(dtype).removeprefix('torch.')}_gflops"] = round(2 * size**3 / seconds / 1e9, 1)
        much = torch.ones(128 << 20, device=device)  # 512 MB, more than any cache
        found["read_gb_per_second"] = round(4 * much.numel() / best(much.sum) / 1e9, 2)
    found["gpu"] = torch.cuda.get_device_name() if device == "cuda" else None
    print(json.dumps(found))


if __name__ == "__main__":
    main()
