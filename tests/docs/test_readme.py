"""Every llmkit command in the README works as it stands there; `tests/real` runs those that need the Hub."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from readme import ROOT, commands


@pytest.mark.slow
def test_the_commands_of_the_readme_run_in_their_order(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    offline = commands(hub=False)
    assert {re.search(r"llmkit (\w+)", line)[1] for line in offline} == {
        "generate",
        "pretrain",
        "data",
        "finetune",
        "merge",
        "eval",
        "classify",
        "compare",
        "cache",
    }
    for line in offline:
        if re.search(r"llmkit (pretrain|finetune)", line) and not line.endswith("-o runs/reviews"):
            line += " --max-steps 20"  # nothing that comes later asks how good it is; `make demo` trains it whole
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout.strip(), line


@pytest.mark.slow
def test_the_python_example_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "python_api.py"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    labelled = done.stdout.splitlines()[-2:]
    assert {line.split()[0] for line in labelled} <= {"positive", "negative"}


def test_the_readme_lists_the_exit_codes_of_the_errors():
    from llmkit import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.exit_code for kind in kinds if issubclass(kind, errors.LlmkitError)}
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", (ROOT / "README.md").read_text(), re.M)}
    assert table == codes | {0}


def test_the_map_of_the_readme_names_every_room_and_no_other():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rooms = {path.name for path in (ROOT / "llmkit").iterdir()} - {"__main__.py", "__pycache__", "py.typed"}
    assert set(re.findall(r"^llmkit/(\w+(?:\.py)?)/? ", text, re.M)) == rooms
