"""The group of the model: which, from where, on what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from llmkit.errors import OptionError
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
    quantize: Annotated[
        Literal["int8", "int4"] | None,
        flag(panel="Model", help="Weights in 8 or 4 bits, to ask a model, not to train it."),
    ] = None
    offline: Annotated[
        bool, flag("--offline/--no-offline", panel="Model", help="Use only what is on this machine.")
    ] = False

    def problems(self) -> Iterator[str]:
        if self.device.split(":")[0] not in {"auto", "cpu", "cuda", "mps", "xpu"}:
            yield f"--device must be {DEVICES}, not {self.device!r}"
        if self.model is not None and not self.model.strip():
            yield "--model must not be empty"

    @property
    def of_training(self) -> dict[str, object]:
        """The options by name for run.json of a training, which takes no --quantize."""
        return {name: value for name, value in asdict(self).items() if name != "quantize"}

    def require_whole_weights(self, why: str) -> None:
        """Refuse --quantize.

        Raises:
            OptionError: saying why not here, and what to do.
        """
        if self.quantize is not None:
            raise OptionError(f"--quantize {self.quantize}: {why}")
