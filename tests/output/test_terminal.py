from __future__ import annotations

import copy
import sys

import pytest
from example_results import FAILED, HOSTILE, hostile

from llmkit.output import terminal
from llmkit.output.report import Report


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
