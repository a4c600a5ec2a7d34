"""The groups of how training proceeds, and of training several times: over seeds, or in search of a better recipe."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from llmkit.errors import did_you_mean, listing
from llmkit.errors.extras import is_installed, needs_extra
from llmkit.options.base import Options, seed_problems
from llmkit.options.flags import flag

Schedule = Literal["linear", "cosine", "constant", "inverse_sqrt"]
AttnImplementation = Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"]
Strategy = Literal["ddp", "fsdp", "fsdp-offload", "deepspeed-zero2", "deepspeed-zero3", "auto"]


@dataclass(frozen=True, kw_only=True)
class RecipeOptions(Options):
    """How to train, beyond the usual; what is None is the command's own choice."""

    schedule: Annotated[Schedule | None, flag(panel="Recipe", help="How the learning rate falls after its warmup.")] = (
        None
    )
    warmup: Annotated[
        float | None, flag(panel="Recipe", help="Share of the steps, or from 1 on their number, of a rising rate.")
    ] = None
    weight_decay: Annotated[
        float | None, flag(panel="Recipe", help="Decay of the weights; norms and biases are spared.")
    ] = None
    accumulate: Annotated[
        int | None, flag(panel="Recipe", help="Batches per step: --batch-size 8 --accumulate 2 learns as 16 do.")
    ] = None
    patience: Annotated[
        int | None, flag(panel="Recipe", help="Stop after so many measurements without a better one.")
    ] = None
    label_smoothing: Annotated[
        float | None, flag(panel="Recipe", help="Share of the target spread over all classes, or tokens.")
    ] = None
    checkpoint_activations: Annotated[
        bool,
        flag(
            "--checkpoint-activations/--no-checkpoint-activations",
            panel="Recipe",
            help="Compute activations twice instead of keeping them: less memory, about a third more time.",
        ),
    ] = False

    @property
    def given(self) -> dict[str, object]:
        """The options that were given, for run.json: of runs before these options there were none."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}

    def problems(self) -> Iterator[str]:
        yield from self.at_least(1, "accumulate", "patience")
        for name in ("warmup", "weight_decay"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                yield f"--{name.replace('_', '-')} must be at least 0, not {value:g}"
        if self.warmup is not None and 1 < self.warmup < math.inf and self.warmup != int(self.warmup):
            yield f"--warmup takes a share of the steps below 1, or a whole number of them, not {self.warmup:g}"
        if self.label_smoothing is not None and not 0 <= self.label_smoothing < 1:
            yield f"--label-smoothing must be at least 0 and less than 1, not {self.label_smoothing:g}"


@dataclass(frozen=True, kw_only=True)
class TunedRecipeOptions(RecipeOptions):
    """The same for finetuning, where there can be classes."""

    class_weight: Annotated[
        Literal["balanced"] | None,
        flag(panel="Recipe", help="balanced: rare classes count for more, all classes for the same."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class SeriesOptions(Options):
    """Training more than once."""

    seeds: Annotated[
        int | None, flag(panel="Series", help="Train with so many seeds, --seed the first; tell mean and spread.")
    ] = None
    search: Annotated[
        int | None, flag(panel="Series", help="Look for a better recipe in so many trials, the first the default.")
    ] = None
    search_space: Annotated[
        Path | None, flag(panel="Series", help="YAML file of what --search varies; default: what suits the task.")
    ] = None
    workers: Annotated[
        int, flag(panel="Series", help="Trials of --search at a time, each a process with a GPU or cores of its own.")
    ] = 1

    @property
    def given(self) -> dict[str, object]:
        """The options that were given, for run.json; a search goes on with any number of workers."""
        return {name: value for name, value in asdict(self).items() if value is not None and name != "workers"}

    def problems(self) -> Iterator[str]:
        if self.seeds is not None and not self.seeds >= 2:
            yield f"--seeds must be at least 2, not {self.seeds}: one seed has no spread"
        if self.search is not None and not self.search >= 2:
            yield f"--search must be at least 2, not {self.search}: the first trial is the default recipe"
        if self.seeds is not None and self.search is not None:
            yield "--seeds and --search exclude each other; search first, and train the best recipe over seeds then"
        if self.search_space is not None and self.search is None:
            yield "--search-space is for --search, which says how many trials"
        yield from self.at_least(1, "workers")
        if self.workers > 1 and self.search is None:
            yield "--workers is for --search, which says how many trials"
        if self.search is not None and self.workers > self.search >= 2:
            yield f"--workers {self.workers} are more than --search has trials; --workers {self.search} is the most"
        if self.search_space is not None and not self.search_space.is_file():
            yield f"--search-space: there is no file {str(self.search_space)!r}"


AUTO = "auto"


def read_batch_size(text: object) -> int | str:
    """Return a number of rows, or auto; anything else as it is, for `TrainingOptions` to refuse."""
    try:
        return int(str(text))
    except ValueError:
        return str(text)


TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Options):
    """How to train; what is None is chosen from the model and the data, and said."""

    epochs: Annotated[float | None, flag(panel="Training", help="Passes over the training rows.")] = None
    max_steps: Annotated[int | None, flag(panel="Training", help="Stop after so many optimizer steps.")] = None
    batch_size: Annotated[
        int | Literal["auto"] | None,
        flag(
            panel="Training",
            parser=read_batch_size,
            metavar="INTEGER|auto",
            help="Rows of one forward pass of all processes together; auto: as many as fit.",
        ),
    ] = None
    learning_rate: Annotated[float | None, flag(panel="Training", help="Peak learning rate.")] = None
    seed: Annotated[int, flag(panel="Training", help="Seed of everything random.")] = 42
    metric: Annotated[str | None, flag(panel="Training", help="The metric that keeps the best checkpoint.")] = None
    set: Annotated[
        list[str] | None,
        flag("--set", panel="Training", help="Any TrainingArguments field: --set max_grad_norm=0.5; repeatable."),
    ] = None

    @property
    def rows(self) -> int | None:
        """The rows of a batch; None: they are not given, or the memory decides."""
        return self.batch_size if isinstance(self.batch_size, int) else None

    def problems(self) -> Iterator[str]:
        if self.epochs is not None and not self.epochs > 0:
            yield f"--epochs must be more than 0, not {self.epochs}"
        if self.learning_rate is not None and not self.learning_rate > 0:
            yield f"--learning-rate must be more than 0, not {self.learning_rate}"
        yield from self.at_least(1, "max_steps")
        if self.batch_size is not None and not isinstance(self.batch_size, int):
            if self.batch_size != AUTO:
                yield f"--batch-size must be a number of rows or auto, not {self.batch_size!r}"
        else:
            yield from self.at_least(1, "batch_size")
        yield from seed_problems(self.seed)
        if self.epochs is not None and self.max_steps is not None:
            yield "--epochs and --max-steps exclude each other"


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """Where a training is written to, and how it runs: nothing that it comes to depends on these."""

    output: Annotated[
        Path | None, flag("--output", "-o", panel="Run", help="Run folder; default runs/<dataset>-<model>.")
    ] = None
    resume: Annotated[
        bool, flag("--resume/--no-resume", panel="Run", help="Go on from the folder's newest checkpoint.")
    ] = False
    overwrite: Annotated[
        bool, flag("--overwrite/--no-overwrite", panel="Run", help="Replace what the folder holds.")
    ] = False

    track: Annotated[
        list[str] | None,
        flag(panel="Run", help=f"{', '.join(TRACKERS)} or none; repeatable; default: tensorboard where installed."),
    ] = None
    profile: Annotated[
        bool, flag(panel="Run", help="Tell where the time goes, and write trace.json of three steps.")
    ] = False
    strategy: Annotated[
        Strategy,
        flag(panel="Run", help="What each process holds: ddp a whole model, the others a part; auto: what fits."),
    ] = "ddp"
    attn_implementation: Annotated[
        AttnImplementation | None,
        flag(panel="Run", help="How attention is computed; default: sdpa where the model has it."),
    ] = None
    compile: Annotated[
        bool, flag(panel="Run", help="Train through torch.compile: minutes of compiling; on a CPU it did not pay.")
    ] = False
    use_liger_kernel: Annotated[
        bool, flag(panel="Run", help="Liger's fused kernels for the architectures that it knows, on an NVIDIA GPU.")
    ] = False

    def problems(self) -> Iterator[str]:
        yield from self.writable(self.output)
        yield from self.tracker_problems()
        if self.resume and self.overwrite:
            yield "--resume and --overwrite exclude each other"

    def tracker_problems(self) -> Iterator[str]:
        """Yield a phrase for each tracker that there is not, or not here."""
        for name in self.track or ():
            if name not in (*TRACKERS, "none"):
                yield f"--track takes {listing(TRACKERS)} or none, not {name!r}{did_you_mean(name, TRACKERS)}"
            elif name != "none" and not is_installed(name):
                yield needs_extra(f"--track {name}", name, "a library")
        if self.track and "none" in self.track and len(self.track) > 1:
            yield "--track none and another tracker contradict each other"
