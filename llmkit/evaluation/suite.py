"""Several evaluations with one report and one exit code; a member that fails does not hide the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmkit.errors import GateMissed, LlmkitError, MembersFailed, OptionError, Stopped, one_line
from llmkit.errors.libraries import translate
from llmkit.evaluation.benchmarks import is_benchmark
from llmkit.evaluation.gates import missed
from llmkit.evaluation.request import Member
from llmkit.evaluation.result import SCHEMA, Evaluation, failed
from llmkit.evaluation.run import evaluate
from llmkit.evaluation.suite_files import Member as SuiteMember
from llmkit.evaluation.suite_files import is_suite, read_suite
from llmkit.options import DataOptions, EvalOptions, GateOptions, ModelOptions
from llmkit.options.base import Options
from llmkit.options.overrides import field_types, from_mapping
from llmkit.output.report import Report

GROUPS: tuple[type[Options], ...] = (ModelOptions, DataOptions, EvalOptions, GateOptions)


@dataclass(frozen=True)
class Failure:
    """A member that came to nothing."""

    member: Member
    error: Exception

    @property
    def known(self) -> LlmkitError:
        """The error in llmkit's words."""
        if isinstance(self.error, LlmkitError):
            return self.error
        found = translate(self.error)
        summary = one_line(self.error, 200)
        return found or LlmkitError(f"llmkit failed ({type(self.error).__name__}: {summary})")

    def as_dict(self, rows: bool = False) -> dict[str, Any]:
        """Return the versioned result of a failed run."""
        return failed(self.member.name, self.member.dataset, self.member.model.model, self.known)


@dataclass(frozen=True)
class Outcome:
    """What all members came to, in their order."""

    results: Sequence[Evaluation | Failure]
    suite: str | None = None  # None: a single evaluation was asked for

    def as_dict(self, rows: bool = False) -> dict[str, Any]:
        """Return the versioned result: of the one evaluation, or of the suite with those of its members."""
        results = [result.as_dict(rows) for result in self.results]
        if self.suite is None:
            return results[0]
        error = self.error()
        code = 0 if error is None else error.exit_code if isinstance(error, LlmkitError) else LlmkitError.exit_code
        status = "ok" if code in {0, 1} else "stopped" if code == Stopped.exit_code else "error"
        return {"schema": SCHEMA, "suite": self.suite, "status": status, "exit_code": code, "results": results}

    def error(self) -> Exception | None:
        """Return what the command must leave with: the members' worst error, else the gates that were missed."""
        failures = [result for result in self.results if isinstance(result, Failure)]
        if failures and self.suite is None:
            return failures[0].error
        below = [
            f"{result.name}: {sentence}" if self.suite else sentence
            for result in self.results
            if isinstance(result, Evaluation)
            for sentence in missed(result.gates)
        ]
        if failures:
            told = [f"{failure.member.name}: {failure.known}" for failure in failures]
            worst = max(failure.known.exit_code for failure in failures)
            counted = f"{len(failures)} of {len(self.results)} evaluations failed: "
            return MembersFailed(counted + "; ".join(told + below), worst)
        return GateMissed("; ".join(below)) if below else None

    def require_success(self) -> None:
        """Raise what `error` returns."""
        error = self.error()
        if error is not None:
            raise error


def evaluate_all(
    dataset: str,
    model: ModelOptions,
    data: DataOptions,
    evaluation: EvalOptions,
    gates: GateOptions,
    report: Report,
    dry_run: bool = False,
) -> Outcome:
    """Run what `dataset` names: one evaluation, the benchmarks of an `lm-eval:` list, or the members of a suite.

    Raises:
        OptionError: the suite itself cannot be read. (What goes wrong in a member is a Failure in the outcome.)
    """
    whole = Member(dataset, dataset, model, data, evaluation, gates)
    members, suite = _members(whole) if is_suite(dataset) and not is_benchmark(dataset) else ([whole], None)
    results: list[Evaluation | Failure] = []
    for member in members:
        if suite is not None:
            report.say(f"== {member.name}")
        found = _run(member, report, dry_run)
        results += found
        if any(isinstance(one, Failure) and isinstance(one.error, Stopped) for one in found):
            break
    if suite is None and is_benchmark(dataset) and len(results) > 1:
        suite = dataset
    return Outcome(results, suite)


def _run(member: Member, report: Report, dry_run: bool) -> list[Evaluation | Failure]:
    try:
        if is_benchmark(member.dataset):
            from llmkit.evaluation.benchmarks.evaluations import evaluate_benchmarks

            return [
                Failure(replace(member, name=name), result) if isinstance(result, Exception) else result
                for name, result in evaluate_benchmarks(member, report, dry_run)
            ]
        done = evaluate(
            member.dataset, member.model, member.data, member.evaluation, member.gates, report, dry_run, member.name
        )
        return [] if done is None else [done]
    except Exception as error:  # whatever a member fails of, the others are measured
        return [Failure(member, error)]


def _members(whole: Member) -> tuple[list[Member], str]:
    if whole.evaluation.predictions is not None:
        raise OptionError("--predictions is of one dataset; a suite names a file for each of its members")
    suite = read_suite(whole.dataset, field_types(*GROUPS))
    return [_built(whole, member) for member in suite.members], suite.name


def _built(whole: Member, member: SuiteMember) -> Member:
    where = member.name
    model = from_mapping(whole.model, member.options, where)
    data = from_mapping(whole.data, member.options, where)
    evaluation = from_mapping(whole.evaluation, member.options, where)
    gates = from_mapping(whole.gates, member.options, where)
    if model.model is not None:
        model = replace(model, model=member.filled(model.model))
    return Member(member.name, member.dataset, model, data, evaluation, gates)
