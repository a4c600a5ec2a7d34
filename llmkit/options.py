"""Option groups: each flag declared once, with its type, default, help and limits.

Commands take groups (`flags.option_groups`), Python callers build them. A group is valid once it exists: its limits are
checked when it is built, and all its problems are reported together, spelled as the user spells flags.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from llmkit.config_file import read_config
from llmkit.errors import OptionError
from llmkit.flags import flag

DEVICES = "cpu, cuda, cuda:1, mps, or auto"


@dataclass(frozen=True, kw_only=True)
class Options:
    """A group of options that refuses to exist with a bad value."""

    def __post_init__(self) -> None:
        problems = tuple(self.problems())
        if problems:
            raise OptionError(*problems)

    def problems(self) -> Iterator[str]:
        """Yield a phrase for each value out of its limits."""
        yield from ()

    def at_least(self, least: float, *names: str) -> Iterator[str]:
        """Yield a phrase for each named option that is set and lower than `least`."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not value >= least:  # so that NaN fails too
                yield f"--{name.replace('_', '-')} must be at least {least}, not {value}"


@dataclass(frozen=True, kw_only=True)
class TalkOptions(Options):
    """How llmkit talks; every command takes it."""

    json: Annotated[bool, flag("--json", panel="Output", help="Print the result as JSON.")] = False
    quiet: Annotated[bool, flag("--quiet", "-q", panel="Output", help="Print only the result and errors.")] = False
    verbose: Annotated[bool, flag("--verbose", "-v", panel="Output", help="Say more on the way.")] = False
    dry_run: Annotated[
        bool, flag("--dry-run", panel="Output", help="Check everything up to the first costly step, then stop.")
    ] = False
    config: Annotated[
        Path | None,
        flag("--config", panel="Output", help="YAML file of options; flags win.", is_eager=True, callback=read_config),
    ] = None

    def problems(self) -> Iterator[str]:
        if self.quiet and self.verbose:
            yield "--quiet and --verbose contradict each other"


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """Which model, from where, on what, and in which precision."""

    model: Annotated[str | None, flag("--model", "-m", panel="Model", help="Hub id or folder.")] = None
    revision: Annotated[str | None, flag(panel="Model", help="Branch, tag or commit on the Hub.")] = None
    trust_remote_code: Annotated[
        bool, flag("--trust-remote-code", panel="Model", help="Run Python code that comes with the model.")
    ] = False
    device: Annotated[str, flag(panel="Model", help=f"{DEVICES}.")] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        flag(panel="Model", help="Precision; auto: the checkpoint's own, training in float32 with bf16 autocast."),
    ] = "auto"
    offline: Annotated[bool, flag("--offline", panel="Model", help="Use only what is on this machine.")] = False

    def problems(self) -> Iterator[str]:
        if self.device.split(":")[0] not in {"auto", "cpu", "cuda", "mps", "xpu"}:
            yield f"--device must be {DEVICES}, not {self.device!r}"
        if self.model is not None and not self.model.strip():
            yield "--model must not be empty"


@dataclass(frozen=True, kw_only=True)
class ReadingOptions(Options):
    """How to read rows, whatever they are for."""

    column: Annotated[
        list[str] | None, flag(panel="Data", help="role=name, e.g. text=review or label=stars; repeatable.")
    ] = None
    limit: Annotated[int | None, flag(panel="Data", help="Use at most so many rows (of each split).")] = None
    encoding: Annotated[str, flag(panel="Data", help="Character encoding of text files.")] = "utf-8"

    def problems(self) -> Iterator[str]:
        yield from self.at_least(1, "limit")
        for pair in self.column or ():
            role, _, name = pair.partition("=")
            if not (role and name):
                yield f"--column takes role=name (text=review), not {pair!r}"

    @property
    def columns(self) -> dict[str, str]:
        """The mapping from role to column name that the user gave."""
        return dict(pair.split("=", 1) for pair in self.column or ())


@dataclass(frozen=True, kw_only=True)
class DataOptions(ReadingOptions):
    """How to read a dataset."""

    task: Annotated[str | None, flag(panel="Data", help="The task, when its inference is not wanted.")] = None
    max_length: Annotated[int | None, flag(panel="Data", help="Tokens per row (or block, or window).")] = None

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from self.at_least(4, "max_length")


