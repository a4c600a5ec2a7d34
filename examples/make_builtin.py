"""How the built-in model was made from a finished run of `llmkit pretrain`: bf16 weights, figures, ten samples, a card.

python examples/make_builtin.py runs/builtin local/fairytales local/fairytales local/gutenberg_books ...
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections import Counter
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmkit import metrics, models
from llmkit.inference.generation import generate
from llmkit.inference.prediction import predict
from llmkit.models.builtin import BUILTIN
from llmkit.options import DataOptions, GenerationOptions, ModelOptions, SplitOptions
from llmkit.output.report import Report
from llmkit.tasks import TASKS, TaskSettings
from llmkit.training.rows.corpus import Corpus, read_corpus
from llmkit.training.rows.mixture import open_components

OPENINGS = (
    "Once upon a time",
    "There was once a king who",
    "In a little house by the wood",
    "The old woman said",
    "Long ago, in a far country,",
    "A poor fisherman",
    "The princess looked",
    "One winter morning",
    "The fox",
    "There lived a miller who had three sons",
)
SAMPLING = GenerationOptions(temperature=0.7, top_p=0.9, max_new_tokens=120, num_return_sequences=5)


def main(run: Path, sources: list[str]) -> None:
    """Write the model folder of the package."""
    model = AutoModelForCausalLM.from_pretrained(run, dtype=torch.bfloat16)
    model.generation_config.repetition_penalty = 1.15  # greedy decoding of so small a model goes round in circles
    models.save(model, AutoTokenizer.from_pretrained(run), BUILTIN)
    data, splits, report = DataOptions(), SplitOptions(), Report()
    corpus = read_corpus(open_components(sources, data, splits, report)[0], data, splits, 42, report)
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    samples = [
        [opening + answer for answer in answers]
        for opening, answers in zip(OPENINGS, generate(OPENINGS, str(BUILTIN), SAMPLING), strict=True)
    ]
    everything = [sample for row in samples for sample in row]
    figures = held_out(corpus) | {
        "words not in the corpus, share in 50 samples": unknown_words(everything, corpus),
        "repeated 4-grams, share in 50 samples": repeated(everything),
    }
    card = write_card(record, figures, [row[0] for row in samples], model.num_parameters(), sources)
    (BUILTIN / "README.md").write_text(card, encoding="utf-8")
    for name, value in figures.items():
        print(f"{name}\t{value:.4f}")


def held_out(corpus: Corpus) -> dict[str, float]:
    """Return loss, perplexity and bits per byte of the bf16 model on the held-out documents, each document once."""
    task, options, report = TASKS["causal-lm"], ModelOptions(model=str(BUILTIN)), Report()
    rows = corpus.rows.validation
    once = [index for index, text in enumerate(rows["text"]) if text not in rows["text"][:index]]
    resolved = models.resolve_model(options, report)
    settings = TaskSettings(columns={"text": "text"}, max_length=256)
    tokenizer = models.load_tokenizer(resolved, options)
    inputs = task.prepare(rows.select(once), tokenizer, settings, training=False)
    model = models.load_model(resolved, task.auto_class, tokenizer, options)
    seen = task.observe(predict(task, model, tokenizer, inputs, settings, task.eval_batch), inputs, settings)
    return {f"held-out {name.replace('_', ' ')}": metrics.value(name, seen) for name in task.usual_metrics(None)}


def words(text: str) -> list[str]:
    """Return the words of a text in lower case."""
    return re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower().replace("\u2019", "'"))


def unknown_words(samples: list[str], corpus: Corpus) -> float:
    """Return the share of the words of the samples that the corpus never has; a sample's last word may be cut."""
    known = {word for text in (*corpus.rows.train["text"], *corpus.rows.validation["text"]) for word in words(text)}
    written = [word for sample in samples for word in words(sample)[:-1]]
    return sum(word not in known for word in written) / len(written)


def repeated(samples: list[str]) -> float:
    """Return the share of 4-grams of words that stood in the same sample before."""
    total = again = 0
    for sample in samples:
        tokens = words(sample)
        grams = Counter(zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False))
        total += sum(grams.values())
        again += sum(count - 1 for count in grams.values())
    return again / total


def write_card(record: dict, figures: dict[str, float], samples: list[str], parameters: int, sources: list[str]) -> str:
    """Return the text of the model card."""
    recipe, data = record["recipe"], record["data"]
    epochs = recipe["epochs"]
    flags = ["--size", record["options"]["size"], "--epochs", f"{epochs:g}"]
    command = shlex.join(["llmkit", "pretrain", *sources, *flags])
    tokens = record["training"]["steps"] * recipe["batch_size"] * record["max_length"]
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "language: en",
        "license: apache-2.0",
        "tags: [llmkit]",
        "---",
        "",
        "# The built-in model of llmkit",
        "",
        f"A demonstration: {parameters:,} parameters, trained from scratch by llmkit on public-domain English stories "
        "and plays. It opens a story; it knows nothing, and it was not made for anything else.",
        "",
        f"Command: `{command}`",
        "",
        f"Corpus: {', '.join(dict.fromkeys(sources))}; SHA-256 of the training rows {data['train_sha256']}, of the "
        f"held-out rows {data['validation_sha256']}. Tokens in the corpus: {data['train_tokens']:,}; seen in training: "
        f"{tokens:,} ({epochs:g} epochs, {record['training']['steps']:,} steps, "
        f"{record['training']['seconds'] / 60:.0f} minutes on two CPU cores).",
        "",
        "Figures of these bf16 weights (held-out documents are whole stories that training never saw):",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name} | {value:.4f} |" for name, value in figures.items()),
        "",
        f"Ten unedited samples (the first of five for each opening; temperature {SAMPLING.temperature}, top-p "
        f"{SAMPLING.top_p}, seed {SAMPLING.seed}):",
        "",
        *(part for sample in samples for part in ("```text", sample.strip(), "```", "")),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
