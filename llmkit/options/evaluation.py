"""The groups of eval and compare: what to measure, what to demand of it, where to write it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from llmkit.options.base import Options, limit_problems, limits, seed_problems
from llmkit.options.flags import flag
from llmkit.options.urls import is_url

TokenizerName = Literal[  # as sacrebleu calls them
    "13a", "intl", "zh", "char", "ja-mecab", "ko-mecab", "flores200", "flores101", "spm", "spBLEU-1K", "none"
]


@dataclass(frozen=True, kw_only=True)
class EvalOptions(Options):
    """What to measure, and how."""

    split: Annotated[str | None, flag(panel="Data", help="Split or slice; default: validation, else test.")] = None
    predictions: Annotated[
        Path | None, flag(panel="Data", help="Score this file of any system's predictions instead of a model.")
    ] = None
    label_map: Annotated[
        list[str] | None, flag(panel="Data", help="MODEL=DATASET, e.g. LABEL_0=negative; repeatable.")
    ] = None
    metric: Annotated[
        list[str] | None, flag(panel="Evaluation", help="Metrics to show, e.g. f1_macro; repeatable; default: by task.")
    ] = None
    tokenize: Annotated[
        TokenizerName | None,
        flag(panel="Evaluation", help="sacrebleu's tokenizer for bleu and ter; default: by the references' script."),
    ] = None
    positive: Annotated[str | None, flag(panel="Evaluation", help="The positive class of binary metrics.")] = None
    resamples: Annotated[
        int, flag(panel="Evaluation", help="Bootstrap resamples for the 95% intervals; 0: no such intervals.")
    ] = 2000
    slice: Annotated[
        list[str] | None, flag(panel="Evaluation", help="Break the figures down by this column; repeatable.")
    ] = None
    swap: Annotated[
        Path | None, flag(panel="Evaluation", help="CSV of term pairs (he,she): count predictions that a swap flips.")
    ] = None
    check_invariance: Annotated[
        int | None,
        flag(panel="Evaluation", help="Re-run so many rows alone and in other company; default: a few; 0: none."),
    ] = None
    batch_size: Annotated[int | None, flag(panel="Evaluation", help="Rows per forward pass.")] = None
    stride: Annotated[int | None, flag(panel="Language models", help="Perplexity: new tokens per window.")] = None
    per_row: Annotated[
        bool,
        flag(
            "--per-row/--no-per-row",
            panel="Language models",
            help="Perplexity: score each row alone, without joining them.",
        ),
    ] = False
    num_fewshot: Annotated[
        int | None, flag(panel="Language models", help="lm-eval: examples in the prompt; default: the benchmark's own.")
    ] = None
    apply_chat_template: Annotated[
        bool,
        flag(
            "--apply-chat-template/--no-apply-chat-template",
            panel="Language models",
            help="lm-eval: put the prompts as a chat, in the tokenizer's template; examples are turns of it.",
        ),
    ] = False
    system_instruction: Annotated[
        str | None,
        flag(
            "--system-instruction",
            "--system",
            panel="Language models",
            help="lm-eval: text before the prompt; in a chat, the system message.",
        ),
    ] = None
    seed: Annotated[
        int | None, flag(panel="Evaluation", help="Seed of resamples and of masked-lm's masks; default: the run's own.")
    ] = None
    cache: Annotated[
        bool, flag("--cache/--no-cache", panel="Evaluation", help="Keep what the model answered, and use it again.")
    ] = True

    def problems(self) -> Iterator[str]:
        yield from self.at_least(1, "batch_size", "stride")
        yield from self.at_least(0, "check_invariance", "num_fewshot", "resamples")
        if 0 < self.resamples < 100:
            yield f"--resamples must be 0, or at least 100 for an interval to mean anything, not {self.resamples}"
        yield from seed_problems(self.seed or 0)
        for pair in self.label_map or ():
            if not all(pair.partition("=")):
                yield f"--label-map takes MODEL=DATASET (LABEL_0=negative), not {pair!r}"
        for name, path in (("--predictions", self.predictions), ("--swap", self.swap)):
            if path is not None and not is_url(path) and not path.is_file():
                yield f"{name}: there is no file {str(path)!r}"
        if self.predictions is not None and self.swap is not None:
            yield "--swap asks the model again, and --predictions has none"

    @property
    def benchmark_flags(self) -> list[str]:
        """The flags that were given and are for lm-eval's benchmarks alone."""
        given = {
            "--num-fewshot": self.num_fewshot is not None,
            "--apply-chat-template": self.apply_chat_template,
            "--system-instruction (--system)": self.system_instruction is not None,
        }
        return [flag for flag, is_given in given.items() if is_given]

    @property
    def labels_mapped(self) -> dict[str, str]:
        """The mapping from the model's labels to the dataset's that the user gave."""
        return dict(pair.split("=", 1) for pair in self.label_map or ())


