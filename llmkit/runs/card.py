"""The model card: README.md of a run folder, written from run.json and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.data import hub_name
from llmkit.errors import listing
from llmkit.options import (
    AdapterOptions,
    ArchitectureOptions,
    DataOptions,
    DistillingOptions,
    ModelOptions,
    SeriesOptions,
    SplitOptions,
    TrainingOptions,
    TunedRecipeOptions,
)
from llmkit.runs.record import ComponentOfMix, DataRecord, MergedRecord, RecipeRecord, RunRecord
from llmkit.tasks import get_task

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

METADATA_ORDER = ["library_name", "pipeline_tag", "base_model", "datasets", "tags", "model-index"]
OPTION_GROUPS = (
    ModelOptions,
    DataOptions,
    SplitOptions,
    TrainingOptions,
    TunedRecipeOptions,
    AdapterOptions,
    DistillingOptions,
    SeriesOptions,
    ArchitectureOptions,
)
SEAL = re.compile(r"\n<!-- written by llmkit, which leaves it alone once it is edited: (\w{16}) -->\n?\Z")


def write_card(folder: Path, run_record: RunRecord) -> None:
    """Write README.md into the run folder."""
    (folder / "README.md").write_text(card(run_record, folder.name), encoding="utf-8")


def card(run_record: RunRecord, name: str) -> str:
    """Return the card of a run: metadata that the Hub reads, figures with their intervals, how it was made.

    Source of the metadata: https://huggingface.co/docs/hub/model-cards
    """
    data, recipe = run_record.get("data"), run_record.get("recipe")
    parts = [f"---\n{_metadata(run_record, name)}\n---", f"# {name}", _made(run_record), *_measured(run_record)]
    if data:
        parts.append(
            f"Training rows: {_trained_on(data)}; "
            f"validation rows: {data['validation_rows']} (SHA-256 {data['validation_sha256'][:16]}...)."
        )
    if recipe:
        parts.append(f"Recipe: {_recipe(recipe)}.")
    parts += _series(run_record)
    parts.append(f"Versions: {', '.join(f'{name} {version}' for name, version in run_record['versions'].items())}.")
    return _sealed("\n\n".join(parts) + "\n")


def is_untouched(text: str) -> bool:
    """Tell whether a card stands as llmkit wrote it."""
    seal = SEAL.search(text)
    return seal is not None and _sealed(text[: seal.start()]) == text


def _sealed(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text}\n<!-- written by llmkit, which leaves it alone once it is edited: {digest} -->\n"


def _library(run_record: RunRecord) -> str:
    model = run_record.get("model")
    return "peft" if model and model["adapter"] else "transformers"


def _pipeline_tag(run_record: RunRecord) -> str | None:
    task = run_record.get("task")  # a merged adapter of another program has none
    return get_task(task).pipeline_tag or task if task else None


def _base_model(run_record: RunRecord) -> str | None:
    """Return the Hub's name of the model that was trained, or that an adapter was folded into."""
    model, merged = run_record.get("model"), run_record.get("merged")
    if merged:
        base = merged["base"]
        return base if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", base) and not Path(base).exists() else None
    return model["name"] if model and model.get("commit") else None


def _metadata(run_record: RunRecord, name: str) -> str:
    from huggingface_hub import ModelCardData

    results = list(_results(run_record))
    datasets = [hub_name(dataset["reference"])[0] for dataset in _datasets(run_record) if dataset.get("commit")]
    metadata = ModelCardData(
        library_name=_library(run_record),
        pipeline_tag=_pipeline_tag(run_record),
        tags=["llmkit"],
        base_model=_base_model(run_record),
        datasets=datasets or None,
        model_name=name if results else None,
        eval_results=results or None,
    )
    return metadata.to_yaml(original_order=METADATA_ORDER).strip()


def _datasets(run_record: RunRecord) -> Sequence[DataRecord | ComponentOfMix]:
    data = run_record.get("data")
    return (data.get("mix") or [data]) if data else []


def _results(run_record: RunRecord) -> Iterator[EvalResult]:
    """Yield the figures as the Hub's model-index holds them."""
    from huggingface_hub import EvalResult

    data = run_record.get("data")
    if not data:
        return
    if data.get("commit"):
        (source, config), name = hub_name(data["reference"]), data["reference"]
    else:
        source, config = listing(Path(dataset["reference"]).name for dataset in _datasets(run_record)), None
        name = source
    for metric, figure in run_record.get("result", {}).get("metrics", {}).items():
        if figure["value"] is not None:
            yield EvalResult(
                task_type=str(_pipeline_tag(run_record)),
                dataset_type=source,
                dataset_name=name,
                dataset_config=config,
                dataset_split=data["validation"],
                dataset_revision=data.get("commit"),
                metric_type=metric,
                metric_name=_metric_name(metric, figure),
                metric_value=figure["value"],
            )


