"""What tells one model from another: the SHA-256 of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from llmkit.models import Located, weights_folder

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt",
    "*.model", "chat_template.jinja",
)  # fmt: skip


def fingerprints(located: Located) -> dict[str, str]:
    """Return the SHA-256 of the weights with the config, and of the tokenizer: other bytes, other model."""
    weights = weights_folder(located)
    found = sorted(weights.glob("*.safetensors")) or sorted(weights.glob("pytorch_model*.bin"))
    code = sorted(located.path.glob("*.py"))
    tokenizer = [file for pattern in TOKENIZER_FILES for file in sorted(located.path.glob(pattern))]
    return {"model": _digest([located.path / "config.json", *found, *code]), "tokenizer": _digest(tokenizer)}


def _digest(paths: list[Path]) -> str:
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            whole.update(f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()};".encode())
    return whole.hexdigest()