@dataclass(frozen=True, kw_only=True)
class GateOptions(Options):
    """What to demand of the figures: exit 1 when it is not met."""

    fail_under: Annotated[
        list[str] | None, flag(panel="Gates", help="Exit 1 when a metric is lower: f1=0.85; repeatable.")
    ] = None
    fail_above: Annotated[
        list[str] | None, flag(panel="Gates", help="Exit 1 when a metric is higher: perplexity=20; repeatable.")
    ] = None
    baseline: Annotated[
        str | None, flag(panel="Gates", help="A saved result, a model or a run folder to compare with, row by row.")
    ] = None
    max_drop: Annotated[
        list[str] | None,
        flag(panel="Gates", help="Exit 1 when a metric is surely worse than the baseline by more: f1=0.01."),
    ] = None
    max_gap: Annotated[
        list[str] | None, flag(panel="Gates", help="Exit 1 when two slices differ by more: f1=0.1; repeatable.")
    ] = None
    strict: Annotated[
        bool,
        flag("--strict/--no-strict", panel="Gates", help="Demand it of the bound of the 95% interval: doubt fails."),
    ] = False

    def problems(self) -> Iterator[str]:
        yield from limit_problems("--fail-under", self.fail_under, "f1=0.85")
        yield from limit_problems("--fail-above", self.fail_above, "perplexity=20")
        yield from limit_problems("--max-drop", self.max_drop, "f1=0.01")
        yield from limit_problems("--max-gap", self.max_gap, "f1=0.1")
        for name, pairs in (("--max-drop", self.max_drop), ("--max-gap", self.max_gap)):
            if any(value < 0 for value in _numbers(pairs)):
                yield f"{name} must not be negative"
        if self.max_drop and self.baseline is None:
            yield "--max-drop needs a --baseline to compare with"

    @property
    def named(self) -> list[tuple[str, str]]:
        """The metrics that the gates name, each with the flag that names it."""
        pairs = {
            "--fail-under": self.fail_under,
            "--fail-above": self.fail_above,
            "--max-drop": self.max_drop,
            "--max-gap": self.max_gap,
        }
        return [(name, option) for option, given in pairs.items() for name in limits(given)]


def _numbers(pairs: list[str] | None) -> list[float]:
    """Return the numbers of the pairs that have one; the others are a problem of their own."""
    return list(limits([pair for pair in pairs or () if not list(limit_problems("", [pair], ""))]).values())


@dataclass(frozen=True, kw_only=True)
class ResultOptions(Options):
    """Where to write the result for machines and for people."""

    output: Annotated[Path | None, flag("--output", "-o", panel="Output", help="Write the JSON result here.")] = None
    junit: Annotated[Path | None, flag(panel="Output", help="Write a JUnit report here.")] = None
    markdown: Annotated[Path | None, flag(panel="Output", help="Write a job summary in Markdown here.")] = None
    save_predictions: Annotated[
        Path | None, flag(panel="Output", help="Write each row's label, prediction and scores here (jsonl or csv).")
    ] = None
    plots: Annotated[Path | None, flag(panel="Output", help="Draw the figures into this folder.")] = None

    def problems(self) -> Iterator[str]:
        files = {
            "--output": self.output,
            "--junit": self.junit,
            "--markdown": self.markdown,
            "--save-predictions": self.save_predictions,
        }
        for name, path in files.items():
            yield from self.writable_file(path, name)
        yield from self.writable(self.plots, "--plots")
        if self.plots is not None and self.plots.is_file():
            yield f"--plots {str(self.plots)!r} is a file; a folder is wanted"
        if self.save_predictions and self.save_predictions.suffix not in {".jsonl", ".csv"}:
            yield f"--save-predictions must end in .jsonl or .csv, not {self.save_predictions.name!r}"
        given = [path.resolve() for path in files.values() if path is not None]
        if len(set(given)) < len(given):
            yield "two of --output, --junit, --markdown and --save-predictions name the same file"


@dataclass(frozen=True, kw_only=True)
class CompareOptions(Options):
    """How to compare two saved results."""

    metric: Annotated[
        list[str] | None, flag(panel="Comparison", help="Metrics to compare; default: all that both results have.")
    ] = None
    max_drop: Annotated[
        list[str] | None, flag(panel="Gates", help="Exit 1 when a metric is surely worse in B by more: f1=0.01.")
    ] = None
    strict: Annotated[
        bool, flag("--strict/--no-strict", panel="Gates", help="Fail in doubt: when the interval allows a larger drop.")
    ] = False
    resamples: Annotated[int, flag(panel="Comparison", help="Bootstrap resamples.")] = 2000
    seed: Annotated[int, flag(panel="Comparison", help="Seed of the resamples.")] = 42
    markdown: Annotated[Path | None, flag(panel="Output", help="Write the comparison in Markdown here.")] = None

    def problems(self) -> Iterator[str]:
        yield from limit_problems("--max-drop", self.max_drop, "f1=0.01")
        if any(value < 0 for value in _numbers(self.max_drop)):
            yield "--max-drop must not be negative"
        yield from self.at_least(100, "resamples")
        yield from seed_problems(self.seed)
        yield from self.writable_file(self.markdown, "--markdown")
        if self.strict and not self.max_drop:
            yield "--strict makes a gate stricter, and there is none: add --max-drop"
