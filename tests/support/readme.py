"""The commands of README.md: what stands behind a `$ ` in its console blocks."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def commands(hub: bool) -> list[str]:
    """Return the README's llmkit commands, in order: those that need the Hub, or the others."""
    blocks = re.findall(r"^```console\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    blocks = [block for block in blocks if not block.startswith("$ cat ")]  # with a file of their own: test_data_page
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [line for line in lines if "llmkit" in line and needs_hub(line) == hub]


def needs_hub(line: str) -> bool:
    """Tell whether a command names a dataset or a model of the Hub, or a run that was made from one."""
    return bool(re.search(r"\bglue/|\bruns/mrpc|-m (sentence-transformers|HuggingFaceTB|karpathy)/", line))
