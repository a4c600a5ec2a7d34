"""The command lines of the programs that serve a model: `vllm serve` and `transformers serve`."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmkit import models
from llmkit.errors import ModelError, OptionError
from llmkit.errors.extras import require_extra
from llmkit.models import ResolvedModel, adapters
from llmkit.models.config import is_decoder
from llmkit.options import EngineOptions, ModelOptions

SERVING = ("fastapi", "uvicorn", "openai")  # what `transformers serve` asks for
OF_SERVER = "that is for a model in this process; a server quantizes by flags of its own: --engine-command"
LOWEST_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # the ranks of LoRA that vLLM can be set to


@dataclass(frozen=True)
class ServeCommand:
    """The command that serves a model: its arguments, what it is called there, and the variables it needs."""

    arguments: tuple[str, ...]
    model: str  # the name that requests use
    environment: Mapping[str, str]

    @property
    def line(self) -> str:
        """The command as a shell takes it."""
        return shlex.join(self.arguments)


def vllm_program(options: EngineOptions) -> list[str]:
    """Return how vLLM is called here.

    Raises:
        OptionError: there is no such program.
    """
    if options.engine_command is None:
        program = shutil.which("vllm")
        if program is None:
            raise OptionError(
                "--engine vllm: there is no vllm on the PATH; install it in an environment of its own (python -m venv "
                "vllm-env && vllm-env/bin/pip install vllm) and name it: --engine-command vllm-env/bin/vllm"
            )
        return [program]
    try:
        words = shlex.split(options.engine_command)
    except ValueError as error:
        raise OptionError(f"--engine-command {options.engine_command!r} is no command: {error}") from None
    if not words or shutil.which(words[0]) is None:
        raise OptionError(f"--engine-command {options.engine_command!r}: there is no such program")
    return words


def vllm_command(
    resolved: ResolvedModel, options: ModelOptions, engine: EngineOptions, address: tuple[str, int], *more: str
) -> ServeCommand:
    """Return the command by which vLLM serves a model, an adapter on its base, at a host and a port.

    Raises:
        OptionError: there is no vLLM here, or it cannot be given the device.
        ModelError: the adapter is none that vLLM serves.
    """
    options.require_whole_weights(OF_SERVER)
    served = resolved.base or resolved
    words = [*vllm_program(engine), "serve", *_named(served), "--served-model-name", _name(served)]
    words += ["--host", address[0], "--port", str(address[1]), "--dtype", options.dtype, *more]
    if options.device.partition(":")[0] not in ("auto", "cuda"):
        raise OptionError(f"--device {options.device}: vLLM picks its own; leave it out, or --engine vllm")
    if options.trust_remote_code:
        words.append("--trust-remote-code")
    if engine.tensor_parallel_size is not None:
        words += ["--tensor-parallel-size", str(engine.tensor_parallel_size)]
    if engine.data_parallel_size is not None:
        words += ["--data-parallel-size", str(engine.data_parallel_size)]
    if resolved.base is not None:
        words += _lora(resolved)
    return ServeCommand(tuple(words), _name(resolved), _environment(resolved))


def transformers_command(resolved: ResolvedModel, options: ModelOptions, address: tuple[str, int]) -> ServeCommand:
    """Return the command by which transformers serves a model at a host and a port.

    Raises:
        OptionError: what it asks for is not installed.
        ModelError: the model is an adapter, or writes no text.
    """
    options.require_whole_weights(OF_SERVER)
    require_extra("llmkit serve", "serve", *SERVING, what="the extra")
    if resolved.base is not None:
        raise ModelError(
            f"{resolved.name!r} is an adapter, which transformers serve cannot open: `llmkit merge {resolved.name}` "
            "makes a model of it, and --engine vllm serves it as it is"
        )
    if not is_decoder(resolved.config):
        raise ModelError(
            f"{resolved.name!r} is a {resolved.config.model_type} that continues no text, and transformers serve "
            "takes none but those that do"
        )
    name = _transformers_name(resolved)
    words = [sys.executable, "-m", "transformers.cli.transformers", "serve", name]
    words += ["--host", address[0], "--port", str(address[1]), "--dtype", options.dtype]
    words += ["--device", str(models.pick_device(options.device))]
    words += ["--trust-remote-code"] if options.trust_remote_code else []
    return ServeCommand(tuple(words), name, _environment(resolved))


def _transformers_name(resolved: ResolvedModel) -> str:
    if resolved.on_hub:
        return resolved.name if resolved.revision is None else f"{resolved.name}@{resolved.revision}"
    if "@" in str(resolved.path.resolve()):
        raise ModelError(f"{str(resolved.path)!r}: transformers serve reads @ as a revision; rename or link the folder")
    return str(resolved.path.resolve())


def _named(resolved: ResolvedModel) -> Sequence[str]:
    """Return what names a model to vLLM: a folder, or a name of the Hub with its revision."""
    if not resolved.on_hub:
        return [str(resolved.path.resolve())]
    revision = resolved.revision
    return [resolved.name] if revision is None else [resolved.name, "--revision", revision]


def _name(resolved: ResolvedModel) -> str:
    return resolved.name.rstrip("/") or str(resolved.path)


def _environment(resolved: ResolvedModel) -> dict[str, str]:
    cached_only = resolved.cached_only or bool(resolved.base and resolved.base.cached_only)
    return {"HF_HUB_OFFLINE": "1"} if cached_only else {}


def _lora(adapter: ResolvedModel) -> list[str]:
    """Return what makes vLLM serve an adapter beside its base.

    Raises:
        ModelError: it is not LoRA, or of a rank that vLLM does not go to.
    """
    saved = adapters.read_adapter(adapter.path, adapter.name)
    rank, kept = saved.values.get("r"), saved.values.get("modules_to_save")
    merge = f"`llmkit merge {adapter.name}` makes a model of it, which vLLM serves"
    if saved.kind != "LORA" or saved.values.get("use_dora") or kept:
        what = "one with whole modules of its own" if kept else f"of {saved.kind}"
        raise ModelError(f"{adapter.name!r} is an adapter {what}, and vLLM serves plain LoRA alone: {merge}")
    if not isinstance(rank, int) or rank > LOWEST_RANKS[-1]:
        raise ModelError(f"{adapter.name!r} has rank {rank}, and vLLM serves up to {LOWEST_RANKS[-1]}: {merge}")
    folder: Path = models.weights_folder(adapter)
    highest = next(number for number in LOWEST_RANKS if number >= rank)
    module = json.dumps({"name": _name(adapter), "path": str(folder.resolve())})  # a path can hold an =
    return ["--enable-lora", "--max-lora-rank", str(highest), "--lora-modules", module]
