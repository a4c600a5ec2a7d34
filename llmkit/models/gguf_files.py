"""Models in GGUF files, as llama.cpp has them: turned once into a model folder, which the cache keeps."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.errors import ModelError, brief
from llmkit.errors.extras import require_extra
from llmkit.output.atomic import cache_folder
from llmkit.output.report import Report

if TYPE_CHECKING:
    from transformers import PretrainedConfig

SUFFIX = ".gguf"
MAGIC = b"GGUF"


def find(path: Path, name: str) -> Path | None:
    """Return the GGUF file that a path is, or that is the only one in a folder which is no model folder; else None.

    Raises:
        ModelError: the folder holds several.
    """
    if path.suffix == SUFFIX and path.is_file():
        return path
    if not path.is_dir() or any((path / config).is_file() for config in ("config.json", "adapter_config.json")):
        return None
    files = sorted(path.glob(f"*{SUFFIX}"))
    if len(files) > 1:
        commands = ", ".join(f"-m {file}" for file in files)
        raise ModelError(f"{name!r} holds {len(files)} GGUF files; name one: {commands}")
    return files[0] if files else None


def model_folder(file: Path, report: Report) -> Path:
    """Return a model folder of what a GGUF file holds: dequantized, with its tokenizer and chat template.

    It is made once, in the cache; the file's path, size and time tell whether it is the same.

    Raises:
        ModelError: the file is damaged, or of an architecture that transformers does not read.
    """
    from filelock import FileLock

    require_extra(f"the GGUF file {str(file)!r}", "gguf", "gguf", error=ModelError)
    with file.open("rb") as opened:
        if opened.read(4) != MAGIC:
            raise ModelError(f"{str(file)!r} is no GGUF file: it does not begin with GGUF")
    root = cache_folder() / "gguf"
    root.mkdir(parents=True, exist_ok=True)
    folder = root / f"{file.stem}-{_key(file)}"
    with FileLock(root / f"{folder.name}.lock"):  # several processes open one model
        if not folder.is_dir():
            report.say(f"reading {file}: it is dequantized once, into a model folder that the cache keeps")
            _convert(file, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    size = sum(weights.stat().st_size for weights in folder.glob("*.safetensors"))
    report.say(
        f"model: {file.name} ({file.stat().st_size / 1e6:,.0f} MB), dequantized into {config['dtype']}: "
        f"{size / 1e6:,.0f} MB, in {folder}; --quantize int4 or int8 packs it for the processor"
    )
    return folder


def _key(file: Path) -> str:
    """Return what tells one file and its conversion from another."""
    found = file.stat()
    versions = [metadata.version("transformers"), metadata.version("gguf")]
    parts = [str(file.resolve()), found.st_size, found.st_mtime_ns, *versions]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _convert(file: Path, folder: Path) -> None:
    """Write the model folder, whole or not at all."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from llmkit.models.loading import save, without_bars

    source = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name, "local_files_only": True}
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        with without_bars(), contextlib.redirect_stderr(io.StringIO()):  # a bar that nothing switches off
            tokenizer = AutoTokenizer.from_pretrained(**source)
            model, info = AutoModelForCausalLM.from_pretrained(
                **source,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.bfloat16,
                output_loading_info=True,
            )
            _check(model.config, info["missing_keys"])
        save(model, tokenizer, unfinished)
        for written in unfinished.iterdir():  # the time of the weights is part of what tells a model from another
            os.utime(written, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
        unfinished.rename(folder)
    except Exception as error:  # what a reader raises depends on what is wrong with the file
        raise ModelError(
            f"the GGUF file {str(file)!r} is damaged, or of a kind that transformers does not read: {brief(error)}"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _check(config: PretrainedConfig, missing: list[str]) -> None:
    if missing:
        raise ValueError(f"it lacks weights of a {config.model_type}: {', '.join(sorted(missing)[:3])}")
