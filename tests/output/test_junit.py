from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from example_results import FAILED, HOSTILE, hostile
from junitparser import JUnitXml

from llmkit.errors import OptionError
from llmkit.output import junit


def cases(path: Path) -> dict[str, Any]:
    return {case.name: case for suite in JUnitXml.fromfile(str(path)) for case in suite}


def test_junit_has_a_case_for_each_metric_and_each_gate(tmp_path, result):
    junit.write_junit(tmp_path / "report.xml", [result])
    report = JUnitXml.fromfile(str(tmp_path / "report.xml"))
    assert (report.tests, report.failures, report.errors, report.skipped, report.time) == (9, 1, 0, 0, 3.4)
    (suite,) = report
    assert (suite.name, suite.tests, suite.failures, suite.errors, suite.time) == ("glue/mrpc", 9, 1, 0, 3.4)
    found = cases(tmp_path / "report.xml")
    assert list(found) == [*result["metrics"], "fail-under f1=0.85", "max-drop accuracy=0.01"]
    assert {case.classname for case in found.values()} == {"llmkit.glue/mrpc"}
    assert found["f1"].is_passed
    assert found["f1"].system_out == (
        "f1 (class 'equivalent'): 0.8684, 95% interval 0.8401 to 0.8946 (bootstrap), n = 408"
    )
    assert found["brier"].system_out == "brier: 0.1372, n = 408"
    assert found["fail-under f1=0.85"].is_passed
    (failure,) = found["max-drop accuracy=0.01"].result
    assert (failure.message, failure.type) == (result["gates"][1]["sentence"], "max-drop")


def test_junit_is_xml_with_its_counts_and_properties(tmp_path, result):
    junit.write_junit(tmp_path / "report.xml", [result, FAILED])
    root = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert root.tag == "testsuites"
    assert {k: root.get(k) for k in ("tests", "failures", "errors")} == {"tests": "10", "failures": "1", "errors": "1"}
    assert [suite.get("name") for suite in root] == ["glue/mrpc", "reviews"]
    about = {p.get("name"): p.get("value") for p in root[0].findall("properties/property")}
    assert about == {
        "model": "runs/mrpc",
        "task": "text-classification",
        "dataset": "glue/mrpc",
        "split": "validation",
        "n": "408",
        "rows_sha256": result["rows_sha256"],
        "cached": "false",
        **{f"versions.{name}": version for name, version in result["versions"].items()},
    }
    figure = {p.get("name"): p.get("value") for p in root[0].findall("testcase[@name='f1']/properties/property")}
    assert figure == {
        "value": "0.8684",
        "low": "0.8401",
        "high": "0.8946",
        "n": "408",
        "interval": "bootstrap",
        "of": "class 'equivalent'",
    }


@pytest.mark.parametrize("status", ["error", "stopped"])
def test_a_run_that_failed_is_an_error_in_junit_and_no_failure(tmp_path, status):
    junit.write_junit(tmp_path / "report.xml", [{**FAILED, "status": status}])
    report = JUnitXml.fromfile(str(tmp_path / "report.xml"))
    assert (report.tests, report.failures, report.errors) == (1, 0, 1)
    (case,) = cases(tmp_path / "report.xml").values()
    (error,) = case.result
    assert case.is_error
    assert (error.message, error.text, error.type) == (FAILED["error"], FAILED["error"], status)


def test_two_results_that_look_alike_stay_two_suites(tmp_path, result):
    junit.write_junit(tmp_path / "report.xml", [result, result])
    report = JUnitXml.fromfile(str(tmp_path / "report.xml"))
    assert [suite.tests for suite in report] == [9, 9]
    assert (report.tests, report.failures, report.time) == (18, 2, 6.8)


@pytest.mark.parametrize("label", HOSTILE, ids=ascii)
def test_junit_is_well_formed_whatever_the_names(tmp_path, result, label):
    result["metrics"][f"f1 {label}"] = result["metrics"]["f1"]
    junit.write_junit(tmp_path / "report.xml", [hostile(result, label), {**FAILED, "error": label or "-"}])
    root = ElementTree.parse(tmp_path / "report.xml").getroot()
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("11", "1", "1")
    assert len(root.findall("testsuite/testcase")) == 11
    kept = label.replace("\x00", "").replace("\x1b", "").replace("\ud800", "")
    assert root[0].get("name") == kept
    assert JUnitXml.fromfile(str(tmp_path / "report.xml")).tests == 11


def test_a_figure_that_is_not_a_number_is_said_to_be_none(tmp_path, result):
    result["metrics"] = {"pearson": {"value": None, "low": None, "high": None, "n": 8, "interval": None}}
    junit.write_junit(tmp_path / "report.xml", [result])
    assert cases(tmp_path / "report.xml")["pearson"].system_out == "pearson: not a number, n = 8"


def test_junit_without_its_library_names_the_extra(tmp_path, result, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"--junit needs junitparser: pip install 'llmkit\[eval\]'"):
        junit.write_junit(tmp_path / "report.xml", [result])
    assert list(tmp_path.iterdir()) == []
