"""A JUnit report: a test suite for each result, a test case for each metric and each gate."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.errors.extras import require_extra
from llmkit.output.atomic import write_whole
from llmkit.output.formatting import interval, interval_heading, metric_name, number
from llmkit.output.result import EvaluationResult, Result
from llmkit.output.result_parts import GateResult, MetricResult

if TYPE_CHECKING:
    from junitparser import Properties, TestCase, TestSuite
    from junitparser.junitparser import Result as JUnitResult

# all but https://www.w3.org/TR/xml/#charsets
FORBIDDEN = re.compile(r"[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
ABOUT = ("model", "predictions", "task", "dataset", "split", "n", "rows_sha256", "cached")


def require_junitparser() -> None:
    """Refuse --junit where the library that writes it is missing; to be asked before any costly step.

    Raises:
        OptionError: junitparser is not installed.
    """
    require_extra("--junit", "eval", "junitparser")


def write_junit(path: Path, results: Sequence[Result]) -> None:
    """Write the report of one or more results, whole.

    A gate that was not met is a failure; a result that could not be had is one test case with an error. The time of a
    suite is the result's, in seconds. Characters that XML forbids are dropped.

    Raises:
        OptionError: junitparser is not installed.
    """
    require_junitparser()
    from junitparser import JUnitXml

    report = JUnitXml("llmkit")
    for result in results:
        report.append(_suite(result))  # add_testsuite would merge two suites that look alike
    seconds = [float(result.get("seconds") or 0) if result["status"] == "ok" else 0.0 for result in results]
    report.update_statistics()  # counts the cases, and sets the times to the sum of the cases'
    for suite, spent in zip(report, seconds, strict=True):
        suite.time = round(spent, 3)
    report.time = round(sum(seconds), 3)
    content = io.BytesIO()
    report.write(content)
    write_whole(path, content.getvalue())


def _suite(result: Result) -> TestSuite:
    from junitparser import TestSuite

    suite = TestSuite(_clean(result["name"]))
    known = result.get("versions") if result["status"] == "ok" else None
    versions = {f"versions.{library}": version for library, version in (known or {}).items()}
    suite.append(_properties({**result, **versions}, (*ABOUT, *versions)))
    for case in _cases(result):
        suite.append(case)  # add_testcase counts all of them again each time
    return suite


def _cases(result: Result) -> Iterator[TestCase]:
    from junitparser import Error

    if result["status"] != "ok":
        case = _case(result, "evaluation")
        case.result = [_outcome(Error, result["error"], result["status"])]
        yield case
        return
    for name, figure in result["metrics"].items():
        yield _metric_case(result, name, figure)
    for gate in result["gates"]:
        yield _gate_case(result, gate)


def _metric_case(result: EvaluationResult, name: str, figure: MetricResult) -> TestCase:
    case = _case(result, name)
    case.append(_properties(figure, ("value", "low", "high", "n", "interval", "of")))
    between = f", {interval_heading(result)} {interval(figure)} ({figure['interval']})" if interval(figure) else ""
    value = number(figure["value"]) or "not a number"
    case.system_out = _clean(f"{metric_name(name, figure)}: {value}{between}, n = {figure['n']}")
    return case


def _gate_case(result: EvaluationResult, gate: GateResult) -> TestCase:
    from junitparser import Failure

    case = _case(result, f"{gate['kind']} {gate['metric']}={gate['limit']:g}")
    case.append(_properties(gate, ("value", "bound", "limit", "strict")))
    if gate["met"]:
        case.system_out = _clean(gate["sentence"])
    else:
        case.result = [_outcome(Failure, gate["sentence"], gate["kind"])]
    return case


def _case(result: Result, name: str) -> TestCase:
    from junitparser import TestCase

    return TestCase(_clean(name), classname=_clean(f"llmkit.{result['name']}"))


def _properties(values: Mapping[str, object], names: Sequence[str]) -> Properties:
    """Return those of the named values that there are."""
    from junitparser import Properties, Property

    properties = Properties()
    for name in names:
        if values.get(name) is not None:
            properties.append(Property(_clean(name), _text(values[name])))
    return properties


def _outcome(kind: type[JUnitResult], sentence: str, what: str) -> JUnitResult:
    outcome = kind(_clean(sentence), what)
    outcome.text = _clean(sentence)  # some readers show the text alone, others the message
    return outcome


def _text(value: object) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else _clean(value)


def _clean(value: object) -> str:
    return FORBIDDEN.sub("", str(value))
