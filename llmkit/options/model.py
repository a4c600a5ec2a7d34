"""The group of the model: which, from where, on what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from llmkit.options.base import Options
from llmkit.options.flags import flag

DEVICES = "cpu, cuda, cuda:1, mps, or auto"


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """Which model, from where, on what, and in which precision."""

    model: Annotated[str | None, flag("--model", "-m", panel="Model", help="Hub id or folder.")] = None
    revision: Annotated[str | None, flag(panel="Model", help="Branch, tag or commit on the Hub.")] = None
    trust_remote_code: Annotated[
        bool,
        flag(
            "--trust-remote-code/--no-trust-remote-code",
            panel="Model",
            help="Run Python code that comes with the model.",
        ),
    ] = False
    device: Annotated[str, flag(panel="Model", help=f"{DEVICES}.")] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        flag(
            panel="Model",
            help="Precision; auto: the checkpoint's own, training in float32, with bf16 autocast where that is faster.",
        ),
    ] = "auto"
    offline: Annotated[
        bool, flag("--offline/--no-offline", panel="Model", help="Use only what is on this machine.")
    ] = False

    def problems(self) -> Iterator[str]:
        if self.device.split(":")[0] not in {"auto", "cpu", "cuda", "mps", "xpu"}:
            yield f"--device must be {DEVICES}, not {self.device!r}"
        if self.model is not None and not self.model.strip():
            yield "--model must not be empty"
