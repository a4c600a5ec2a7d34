"""Rows of trainings: finetune and pretrain, as they are by default, against the recipes of transformers' examples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pairs.inputs import Inputs
from pairs.quality import figures_of, printed, trained_rows, trained_tokens
from pairs.ways import Row, Way, llmkit, plain

QUIET = ("--track", "none", "--overwrite", "--quiet")


def finetune(rows: int | None) -> Callable[[Inputs], list[Way]]:
    """Return the ways of a training on pairs of sentences: so many rows, or three epochs."""

    def ways(inputs: Inputs) -> list[Way]:
        train, validation, model = inputs.pairs("train"), inputs.pairs("validation"), inputs.encoder
        asked = () if rows is None else ("--max-steps", rows // 16)
        count = 3 * 3668 if rows is None else rows

        def folder(name: str) -> Path:
            return inputs.output(f"finetune-{count}-{name}")

        given = (model, train, validation)
        ours = (
            "-m",
            model,
            "--validation",
            validation,
            "--metric",
            "f1",
            "--classes",
            "-o",
            folder("llmkit"),
            *asked,
            *QUIET,
        )
        rate = printed("rows_per_second")
        return [
            llmkit("finetune", train, *ours, file=folder("llmkit"), rate=trained_rows),
            plain(
                "run_glue's recipe",
                "finetune_glue.py",
                *given,
                folder("glue"),
                count,
                42,
                file=folder("glue"),
                rate=rate,
            ),
            plain(
                "bfloat16, grouped, by hand",
                "finetune_by_hand.py",
                *given,
                folder("hand"),
                count,
                42,
                file=folder("hand"),
                rate=rate,
            ),
        ]

    return ways


def pretrained(inputs: Inputs) -> dict[str, Path]:
    """Return the folder of each way of pretraining, by its name."""
    names = {"llmkit": "llmkit", "run_clm's recipe, float32": "float32", "run_clm's recipe, bf16": "bf16"}
    return {name: inputs.output(f"pretrain-{folder}") for name, folder in names.items()}


def pretrain(steps: int) -> Callable[[Inputs], list[Way]]:
    def ways(inputs: Inputs) -> list[Way]:
        train, validation, tokenizer = inputs.corpus("train"), inputs.corpus("validation"), inputs.tokenizer
        rate = printed("tokens_per_second")
        (_, folder), *others = pretrained(inputs).items()
        ours = ("--size", "mini", "--tokenizer", tokenizer, "--max-steps", steps, "-o", folder)
        found = [llmkit("pretrain", train, *ours, *QUIET, file=folder, rate=trained_tokens)]
        for name, other in others:
            given = (inputs.llama_config, tokenizer, train, validation, other, steps, name.rpartition(" ")[2])
            found.append(plain(name, "pretrain_clm.py", *given, file=other, rate=rate))
        return found

    return ways


def perplexities(inputs: Inputs) -> str:
    """Tell the perplexity of each pretrained model on the same text, measured in the same way."""
    text = inputs.corpus("validation")
    found = [f"{inputs.perplexity(folder, text):.0f}" for folder in pretrained(inputs).values()]
    return f"perplexity {', '.join(found)}"


def longer_file(*flags: str) -> Callable[[Inputs], list[Way]]:
    """Return the same few steps on a file of 3 MB and on one of 30 MB."""

    def way(inputs: Inputs, megabytes: int) -> Way:
        folder = inputs.output(f"pretrain-{megabytes}-mb{''.join(flags)}")
        given = ("--size", "tiny", "--tokenizer", inputs.tokenizer)
        rest = ("--max-steps", 10, "-o", folder, *flags, *QUIET)
        return llmkit("pretrain", inputs.corpus("train", megabytes), *given, *rest, name=f"{megabytes} MB", file=folder)

    return lambda inputs: [way(inputs, 3), way(inputs, 30)]


ROWS = [
    Row("finetune", "1,280 rows of MRPC, {encoder}", finetune(1280), 220, quality=figures_of("f1", 3), unit="rows/s"),
    Row(
        "finetune-whole",
        "MRPC, three epochs, {encoder}",
        finetune(None),
        1800,
        quality=figures_of("f1", 4),
        unit="rows/s",
        long=True,
    ),
    Row("pretrain", "Llama of 5 million parameters, 25 steps", pretrain(25), 80, once=perplexities, unit="tokens/s"),
    Row("memory-pretrain", "memory of 3 MB of text pretrained on", longer_file(), 60, of_memory=True, long=True),
    Row("memory-streaming", "the same with `--streaming`", longer_file("--streaming"), 60, of_memory=True, long=True),
]
