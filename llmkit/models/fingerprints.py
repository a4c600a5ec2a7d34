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
    base_files = [] if resolved.base is None else _model_files(resolved.base)
    return {"model": _digest([*_model_files(resolved), *base_files]), "tokenizer": _digest(tokenizer)}


def _model_files(resolved: ResolvedModel) -> list[Path]:
    """Return the weights, the configs (that of generation too: texts depend on it) and the code; an adapter's own."""
    folder = weights_folder(resolved)
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    configs = [resolved.path / name for name in ("config.json", "generation_config.json", "adapter_config.json")]
    return [*(file for file in configs if file.is_file()), *weights, *sorted(resolved.path.glob("*.py"))]


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(f"{path.name}:{hashlib.file_digest(file, 'sha256').hexdigest()};".encode())
    return digest.hexdigest()
