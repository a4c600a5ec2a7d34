"""Training and answering files in two processes: what they come to is what one process comes to."""

from __future__ import annotations

import json
from pathlib import Path

import joined_process
import pytest
import tiny
from conftest import write_jsonl

TRAININGS = {
    "text-classification": "finetune {reviews} -m {classifier} --batch-size 8",
    "short batches": "finetune {reviews} -m {classifier} --batch-size 3 --accumulate 3",
    "class weights": "finetune {reviews} -m {classifier} --batch-size 7 --class-weight balanced --label-smoothing 0.1",
    "mix": "finetune {reviews}@2 {more} -m {classifier} --batch-size 8",
    "streaming": "finetune {reviews} -m {classifier} --batch-size 8 --streaming --max-steps 9",
    "token-classification": "finetune {entities} -m {tagger} --batch-size 7",
    "multiple-choice": "finetune {choices} -m {chooser} --batch-size 5",
    "sentence-similarity": "finetune {likenesses} -m {encoder} --batch-size 5",
    "causal-lm": "finetune {corpus} -m {llama} --batch-size 4",
    "masked-lm": "finetune {corpus} -m {masked} --batch-size 4",
    "translation": "finetune {translations} -m {translator} --batch-size 6",
    "summarization": "finetune {summaries} -m {summarizer} --batch-size 6",
    "conversational": "finetune {conversations} -m {assistant} --batch-size 5",
    "packing": "finetune {conversations} -m {assistant} --batch-size 3 --packing",
    "lora": "finetune {conversations} -m {assistant} --batch-size 6 --lora",
    "dpo": "finetune {preferences} -m {assistant} --batch-size 5",
    "distillation": "finetune {reviews} --teacher {good} --student-layers 1 --batch-size 7",
    "seeds": "finetune {reviews} -m {classifier} --batch-size 7 --seeds 2",
    "pretrain a llama": "pretrain {corpus} --size tiny --batch-size 4 --max-length 64",
    "pretrain a bert": "pretrain {corpus} --arch bert --size tiny --batch-size 4 --max-length 64",
}
ACCUMULATED = "finetune {reviews} -m {classifier} --batch-size 4 --accumulate 2"  # in one process
LOGGED = ("--dtype", "float32", "--set", "logging_steps=1", "--track", "none")
LENGTHS = {"streaming": ()}
ROWS = 1001
FILES = {
    "classify.jsonl": "classify --input {rows} -m {good} --batch-size 4 --output {out}",
    "classify.csv": "classify --input {rows} -m {good} --batch-size 4 --output {out}",
    "embed.jsonl": "embed --input {rows} -m {encoder} --batch-size 8 --output {out}",
    "embed.npy": "embed --input {rows} -m {encoder} --batch-size 8 --output {out}",
    "generate.jsonl": "generate --input {prompts} -m {llama} --max-new-tokens 4 --temperature 1 --output {out}",
    "eval.jsonl": "eval {labelled} -m {good} --batch-size 8 --save-predictions {out} --no-cache",
}
# of a run's speed, and of the padding of the main process's rows
UNCOMPARED = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "total_flos")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("several")


@pytest.fixture(scope="module")
def given(folder, classifier, tagger, chooser, encoder, llama, masked, translator, summarizer, assistant, good):
    """Return what the names in the command lines stand for."""
    models = locals()
    rows = {
        "reviews": tiny.reviews(45),
        "more": tiny.reviews(30, seed=3),
        "entities": tiny.entities(45),
        "choices": tiny.choices(36),
        "likenesses": tiny.likenesses(36),
        "translations": tiny.translations(36),
        "summaries": tiny.summaries(36),
        "conversations": tiny.conversations(36),
        "preferences": tiny.preferences(36),
        "labelled": tiny.reviews(ROWS, seed=4),
        "rows": [{"id": number, "text": row["text"]} for number, row in enumerate(tiny.reviews(ROWS, seed=5))],
        "prompts": [{"prompt": row["text"]} for row in tiny.reviews(ROWS, seed=6)],
    }
    files = {name: write_jsonl(folder / f"{name}.jsonl", of_file) for name, of_file in rows.items()}
    files["corpus"] = folder / "corpus.txt"
    files["corpus"].write_text(tiny.corpus(300), encoding="utf-8")
    return {**models, **files}


@pytest.fixture(scope="module")
def done(folder, given):
    """Run each command line in one process and in two, and return the folders of what they wrote."""
    for size in (1, 2):
        root = folder / str(size)
        root.mkdir()
        lines = []
        for name, line in {**TRAININGS, **({"accumulated": ACCUMULATED} if size == 1 else {})}.items():
            length = () if "--max-steps" in line else ("--epochs", "2")
            lines.append([*line.format(**given).split(), *LOGGED, *length, "-o", root / name])
        lines += [line.format(**given, out=root / name).split() for name, line in FILES.items()]
        joined_process.run(lines, size, folder)
    return folder / "1", folder / "2"


def curve(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name not in UNCOMPARED} for line in lines]


def require_equal_figures(one: dict, other: dict, **tolerance: float) -> None:
    """Compare figures by name; one that is undefined (null) has to be undefined in both."""
    undefined = [{name for name, value in figures.items() if value is None} for figures in (one, other)]
    assert undefined[0] == undefined[1]
    first, second = ({name: value for name, value in of.items() if value is not None} for of in (one, other))
    assert second == pytest.approx(first, **tolerance)


def require_alike(one: Path, other: Path) -> None:
    first, second = curve(one), curve(other)
    assert len(first) == len(second) > 4
    for before, after in zip(first, second, strict=True):
        require_equal_figures(before, after, rel=2e-4, abs=2e-5)
    results = [json.loads((run / "run.json").read_text(encoding="utf-8"))["result"] for run in (one, other)]
    figures = [{name: metric["value"] for name, metric in result["metrics"].items()} for result in results]
    require_equal_figures(*figures, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", TRAININGS)
def test_each_step_and_each_figure_is_that_of_one_process(done, name):
    one, two = done
    require_alike(one / name, two / name)


def test_two_batches_of_a_step_are_two_processes_of_a_batch(done):
    one, two = done
    losses = [
        [line["loss"] for line in curve(run) if "loss" in line]
        for run in (one / "accumulated", two / "text-classification")
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-5)


@pytest.mark.parametrize("name", FILES)
def test_files_are_those_of_one_process_byte_for_byte(done, name):
    one, two = done
    assert (two / name).read_bytes() == (one / name).read_bytes()
    if name.endswith(".jsonl"):
        assert (one / name).read_bytes().count(b"\n") == ROWS


def test_two_processes_write_what_one_does_and_nothing_else(done):
    for name in ("text-classification", "dpo", "pretrain a bert"):
        files = [{path.relative_to(run / name) for path in (run / name).rglob("*")} for run in done]
        assert {path for path in files[1] if not path.name.startswith("rng_state")} == {
            path for path in files[0] if not path.name.startswith("rng_state")
        }
