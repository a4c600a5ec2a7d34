"""Several evaluations with one report and one exit code; a member that fails does not hide the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from llmkit.distributed.outcomes import lost_peer
from llmkit.distributed.world import world
from llmkit.errors import GateMissed, LaunchError, LlmkitError, MembersFailed, OptionError, Stopped, one_line
from llmkit.errors.libraries import translate
from llmkit.evaluation.benchmarks import is_benchmark
from llmkit.evaluation.gates import missed
from llmkit.evaluation.result import SCHEMA_VERSION, Evaluation, failed
from llmkit.evaluation.run import evaluate_request
from llmkit.evaluation.suite_files import SuiteMember, is_suite, read_suite
from llmkit.options import DataOptions, EvalOptions, EvalRequest, GateOptions, ModelOptions
from llmkit.options.base import Options
from llmkit.options.overrides import field_types, from_mapping, other_names
from llmkit.output.report import Report
from llmkit.output.result import FailedResult, Result, SuiteResult

OTHERS_TURN = 12.0  # seconds in which the other processes may fail of the same
MEMBER_GROUPS: tuple[type[Options], ...] = (ModelOptions, DataOptions, EvalOptions, GateOptions)


@dataclass(frozen=True)
class FailedEvaluation:
    """An evaluation that came to nothing."""

    name: str
    request: EvalRequest
    error: Exception

    @property
    def known(self) -> LlmkitError:
        """The error in llmkit's words."""
        if isinstance(self.error, LlmkitError):
            return self.error
        if lost_peer(self.error):
            return LaunchError("another process of the command ended")  # its launcher says why
        translated = translate(self.error)
        summary = one_line(self.error, 200)
        return translated or LlmkitError(f"llmkit failed ({type(self.error).__name__}: {summary})")

    def as_dict(self, rows: bool = False) -> FailedResult:
        """Return the versioned result of a failed run."""
        return failed(self.name, self.request.dataset, self.request.model.model, self.known)


@dataclass(frozen=True)
class Outcome:
    """What all members came to, in their order."""

    results: Sequence[Evaluation | FailedEvaluation]
    suite: str | None = None  # None: a single evaluation was asked for

    def as_dict(self, rows: bool = False) -> Result | SuiteResult:
        """Return the versioned result: of the one evaluation, or of the suite with those of its members."""
        results = [result.as_dict(rows) for result in self.results]
        if self.suite is None:
            return results[0]
        error = self.error()
        code = 0 if error is None else error.exit_code if isinstance(error, LlmkitError) else LlmkitError.exit_code
        status: Literal["ok", "error", "stopped"] = "ok" if code in {0, 1} else "error"
        if code == Stopped.exit_code:
            status = "stopped"
        return {"schema": SCHEMA_VERSION, "suite": self.suite, "status": status, "exit_code": code, "results": results}

    def error(self) -> Exception | None:
        """Return what the command must leave with: the members' worst error, else the gates that were missed."""
        failures = [result for result in self.results if isinstance(result, FailedEvaluation)]
        if failures and self.suite is None:
            return failures[0].error
        below = [
            f"{result.name}: {sentence}" if self.suite else sentence
            for result in self.results
            if isinstance(result, Evaluation)
            for sentence in missed(result.gates)
        ]
        if failures:
            sentences = [f"{failure.name}: {failure.known}" for failure in failures]
            worst = max(failure.known.exit_code for failure in failures)
            counted = f"{len(failures)} of {len(self.results)} evaluations failed: "
            return MembersFailed(counted + "; ".join(sentences + below), worst)
        return GateMissed("; ".join(below)) if below else None

    def require_success(self) -> None:
        """Raise what `error` returns."""
        error = self.error()
        if error is not None:
            raise error


def evaluate_all(request: EvalRequest, report: Report, dry_run: bool = False) -> Outcome:
    """Run what the dataset names: one evaluation, the benchmarks of an `lm-eval:` list, or the members of a suite.

    What goes wrong in a member stands in the outcome; of several processes one that fails alone ends all.

    Raises:
        OptionError: the suite itself cannot be read, or --strict comes without a gate.
    """
    suite, requests = None, [(request.dataset, request)]
    if is_suite(request.dataset) and not is_benchmark(request.dataset):
        suite, requests = _suite_requests(request)
    if request.gates.strict and not any(member.gates.named for _, member in requests):
        raise OptionError("--strict makes gates stricter, and there is none: add --fail-under, --max-drop or another")
    results: list[Evaluation | FailedEvaluation] = []
    for name, member in requests:
        if suite is not None:
            report.say(f"== {name}")
        world().wait()  # so that those who fail of the same do it soon after each other
        new = _run(name, member, report, dry_run)
        results += new
        errors = [result.error for result in new if isinstance(result, FailedEvaluation)]
        if any(isinstance(error, Stopped) for error in errors) or (errors and _fails_alone(errors[0])):
            break
    if suite is None and is_benchmark(request.dataset) and len(results) > 1:
        suite = request.dataset
    return Outcome(results, suite)


def _fails_alone(error: Exception) -> bool:
    """Tell whether the other processes go on without this one: no member can be measured then.

    Raises:
        Exception: the error, where the main process, which tells of it in the files, is one of the others.
    """
    here = world()
    if not lost_peer(error) and here.all_fail(OTHERS_TURN):
        return False
    if not here.is_main:
        raise error
    return True


def _run(name: str, request: EvalRequest, report: Report, dry_run: bool) -> list[Evaluation | FailedEvaluation]:
    try:
        if is_benchmark(request.dataset):
            from llmkit.evaluation.benchmarks.evaluations import evaluate_benchmarks

            return [
                FailedEvaluation(benchmark, request, result) if isinstance(result, Exception) else result
                for benchmark, result in evaluate_benchmarks(request, report, dry_run)
            ]
        evaluation = evaluate_request(request, report, dry_run, name)
        return [] if evaluation is None else [evaluation]
    except Exception as error:  # whatever a member fails of, the others are measured
        return [FailedEvaluation(name, request, error)]


def _suite_requests(request: EvalRequest) -> tuple[str, list[tuple[str, EvalRequest]]]:
    """Return the name of the suite, and the request and the name of each of its members."""
    if request.evaluation.predictions is not None:
        raise OptionError("--predictions is of one dataset; a suite names a file for each of its members")
    suite = read_suite(request.dataset, field_types(*MEMBER_GROUPS), other_names(*MEMBER_GROUPS))
    return suite.name, [(member.name, _member_request(request, member)) for member in suite.members]


def _member_request(request: EvalRequest, member: SuiteMember) -> EvalRequest:
    own_request = EvalRequest(
        dataset=member.dataset,
        model=from_mapping(request.model, member.options, member.name),
        data=from_mapping(request.data, member.options, member.name),
        endpoint=request.endpoint,
        evaluation=from_mapping(request.evaluation, member.options, member.name),
        gates=from_mapping(request.gates, member.options, member.name),
    )
    if own_request.model.model is None:
        return own_request
    return replace(own_request, model=replace(own_request.model, model=member.filled(own_request.model.model)))
