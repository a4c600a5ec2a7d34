"""Rows of files: many texts labelled, many prompts answered, a benchmark of lm-eval, memory of longer files."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace

from pairs.inputs import Inputs
from pairs.quality import same_answers, same_labels, same_vectors
from pairs.ways import Output, Row, Way, llmkit, peer, plain


def classify(rows: int) -> Callable[[Inputs], list[Way]]:
    def ways(inputs: Inputs) -> list[Way]:
        texts, model, name = inputs.texts(rows), inputs.classifier, f"classify-{rows}"
        files = [inputs.output(f"{name}-{way}.csv") for way in ("llmkit", "loop", "batches")]
        given = ("--input", texts, "--output", files[0], "-m", model, "--overwrite", "--task", "text-classification")
        found = [
            llmkit("classify", *given, file=files[0]),
            plain("pipeline loop", "classify_loop.py", model, texts, files[1], file=files[1]),
            plain("pipeline in batches of 32", "classify_batches.py", model, texts, files[2], 32, file=files[2]),
        ]
        if rows == 2000:
            file, other = os.environ.get("LLMKIT_BENCH_ONNX", ""), inputs.output(f"{name}-onnx.csv")
            way = plain("onnx", "classify_onnxruntime.py", file, model, texts, other, file=other)
            found.append(peer("onnxruntime", "onnxruntime", way, "" if file else "$LLMKIT_BENCH_ONNX names no model"))
        return found

    return ways


def embed(rows: int) -> Callable[[Inputs], list[Way]]:
    def ways(inputs: Inputs) -> list[Way]:
        texts, model = inputs.texts(rows), inputs.encoder
        files = [inputs.output(f"embed-{way}.npy") for way in ("llmkit", "loop", "st")]
        st = plain("st", "embed_sentence_transformers.py", model, texts, files[2], file=files[2])
        return [
            llmkit("embed", "--input", texts, "--output", files[0], "-m", model, "--overwrite", file=files[0]),
            plain("loop, one by one", "embed_loop.py", model, texts, files[1], file=files[1]),
            peer("sentence-transformers", "sentence_transformers", st),
        ]

    return ways


def labelled(rows: int) -> Callable[[Mapping[str, Output], Inputs], str]:
    return lambda outputs, inputs: same_labels(outputs, inputs.labels(rows))


def generate(rows: int, tokens: int, mixed: bool) -> Callable[[Inputs], list[Way]]:
    def ways(inputs: Inputs) -> list[Way]:
        prompts, model, name = inputs.prompts(rows, mixed), inputs.decoder, f"generate-{rows}"
        files = [inputs.output(f"{name}-{way}.jsonl") for way in ("llmkit", "loop", "batches")]
        ours = ("--input", prompts, "--output", files[0], "-m", model, "--overwrite", "--max-new-tokens", tokens)
        batches = ("generate_batches.py", model, prompts, files[2], tokens, 8)
        return [
            llmkit("generate", *ours, file=files[0]),
            plain("pipeline loop", "generate_loop.py", model, prompts, files[1], tokens, file=files[1]),
            plain("pipeline in batches of 8", *batches, file=files[2]),
        ]

    return ways


def lambada(inputs: Inputs) -> list[Way]:
    if importlib.util.find_spec("lm_eval") is None:
        raise LookupError("lm_eval is not installed")
    task, model, folder = inputs.lambada, inputs.decoder, inputs.output("lm-eval")
    ours = llmkit("eval", f"lm-eval:{task}", "-m", model, "--limit", 200, "--no-cache", "--json", "--quiet")
    arguments = ("--model", "hf", "--model_args", f"pretrained={model},dtype=float32", "--tasks", str(task))
    rest = ("--limit", "200", "--device", "cpu", "--batch_size", "8", "--output_path", str(folder))
    return [ours, Way("lm_eval --model hf", (sys.executable, "-m", "lm_eval", "run", *arguments, *rest), file=folder)]


def same_digits(outputs: Mapping[str, Output], inputs: Inputs) -> str:
    """Name the accuracy and the perplexity of both, as lm-eval's table rounds them."""
    ours, theirs = outputs.values()
    metrics = json.loads(ours.text)["metrics"]
    table = dict(re.findall(r"\|(acc|perplexity) *\|[^|]*\|[^|]*\| *([\d.]+)", theirs.text))
    told = [f"{name} {metrics[name]['value']:.4f}, {float(table[name]):.4f}" for name in ("acc", "perplexity")]
    return "; ".join(told)


def memory(ways: Callable[[Inputs, int], Way], few: int) -> Callable[[Inputs], list[Way]]:
    def found(inputs: Inputs) -> list[Way]:
        return [ways(inputs, few), ways(inputs, 10 * few)]

    return found


def classified(inputs: Inputs, rows: int) -> Way:
    return replace(classify(rows)(inputs)[0], name=f"{rows:,} rows")


def generated(inputs: Inputs, rows: int) -> Way:
    return replace(generate(rows, 8, mixed=False)(inputs)[0], name=f"{rows:,} rows")


ROWS = [
    Row("classify-2000", "2,000 texts of a CSV labelled, {encoder}", classify(2000), 110, quality=labelled(2000)),
    Row("embed-2000", "2,000 texts of a CSV embedded, {encoder}", embed(2000), 60, quality=same_vectors),
    Row("classify-10000", "10,000 texts of a CSV labelled, {encoder}", classify(10_000), 550, quality=labelled(10_000)),
    Row(
        "generate-32",
        "32 prompts of a file, 40 tokens each, {decoder}",
        generate(32, 40, False),
        70,
        quality=same_answers,
    ),
    Row(
        "generate-64",
        "64 prompts of mixed length, 40 tokens each, {decoder}",
        generate(64, 40, True),
        150,
        quality=same_answers,
    ),
    Row("lambada", "LAMBADA, 200 rows, {decoder}", lambada, 240, quality=same_digits, long=True),
    Row("memory-classify", "memory of 20,000 rows labelled", memory(classified, 2000), 200, of_memory=True, long=True),
    Row("memory-generate", "memory of 640 prompts answered", memory(generated, 64), 60, of_memory=True, long=True),
]
