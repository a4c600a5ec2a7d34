"""Speed, side by side with what a user would run instead, in one run, as a ratio. `make bench-parts` prints it."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import tiny
from conftest import llmkit_command

pytestmark = pytest.mark.benchmark


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def side_by_side(what: str, ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> float:
    """Run both in turn and print the median of the ratios theirs / ours."""
    ours(), theirs()  # caches warm for both
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds)]
    ratio = statistics.median(b / a for a, b in pairs)
    mine, other = (statistics.median(column) for column in zip(*pairs))
    print(f"\n{what}: llmkit {mine:.3f} s, the other {other:.3f} s, ratio {ratio:.2f}")
    return ratio


def test_help_against_importing_typer():
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}}
    side_by_side(
        "llmkit --help against python -c 'import typer'",
        lambda: subprocess.run(llmkit_command("--help"), **quiet),
        lambda: subprocess.run([sys.executable, "-c", "import typer"], **quiet),
        rounds=10,
    )


@pytest.fixture(scope="module")
def rows():
    """Texts of mixed lengths, as reviews are: 5 to 60 words."""
    dice = random.Random(0)
    words = [word for sentence in tiny.SENTENCES for word in sentence.split()]
    return [" ".join(dice.choices(words, k=dice.randint(5, 60))) for _ in range(512)]


def test_measuring_against_a_trainer_that_pads_to_the_longest_allowed(rows, tmp_path_factory):
    import numpy as np
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

    from llmkit.inference.prediction import predict
    from llmkit.tasks import TASKS, TaskSettings

    folder = tiny.bert_folder(tmp_path_factory.mktemp("bench"), hidden=256)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    task, settings = TASKS["text-classification"], TaskSettings(columns={"text": "text"}, max_length=tiny.CONTEXT)
    data = Dataset.from_dict({"text": rows})
    length = {"truncation": True, "max_length": tiny.CONTEXT, "padding": "max_length"}
    trainer = Trainer(model, TrainingArguments(folder, per_device_eval_batch_size=32, report_to="none", use_cpu=True))
    found: dict[str, object] = {}

    def ours() -> None:
        found["ours"] = np.stack(
            predict(task, model, tokenizer, task.encoding.encode(data, tokenizer, settings, False), settings, 32)
        )

    def theirs() -> None:
        padded = data.map(lambda batch: tokenizer(batch["text"], **length), batched=True, load_from_cache_file=False)
        found["theirs"] = trainer.predict(padded).predictions

    side_by_side("measuring 512 texts against Trainer.predict with max_length padding", ours, theirs, rounds=3)
    np.testing.assert_allclose(found["ours"], found["theirs"], atol=1e-5)
