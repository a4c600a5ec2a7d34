"""What the ways answered, compared: speed counts for nothing where the answers are worse."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from pairs.ways import Output

Judge = Callable[[Mapping[str, Output], object], str]


def plain_text(output: Output) -> str:
    """Return what was written, without a terminal's control sequences and line ends."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.text).replace("\r", "").strip()


def same_text(outputs: Mapping[str, Output], inputs: object = None) -> str:
    """Tell whether all ways wrote the same text, or how far they agree."""
    ours, *others = (plain_text(output) for output in outputs.values())
    different = [other for other in others if other != ours]
    if not different:
        return "same text"
    agreed = min(next((at for at, (a, b) in enumerate(zip(ours, other)) if a != b), len(ours)) for other in different)
    return f"texts agree in the first {agreed} of {len(ours)} characters"


def same_answers(outputs: Mapping[str, Output], inputs: object = None) -> str:
    """Tell how many answers of a file are equal, of each two ways: in bfloat16 a batch can change them."""
    found = {name: answers(output) for name, output in outputs.items()}
    told = [
        f"{sum(map(str.__eq__, found[one], found[other]))} of {len(found[one])} ({one}, {other})"
        for one, other in itertools.combinations(found, 2)
    ]
    return f"equal answers: {'; '.join(told)}"


def answers(output: Output) -> list[str]:
    assert output.file is not None
    rows = [json.loads(line) for line in output.file.read_text(encoding="utf-8").splitlines()]
    return [str(row.get("completion", row.get("answer", row.get("text")))).strip() for row in rows]


def same_labels(outputs: Mapping[str, Output], truth: list[str]) -> str:
    """Tell how many labels are equal to those of each other way, and how many of each way are right."""
    (_, ours), *others = [(name, labels(output)) for name, output in outputs.items()]
    told = [f"{sum(map(str.__eq__, ours, theirs))} of {len(ours)} labels as {name}" for name, theirs in others]
    each = (ours, *(theirs for _, theirs in others))
    right = [f"{sum(map(str.__eq__, one, truth)) / len(truth):.3f}" for one in each]
    return f"{', '.join(told)}; accuracy {', '.join(right)}"


def labels(output: Output) -> list[str]:
    assert output.file is not None
    with output.file.open(newline="", encoding="utf-8") as read:
        rows = list(csv.DictReader(read))
    column = next(name for name in ("label", "prediction", "predicted") if name in rows[0])
    return [row[column] for row in rows]


def same_vectors(outputs: Mapping[str, Output], inputs: object = None) -> str:
    """Tell the lowest cosine of a row's vectors, of llmkit and of each other way."""
    import numpy as np

    (_, ours), *others = [(name, np.load(str(output.file)).astype("float64")) for name, output in outputs.items()]
    told = []
    for name, theirs in others:
        cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
        told.append(f"{cosines.min():.5f} ({name})")
    return f"lowest cosine {', '.join(told)}"


def record(output: Output) -> dict[str, Any]:
    """Return run.json of a training of llmkit, or what the script of the plain way printed last."""
    if output.file is not None and (output.file / "run.json").is_file():
        found: dict[str, Any] = json.loads((output.file / "run.json").read_text(encoding="utf-8"))
        return found
    printed: dict[str, Any] = json.loads(output.text.strip().splitlines()[-1])
    return printed


def trained_rows(output: Output) -> float:
    """Return the rows that a training of llmkit took a second, in its steps alone."""
    found = record(output)
    phases = found["training"]["throughput"]["phase_seconds"]
    seconds = sum(value for name, value in phases.items() if name not in ("measurement", "save"))
    return float(found["training"]["steps"] * found["recipe"]["batch_size"] / seconds)


def trained_tokens(output: Output) -> float:
    """Return the tokens that a training of llmkit took a second, in its steps alone."""
    return float(record(output)["training"]["throughput"]["tokens_per_second"])


def printed(name: str) -> Callable[[Output], float]:
    """Return how a rate is read that the plain way printed."""
    return lambda output: float(record(output)[name])


def metric(output: Output, name: str) -> float:
    """Return a figure of the validation rows: from run.json, or from what the plain way printed."""
    found = record(output)
    if "result" not in found:
        return float(found[name])
    return float(found["result"]["metrics"][name]["value"])


def figures_of(name: str, digits: int) -> Judge:
    """Return a judge that names a figure of each way, in their order."""

    def judge(outputs: Mapping[str, Output], inputs: object = None) -> str:
        return f"{name} " + ", ".join(f"{metric(output, name):.{digits}f}" for output in outputs.values())

    return judge
