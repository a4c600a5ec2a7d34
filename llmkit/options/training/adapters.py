"""The groups of training less: which weights finetune trains, and how an adapter is merged."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from llmkit.options.base import Options
from llmkit.options.data import ReadingOptions
from llmkit.options.flags import flag

ALL = "all"


@dataclass(frozen=True, kw_only=True)
class AdapterOptions(Options):
    """Which weights to train: all of them, unless a flag says less."""

    lora: Annotated[
        bool, flag("--lora/--no-lora", panel="Adapters", help="Train a LoRA adapter beside the frozen model.")
    ] = False
    qlora: Annotated[
        bool, flag("--qlora/--no-qlora", panel="Adapters", help="The same beside a model of 4-bit weights; NVIDIA GPU.")
    ] = False
    lora_rank: Annotated[int | None, flag(panel="Adapters", help="Rank of the adapter's matrices; default: 8.")] = None
    lora_alpha: Annotated[
        float | None, flag(panel="Adapters", help="Scale of the adapter; default: twice its rank.")
    ] = None
    lora_targets: Annotated[
        list[str] | None,
        flag(panel="Adapters", help="Modules to adapt: q_proj,v_proj; repeatable; default: all linear ones."),
    ] = None
    freeze: Annotated[
        str | None,
        flag(panel="Adapters", help="all: train the head alone; N: freeze the embeddings and the first N layers."),
    ] = None

    @property
    def adapts(self) -> bool:
        """Whether an adapter is trained."""
        return self.lora or self.qlora

    @property
    def rank(self) -> int:
        """The rank of the adapter's matrices."""
        return self.lora_rank or 8

    @property
    def alpha(self) -> float:
        """The scale of the adapter, before it is divided by the rank."""
        return self.lora_alpha or 2.0 * self.rank

    @property
    def targets(self) -> list[str]:
        """The modules that are named."""
        return [name.strip() for names in self.lora_targets or () for name in names.split(",")]

    @property
    def frozen_layers(self) -> int | None:
        """How many layers are frozen beside the embeddings; None: not a number of them."""
        return None if self.freeze in (None, ALL) else int(self.freeze)

    @property
    def lr_multiplier(self) -> int:
        """How many times the learning rate of all weights is right for those that are trained."""
        return 10 if self.adapts else 100 if self.freeze == ALL else 1

    @property
    def given(self) -> dict[str, object]:
        """The options that were given, for run.json: of runs before these options there were none."""
        return {name: value for name, value in asdict(self).items() if value}

    def problems(self) -> Iterator[str]:
        yield from self.at_least(1, "lora_rank")
        if self.lora_alpha is not None and not self.lora_alpha > 0:
            yield f"--lora-alpha must be more than 0, not {self.lora_alpha:g}"
        if not all(self.targets):
            yield "--lora-targets takes names of modules, with commas between them"
        if self.freeze not in (None, ALL) and not re.fullmatch("[0-9]{1,4}", str(self.freeze)):
            yield f"--freeze takes all or a number of layers, not {self.freeze!r}"
        if self.freeze is not None and self.adapts:
            yield f"--freeze and --{'lora' if self.lora else 'qlora'} exclude each other: an adapter's base is frozen"
        for name in ("lora_rank", "lora_alpha", "lora_targets"):
            if getattr(self, name) is not None and not self.adapts:
                yield f"--{name.replace('_', '-')} needs --lora or --qlora"


@dataclass(frozen=True, kw_only=True)
class MergeOptions(ReadingOptions):
    """Where a merged model goes, and what it is compared on."""

    output: Annotated[
        Path | None,
        flag("--output", "-o", panel="Merge", help="Folder of the merged model; default runs/<adapter>-merged."),
    ] = None
    overwrite: Annotated[
        bool, flag("--overwrite/--no-overwrite", panel="Merge", help="Replace what the folder holds.")
    ] = False
    prompts: Annotated[
        Path | None,
        flag(panel="Merge", help="txt, jsonl or csv file to compare the answers on; default: some sentences."),
    ] = None
    min_agreement: Annotated[
        float, flag(panel="Merge", help="Share of equal answers below which the exit code is 1.")
    ] = 1.0
    batch_size: Annotated[int, flag(panel="Merge", help="Rows per forward pass.")] = 16

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from self.at_least(1, "batch_size")
        yield from self.writable(self.output)
        if not 0 <= self.min_agreement <= 1:
            yield f"--min-agreement must lie between 0 and 1, not {self.min_agreement:g}"
        if self.prompts is not None and not self.prompts.is_file():
            yield f"--prompts: there is no file {str(self.prompts)!r}"
        for name in ("limit", "column"):
            if getattr(self, name) is not None and self.prompts is None:
                yield f"--{name} is for the rows of --prompts"
