"""What this machine has for processes to run on, found without importing torch where there is no GPU."""

from __future__ import annotations

import os
from pathlib import Path

DRIVERS = ("/proc/driver/nvidia/gpus", "/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, WSL


def visible_gpus() -> int:
    """Return the number of GPUs that this process can see."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None and named.strip() in {"", "-1", "NoDevFiles"}:
        return 0
    if not any(Path(path).exists() for path in DRIVERS):
        return 0
    import torch

    return torch.cuda.device_count()
