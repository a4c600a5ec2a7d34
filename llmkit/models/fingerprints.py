"""What tells one model from another: the SHA-256 of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path

from llmkit.models.lookup import ResolvedModel, weights_folder

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "chat_template.jinja",
)


def fingerprints(resolved: ResolvedModel) -> dict[str, str]:
    """Return the SHA-256 of the weights with the config, and of the tokenizer: other bytes, other model."""
    tokenizer = [file for pattern in TOKENIZER_FILES for file in sorted(resolved.path.glob(pattern))]
    own = _model_files(resolved)
    return {
        "model": _digest(own if resolved.base is None else [*own, *_model_files(resolved.base)]),
        "tokenizer": _digest(tokenizer),
    }


def _model_files(resolved: ResolvedModel) -> list[Path]:
    """Return the weights, the config and the code; of an adapter its own."""
    weights = weights_folder(resolved)
    found = sorted(weights.glob("*.safetensors")) or sorted(weights.glob("pytorch_model*.bin"))
    configs = [resolved.path / name for name in ("config.json", "adapter_config.json")]
    return [*(file for file in configs if file.is_file()), *found, *sorted(resolved.path.glob("*.py"))]


def _digest(paths: list[Path]) -> str:
    whole = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            whole.update(f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()};".encode())
    return whole.hexdigest()
