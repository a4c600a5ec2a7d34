"""Models and data of the benchmark: real ones where the environment names them, else tiny ones made on the spot.

$LLMKIT_SMOLLM2 is a folder of SmolLM2-135M-Instruct with its weights, $LLMKIT_REAL_HUB a folder laid out as the Hub is,
with all-MiniLM-L6-v2 and the data sets. For optional peers: $LLMKIT_BENCH_GGUF is the decoder for llama.cpp,
$LLMKIT_BENCH_CT2 for CTranslate2, $LLMKIT_BENCH_ONNX the classifier for ONNX Runtime.
"""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pairs.measuring import WayFailed, environment
from pairs.ways import ROOT

BUILTIN = ROOT / "llmkit" / "models" / "builtin" / "model"
QUESTIONS = (
    "Tell me about {}.",
    "Why do people like {}? Give three reasons, each in a sentence of its own.",
    "What is {}?",
)
THINGS = ("the sea", "old maps", "winter", "bread", "trains", "the moon", "bees", "a lighthouse", "chess", "rivers")
STORY = "Write a long story about a lighthouse, its keeper, and a ship that comes back after many years."


def hub(*parts: str) -> Path | None:
    """Return a folder of $LLMKIT_REAL_HUB, or None where it is not there."""
    root = os.environ.get("LLMKIT_REAL_HUB")
    folder = Path(root, *parts) if root else None
    return folder if folder is not None and folder.is_dir() else None


def parquet(folder: Path, split: str) -> list[dict[str, Any]]:
    import pyarrow.parquet

    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(next(folder.glob(f"{split}-*.parquet"))).to_pylist()
    return rows


def from_tests(name: str) -> Any:
    """Return a module of tests/support."""
    sys.path.append(str(ROOT / "tests" / "support"))
    return __import__(name)


