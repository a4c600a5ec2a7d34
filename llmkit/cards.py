"""The model card: README.md of a run folder, written from run.json and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmkit.tasks import named


def write_card(folder: Path, record: dict[str, Any]) -> None:
    """Write README.md into the run folder."""
    result, data = record["result"], record["data"]
    pipeline = named(record["task"]).pipeline_tag or record["task"]
    library = "peft" if record["model"].get("adapter") else "transformers"
    kind = "adapter" if library == "peft" else "model"
    front = ["---", f"library_name: {library}", f"pipeline_tag: {pipeline}", "tags:", "- llmkit", "---"]
    metrics = [f"| {name} | {_figure(value['value'])} |" for name, value in result["metrics"].items()]
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    body = [
        *front, "", f"# {folder.name}", "",
        f"A {record['task']} {kind} made by `llmkit {record['command']}` from {record['model']['name']} "
        f"on {data['reference']}.", "",
        f"Measured on {data['validation']} ({result['n']} {next(iter(result['counts']))}), on the saved weights:", "",
        "| metric | value |", "|---|---|", *metrics, "",
        f"Training rows: {_trained_on(data)}; "
        f"validation rows: {data['validation_rows']} (SHA-256 {data['validation_sha256'][:16]}...).", "",
        f"Recipe: {_recipe(record['recipe'])}.", "", f"Versions: {versions}.", "",
    ]  # fmt: skip
    (folder / "README.md").write_text("\n".join(body), encoding="utf-8")


def _recipe(recipe: dict[str, Any]) -> str:
    length = f"{recipe['max_steps']} steps" if recipe["max_steps"] else f"{recipe['epochs']:g} epochs"
    return (
        f"{length}, batch size {recipe['batch_size']}, learning rate {recipe['learning_rate']:g}, "
        f"{recipe['schedule']} schedule, seed {recipe['seed']}"
    )


def _figure(value: float | None) -> str:
    return "not a number" if value is None else f"{value:.4f}"


def _trained_on(data: dict[str, Any]) -> str:
    if data.get("streaming"):
        return "streamed"
    return f"{data['train_rows']} (SHA-256 {data['train_sha256'][:16]}...)"
