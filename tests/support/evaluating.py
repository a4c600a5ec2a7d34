"""What the tests of eval share: its files read back and checked, data with known mistakes, a trained classifier."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import tiny
import torch
from conftest import write_csv
from jsonschema import Draft202012Validator
from junitparser import Error, Failure, JUnitXml
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from llmkit.evaluation import Evaluation
from llmkit.options import RunOptions, TalkOptions, TrainingOptions
from llmkit.output.report import Report
from llmkit.training.finetuning import finetune

VALIDATOR = Draft202012Validator(
    json.loads(
        (resources.files("llmkit") / "output" / "schemas" / "evaluation.schema.json").read_text(encoding="utf-8")
    )
)
WRONG = (3, 10, 17, 25)  # the rows of `mislabelled` whose label is the other one
ROWS = 40
TIMES = ("seconds", "cached")  # what may differ between two runs of the same


def valid(document: Any) -> Any:
    """Return the document after checking it against the shipped schema."""
    VALIDATOR.validate(document)
    return document


def lasting(result: dict[str, Any], *but: str) -> dict[str, Any]:
    """Return a result without what the clock and the cache say, and without the named fields."""
    return {key: value for key, value in result.items() if key not in {*TIMES, *but}}


def values(result: dict[str, Any]) -> dict[str, float]:
    return {name: figure["value"] for name, figure in result["metrics"].items()}


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@dataclass(frozen=True)
class Files:
    """The three files of an evaluation."""

    folder: Path

    @property
    def json(self) -> Path:
        return self.folder / "result.json"

    @property
    def junit(self) -> Path:
        return self.folder / "report.xml"

    @property
    def predictions(self) -> Path:
        return self.folder / "preds.jsonl"

    @property
    def flags(self) -> tuple[object, ...]:
        return ("--output", self.json, "--junit", self.junit, "--save-predictions", self.predictions)

    @property
    def result(self) -> dict[str, Any]:
        return valid(json.loads(self.json.read_text(encoding="utf-8")))

    @property
    def rows(self) -> list[dict[str, Any]]:
        return read_jsonl(self.predictions)

    @property
    def cases(self) -> dict[str, Any]:
        return {case.name: case for suite in JUnitXml.fromfile(str(self.junit)) for case in suite}

    @property
    def failures(self) -> dict[str, str]:
        """The sentence of each test case that failed, by its name."""
        return self._outcomes(Failure)

    @property
    def errors(self) -> dict[str, str]:
        """The sentence of each test case with an error, by its name."""
        return self._outcomes(Error)

    def _outcomes(self, kind: type) -> dict[str, str]:
        found = {name: [one for one in case.result if isinstance(one, kind)] for name, case in self.cases.items()}
        return {name: outcomes[0].message for name, outcomes in found.items() if outcomes}


def other(label: str) -> str:
    return {"positive": "negative", "negative": "positive"}[label]


def mislabelled(rows: int = ROWS, wrong: tuple[int, ...] = WRONG) -> list[dict[str, str]]:
    """Return reviews with a genre, of which the rows in `wrong` have the other label."""
    made = tiny.reviews(rows, seed=3)
    texts = [f"{row['text']} {place}" for place, row in enumerate(made)]  # no two alike
    return [
        {
            "text": text,
            "label": other(row["label"]) if place in wrong else row["label"],
            "genre": "news" if place < rows // 4 else "blog",
        }
        for place, (text, row) in enumerate(zip(texts, made))
    ]


def trained(data: Path, base: Path, to: Path, **training: Any) -> Evaluation:
    """Finetune a tiny model into the folder `to` without a word, and return its figures."""
    options = TrainingOptions(**{"batch_size": 16, "learning_rate": 3e-3, **training})
    report = Report(TalkOptions(quiet=True))
    found = finetune(str(data), str(base), training_options=options, run=RunOptions(output=to), report=report)
    assert found is not None
    return found.evaluation


def separable(folder: Path) -> Path:
    """Return a finetuned classifier that tells good words from bad ones, made once for each folder."""
    model = folder / "separable"
    if not (model / "run.json").exists():
        data = write_csv(folder / "data" / "train.csv", tiny.reviews(64)).parent
        write_csv(data / "validation.csv", tiny.reviews(24, seed=1))
        assert trained(data, tiny.bert_folder(folder / "base"), model, max_steps=30).metrics["accuracy"] == 1.0
    return model


def undecided(model: Path, to: Path, texts: list[str]) -> Path:
    """Copy a classifier with biases that let it answer each of its classes for some of the texts."""
    tokenizer, network = AutoTokenizer.from_pretrained(model), AutoModelForSequenceClassification.from_pretrained(model)
    with torch.inference_mode():
        logits = network(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    shutil.copytree(model, to)
    weights = load_file(to / "model.safetensors")
    weights["classifier.bias"] -= logits.median(0).values
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to