def _made(run_record: RunRecord) -> str:
    command = f"```sh\n{command_line(run_record)}\n```"
    if merged := run_record.get("merged"):
        return f"{_merged(run_record, merged)}\n\n{command}"
    kind = "adapter" if _library(run_record) == "peft" else "model"
    data, teacher = run_record["data"], run_record.get("teacher")
    made = (
        f"A {run_record['task']} {kind} made by `llmkit {run_record['command']}` from {run_record['model']['name']} on "
        f"{data['reference']}."
    )
    if teacher:
        made += f" It learned from the answers of {teacher['name']}"
        made += f", of which it has the layers {teacher['layers']}." if teacher.get("layers") else "."
    return f"{made}\n\n{command}"


def _merged(run_record: RunRecord, merged: MergedRecord) -> str:
    """Return what was folded into what, on what the adapter was trained, and how the two were compared."""
    data, task = run_record.get("data"), run_record.get("task")
    trained = f", trained on {data['reference']}" if data else ""
    difference = merged["largest_difference"]
    numbers = "" if difference is None else f"; the largest difference between two numbers of them is {difference:.2g}"
    return (
        f"A {f'{task} ' if task else ''}model made by `llmkit merge` from {merged['base']} and the adapter "
        f"{merged['adapter']}{trained}.\n\nCompared with the adapter on its base, it gives {merged['equal']} of "
        f"{merged['prompts']} answers as before{numbers}."
    )


def _measured(run_record: RunRecord) -> Iterator[str]:
    result = run_record.get("result")
    if result:
        unit, confidence = next(iter(result["counts"])), f"{result['confidence']:.0%}"
        yield f"Measured on {run_record['data']['validation']} ({result['n']} {unit}), on the saved weights:"
        rows = [f"| metric | value | {confidence} interval | n |", "|---|---|---|---|"]
        for name, figure in result["metrics"].items():
            bounds = [figure.get("low"), figure.get("high")]
            between = "" if None in bounds else " to ".join(map(_figure, bounds))
            rows.append(
                f"| {_metric_name(name, figure)} | {_figure(figure['value'])} | {between} | {figure.get('n', '')} |"
            )
        yield "\n".join(rows)


def command_line(run_record: RunRecord) -> str:
    """Return the command that made a run, from the options in its run.json: those that are not the defaults."""
    if merged := run_record.get("merged"):
        return shlex.join(["llmkit", "merge", merged["adapter"]])
    defaults = {field.name: field.default for group in OPTION_GROUPS for field in dataclasses.fields(group)}
    options = dict(run_record["options"])
    subject = options.pop("dataset", None) or options.pop("corpus", None) or []
    words = ["llmkit", run_record["command"], *([subject] if isinstance(subject, str) else map(str, subject))]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is None or value is False or value == defaults.get(name):
            continue
        for item in value if isinstance(value, list) else [value]:
            words += [flag] if item is True else [flag, str(item)]
    return shlex.join(words)


def _metric_name(name: str, figure: Mapping[str, object]) -> str:
    return f"{name} ({figure['of']})" if figure.get("of") else name


def _series(run_record: RunRecord) -> list[str]:
    """Return what a reader must know of a model that was chosen among several."""
    seeds, search = run_record.get("seeds"), run_record.get("search")
    if seeds is not None:
        figure = seeds["metrics"][seeds["by"]]
        spread = f"{_figure(figure['mean'])}, standard deviation {_figure(figure['sd'])}"
        return [f"The median of {seeds['n']} seeds by {seeds['by']}, of which the mean is {spread}."]
    if search is not None:
        trials, default = len(search["trials"]), _figure(search["default_value"])
        return [
            f"The best of {trials} trials by {search['by']} on the validation rows, where its figures are optimistic; "
            f"the default recipe came to {default} there."
        ]
    return []


def _recipe(recipe: RecipeRecord) -> str:
    length = f"{recipe['max_steps']} steps" if recipe["max_steps"] else f"{recipe['epochs']:g} epochs"
    return (
        f"{length}, batch size {recipe['batch_size'] * recipe['accumulation']}, "
        f"learning rate {recipe['learning_rate']:g}, "
        f"{recipe['schedule']} schedule, seed {recipe['seed']}"
    )


def _figure(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.4f}"


def _trained_on(data: DataRecord) -> str:
    if data.get("streaming"):
        return "streamed"
    return f"{data['train_rows']} (SHA-256 {data['train_sha256'][:16]}...)"
