"""LLM benchmarks through lm-eval, as evaluations: its numbers with our intervals, gates, baselines and cache."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from datasets import Dataset

from llmkit import metrics, models
from llmkit.data import fingerprint
from llmkit.errors import DataError, OptionError, listing
from llmkit.evaluation import benchmarks
from llmkit.evaluation.assessing import assess
from llmkit.evaluation.benchmarks import Benchmark, Failed
from llmkit.evaluation.benchmarks.registry import PREFIX
from llmkit.evaluation.comparison import Saved, looks_saved, read_saved
from llmkit.evaluation.gates import require_intervals
from llmkit.evaluation.measuring import kept_answers, origin_of
from llmkit.evaluation.plan import seed_of
from llmkit.evaluation.result import Evaluation, Subject, Wanted
from llmkit.evaluation.result_rows import Observed
from llmkit.metrics.intervals import Estimate
from llmkit.metrics.observations import Samples
from llmkit.models import ResolvedModel
from llmkit.options import EvalOptions, GateOptions, ModelOptions
from llmkit.output.report import Report

if TYPE_CHECKING:
    from llmkit.evaluation.request import Member

Found = tuple[str, Evaluation | Exception]
NORMAL = 1.959963984540054  # standard errors in half a 95% interval


def evaluate_benchmarks(member: Member, report: Report, dry_run: bool) -> Iterator[Found]:
    """Yield each benchmark's evaluation, or the error that it met; the others are run all the same.

    Raises:
        OptionError: a name is unknown, or a flag has no meaning for benchmarks.
        ModelError: the model cannot be loaded.
    """
    _refuse_flags(member)
    names = benchmarks.task_names(member.dataset)
    resolved = models.resolve_model(member.model, report)
    baseline = member.gates.baseline
    saved = read_saved(baseline) if baseline and looks_saved(baseline) else None
    report.say(f"measuring {listing(names)} by lm-eval on {resolved.name}")
    if dry_run:
        return
    earlier: dict[str, Saved] = {}
    if baseline and saved is None:
        other = replace(member.model, model=baseline, revision=None)
        found = _run(names, member, models.resolve_model(other, report), other, report)[0]
        earlier = {one.name: _side(baseline, one) for one in found if isinstance(one, Benchmark)}
    done, about = _run(names, member, resolved, member.model, report)
    _refuse_unknown(member, [one for one in done if isinstance(one, Benchmark)])
    for one in done:
        if isinstance(one, Failed):
            yield one.name, one.error
            continue
        try:
            before = saved or earlier.get(one.name)
            if baseline and before is None:
                raise DataError(f"the baseline {baseline!r} has no figures of {one.name} to compare with")
            yield one.name, _evaluation(one, member, before, about)
        except (OptionError, DataError) as error:
            yield one.name, error


def _refuse_flags(member: Member) -> None:
    evaluation = member.evaluation
    require_intervals(member.gates, evaluation.resamples)
    given = {
        "--split": evaluation.split,
        "--label-map": evaluation.label_map,
        "--positive": evaluation.positive,
        "--slice": evaluation.slice,
        "--swap": evaluation.swap,
        "--stride": evaluation.stride,
        "--per-row": evaluation.per_row,
        "--predictions": evaluation.predictions,
        "--column": member.data.column,
        "--max-length": member.data.max_length,
        "--task": member.data.task,
        "--max-gap": member.gates.max_gap,
        "--check-invariance": evaluation.check_invariance,
    }
    named = [flag for flag, value in given.items() if value]
    if named:
        raise OptionError(f"{listing(named)}: lm-eval's benchmarks choose their own rows, prompts and metrics")


def _run(
    names: list[str], member: Member, resolved: ResolvedModel, options: ModelOptions, report: Report
) -> tuple[list[Benchmark | Failed], dict[str, Any]]:
    """Return the benchmarks of one model, and what their figures rest on."""
    evaluation = member.evaluation
    origin = origin_of(resolved, options, evaluation.batch_size, "lm_eval")
    title = {"dataset": "lm-eval (requests)", "split": "", "model": resolved.name, "task": "lm-eval"}
    started = time.monotonic()
    with kept_answers(origin, {"task": "lm-eval"}, title, evaluation.cache, report) as (answers, stopping):
        done = benchmarks.run(
            names,
            resolved,
            options,
            report,
            num_fewshot=evaluation.num_fewshot,
            limit=member.data.limit,
            batch_size=evaluation.batch_size,
            seed=evaluation.seed,
            answers=answers,
            stopping=stopping,
        )
    seconds = round((time.monotonic() - started) / max(1, len(done)), 2)  # they run together
    return [one if isinstance(one, Failed) else _spelled(one) for one in done], {**origin, "seconds": seconds}


def _refuse_unknown(member: Member, done: list[Benchmark]) -> None:
    """Refuse a metric that no benchmark has, and a gate that demands the worse of one: it would pass unseen.

    Raises:
        OptionError: naming the flag, and the metrics that there are.
    """
    known = tuple(dict.fromkeys(name for one in done for name in one.metrics))
    if not known:
        return
    for name in member.evaluation.metric or ():
        metrics.require_known(metrics.canonical(name), known, "--metric")
    for given, flag in member.gates.named:
        name = metrics.canonical(given)
        metrics.require_known(name, known, flag)
        better = [one.higher_is_better.get(name) for one in done if name in one.metrics]
        if (flag == "--fail-under" and False in better) or (flag == "--fail-above" and True in better):
            side, other = ("lower", "--fail-above") if flag == "--fail-under" else ("higher", "--fail-under")
            raise OptionError(f"{flag} {name}: {side} is better for {name}; {other} is its gate")


def _evaluation(one: Benchmark, member: Member, before: Saved | None, about: dict[str, Any]) -> Evaluation:
    wanted = _wanted(one, member.evaluation, member.gates)
    subject = Subject(
        name=one.name,
        task="lm-eval",
        dataset=f"{PREFIX}{one.name}",
        split=one.split or "",
        model=member.model.model,
        headline=_headline(one),
        observations=_observed(one),
        ids=one.ids,
        counts={"rows": one.n},
        fixed=_fixed(one, wanted.metrics),
        about={
            **about,
            "cached": one.cached,
            "rows_sha256": fingerprint(Dataset.from_dict({"id": one.ids})),
            "task_version": one.version,
            "num_fewshot": one.num_fewshot,
            "benchmark_dataset": one.dataset,
            "prompts_sha256": one.prompt_sha,
        },
    )
    return assess(subject, wanted, before)


def _wanted(one: Benchmark, evaluation: EvalOptions, gates: GateOptions) -> Wanted:
    """Return what is wanted of one benchmark; of several, a gate or metric holds for those that have it."""
    known = tuple(one.metrics)
    named = [metrics.canonical(name) for name in evaluation.metric or known]

    def mine(pairs: list[str] | None) -> list[str] | None:
        return [pair for pair in pairs or () if metrics.canonical(pair.partition("=")[0]) in known] or None

    own = replace(
        gates, fail_under=mine(gates.fail_under), fail_above=mine(gates.fail_above), max_drop=mine(gates.max_drop)
    )
    gated = [metrics.canonical(name) for name, _ in own.named]
    shown = dict.fromkeys([*(name for name in named if name in known), *gated])
    lower = frozenset(name for name, better in one.higher_is_better.items() if not better)
    return Wanted(
        tuple(shown or known),
        gates=own,
        resamples=evaluation.resamples,
        seed=seed_of(evaluation),
        lower_is_better=metrics.LOWER_IS_BETTER | lower,
    )


def _spelled(one: Benchmark) -> Benchmark:
    """Return the benchmark with its metrics by llmkit's names: lm-eval's mcc is matthews_correlation."""

    def named(by_name: Mapping[str, Any]) -> dict[str, Any]:
        return {metrics.canonical(name): value for name, value in by_name.items()}

    return replace(
        one,
        metrics=named(one.metrics),
        stderrs=named(one.stderrs),
        higher_is_better=named(one.higher_is_better),
        observations=Samples(named(one.observations.values)),
    )


def _headline(one: Benchmark) -> str:
    return next((name for name in ("acc_norm", "acc", "exact_match") if name in one.metrics), next(iter(one.metrics)))


def _fixed(one: Benchmark, names: tuple[str, ...]) -> dict[str, Estimate]:
    """Return the figures that are no means of rows, such as perplexity: lm-eval's value and its standard error."""
    found = {}
    for name in names:
        if name in one.observations.values:
            continue
        value, error = one.metrics[name], one.stderrs.get(name)
        low, high = (None, None) if error is None else (value - NORMAL * error, value + NORMAL * error)
        found[name] = Estimate(value, low, high, one.n, None if error is None else "standard error")
    return found


def _side(baseline: str, one: Benchmark) -> Saved:
    return Saved(baseline, baseline, "lm-eval", one.name, Observed(_observed(one), one.ids), tuple(one.metrics))


def _observed(one: Benchmark) -> Samples:
    return Samples(one.observations.values, tuple(one.targets), tuple(one.answers))
