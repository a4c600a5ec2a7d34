"""The example notebook runs from its first cell to its last, and what is going on is drawn in it."""

from __future__ import annotations

import json
import re
import sys

import pytest
from readme import ROOT

nbclient = pytest.importorskip("nbclient", reason="a notebook is run by nbclient, of llmkit[dev]")
pytest.importorskip("ipykernel", reason="a notebook is run by ipykernel, of llmkit[dev]")
pytest.importorskip("ipywidgets", reason="bars in a notebook are drawn by ipywidgets, of llmkit[dev]")
import nbformat  # noqa: E402

NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a notebook in this Python, whatever kernels are installed."""
    kernel = tmp_path / "kernels" / "python3"
    kernel.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Python 3", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", ":".join(filter(None, sys.path)))

    def executed(notebook):
        nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(tmp_path))
        return [cell for cell in notebook.cells if cell.cell_type == "code"]

    return executed


def written(cell):
    return "".join(output.get("text", "") for output in cell.outputs)


def drawn(cell):
    return [kind for output in cell.outputs for kind in output.get("data", {})]


def test_the_notebook_is_stored_without_what_it_came_to():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    nbformat.validate(nbformat.from_dict(notebook))
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert not re.search(r"/(home|work|root|Users|tmp)/", NOTEBOOK.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_notebook_runs(run):
    cells = run(nbformat.read(NOTEBOOK, as_version=4))
    two, one, evaluated, classified, generated = cells[2:]
    assert "2 processes" in written(two)
    assert len(re.findall("^task: text-classification", written(two), re.M)) == 1  # the main process alone speaks
    assert "application/vnd.jupyter.widget-view+json" in drawn(one)
    figures = eval(one.outputs[-1]["data"]["text/plain"])
    assert figures["accuracy"] > 0.8
    assert "400" in evaluated.outputs[-1]["data"]["text/plain"]
    labels = [line.split()[0] for line in written(classified).splitlines() if line.startswith(("positive", "negative"))]
    assert labels == ["positive", "negative"]
    assert written(generated).splitlines()[-1]


def test_a_bar_and_a_table_are_drawn_in_a_notebook_and_quiet_draws_nothing(run):
    code = """
from llmkit.options import TalkOptions
from llmkit.output.live_table import TrainingTable
from llmkit.output.report import Report, console

with Report({talk}).progress("rows", 3) as advance:
    advance(3)
"""
    table = """
with TrainingTable(console(stderr=True), "f1", False, 4) as shown:
    shown.advance(2)
    shown.measured(2, 0.5, 0.75)
"""
    cells = [code.format(talk=""), code.format(talk="TalkOptions(quiet=True)"), table]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in cells])
    bar, quiet, measured = run(notebook)
    assert "application/vnd.jupyter.widget-view+json" in drawn(bar)
    assert quiet.outputs == []
    assert any("0.7500" in output.get("data", {}).get("text/plain", "") for output in measured.outputs)