@dataclass(frozen=True, kw_only=True)
class SplitOptions(Options):
    """Which rows to train and to measure on."""

    train_split: Annotated[str, flag(panel="Data", help='Split or slice, e.g. "train[:10%]".')] = "train"
    validation: Annotated[
        str | None, flag(panel="Data", help="Split, slice or file to measure on; cut from train when there is none.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Options):
    """How to train; what is None is chosen from the model and the data, and said."""

    epochs: Annotated[float | None, flag(panel="Training", help="Passes over the training rows.")] = None
    max_steps: Annotated[int | None, flag(panel="Training", help="Stop after so many optimizer steps.")] = None
    batch_size: Annotated[int | None, flag(panel="Training", help="Rows per step and device.")] = None
    learning_rate: Annotated[float | None, flag(panel="Training", help="Peak learning rate.")] = None
    seed: Annotated[int, flag(panel="Training", help="Seed of everything random.")] = 42
    metric: Annotated[str | None, flag(panel="Training", help="The metric that keeps the best checkpoint.")] = None
    set: Annotated[
        list[str] | None,
        flag("--set", panel="Training", help="Any TrainingArguments field: --set weight_decay=0.1; repeatable."),
    ] = None

    def problems(self) -> Iterator[str]:
        if self.epochs is not None and not 0 < self.epochs < math.inf:
            yield f"--epochs must be more than 0, not {self.epochs}"
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            yield f"--learning-rate must be more than 0, not {self.learning_rate}"
        yield from self.at_least(1, "max_steps", "batch_size")
        yield from seed_problems(self.seed)
        if self.epochs is not None and self.max_steps is not None:
            yield "--epochs and --max-steps exclude each other"


@dataclass(frozen=True, kw_only=True)
class RunOptions(Options):
    """The run folder."""

    output: Annotated[
        Path | None, flag("--output", "-o", panel="Run", help="Run folder; default runs/<dataset>-<model>.")
    ] = None
    resume: Annotated[bool, flag("--resume", panel="Run", help="Go on from the folder's newest checkpoint.")] = False
    overwrite: Annotated[bool, flag("--overwrite", panel="Run", help="Replace what the folder holds.")] = False

    def problems(self) -> Iterator[str]:
        if self.resume and self.overwrite:
            yield "--resume and --overwrite exclude each other"


@dataclass(frozen=True, kw_only=True)
class RowOptions(ReadingOptions):
    """Rows in, rows out: the batch mode of classify and generate."""

    input: Annotated[Path | None, flag("--input", "-i", panel="Data", help="jsonl, csv, tsv or txt file of rows.")] = (
        None
    )
    output: Annotated[Path | None, flag("--output", "-o", panel="Data", help="jsonl or csv file to write.")] = None
    overwrite: Annotated[bool, flag("--overwrite", panel="Data", help="Replace the output file.")] = False
    batch_size: Annotated[int, flag(panel="Data", help="Rows per forward pass.")] = 16

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from self.at_least(1, "batch_size")
        if self.output and self.output.suffix not in {".jsonl", ".csv"}:
            yield f"--output must end in .jsonl or .csv, not {self.output.name!r}"
        if self.output and not self.input:
            yield "--output goes with --input; send the answers to a file with > instead"
        if self.overwrite and not self.output:
            yield "--overwrite needs --output"


@dataclass(frozen=True, kw_only=True)
class GenerationOptions(Options):
    """How to decode. Greedy, unless a sampling flag is given."""

    max_new_tokens: Annotated[int, flag(panel="Decoding", help="Stop after so many new tokens.")] = 200
    temperature: Annotated[float | None, flag(panel="Decoding", help="Sample, at this temperature.")] = None
    top_p: Annotated[float | None, flag(panel="Decoding", help="Sample from this much probability mass.")] = None
    top_k: Annotated[int | None, flag(panel="Decoding", help="Sample from so many tokens.")] = None
    num_beams: Annotated[int, flag(panel="Decoding", help="Beam search with so many beams.")] = 1
    num_return_sequences: Annotated[
        int, flag("--num-return-sequences", "-n", panel="Decoding", help="Answers per prompt.")
    ] = 1
    repetition_penalty: Annotated[float | None, flag(panel="Decoding", help="Above 1: less repetition.")] = None
    stop: Annotated[list[str] | None, flag(panel="Decoding", help="Stop before this text; repeatable.")] = None
    seed: Annotated[int, flag(panel="Decoding", help="Seed of the sampling.")] = 42
    chat: Annotated[
        bool | None,
        flag("--chat/--no-chat", panel="Prompt", help="Use the chat template; default: when the model has one."),
    ] = None
    system: Annotated[str | None, flag(panel="Prompt", help="System message of the chat template.")] = None
    echo: Annotated[bool, flag("--echo", panel="Prompt", help="Print the prompt before its continuation.")] = False
    set: Annotated[
        list[str] | None,
        flag("--set", panel="Decoding", help="Any GenerationConfig field: --set min_p=0.1; repeatable."),
    ] = None

    @property
    def sampling(self) -> bool:
        """Whether a flag asks for sampling."""
        return not (self.temperature is None and self.top_p is None and self.top_k is None)

    def problems(self) -> Iterator[str]:
        yield from self.at_least(1, "max_new_tokens", "num_beams", "num_return_sequences", "top_k")
        yield from seed_problems(self.seed)
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            yield f"--temperature must be more than 0, not {self.temperature}; leave it out for greedy decoding"
        if self.top_p is not None and not 0 < self.top_p <= 1:
            yield f"--top-p must be in (0, 1], not {self.top_p}"
        if self.repetition_penalty is not None and not 0 < self.repetition_penalty < math.inf:
            yield f"--repetition-penalty must be more than 0, not {self.repetition_penalty}"
        if self.num_return_sequences > 1 and not self.sampling and self.num_beams < self.num_return_sequences:
            yield "-n above 1 gives equal answers under greedy decoding; add --temperature, or as many --num-beams"
        if self.num_beams > 1 and self.sampling:
            yield "--num-beams searches and --temperature, --top-p and --top-k sample; give one kind"
        if self.system is not None and self.chat is False:
            yield "--system is a part of the chat template, which --no-chat turns off"
        if any(not text for text in self.stop or ()):
            yield "--stop must not be empty"


@dataclass(frozen=True, kw_only=True)
class EvalOptions(Options):
    """What to measure, and what to demand of it."""

    split: Annotated[str | None, flag(panel="Data", help="Split or slice; default: validation, else test.")] = None
    batch_size: Annotated[int | None, flag(panel="Evaluation", help="Rows per forward pass.")] = None
    positive: Annotated[str | None, flag(panel="Evaluation", help="The positive class of binary metrics.")] = None
    stride: Annotated[int | None, flag(panel="Evaluation", help="Perplexity: new tokens per window.")] = None
    per_row: Annotated[
        bool, flag("--per-row", panel="Evaluation", help="Perplexity: score each row alone, without joining them.")
    ] = False
    seed: Annotated[int, flag(panel="Evaluation", help="Seed of the masks of masked-lm.")] = 42
    fail_under: Annotated[
        list[str] | None, flag(panel="Gates", help="Exit 1 when a metric is lower: f1=0.85; repeatable.")
    ] = None
    output: Annotated[Path | None, flag("--output", "-o", panel="Output", help="Write the JSON result here.")] = None

    def problems(self) -> Iterator[str]:
        yield from self.at_least(1, "batch_size", "stride")
        yield from seed_problems(self.seed)
        for gate in self.fail_under or ():
            name, _, value = gate.partition("=")
            if not name or not is_number(value):
                yield f"--fail-under takes metric=number (f1=0.85), not {gate!r}"

    @property
    def gates(self) -> dict[str, float]:
        """The least value demanded of each named metric."""
        return {name: float(value) for name, _, value in (gate.partition("=") for gate in self.fail_under or ())}


def seed_problems(seed: int) -> Iterator[str]:
    """Yield a phrase for a seed that the random generators do not take."""
    if seed < 0:
        yield f"--seed must be at least 0, not {seed}"
    if seed >= 2**32:
        yield f"--seed must be less than 2**32, not {seed}"


def is_number(text: str) -> bool:
    """Tell whether `text` is a number other than NaN."""
    try:
        return float(text) == float(text)
    except ValueError:
        return False


@dataclass(frozen=True, kw_only=True)
class ArchitectureOptions(Options):
    """What to build when pretraining from scratch."""

    arch: Annotated[
        Literal["llama", "gpt2", "bert"] | None, flag(panel="Architecture", help="Model family; default: llama.")
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
        bool, flag("--whole-word-masking", panel="Architecture", help="Masked-lm: mask all pieces of a word.")
    ] = False
    mask_share: Annotated[
        float | None, flag(panel="Architecture", help="Masked-lm: share of tokens masked in training.")
    ] = None

    def problems(self) -> Iterator[str]:
        yield from self.at_least(64, "vocab_size")
        if self.mask_share is not None and not 0 < self.mask_share < 1:
            yield f"--mask-share must lie between 0 and 1, not {self.mask_share}"
        if self.tokenizer and self.vocab_size:
            yield "--vocab-size is for a tokenizer that is trained; --tokenizer has its own"
