from __future__ import annotations

import copy
import json
import shlex
import sys
import warnings
from dataclasses import fields
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from junitparser import JUnitXml
from markdown_it import MarkdownIt

from llmkit.errors import OptionError
from llmkit.options import DataOptions, EvalOptions, GateOptions, ModelOptions, ResultOptions
from llmkit.output import junit, markdown, plots, terminal
from llmkit.output.atomic import write_whole
from llmkit.output.formatting import printable
from llmkit.output.report import Report

EXAMPLES = Path(__file__).parents[2] / "examples"
SCHEMA = json.loads(
    (resources.files("llmkit") / "output" / "schemas" / "evaluation.schema.json").read_text(encoding="utf-8")
)
FAILED = SCHEMA["examples"][1]
HOSTILE = [
    "</testcase>",
    "\x00null\x1b[2J",
    "\ud800",
    "🙂",
    "新闻",
    "a|b",
    "`x`",
    "<b>bold</b><!-- ",
    "one\ntwo\r\nthree",
    "*a* _b_ __c__ ~~d~~",
    "[link](http://a.b)",
    "![](x)",
    "&amp;",
    "\\|",
    "$x^$",
    "]]>",
    "# h",
    "www.a.b",
    "\u2028",
    "\u202eabc",
    "---",
    "[/red]",
    "",
    "@someone",
    "a\tb",
    "%0A::error::x",
    "x" * 500,
]


@pytest.fixture
def result() -> dict[str, Any]:
    return copy.deepcopy(SCHEMA["examples"][0])


@pytest.fixture
def language() -> dict[str, Any]:
    """A result without classes, gates or a baseline."""
    return copy.deepcopy(SCHEMA["examples"][2]["results"][0])


def hostile(result: dict[str, Any], label: str) -> dict[str, Any]:
    """Put a label wherever a name or a text of the user's can stand."""
    result["confusion"] = {"labels": [label, "equivalent"], "counts": result["confusion"]["counts"]}
    result["per_class"] = {label: result["per_class"]["equivalent"]}
    result["metrics"]["f1"]["of"] = f"class {label!r}" if label.isprintable() else label
    result["gates"][1]["sentence"] = label
    result["warnings"] = [label]
    result |= {"name": label, "dataset": label, "model": label, "split": label}
    result["baseline"]["name"] = label
    result["baseline"]["flips"]["rows"] = [{"id": label, "label": label, "before": label, "after": label}]
    slices = result["slices"]["source"]
    slices["values"] = {label: slices["values"]["news"]}
    slices["gaps"]["f1"] |= {"best": label, "worst": label}
    result["slices"] = {label: slices}
    result["swap"]["terms"] = label
    result["swap"]["pairs"] = [{"terms": [label, label], "n": 1, "flipped": 1}]
    result["swap"]["rows"] = [{"id": label, "text": label, "swapped": label, "before": label, "after": label}]
    result["invariance"] |= {"changed": 1, "changed_rows": [{"id": label, "alone": label, "together": label}]}
    return result


def cases(path: Path) -> dict[str, Any]:
    return {case.name: case for suite in JUnitXml.fromfile(str(path)) for case in suite}


# the text of a cell


def test_any_value_becomes_one_line_that_steers_no_terminal():
    assert printable("one\ntwo\r\n three\u2028four\tfive") == "one two three four five"
    assert printable("\x1b[2J\x00\ud800\u202e") == "\ufffd[2J\ufffd\ufffd\ufffd"
    assert printable(None) == ""
    assert printable(0) == "0"
    assert printable(["a", "b\nc", 1]) == "a, b c, 1"
    assert printable([]) == ""
    assert printable("新闻 👩‍💻") == "新闻 👩‍💻"
    assert printable("abcdef", 5) == "abcd…"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "made" / "file"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"

    def fail(self: Path, target: Path) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_whole(path, b"newer")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


# JUnit


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


# Markdown


