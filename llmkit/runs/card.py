"""The model card: README.md of a run folder, written from run.json and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from llmkit.tasks import get_task

ORDER = ["library_name", "pipeline_tag", "base_model", "datasets", "tags", "model-index"]
GROUPS = (
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


def write_card(folder: Path, record: dict[str, Any]) -> None:
    """Write README.md into the run folder."""
    (folder / "README.md").write_text(card(record, folder.name), encoding="utf-8")


def card(record: dict[str, Any], name: str) -> str:
    """Return the card of a run: metadata that the Hub reads, figures with their intervals, how it was made.

    Source of the metadata: https://huggingface.co/docs/hub/model-cards
    """
    data, recipe = record["data"], record.get("recipe")
    parts = [f"---\n{_metadata(record, name)}\n---", f"# {name}", _made(record), *_measured(record)]
    parts.append(
        f"Training rows: {_trained_on(data)}; "
        f"validation rows: {data['validation_rows']} (SHA-256 {data['validation_sha256'][:16]}...)."
    )
    if recipe:
        parts.append(f"Recipe: {_recipe(recipe)}.")
    parts += _series(record)
    parts.append(f"Versions: {', '.join(f'{name} {version}' for name, version in record['versions'].items())}.")
    return _sealed("\n\n".join(parts) + "\n")


def is_untouched(text: str) -> bool:
    """Tell whether a card stands as llmkit wrote it."""
    found = SEAL.search(text)
    return found is not None and _sealed(text[: found.start()]) == text


def _sealed(text: str) -> str:
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text}\n<!-- written by llmkit, which leaves it alone once it is edited: {digest} -->\n"


def _library(record: dict[str, Any]) -> str:
    return "peft" if (record.get("model") or {}).get("adapter") else "transformers"


def _metadata(record: dict[str, Any], name: str) -> str:
    from huggingface_hub import ModelCardData

    model, data = record.get("model") or {}, record["data"]
    known: dict[str, Any] = {"base_model": model["name"]} if model.get("commit") else {}
    datasets = [hub_name(one["reference"])[0] for one in data.get("mix") or [data] if one.get("commit")]
    known |= {"datasets": datasets} if datasets else {}
    results = list(_results(record))
    known |= {"model_name": name, "eval_results": results} if results else {}
    values = ModelCardData(
        library_name=_library(record),
        pipeline_tag=get_task(record["task"]).pipeline_tag or record["task"],
        tags=["llmkit"],
        **known,
    )
    return values.to_yaml(original_order=ORDER).strip()


def _file_names(data: dict[str, Any]) -> str:
    return listing(Path(one["reference"]).name for one in data.get("mix") or [data])


def _results(record: dict[str, Any]) -> Iterator[Any]:
    """Yield the figures as the Hub's model-index holds them."""
    from huggingface_hub import EvalResult

    result, data = record.get("result") or {}, record["data"]
    reference = data["reference"]
    source, config = hub_name(reference) if data.get("commit") else (_file_names(data), None)
    for name, figure in result.get("metrics", {}).items():
        if figure["value"] is not None:
            yield EvalResult(
                task_type=get_task(record["task"]).pipeline_tag or record["task"],
                dataset_type=source,
                dataset_name=reference if data.get("commit") else source,
                dataset_config=config,
                dataset_split=data["validation"],
                dataset_revision=data.get("commit"),
                metric_type=name,
                metric_name=_name(name, figure),
                metric_value=figure["value"],
            )


def _made(record: dict[str, Any]) -> str:
    kind = "adapter" if _library(record) == "peft" else "model"
    data, merged, teacher = record["data"], record.get("merged"), record.get("teacher")
    origin = f"{merged['base']} and the adapter {merged['adapter']}, trained" if merged else record["model"]["name"]
    made = f"A {record['task']} {kind} made by `llmkit {record['command']}` from {origin} on {data['reference']}."
    if teacher:
        made += f" It learned from the answers of {teacher['name']}"
        made += f", of which it has the layers {teacher['layers']}." if teacher.get("layers") else "."
    return f"{made}\n\n```sh\n{command_line(record)}\n```"


def _measured(record: dict[str, Any]) -> Iterator[str]:
    result = record.get("result")
    if result:
        unit, confidence = next(iter(result["counts"])), f"{result['confidence']:.0%}"
        yield f"Measured on {record['data']['validation']} ({result['n']} {unit}), on the saved weights:"
        rows = [f"| metric | value | {confidence} interval | n |", "|---|---|---|---|"]
        for name, figure in result["metrics"].items():
            bounds = [figure.get("low"), figure.get("high")]
            between = "" if None in bounds else " to ".join(map(_figure, bounds))
            rows.append(f"| {_name(name, figure)} | {_figure(figure['value'])} | {between} | {figure.get('n', '')} |")
        yield "\n".join(rows)


def command_line(record: dict[str, Any]) -> str:
    """Return the command that made a run, from the options in its run.json: those that are not the defaults."""
    if record.get("merged"):
        return shlex.join(["llmkit", "merge", record["merged"]["adapter"]])
    usual = {field.name: field.default for group in GROUPS for field in dataclasses.fields(group)}
    options = dict(record["options"])
    subject = options.pop("dataset", None) or options.pop("corpus", None) or []
    words = ["llmkit", record["command"], *([subject] if isinstance(subject, str) else map(str, subject))]
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is None or value is False or value == usual.get(name):
            continue
        for each in value if isinstance(value, list) else [value]:
            words += [flag] if each is True else [flag, str(each)]
    return shlex.join(words)


def _name(name: str, figure: dict[str, Any]) -> str:
    return f"{name} ({figure['of']})" if figure.get("of") else name


def _series(record: dict[str, Any]) -> list[str]:
    """Return what a reader must know of a model that was chosen among several."""
    seeds, search = record.get("seeds"), record.get("search")
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


def _recipe(recipe: dict[str, Any]) -> str:
    length = f"{recipe['max_steps']} steps" if recipe["max_steps"] else f"{recipe['epochs']:g} epochs"
    return (
        f"{length}, batch size {recipe['batch_size'] * recipe['accumulation']}, "
        f"learning rate {recipe['learning_rate']:g}, "
        f"{recipe['schedule']} schedule, seed {recipe['seed']}"
    )


def _figure(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.4f}"


def _trained_on(data: dict[str, Any]) -> str:
    if data.get("streaming"):
        return "streamed"
    return f"{data['train_rows']} (SHA-256 {data['train_sha256'][:16]}...)"
