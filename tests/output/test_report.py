from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from conftest import write_csv

from llmkit.options import TalkOptions
from llmkit.output.report import Report, to_json


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "null"),
        (float("-inf"), "null"),
        (np.float32("nan"), "null"),
        (np.float64(0.5), "0.5"),
        (torch.tensor(float("inf")), "null"),
        (torch.tensor(3), "3"),
        (np.bool_(True), "true"),
        ({"a": [1.0, float("nan")], 2: (None, "é")}, '{"a": [1.0, null], "2": [null, "é"]}'),
        (Path("runs/a"), '"runs/a"'),
        (10**30, str(10**30)),
    ],
)
def test_json_is_what_any_reader_accepts(value, text):
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    assert to_json(value) == text
    json.loads(to_json(value), parse_constant=refuse)


def test_every_run_writes_a_set_in_the_same_order():
    assert to_json({"e", "d", "c", "b", "a"}) == '["a", "b", "c", "d", "e"]'


def test_a_table_in_a_pipe_is_a_line_of_tab_separated_cells_for_each_row(capsys):
    Report().table("Scores", ["metric", "value"], [["f1", "0.5"], ["a\tb\nc", ""]])
    assert capsys.readouterr() == ("metric\tvalue\nf1\t0.5\na b c\t\n", "")


def test_a_table_on_a_terminal_is_drawn_and_takes_no_cell_for_markup(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    Report().table("", ["text", "score"], [["[/red] [bold]x", "0.5"]])
    out = capsys.readouterr().out
    assert "[/red] [bold]x" in out
    assert "┃" in out
    assert "\t" not in out


def test_rows_are_for_a_person_only_on_a_terminal_without_json(monkeypatch):
    assert not Report().table_wanted
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert Report().table_wanted
    assert not Report(TalkOptions(json=True)).table_wanted


def speak(report: Report) -> None:
    report.say("said")
    report.debug("detail")
    report.warn("careful")
    report.line("line")
    report.json_line({"a": float("nan")})
    report.stream("piece")
    with report.progress("rows", 2) as advance:
        advance()
        advance(1)


@pytest.mark.parametrize(
    ("talk", "err"),
    [
        (TalkOptions(), "said\nwarning: careful\n"),
        (TalkOptions(verbose=True), "said\ndetail\nwarning: careful\n"),
        (TalkOptions(quiet=True), ""),
        (TalkOptions(json=True), "said\nwarning: careful\n"),
    ],
    ids=["usual", "verbose", "quiet", "json"],
)
def test_the_result_goes_to_stdout_and_the_talk_to_stderr(capsys, talk, err):
    report = Report(talk)
    speak(report)
    assert capsys.readouterr() == ('line\n{"a": null}\npiece', err)
    assert report.warnings == ["careful"]


def test_quiet_leaves_the_result_and_the_errors_of_a_command(llmkit, reviews, classifier, tmp_path):
    loud = llmkit("eval", reviews, "-m", classifier)
    hushed = llmkit("eval", reviews, "-m", classifier, "--quiet")
    assert (loud.code, hushed.code) == (0, 0)
    assert "measuring text-classification" in loud.err
    assert (hushed.out, hushed.err) == (loud.out, "")
    assert loud.out.splitlines()[0] == "metric\tvalue\t95% interval\tn"
    assert llmkit("eval", tmp_path / "no.csv", "-m", classifier, "-q").error.startswith("there is no file")


def test_stdout_is_one_json_object_and_nothing_else(llmkit, reviews, classifier):
    ran = llmkit("eval", reviews, "-m", classifier, "--json", "--verbose")
    assert (ran.json["schema"], ran.json["split"], ran.json["n"]) == (1, "validation", 24)
    assert len(ran.out.splitlines()) == 1


def test_a_figure_that_is_no_number_is_null_in_json(llmkit, tmp_path):
    model = tiny.bert_folder(tmp_path / "regression", labels=["score"])
    path = write_csv(tmp_path / "one.csv", [{"text": "the film was good", "label": "0.5"}] * 2)
    ran = llmkit("eval", path, "-m", model, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["metrics"]["pearson"] == {"value": None, "low": None, "high": None, "n": 2, "interval": None}
    assert ran.json["metrics"]["mse"]["value"] > 0
