"""The group of pretraining: which model is built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from llmkit.options.base import Options
from llmkit.options.flags import flag


@dataclass(frozen=True, kw_only=True)
class ArchitectureOptions(Options):
    """What to build when pretraining from scratch."""

    arch: Annotated[
        Literal["llama", "gpt2", "bert", "t5"] | None, flag(panel="Architecture", help="Model family; default: llama.")
    ] = None
    size: Annotated[
        Literal["tiny", "mini", "small", "base"], flag(panel="Architecture", help="Preset of width and depth.")
    ] = "tiny"
    model_config: Annotated[
        Path | None, flag(panel="Architecture", help="JSON or YAML file of an architecture, in place of a preset.")
    ] = None
    tokenizer: Annotated[
        str | None, flag(panel="Architecture", help="Reuse this tokenizer; default: train one on the corpus.")
    ] = None
    vocab_size: Annotated[int | None, flag(panel="Architecture", help="Size of the trained vocabulary.")] = None
    whole_word_masking: Annotated[
        bool,
        flag(
            "--whole-word-masking/--no-whole-word-masking",
            panel="Architecture",
            help="Masked-lm: mask all pieces of a word.",
        ),
    ] = False
    mask_share: Annotated[
        float | None, flag(panel="Architecture", help="Masked-lm, seq2seq-lm: share of tokens masked in training.")
    ] = None

    def problems(self) -> Iterator[str]:
        yield from self.at_least(64, "vocab_size")
        if self.mask_share is not None and not 0 < self.mask_share < 1:
            yield f"--mask-share must lie between 0 and 1, not {self.mask_share}"
        if self.tokenizer and self.vocab_size:
            yield "--vocab-size is for a tokenizer that is trained; --tokenizer has its own"