class Page(HTMLParser):
    """What a reader of the rendered page sees: the tags, and the text of every table cell and list item."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.cell = False
        self.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(source))

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
            self.cell = True

    def handle_endtag(self, tag: str) -> None:
        self.cell = self.cell and tag not in {"td", "th"}

    def handle_comment(self, data: str) -> None:
        self.tags.append("comment")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.cell:
            self.tables[-1][-1][-1] += data


def test_the_job_summary_says_what_was_measured_and_which_gates_were_met(result):
    page = markdown.render([result])
    assert page.startswith("### ❌ runs/mrpc on glue/mrpc, validation\n")
    assert "\n- ✅ gate met: f1 is 0.8684, at least 0.85 is demanded\n- ❌ gate NOT met: accuracy is" in page
    assert "\n|metric|value|95% interval|n|\n|---|---|---|---|\n|accuracy|0.8113|0.7705 to 0.8464|408|\n" in page
    assert "\n|f1 (class 'equivalent')|0.8684|0.8401 to 0.8946|408|\n" in page
    assert "\n|brier|0.1372||408|\n" in page
    assert "\n|f1|0.8997|0.8684|-0.0313 (-0.0519 to -0.0117)|0.0025|\n" in page
    assert "\n38 predictions changed: 9 fixed, 29 broken.\n" in page
    assert "\n|17|equivalent|equivalent|not_equivalent|\n" in page
    assert "\n|blog|148|0.8341 (0.7812 to 0.8819)|\n" in page
    assert "\n- largest gap of f1: 0.0530 (-0.0067 to 0.1126), best news, worst blog\n" in page
    assert "3 of 40 predictions flip (a share of 0.0750, 95% interval 0.0258 to 0.1986)." in page
    assert "- ⚠️ warning: 2 of 410 rows" in page
    assert "Batch invariance" not in page
    assert page.count("<details>") == page.count("</details>") == 2


def test_the_job_summary_of_a_passing_result_is_green_and_short(language):
    page = markdown.render([language])
    assert page.startswith("### ✅ books: preds.jsonl on examples/corpus.txt, train\n")
    assert "|perplexity|47.7529|44.1000 to 51.9000|4491|" in page
    assert "❌" not in page
    assert "<details>" not in page
    assert page.endswith(", cached\n")


def test_the_job_summary_of_a_suite_begins_with_all_of_it(result, language):
    (overview, *_) = Page(markdown.render([result, language, FAILED])).tables
    assert overview[1:] == [
        ["❌", "glue/mrpc", "f1 (class 'equivalent')", "0.8684", "0.8401 to 0.8946", "408", "1 of 2 met"],
        ["✅", "books", "perplexity", "47.7529", "44.1000 to 51.9000", "4491", ""],
        ["❌", "reviews", f"error: {FAILED['error']}", "", "", "", ""],
    ]


def test_a_failed_run_in_markdown_is_its_sentence():
    page = Page(markdown.render([FAILED]))
    assert page.text.split("\n")[:2] == ["❌ reviews", f"error: {FAILED['error']}"]


def test_changed_predictions_of_the_invariance_check_are_named(result):
    result["invariance"] = {
        "rows": 8,
        "largest_difference": 0.5,
        "changed": 1,
        "changed_rows": [{"id": "row-7", "alone": "a", "together": "b"}],
    }
    assert "1 of 8 predictions depend on the rows beside them: row-7." in markdown.render([result])


@pytest.mark.parametrize("label", HOSTILE, ids=ascii)
def test_no_label_breaks_the_page(result, label):
    plain = Page(markdown.render([hostile(copy.deepcopy(result), "plain"), FAILED]))
    page = Page(markdown.render([hostile(result, label), {**FAILED, "error": label}]))
    assert page.tags == plain.tags
    assert [[len(row) for row in table] for table in page.tables] == [
        [len(row) for row in table] for table in plain.tables
    ]
    if len(label) < 100:
        assert [printable(label)] * 4 in [row for table in page.tables for row in table]


def test_at_most_ten_flipped_rows_are_in_the_summary(result):
    row = result["baseline"]["flips"]["rows"][0]
    result["baseline"]["flips"]["rows"] = [{**row, "id": f"row-{i}"} for i in range(50)]
    page = markdown.render([result])
    assert "row-9|" in page
    assert "row-10|" not in page
    assert "<summary>10 of the 38 rows that changed</summary>" in page


def test_markdown_is_written_to_its_file(tmp_path, result):
    markdown.write_markdown(tmp_path / "summary.md", [result])
    assert (tmp_path / "summary.md").read_text(encoding="utf-8") == markdown.render([result])


def test_the_step_summary_is_added_to_when_there_is_one(tmp_path, result, monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert markdown.append_step_summary([result]) is None
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    assert markdown.append_step_summary([result]) is None
    assert path.read_text(encoding="utf-8") == "before\n" + markdown.render([result])


def many_slices(result: dict[str, Any]) -> dict[str, Any]:
    part = result["slices"]["source"]["values"]["news"]
    result["slices"]["source"]["values"] = {f"新闻 {i}": part for i in range(40_000)}
    return result


@pytest.mark.parametrize("before", [0, 100, 900_001, 1024 * 1024 - 400])
def test_the_step_summary_stays_under_its_limit_and_says_that_it_was_cut(tmp_path, result, monkeypatch, before):
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * before)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    markdown.append_step_summary([many_slices(result)])
    written = path.read_bytes()
    assert before < len(written) <= 1024 * 1024
    added = written[before:].decode()
    assert added.endswith(
        "\n\n_Cut here: a job summary holds at most 1024 KiB; --output and --markdown write the whole._\n"
    )
    assert added.count("<details>") == added.count("</details>")
    kept = added.rpartition("\n\n_Cut here")[0].removesuffix("\n\n</details>")
    assert markdown.render([result]).startswith(kept + "\n" if kept else "")


def test_a_cut_inside_details_closes_them(result):
    content = markdown.render([result]).encode()
    middle = content.index(b"|17|equivalent")
    cut = markdown._fit(content, middle + len(markdown.CUT_NOTE) + len(markdown.END_DETAILS)).decode()
    assert cut.count("<details>") == cut.count("</details>") == 1


def test_a_full_step_summary_is_left_alone(tmp_path, result, monkeypatch):
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * 1024 * 1024)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    assert markdown.append_step_summary([result]) is None
    assert path.stat().st_size == 1024 * 1024


def test_a_step_summary_that_cannot_be_written_is_a_sentence(tmp_path, result, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "missing" / "summary.md"))
    assert markdown.append_step_summary([result]).startswith(
        "the job summary $GITHUB_STEP_SUMMARY could not be written"
    )


def test_annotations_name_missed_gates_and_errors(result):
    result["gates"][1]["sentence"] = "NOT met: 5% lower,\r\nsadly: yes"
    assert markdown.annotations([result, {**FAILED, "name": "a:b,c%"}]) == [
        "::error title=glue/mrpc%3A max-drop accuracy::NOT met: 5%25 lower,%0D%0Asadly: yes",
        f"::error title=a%3Ab%2Cc%25%3A error::{FAILED['error']}",
    ]


def test_met_gates_have_no_annotation(result):
    result["gates"] = result["gates"][:1]
    assert markdown.annotations([result]) == []


# the terminal


def test_one_result_is_shown_in_full(result, capsys):
    terminal.show_results([result], Report())
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "metric\tvalue\t95% interval\tn",
        "accuracy\t0.8113\t0.7705 to 0.8464\t408",
        "precision (class 'equivalent')\t0.8301\t0.7891 to 0.8712\t408",
        "recall (class 'equivalent')\t0.9104\t0.8762 to 0.9431\t408",
        "f1 (class 'equivalent')\t0.8684\t0.8401 to 0.8946\t408",
        "matthews_correlation\t0.5447\t0.4594 to 0.6266\t408",
        "ece\t0.0612\t0.0384 to 0.0958\t408",
        "brier\t0.1372\t\t408",
        "class\tprecision\trecall\tf1\tsupport",
        "not_equivalent\t0.7549\t0.5969\t0.6667\t129",
        "equivalent\t0.8301\t0.9104\t0.8684\t279",
        "truth \\ predicted\tnot_equivalent\tequivalent",
        "not_equivalent\t77\t52",
        "equivalent\t25\t254",
        "source\tmetric\tvalue\t95% interval\tn",
        "news\tf1\t0.8871\t0.8531 to 0.9166\t260",
        "blog\tf1\t0.8341\t0.7812 to 0.8819\t148",
        "metric\tlargest gap over source\t95% interval\tbest\tworst",
        "f1\t0.0530\t-0.0067 to 0.1126\tnews\tblog",
        "metric\tbaseline\tnow\tdifference\t95% interval\tp\ttest",
        "accuracy\t0.8603\t0.8113\t-0.0490\t-0.0784 to -0.0196\t0.0019\texact McNemar",
        "f1\t0.8997\t0.8684\t-0.0313\t-0.0519 to -0.0117\t0.0025\tpaired bootstrap",
        "fixed\tbroken\tchanged",
        "9\t29\t38",
        "changed row\tlabel\tbefore\tafter",
        "17\tequivalent\tequivalent\tnot_equivalent",
        "52\tnot_equivalent\tnot_equivalent\tequivalent",
        "swapped terms\tn\tflipped\tshare\t95% interval",
        "he / she\t31\t2\t\t",
        "his / her\t9\t1\t\t",
        "all\t40\t3\t0.0750\t0.0258 to 0.1986",
        "flipped row\tswapped text\tbefore\tafter",
        "80\tShe said so.\tequivalent\tnot_equivalent",
    ]
    assert err.splitlines() == [
        "text-classification on glue/mrpc, validation: 408 rows",
        "against main.json: 408 rows paired by content",
        "swapping the terms of terms.csv: 3 of 40 predictions flip",
        "8 rows alone and in other company: 0 predictions changed, outputs at most 9.5e-07 apart",
        "gate met: f1 is 0.8684, at least 0.85 is demanded",  # and nothing of the one that was missed
    ]


def test_a_result_with_little_in_it_is_one_table(language, capsys):
    terminal.show_results([language], Report())
    out, err = capsys.readouterr()
    assert [line.split("\t")[0] for line in out.splitlines()] == ["metric", "perplexity", "loss", "bits_per_byte"]
    assert err == "causal-lm on examples/corpus.txt, train: 4491 tokens, 19471 bytes, cached\n"


def test_several_results_are_one_table_with_the_headline_first(result, language, capsys):
    terminal.show_results([result, language, FAILED], Report())
    out, err = capsys.readouterr()
    rows = [line.split("\t") for line in out.splitlines()]
    assert rows[:3] == [
        ["name", "task", "metric", "value", "95% interval", "n", "gates"],
        ["glue/mrpc", "text-classification", "f1 (class 'equivalent')", "0.8684", "0.8401 to 0.8946", "408", "met"],
        ["glue/mrpc", "text-classification", "accuracy", "0.8113", "0.7705 to 0.8464", "408", "NOT met"],
    ]
    assert ["books", "causal-lm", "loss", "3.8660", "3.7860 to 3.9490", "4491", ""] in rows
    assert rows[-1] == ["reviews", "", f"error: {FAILED['error']}", "", "", "", ""]
    assert {len(row) for row in rows} == {7}
    assert err == "glue/mrpc: gate met: f1 is 0.8684, at least 0.85 is demanded\n"


def test_a_gate_on_what_is_no_metric_has_a_row_of_its_own(result, language, capsys):
    result["gates"][0] |= {"metric": "swap_flips", "value": 0.075}
    terminal.show_results([result, language], Report())
    assert "glue/mrpc\ttext-classification\tswap_flips\t0.0750\t\t\tmet\n" in capsys.readouterr().out


def test_a_metric_is_not_met_when_one_of_its_gates_is_not(result, language, capsys):
    result["gates"][1]["metric"] = "f1"
    terminal.show_results([result, language], Report())
    assert capsys.readouterr().out.splitlines()[1].endswith("\tNOT met")


@pytest.mark.parametrize(("classes", "shown"), [(12, True), (13, False)])
def test_a_wide_confusion_matrix_is_left_out(result, capsys, classes, shown):
    result["confusion"] = {"labels": [str(i) for i in range(classes)], "counts": [[1] * classes] * classes}
    terminal.show_results([result], Report())
    assert ("truth \\ predicted" in capsys.readouterr().out) is shown


def test_rows_that_change_with_their_company_are_listed(result, capsys):
    result["invariance"] = {
        "rows": 8,
        "largest_difference": None,
        "changed": 1,
        "changed_rows": [{"id": "7", "alone": "a", "together": "b"}],
    }
    terminal.show_results([result], Report())
    out, err = capsys.readouterr()
    assert out.endswith("row that changes\talone\ttogether\n7\ta\tb\n")
    assert "8 rows alone and in other company: 1 predictions changed\n" in err


def test_a_tiny_p_value_is_said_to_be_small_and_a_missing_one_left_out(result, capsys):
    result["baseline"]["metrics"]["f1"]["p"] = 3e-9
    result["baseline"]["metrics"]["accuracy"] |= {"p": None, "test": None, "low": None, "high": None}
    terminal.show_results([result], Report())
    out = capsys.readouterr().out
    assert "\t<0.0001\tpaired bootstrap\n" in out
    assert "accuracy\t0.8603\t0.8113\t-0.0490\t\t\t\n" in out


@pytest.mark.parametrize("label", HOSTILE, ids=ascii)
def test_no_label_breaks_a_table_in_a_pipe(result, capsys, label):
    terminal.show_results([hostile(copy.deepcopy(result), "plain")], Report())
    plain = capsys.readouterr().out
    terminal.show_results([hostile(result, label)], Report())
    out = capsys.readouterr().out
    assert [line.count("\t") for line in out.split("\n")] == [line.count("\t") for line in plain.split("\n")]


@pytest.mark.parametrize("label", HOSTILE, ids=ascii)
def test_no_label_steers_a_terminal(result, capsys, monkeypatch, label):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "250")
    plain = "".join("x" for _ in label)
    terminal.show_results([hostile(copy.deepcopy(result), plain)], Report())
    expected = capsys.readouterr().out.count("│")
    terminal.show_results([hostile(result, label)], Report())
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out
    assert out.count("│") == expected


@pytest.mark.parametrize("label", ["[/red]", "[bold]", ":smile:"])
def test_no_label_is_taken_for_markup_on_a_terminal(result, capsys, monkeypatch, label):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "250")
    plain = "x" * len(label)
    terminal.show_results([hostile(copy.deepcopy(result), plain)], Report())
    expected = capsys.readouterr().out.count(plain)
    terminal.show_results([hostile(result, label)], Report())
    assert capsys.readouterr().out.count(label) == expected > 10


# pictures


def shape(path: Path) -> tuple[int, ...]:
    from matplotlib import image

    return tuple(image.imread(path).shape)


def test_what_a_result_holds_is_drawn(tmp_path, result):
    drawn = plots.draw_results(tmp_path / "pictures", result)
    assert [path.name for path in drawn] == ["confusion.png", "calibration.png", "metrics.png", "slices.png"]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == sorted(path.name for path in drawn)
    assert all(min(shape(path)[:2]) > 200 for path in drawn)


def test_only_what_a_result_holds_is_drawn(tmp_path, language):
    assert plots.draw_results(tmp_path, language) == [tmp_path / "metrics.png"]
    assert plots.draw_results(tmp_path / "nothing", FAILED) == []
    assert not (tmp_path / "nothing").exists()


def test_a_picture_shows_its_figures(tmp_path, result):
    before = {path.name: path.read_bytes() for path in plots.draw_results(tmp_path, result)}
    again = {path.name: path.read_bytes() for path in plots.draw_results(tmp_path, result)}
    assert again == before
    result["confusion"]["counts"][0] = [52, 77]
    result["calibration"]["bins"][1]["accuracy"] = 0.1
    result["metrics"]["accuracy"]["low"] = 0.1
    result["slices"]["source"]["values"]["blog"]["metrics"]["f1"]["value"] = 0.5
    after = {path.name: path.read_bytes() for path in plots.draw_results(tmp_path, result)}
    assert [name for name in after if after[name] == before[name]] == []


def test_a_confusion_matrix_grows_with_its_classes(tmp_path, result):
    sizes = []
    result |= {"calibration": None, "slices": None}
    for classes in (2, 12, 30):
        counts = [[int(i == j) for j in range(classes)] for i in range(classes)]
        result["confusion"] = {"labels": [f"class {i}" for i in range(classes)], "counts": counts}
        sizes.append(shape(plots.draw_results(tmp_path, result)[0])[0])
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("label", ["</b>", "$x^$", "新闻", "🙂", "\x00", "\ud800", "_", "", "x" * 500], ids=ascii)
def test_any_label_can_be_drawn_without_a_word(tmp_path, result, label, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(plots.draw_results(tmp_path, hostile(result, label))) == 4
    assert capsys.readouterr() == ("", "")


def test_figures_that_are_missing_or_out_of_range_are_drawn_all_the_same(tmp_path, result):
    nothing = {"value": None, "low": None, "high": None, "n": 408, "interval": None}
    result["metrics"] |= {"pearson": nothing, "spearman": {**nothing, "value": -0.7, "low": -0.9, "high": -0.4}}
    result["metrics"] |= {"bleu": {**nothing, "value": 31.5}}
    result["metrics"].pop("ece")
    result["slices"]["source"]["values"]["blog"]["metrics"]["f1"] = nothing
    result["confusion"]["counts"][0] = [0, 0]
    assert len(plots.draw_results(tmp_path, result)) == 4


# the examples

OPTIONS = {
    field.name
    for group in (DataOptions, EvalOptions, GateOptions, ModelOptions, ResultOptions)
    for field in fields(group)
}


def workflow_steps() -> list[dict[str, Any]]:
    workflow = yaml.safe_load((EXAMPLES / "eval.github-workflow.yml").read_text(encoding="utf-8"))
    assert True in workflow  # YAML 1.1 reads the key `on` as true, GitHub does not
    assert workflow["permissions"] == {"contents": "read", "checks": "write"}
    steps: list[dict[str, Any]] = workflow["jobs"]["eval"]["steps"]
    return steps


def test_the_workflow_calls_llmkit_with_flags_that_there_are():
    (command,) = [step["run"] for step in workflow_steps() if step.get("run", "").startswith("llmkit")]
    assert "\n" not in command.strip()
    words = shlex.split(command)
    given = {word.removeprefix("--").replace("-", "_") for word in words if word.startswith("--")}
    assert given <= OPTIONS
    assert given == {"fail_under", "baseline", "max_drop", "output", "junit", "save_predictions"}
    GateOptions(fail_under=["f1=0.85"], baseline="eval/baseline.json", max_drop=["f1=0.01"])


def test_the_workflow_keeps_the_files_of_a_job_that_failed():
    steps = workflow_steps()
    (command,) = [step["run"] for step in steps if step.get("run", "").startswith("llmkit")]
    kept = {step["uses"].partition("@")[0]: step for step in steps if step.get("if") == "always()"}
    assert set(kept) == {"actions/upload-artifact", "mikepenz/action-junit-report"}
    assert kept["mikepenz/action-junit-report"]["with"]["report_paths"] == "report.xml"
    for file in kept["actions/upload-artifact"]["with"]["path"].split():
        assert file in shlex.split(command)


def test_the_suite_is_of_data_and_options_that_there_are():
    suite = yaml.safe_load((EXAMPLES / "suite.yaml").read_text(encoding="utf-8"))
    assert set(suite) == {"model", "evals"}
    names = [member.pop("name") for member in suite["evals"]]
    assert len(set(names)) == len(names) == 3
    for member in suite["evals"]:
        assert (EXAMPLES.parent / member.pop("dataset") / f"{member['split']}.csv").is_file()
        assert set(member) <= OPTIONS
        assert all(isinstance(limit, float) for limit in member.get("fail_under", {}).values())
