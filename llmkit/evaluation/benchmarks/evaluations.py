"""LLM benchmarks through lm-eval, as evaluations: its numbers with our intervals, gates, baselines and cache."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from datasets import Dataset

from llmkit import metrics, models
from llmkit.data import fingerprint
from llmkit.errors import DataError, OptionError, listing
from llmkit.evaluation import benchmarks
from llmkit.evaluation.answer_session import open_session, origin_of
from llmkit.evaluation.assessing import assess
from llmkit.evaluation.benchmarks import BenchmarkOptions, BenchmarkResult, FailedBenchmark
from llmkit.evaluation.benchmarks.registry import BENCHMARK_PREFIX
from llmkit.evaluation.comparison import ComparisonSide, looks_saved, read_saved
from llmkit.evaluation.gates import require_intervals
from llmkit.evaluation.plan import seed_of
from llmkit.evaluation.result import Evaluation, MetricRequest, Subject
from llmkit.evaluation.result_rows import ObservedUnits
from llmkit.metrics.intervals import Estimate
from llmkit.metrics.observations import Samples
from llmkit.models import ResolvedModel
from llmkit.options import EvalOptions, EvalRequest, GateOptions, ModelOptions
from llmkit.output.report import Report
from llmkit.output.result import Provenance

BenchmarkOutcome = tuple[str, Evaluation | Exception]  # the benchmark's name, and what came of it
Value = TypeVar("Value")
NORMAL_QUANTILE = 1.959963984540054  # standard errors in half a 95% interval
HEADLINES = ("acc_norm", "acc", "exact_match")


def evaluate_benchmarks(request: EvalRequest, report: Report, dry_run: bool) -> Iterator[BenchmarkOutcome]:
    """Yield each benchmark's evaluation, or the error that it met; the others are run all the same.

    Raises:
        OptionError: a name is unknown, or a flag has no meaning for benchmarks.
        ModelError: the model cannot be loaded, has no chat template to apply, or one that drops the system message.
    """
    _refuse_flags(request)
    names = benchmarks.task_names(request.dataset)
    resolved = _resolved(request, report)
    baseline = request.gates.baseline
    saved = read_saved(baseline) if baseline and looks_saved(baseline) else None
    report.say(f"measuring {listing(names)} by lm-eval on {resolved.name if resolved else request.endpoint.base_url}")
    if dry_run:
        return
    earlier = _baseline_sides(names, request, baseline, report) if baseline and saved is None else {}
    if resolved is None:
        from llmkit.evaluation.benchmarks.served import run_served  # lm-eval is imported with it

        model, found, provenance = run_served(names, request, _options(request), report)
        request, results = replace(request, model=replace(request.model, model=model)), _renamed(found)
    else:
        results, provenance = _run(names, request, resolved, request.model, report)
    _refuse_unknown(request, [result for result in results if isinstance(result, BenchmarkResult)])
    for result in results:
        if isinstance(result, FailedBenchmark):
            yield result.name, result.error
            continue
        try:
            before = saved or earlier.get(result.name)
            if baseline and before is None:
                raise DataError(f"the baseline {baseline!r} has no figures of {result.name} to compare with")
            yield result.name, _evaluation(result, request, before, provenance)
        except (OptionError, DataError) as error:
            yield result.name, error


def _resolved(request: EvalRequest, report: Report) -> ResolvedModel | None:
    """Return the model; None where a server has it."""
    if request.endpoint.asks_server:
        from llmkit.evaluation.benchmarks.served import refuse_flags

        refuse_flags(request)
        return None
    resolved = models.resolve_model(request.model, report)
    if request.evaluation.apply_chat_template:
        tokenizer = models.load_tokenizer(resolved, request.model)
        benchmarks.require_chat(resolved, tokenizer, request.evaluation.system_instruction)
    return resolved


def _refuse_flags(request: EvalRequest) -> None:
    evaluation, data, gates = request.evaluation, request.data, request.gates
    require_intervals(gates, evaluation.resamples)
    given = {
        "--split": evaluation.split,
        "--label-map": evaluation.label_map,
        "--positive": evaluation.positive,
        "--tokenize": evaluation.tokenize,
        "--slice": evaluation.slice,
        "--swap": evaluation.swap,
        "--stride": evaluation.stride,
        "--per-row": evaluation.per_row,
        "--predictions": evaluation.predictions,
        "--column": data.column,
        "--max-length": data.max_length,
        "--task": data.task,
        "--max-gap": gates.max_gap,
        "--check-invariance": evaluation.check_invariance,
    }
    named = [flag for flag, value in given.items() if value]
    if named:
        raise OptionError(f"{listing(named)}: lm-eval's benchmarks choose their own rows, prompts and metrics")
    if evaluation.apply_chat_template and data.chat_template is not None:
        raise OptionError("--apply-chat-template takes the tokenizer's own template; leave --chat-template out")


def _baseline_sides(names: list[str], request: EvalRequest, baseline: str, report: Report) -> dict[str, ComparisonSide]:
    """Return what the model that --baseline names comes to, by benchmark."""
    options = replace(request.model, model=baseline, revision=None, quantize=None)
    results, _ = _run(names, request, models.resolve_model(options, report), options, report)
    return {
        result.name: ComparisonSide(
            baseline,
            baseline,
            "lm-eval",
            result.name,
            ObservedUnits(_observed(result), result.ids),
            tuple(result.metrics),
        )
        for result in results
        if isinstance(result, BenchmarkResult)
    }


def _run(
    names: Sequence[str], request: EvalRequest, resolved: ResolvedModel, model_options: ModelOptions, report: Report
) -> tuple[list[BenchmarkResult | FailedBenchmark], Provenance]:
    """Return the benchmarks of one model, and what their figures rest on."""
    evaluation, options = request.evaluation, _options(request)
    origin = origin_of(resolved, model_options, evaluation.batch_size, "lm_eval")
    title = {"dataset": "lm-eval (requests)", "split": "", "model": resolved.name, "task": "lm-eval"}
    started = time.monotonic()
    with open_session(origin, {"task": "lm-eval"}, title, evaluation.cache, report) as session:
        results = benchmarks.run(names, resolved, model_options, report, options, session)
    seconds = round((time.monotonic() - started) / max(1, len(results)), 2)  # they run together
    provenance: Provenance = {
        "batch_size": origin["batch_size"],
        "dtype": origin["dtype"],
        "device": origin["device"],
        "fingerprints": origin["fingerprints"],
        "model_commit": origin["model_commit"],
        "versions": origin["versions"],
        "seconds": seconds,
    }
    return _renamed(results), provenance


def _options(request: EvalRequest) -> BenchmarkOptions:
    evaluation = request.evaluation
    return BenchmarkOptions(
        num_fewshot=evaluation.num_fewshot,
        limit=request.data.limit,
        batch_size=evaluation.batch_size,
        seed=evaluation.seed,
        apply_chat_template=evaluation.apply_chat_template,
        system_instruction=evaluation.system_instruction,
    )


def _renamed(results: Sequence[BenchmarkResult | FailedBenchmark]) -> list[BenchmarkResult | FailedBenchmark]:
    return [result if isinstance(result, FailedBenchmark) else _with_our_names(result) for result in results]


def _refuse_unknown(request: EvalRequest, results: Sequence[BenchmarkResult]) -> None:
    """Refuse a metric that no benchmark has, and a gate that demands the worse of one: it would pass unseen.

    Raises:
        OptionError: naming the flag, and the metrics that there are.
    """
    known = tuple(dict.fromkeys(name for result in results for name in result.metrics))
    if not known:
        return
    for name in request.evaluation.metric or ():
        metrics.require_known(metrics.canonical(name), known, "--metric")
    for given, flag in request.gates.named:
        name = metrics.canonical(given)
        metrics.require_known(name, known, flag)
        better = [result.higher_is_better.get(name) for result in results if name in result.metrics]
        if (flag == "--fail-under" and False in better) or (flag == "--fail-above" and True in better):
            side, gate = ("lower", "--fail-above") if flag == "--fail-under" else ("higher", "--fail-under")
            raise OptionError(f"{flag} {name}: {side} is better for {name}; {gate} is its gate")


def _evaluation(
    result: BenchmarkResult, request: EvalRequest, before: ComparisonSide | None, provenance: Provenance
) -> Evaluation:
    metric_request = _requested_metrics(result, request.evaluation, request.gates)
    subject = Subject(
        name=result.name,
        task="lm-eval",
        dataset=f"{BENCHMARK_PREFIX}{result.name}",
        split=result.split or "",
        model=request.model.model,
        headline=next((name for name in HEADLINES if name in result.metrics), next(iter(result.metrics))),
        observations=_observed(result),
        ids=result.ids,
        counts={"rows": result.n},
        fixed=_fixed(result, metric_request.metrics),
        provenance={
            **provenance,
            "cached": result.cached,
            "rows_sha256": fingerprint(Dataset.from_dict({"id": result.ids})),
            "task_version": result.version,
            "num_fewshot": result.num_fewshot,
            "benchmark_dataset": result.dataset,
            "prompts_sha256": result.prompt_sha,
            **_prompt_provenance(result, request.evaluation),
        },
    )
    return assess(subject, metric_request, before)


def _prompt_provenance(result: BenchmarkResult, evaluation: EvalOptions) -> Provenance:
    """Return how prompts were put otherwise than as the task has them, as lm-eval keeps it; nothing where they were."""
    provenance: Provenance = {}
    if result.chat_template_sha is not None:
        provenance["chat_template_sha256"] = result.chat_template_sha
        provenance["fewshot_as_multiturn"] = True
    if evaluation.system_instruction is not None:
        provenance["system_instruction"] = evaluation.system_instruction
    return provenance


def _requested_metrics(result: BenchmarkResult, evaluation: EvalOptions, gates: GateOptions) -> MetricRequest:
    """Return what is asked of one benchmark; of several, a gate or metric holds for those that have it."""
    known = tuple(result.metrics)
    named = [metrics.canonical(name) for name in evaluation.metric or known]

    def of_known(pairs: list[str] | None) -> list[str] | None:
        return [pair for pair in pairs or () if metrics.canonical(pair.partition("=")[0]) in known] or None

    gates = replace(
        gates,
        fail_under=of_known(gates.fail_under),
        fail_above=of_known(gates.fail_above),
        max_drop=of_known(gates.max_drop),
    )
    gated = [metrics.canonical(name) for name, _ in gates.named]
    names = dict.fromkeys([*(name for name in named if name in known), *gated])
    lower = frozenset(name for name, better in result.higher_is_better.items() if not better)
    return MetricRequest(
        tuple(names or known),
        gates=gates,
        resamples=evaluation.resamples,
        seed=seed_of(evaluation),
        lower_is_better=metrics.LOWER_IS_BETTER | lower,
    )


def _with_our_names(result: BenchmarkResult) -> BenchmarkResult:
    """Return the benchmark with its metrics by llmkit's names: lm-eval's mcc is matthews_correlation."""

    def named(by_name: Mapping[str, Value]) -> dict[str, Value]:
        return {metrics.canonical(name): value for name, value in by_name.items()}

    return replace(
        result,
        metrics=named(result.metrics),
        stderrs=named(result.stderrs),
        higher_is_better=named(result.higher_is_better),
        observations=Samples(named(result.observations.values)),
    )


def _fixed(result: BenchmarkResult, names: tuple[str, ...]) -> dict[str, Estimate]:
    """Return the figures that are no means of rows, such as perplexity: lm-eval's value and its standard error."""
    figures = {}
    for name in names:
        if name in result.observations.values:
            continue
        value, error = result.metrics[name], result.stderrs.get(name)
        if error is None:
            figures[name] = Estimate(value, None, None, result.n, None)
        else:
            half = NORMAL_QUANTILE * error
            figures[name] = Estimate(value, value - half, value + half, result.n, "standard error")
    return figures


def _observed(result: BenchmarkResult) -> Samples:
    return Samples(result.observations.values, tuple(result.targets), tuple(result.answers))