@dataclass(frozen=True)
class Inputs:
    """Everything that rows read, made when the first row asks for it and kept in a folder for the next time."""

    folder: Path

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def output(self, name: str) -> Path:
        return self.folder / "outputs" / name

    def made(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return a file or folder that is made once."""
        path = self.folder / "inputs" / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name("part-" + path.name)
            make(beside)
            beside.rename(path)
        return path

    @cached_property
    def decoder(self) -> Path:
        real = os.environ.get("LLMKIT_SMOLLM2")
        return Path(real) if real else BUILTIN

    @cached_property
    def decoder_name(self) -> str:
        return "the built-in model" if self.decoder == BUILTIN else "SmolLM2-135M-Instruct"

    @cached_property
    def encoder(self) -> Path:
        real = hub("models", "sentence-transformers", "all-MiniLM-L6-v2")
        return real or self.made(
            "encoder", lambda path: from_tests("tiny").bert_folder(path, kind="encoder", hidden=256)
        )

    @cached_property
    def encoder_name(self) -> str:
        return self.encoder.name if hub("models", "sentence-transformers", "all-MiniLM-L6-v2") else "a tiny BERT"

    @cached_property
    def tokens(self) -> int:
        """How many new tokens a long answer of the decoder has."""
        return 128

    def count(self, text: str) -> int:
        """Return the tokens of a text, as the decoder counts them."""
        from tokenizers import Tokenizer

        return len(Tokenizer.from_file(str(self.decoder / "tokenizer.json")).encode(text, add_special_tokens=False).ids)

    @cached_property
    def news(self) -> list[dict[str, Any]]:
        """Texts and their labels: the news of ag_news, or reviews of a few words."""
        folder = hub("datasets", "fancyzhx", "ag_news", "data")
        if folder is not None:
            names = ("World", "Sports", "Business", "Sci/Tech")
            return [{"text": row["text"], "label": names[row["label"]]} for row in parquet(folder, "test")]
        tiny, dice = from_tests("tiny"), random.Random(0)
        rows = tiny.reviews(8000)
        return [{**row, "text": " and ".join([row["text"]] * dice.randint(1, 4))} for row in rows]

    def texts(self, rows: int) -> Path:
        """Return a CSV of so many texts; after the last one the first comes again."""
        news = self.news
        cells = [[news[row % len(news)]["text"]] for row in range(rows)]
        return self.made(f"texts-{rows}.csv", lambda path: write_csv(path, [["text"], *cells]))

    def labels(self, rows: int) -> list[str]:
        return [self.news[row % len(self.news)]["label"] for row in range(rows)]

    @cached_property
    def classifier(self) -> Path:
        """The encoder, finetuned for a minute on the news, so that its labels are not those of chance."""
        folder = hub("datasets", "fancyzhx", "ag_news", "data")
        rows = parquet(folder, "train") if folder is not None else self.news[:2000]
        train = self.made("news-train.jsonl", lambda path: write_jsonl(path, rows))
        return self.made(
            "classifier", lambda path: self.llmkit("finetune", train, "-m", self.encoder, "-o", path, *SHORT)
        )

    def llmkit(self, *arguments: object) -> str:
        """Run llmkit to prepare or to judge, not to be timed, and return what it printed."""
        command = [sys.executable, "-m", "llmkit", *(str(argument) for argument in arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(self.cache), cwd=ROOT)
        if done.returncode:
            raise WayFailed(f"{' '.join(command)}\n{done.stderr[-2000:]}")
        return done.stdout

    def perplexity(self, model: Path, text: Path, *flags: str) -> float:
        """Return the perplexity of a model on a text, by `llmkit eval`."""
        line = ("eval", text, "-m", model, "--max-length", 256, "--json", "--quiet", *flags)
        return float(json.loads(self.llmkit(*line))["metrics"]["perplexity"]["value"])

    def prompts(self, rows: int, mixed: bool = False) -> Path:
        """Return a file of short questions; `mixed`: with a text of up to 120 words before each."""
        dice = random.Random(0)
        words = " ".join(row["text"] for row in self.news[:500]).split()
        asked = []
        for row in range(rows):
            question = QUESTIONS[row % 3].format(THINGS[row % len(THINGS)])
            start = dice.randrange(len(words) - 200)
            before = " ".join(words[start : start + dice.randint(0, 120)]) if mixed else ""
            asked.append({"prompt": f"{before} {question}".strip()})
        return self.made(f"prompts-{rows}{'-mixed' if mixed else ''}.jsonl", lambda path: write_jsonl(path, asked))

    def pairs(self, split: str) -> Path:
        """Return MRPC's pairs of sentences as JSON lines, or pairs of a few words."""
        folder = hub("datasets", "nyu-mll", "glue", "mrpc")
        if folder is not None:
            rows = parquet(folder, split)
        else:
            sentences, dice = from_tests("tiny").SENTENCES, random.Random(split)
            made = [(dice.choice(sentences), dice.random() < 0.5) for _ in range(3668 if split == "train" else 408)]
            rows = [
                {"sentence1": one, "sentence2": one if same else dice.choice(sentences), "label": int(same)}
                for one, same in made
            ]
        kept = [{key: row[key] for key in ("sentence1", "sentence2")} | {"label": int(row["label"])} for row in rows]
        return self.made(f"pairs-{split}.jsonl", lambda path: write_jsonl(path, kept))

    def corpus(self, split: str, megabytes: float = 3.0) -> Path:
        """Return plain text to pretrain on: fairy tales, over and over if need be, or sentences made of a few words."""
        folder = hub("datasets", "local", "fairytales", "default")
        tales = [row["text"] for row in parquet(folder, split)] if folder is not None else []
        text = "\n\n".join(tales) if tales else from_tests("tiny").corpus(20_000, seed=len(split))
        size = int(megabytes * 1_000_000) if split == "train" else min(len(text), 200_000)
        return self.made(
            f"corpus-{split}-{size}.txt", lambda path: path.write_text((text * (size // len(text) + 1))[:size])
        )

    @cached_property
    def tokenizer(self) -> Path:
        from llmkit.models.tokenizer_training import train_bpe

        return self.made(
            "tokenizer", lambda path: train_bpe([self.corpus("train").read_text()], 8000, 256).save_pretrained(path)
        )

    @cached_property
    def llama_config(self) -> Path:
        """The config of a Llama of 5.2 million parameters over that tokenizer, as `--size mini` makes it."""
        from transformers import AutoTokenizer

        from llmkit.models.architectures import build_config, preset

        config = build_config("llama", preset("llama", "mini"), AutoTokenizer.from_pretrained(self.tokenizer), 256)
        return self.made("llama", config.save_pretrained)

    @cached_property
    def wikitext(self) -> Path:
        """Some pages of text to measure perplexity on."""
        folder = hub("datasets", "Salesforce", "wikitext", "wikitext-2-raw-v1")
        text = "".join(row["text"] for row in parquet(folder, "test")) if folder is not None else ""
        text = text or self.corpus("validation").read_text()
        return self.made("judge.txt", lambda path: path.write_text(text[:40_000]))

    @cached_property
    def lambada(self) -> Path:
        """LAMBADA as lm-eval defines it, over the local file."""
        folder = hub("datasets", "EleutherAI", "lambada_openai", "default")
        if folder is None:
            raise LookupError("no LAMBADA: $LLMKIT_REAL_HUB holds it")
        file = next(folder.glob("test-*.parquet"))
        return self.made("lambada.yaml", lambda path: path.write_text(LAMBADA.format(file=file)))


SHORT = ("--max-steps", "120", "--track", "none", "--task", "text-classification")
LAMBADA = """\
task: lambada
dataset_path: parquet
dataset_kwargs:
  data_files:
    test: {file}
output_type: loglikelihood
test_split: test
doc_to_text: "{{{{text.split(' ')[:-1]|join(' ')}}}}"
doc_to_target: "{{{{' '+text.split(' ')[-1]}}}}"
metric_list:
  - metric: perplexity
    aggregation: perplexity
    higher_is_better: false
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_csv(path: Path, rows: Iterable[list[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out).writerows(rows)
