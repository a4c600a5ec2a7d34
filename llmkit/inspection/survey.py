"""Look at a dataset before anything is trained on it: from what the user typed to one versioned result.

`llmkit/output/schemas/survey.schema.json` describes that result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset

from llmkit import models, tasks
from llmkit.data import Source, open_dataset
from llmkit.data.parts import Part
from llmkit.data.splits import VALIDATIONS
from llmkit.errors import EmptyError, listing
from llmkit.inspection import near_duplicates, token_lengths
from llmkit.inspection.batch_preview import Exhibit, exhibits
from llmkit.inspection.checks import Inspected, inspect
from llmkit.inspection.findings import Finding, finding
from llmkit.inspection.row_codes import Ints, spelled
from llmkit.inspection.token_lengths import Reader
from llmkit.inspection.tokenizer_checks import require_spelled
from llmkit.models import BUILTIN_NAME
from llmkit.options import DataOptions, ModelOptions, SurveyOptions
from llmkit.output.report import Report
from llmkit.tasks import Task, input_columns

HEAD = 1000  # rows among which those are sought that are shown


@dataclass(frozen=True)
class Survey:
    """What was found in a dataset."""

    source: Source
    task: Task
    why: str
    others: tuple[str, ...]  # tasks that its columns would do for too
    columns: dict[str, str]
    reader: Reader
    parts: tuple[Inspected, ...]
    lengths: dict[str, dict[str, Any] | None]
    findings: tuple[Finding, ...]
    exhibits: tuple[Exhibit, ...]
    near: float | None  # the threshold

    def as_dict(self) -> dict[str, Any]:
        """Return the result that --json prints."""
        near = None if self.near is None else {"method": near_duplicates.METHOD, "threshold": self.near}
        return {
            "schema": 1,
            "dataset": self.source.reference,
            "dataset_commit": self.source.commit,
            "task": {
                "name": self.task.name,
                "why": self.why,
                "others": list(self.others),
                "columns": self.columns,
                "pieces": self.task.encoding.overlong_rows,
            },
            "columns": list(_columns(self.source.any(), self.columns)),
            "tokenizer": self.reader.name,
            "max_length": self.reader.limit,
            "splits": {one.part.name: self._split(one) for one in self.parts},
            "near": near,
            "findings": [one.as_dict() for one in self.findings],
            "shown": [one.as_dict() for one in self.exhibits],
        }

    def _split(self, one: Inspected) -> dict[str, Any]:
        own = {found.kind: found.rows for found in self.findings if found.split == one.part.name and not found.other}
        return {
            "rows": len(one.codes),
            "labelled": one.labelled if _has_truths(self.columns) else None,
            "empty": own.get("empty", 0),
            "unusable": own.get("unusable", 0),
            "duplicates": own.get("duplicate", 0),
            "labels": {name: count for name, (count, _) in one.labels.items()} or None,
            "lengths": self.lengths[one.part.name],
        }


def survey(
    dataset: str,
    model: str | ModelOptions | None = None,
    data: DataOptions | None = None,
    wanted: SurveyOptions | None = None,
    report: Report | None = None,
    dry_run: bool = False,
) -> Survey | None:
    """Look at every split of a dataset as finetuning would; None after a dry run.

    Raises:
        DataError, OptionError, ModelError: something asked for is wrong.
        EmptyError: there are no rows.
    """
    options = model if isinstance(model, ModelOptions) else ModelOptions(model=model)
    data, wanted, report = data or DataOptions(), wanted or SurveyOptions(), report or Report()
    tasks.for_inspection(None, data.task, data)  # a wrong name is known before any download
    source = open_dataset(dataset, encoding=data.encoding, report=report)
    parts = _parts(source, data.limit)
    resolved = models.resolve_model(options, report, BUILTIN_NAME)
    able = tasks.for_inspection(None if options.model is None else resolved.config, data.task, data)
    task, columns = tasks.resolve_task(able, parts[0].rows, data.columns, "data", data, resolved.config)
    others = tuple(one.name for one in able if one is not task and _fits(one, parts[0].rows, data.columns))
    why = "--task names it" if data.task else f"the first whose columns are there: {task.columns.requirement()}"
    _say_task(task, why, others, columns, report)
    inputs = input_columns(columns)
    for part in parts:
        tasks.require_columns(inputs, part.rows, f"split {part.name}")
        own = {role: name for role, name in columns.items() if name in part.rows.column_names}
        tasks.require_valid_rows(task, part.rows, own, part.name)
    reader = token_lengths.open_reader(task, columns, parts[0].rows, resolved, options, data, options.model is not None)
    _say_tokens(reader, options.model is not None, report)
    if reader.settings is not None:
        for part in parts:
            require_spelled(task, part, reader.tokenizer, reader.settings)
    if dry_run:
        return None
    return _surveyed(source, task, why, others, columns, reader, parts, wanted, report)


def _surveyed(
    source: Source,
    task: Task,
    why: str,
    others: tuple[str, ...],
    columns: dict[str, str],
    reader: Reader,
    parts: Sequence[Part],
    wanted: SurveyOptions,
    report: Report,
) -> Survey:
    found = inspect(task, columns, parts)
    findings = list(found.findings)
    if wanted.near:
        findings += _near(found.parts, reader.inputs, wanted.threshold, report)
    lengths: dict[str, dict[str, Any] | None] = {}
    for one in found.parts:
        places = token_lengths.sampled(one.full)
        rows = one.part.rows.select(places)
        sizes = reader.lengths(rows)
        lengths[one.part.name] = token_lengths.describe(sizes, reader.limit) if len(sizes) else None
        if task.encoding.overlong_rows is None:
            part = Part(one.part.name, rows, (places + 1).tolist())
            says = f"are longer than {reader.limit} tokens and lose their end"
            findings += finding("truncated", part, np.flatnonzero(sizes > reader.limit), says)
    shown = exhibits(reader, _first(task, columns, found.parts[0]), wanted.batch_size)
    return Survey(
        source,
        task,
        why,
        others,
        columns,
        reader,
        found.parts,
        lengths,
        tuple(findings),
        tuple(shown),
        wanted.threshold if wanted.near else None,
    )


def _parts(source: Source, limit: int | None) -> list[Part]:
    """Return the splits that have rows, the one that is trained on first."""
    usual = ("train", *VALIDATIONS)
    names = sorted(source.splits, key=lambda name: usual.index(name) if name in usual else len(usual))
    sizes = {name: min(limit or len(source.splits[name]), len(source.splits[name])) for name in names}
    parts = [Part(name, source.splits[name].select(range(size))) for name, size in sizes.items() if size]
    if not parts:
        raise EmptyError(f"{source.reference!r} holds no rows")
    return parts


def _fits(task: Task, rows: Dataset, given: dict[str, str]) -> bool:
    return set(given) <= set(task.columns.roles) and task.columns.match(rows, given) is not None


def _first(task: Task, columns: dict[str, str], one: Inspected) -> Dataset:
    """Return the first rows that can be trained on."""
    head = one.part.rows.select(range(min(HEAD, len(one.part.rows))))
    return head.select(task.columns.usable_rows(head, columns) if one.labelled or not _has_truths(columns) else [])


def _has_truths(columns: dict[str, str]) -> bool:
    return input_columns(columns) != columns


def _near(parts: Sequence[Inspected], inputs: dict[str, str], threshold: float, report: Report) -> Iterator[Finding]:
    """Find rows that are nearly an earlier one, of their own split or of another; copies are not counted again."""
    codes = np.concatenate([np.where(one.empty, -1, one.codes) for one in parts])
    distinct, firsts = np.unique(codes, return_index=True)
    order = np.argsort(firsts[distinct >= 0])  # the texts come in the order of the rows
    distinct, firsts = (some[distinct >= 0][order] for some in (distinct, firsts))
    edges = np.cumsum([0, *(len(one.codes) for one in parts)])
    texts: list[str] = []
    for one, start, end in zip(parts, edges[:-1], edges[1:], strict=True):
        texts += spelled(one.part.rows.select(firsts[(firsts >= start) & (firsts < end)] - start), inputs)
    with report.progress("near duplicates", len(texts)) as advance:
        groups = near_duplicates.near_groups(texts, threshold, advance)
    of_code = np.full(int(codes.max(initial=-1)) + 1, -1)
    of_code[distinct] = groups
    originals = [_originals(one) for one in parts]
    for one, own in zip(parts, originals, strict=True):
        mine = of_code[one.codes[own]]
        _, heads, which = np.unique(mine, return_index=True, return_inverse=True)
        twins = own[heads][which]
        says = "are nearly an earlier row"
        yield from finding("near-duplicate", one.part, own[own != twins], says, twins=twins[own != twins])
    for (one, own), (other, theirs) in combinations(zip(parts, originals, strict=True), 2):
        yield from _near_shared(one, own, other, theirs, of_code)


def _originals(one: Inspected) -> Ints:
    """Return the places of the rows that are no copy of an earlier one."""
    _, firsts = np.unique(one.codes[one.full], return_index=True)
    return np.sort(one.full[firsts])


def _near_shared(one: Inspected, own: Ints, other: Inspected, theirs: Ints, of_code: Ints) -> Iterator[Finding]:
    firsts = np.full(len(of_code) + 1, -1)
    firsts[of_code[one.codes[own[::-1]]]] = own[::-1]
    twins = firsts[of_code[other.codes[theirs]]]
    near = (twins >= 0) & ~np.isin(other.codes[theirs], one.codes[own])
    says = f"are nearly {one.part.name} rows"
    yield from finding("near-overlap", other.part, theirs[near], says, twins=twins[near], other=one.part)


def _columns(rows: Dataset, columns: dict[str, str]) -> Iterator[dict[str, Any]]:
    roles = {name: role for role, name in columns.items()}
    for name, feature in rows.features.items():
        yield {"name": name, "feature": _feature(feature), "role": roles.get(name)}


def _feature(feature: Any) -> str:
    """Return a feature as a person says it: string, list of string, class label of 2."""
    if isinstance(feature, ClassLabel):
        return f"class label of {feature.num_classes}: {listing(feature.names)}"
    if isinstance(feature, dict):
        return f"{{{', '.join(f'{name}: {_feature(own)}' for name, own in feature.items())}}}"
    item = getattr(feature, "feature", None)
    if item is not None:
        return f"list of {_feature(item)}"
    return str(getattr(feature, "dtype", feature))


def _say_task(task: Task, why: str, others: Sequence[str], columns: dict[str, str], report: Report) -> None:
    spelled_columns = ", ".join(f"{role}={name}" for role, name in columns.items())
    report.say(f"task: {task.name}; columns {spelled_columns} ({why})")
    if others:
        report.debug(f"other tasks that would do: {listing(others)}; --task names one")


def _say_tokens(reader: Reader, chosen: bool, report: Report) -> None:
    if chosen:
        report.say(f"tokens: those of {reader.name}, at most {reader.limit} a row")
        return
    more = "" if reader.settings else f", which cannot do {reader.task.name}: of the texts alone"
    report.say(
        f"tokens: those of the built-in model{more}, at most {reader.limit} a row; -m names the model to be trained"
    )
