"""Look at a dataset before anything is trained on it: from what the user typed to one versioned result.

`llmkit/output/schemas/survey.schema.json` describes that result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from datasets import Dataset

from llmkit import models, tasks
from llmkit.data import Source, open_dataset
from llmkit.data.parts import Part
from llmkit.data.splits import VALIDATIONS
from llmkit.errors import EmptyError
from llmkit.inspection import near_duplicates, token_lengths
from llmkit.inspection.batch_preview import RowPreview, preview_batch
from llmkit.inspection.checks import Inspected, inspect
from llmkit.inspection.findings import Finding, RowsOf, finding_of
from llmkit.inspection.readings import ResolvedTask
from llmkit.inspection.row_codes import readable_texts
from llmkit.inspection.token_lengths import TokenCounter, open_token_counter
from llmkit.inspection.tokenizer_checks import require_spelled
from llmkit.inspection.unused import say_unused
from llmkit.metrics.observations import Ints
from llmkit.models import BUILTIN_NAME
from llmkit.options import DataOptions, ModelOptions, SurveyOptions
from llmkit.output.report import Report
from llmkit.output.survey_result import LengthsResult, SplitResult, SurveyResult
from llmkit.tasks import input_columns

PREVIEW_AMONG = 1000  # first rows, among which those are sought that are shown


@dataclass(frozen=True)
class Survey:
    """What a dataset holds, and what is wrong with it."""

    source: Source
    resolved: ResolvedTask
    counter: TokenCounter
    parts: tuple[Inspected, ...]
    lengths: dict[str, LengthsResult | None]
    findings: tuple[Finding, ...]
    previews: tuple[RowPreview, ...]
    near_threshold: float | None

    def as_dict(self) -> SurveyResult:
        """Return the result that --json prints."""
        threshold = self.near_threshold
        return {
            "schema": 1,
            "dataset": self.source.reference,
            "dataset_commit": self.source.commit,
            "task": self.resolved.as_dict(),
            "columns": list(self.resolved.columns_of_file()),
            "tokenizer": self.counter.name,
            "max_length": self.counter.limit,
            "splits": {inspected.part.name: self._split(inspected) for inspected in self.parts},
            "near": None if threshold is None else {"method": near_duplicates.METHOD, "threshold": threshold},
            "findings": [finding.as_dict() for finding in self.findings],
            "shown": [preview.as_dict() for preview in self.previews],
        }

    def _split(self, inspected: Inspected) -> SplitResult:
        name = inspected.part.name
        rows = {finding.kind: finding.rows for finding in self.findings if finding.split == name and not finding.other}
        return {
            "rows": len(inspected.codes),
            "labelled": inspected.labelled if self.resolved.has_targets else None,
            "empty": rows.get("empty", 0),
            "unusable": rows.get("unusable", 0),
            "duplicates": rows.get("duplicate", 0),
            "labels": {name: count for name, (count, _) in inspected.labels.items()} or None,
            "lengths": self.lengths[name],
        }


def survey(
    dataset: str,
    model: str | ModelOptions | None = None,
    data: DataOptions | None = None,
    survey_options: SurveyOptions | None = None,
    report: Report | None = None,
    dry_run: bool = False,
) -> Survey | None:
    """Look at every split of a dataset as finetuning would; None after a dry run.

    Raises:
        DataError, OptionError, ModelError: something asked for is wrong.
        EmptyError: there are no rows.
    """
    options = model if isinstance(model, ModelOptions) else ModelOptions(model=model)
    data, survey_options, report = data or DataOptions(), survey_options or SurveyOptions(), report or Report()
    options.require_whole_weights("rows are looked at without the weights of a model; leave it out")
    tasks.for_inspection(None, data.task, data)  # a wrong name is known before any download
    source = open_dataset(dataset, data, report=report)
    parts = _parts(source, data.limit)
    resolved = models.resolve_model(options, report, BUILTIN_NAME)
    able = tasks.for_inspection(None if options.model is None else resolved.config, data.task, data)
    evidence = tasks.Evidence.of(source, parts[0].rows)
    resolution = tasks.resolve_task(able, evidence, data.columns, "data", data, resolved.config)
    task, columns = resolution.task, resolution.columns
    parts = [replace(part, rows=resolution.convert(part.rows)) for part in parts]
    resolved_task = ResolvedTask(resolution, evidence, data.task is not None)
    resolved_task.tell(report)
    say_unused(resolution, evidence.rows, report)
    inputs = input_columns(columns)
    for part in parts:
        tasks.require_split_columns(task, inputs, part.rows, f"split {part.name}")
        present = {role: name for role, name in columns.items() if name in part.rows.column_names}
        tasks.require_valid_rows(task, part.rows, present, part.name)
    counter = open_token_counter(task, columns, parts[0].rows, resolved, options, data)
    _say_tokens(counter, options.model is not None, report)
    if counter.settings is not None:
        for part in parts:
            require_spelled(task, part, counter.tokenizer, counter.settings, report)
    return None if dry_run else _surveyed(source, resolved_task, counter, parts, survey_options, report)


def _surveyed(
    source: Source,
    resolved: ResolvedTask,
    counter: TokenCounter,
    parts: Sequence[Part],
    survey_options: SurveyOptions,
    report: Report,
) -> Survey:
    task, columns = resolved.task, resolved.columns
    inspection = inspect(task, columns, parts)
    findings = list(inspection.findings)
    if survey_options.near:
        findings += _near(inspection.parts, counter.inputs, survey_options.threshold, report)
    lengths: dict[str, LengthsResult | None] = {}
    for inspected in inspection.parts:
        name, places = inspected.part.name, token_lengths.sampled(inspected.filled)
        rows = inspected.part.rows.select_columns(list(counter.inputs.values())).select(places)
        sizes = counter.lengths(rows)
        lengths[name] = token_lengths.describe(sizes, counter.limit) if len(sizes) else None
        if task.encoding.overlong_rows is None:
            part = Part(name, rows, (places + 1).tolist())
            what = f"are longer than {counter.limit} tokens and lose their end"
            findings += finding_of("truncated", part, np.flatnonzero(sizes > counter.limit), what)
    previews = preview_batch(counter, _first_usable(resolved, inspection.parts[0]), survey_options.batch_size)
    return Survey(
        source=source,
        resolved=resolved,
        counter=counter,
        parts=inspection.parts,
        lengths=lengths,
        findings=tuple(findings),
        previews=tuple(previews),
        near_threshold=survey_options.threshold if survey_options.near else None,
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


def _first_usable(resolved: ResolvedTask, inspected: Inspected) -> Dataset:
    """Return the first rows that can be trained on."""
    rows = inspected.part.rows
    head = rows.select(range(min(PREVIEW_AMONG, len(rows))))
    can_train = inspected.labelled or not resolved.has_targets
    return head.select(resolved.task.columns.usable_rows(head, resolved.columns) if can_train else [])


def _near(parts: Sequence[Inspected], inputs: dict[str, str], threshold: float, report: Report) -> Iterator[Finding]:
    """Find rows that are nearly an earlier one, of their own split or of another; copies are not counted again."""
    group_of_code = _near_groups(parts, inputs, threshold, report)
    originals = [_originals(inspected) for inspected in parts]
    for inspected, places in zip(parts, originals, strict=True):
        groups = group_of_code[inspected.codes[places]]
        _, heads, which = np.unique(groups, return_index=True, return_inverse=True)
        twins = places[heads][which]
        near = places != twins
        what = "are nearly an earlier row"
        part = inspected.part
        yield from finding_of("near-duplicate", part, places[near], what, twins=RowsOf(part, twins[near]))
    for earlier, later in combinations(zip(parts, originals, strict=True), 2):
        yield from _near_shared(*earlier, *later, group_of_code)


def _near_groups(parts: Sequence[Inspected], inputs: dict[str, str], threshold: float, report: Report) -> Ints:
    """Return the number of the group of near texts for each code of contents, (codes,)."""
    codes = np.concatenate([np.where(inspected.empty, -1, inspected.codes) for inspected in parts])
    distinct, firsts = np.unique(codes, return_index=True)
    order = np.argsort(firsts[distinct >= 0])  # the texts come in the order of the rows
    distinct, firsts = (values[distinct >= 0][order] for values in (distinct, firsts))
    edges = np.cumsum([0, *(len(inspected.codes) for inspected in parts)])
    texts: list[str] = []
    for inspected, start, end in zip(parts, edges[:-1], edges[1:], strict=True):
        places = firsts[(firsts >= start) & (firsts < end)] - start
        texts += readable_texts(inspected.part.rows.select(places), inputs)
    with report.progress("near duplicates", len(texts)) as advance:
        groups = near_duplicates.near_groups(texts, threshold, advance)
    group_of_code = np.full(int(codes.max(initial=-1)) + 1, -1)
    group_of_code[distinct] = groups
    return group_of_code


def _originals(inspected: Inspected) -> Ints:
    """Return the places of the rows that are no copy of an earlier one, (n,)."""
    _, firsts = np.unique(inspected.codes[inspected.filled], return_index=True)
    return np.sort(inspected.filled[firsts])


def _near_shared(
    earlier: Inspected, earlier_originals: Ints, later: Inspected, originals: Ints, group_of_code: Ints
) -> Iterator[Finding]:
    firsts = np.full(len(group_of_code) + 1, -1)
    backwards = earlier_originals[::-1]
    firsts[group_of_code[earlier.codes[backwards]]] = backwards
    twins = firsts[group_of_code[later.codes[originals]]]
    near = (twins >= 0) & ~np.isin(later.codes[originals], earlier.codes[earlier_originals])
    what = f"are nearly {earlier.part.name} rows"
    yield from finding_of("near-overlap", later.part, originals[near], what, twins=RowsOf(earlier.part, twins[near]))


def _say_tokens(counter: TokenCounter, is_named: bool, report: Report) -> None:
    if is_named:
        report.say(f"tokens: those of {counter.name}, at most {counter.limit} a row")
        return
    more = "" if counter.settings else f", which cannot do {counter.task.name}: of the texts alone"
    report.say(
        f"tokens: those of the built-in model{more}, at most {counter.limit} a row; -m names the model to be trained"
    )
