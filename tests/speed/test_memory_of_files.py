"""The peak memory of classify, embed and generate on a file and on one of ten times as many rows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from conftest import write_jsonl

pytestmark = pytest.mark.benchmark

ROWS = 5_000  # more than are kept once they are prepared
ROOM = 1.10


def peak(command: str, model: Path, rows: int, folder: Path) -> float:
    """Return the megabytes that a command held at its peak."""
    column = "prompt" if command == "generate" else "text"
    source = write_jsonl(folder / f"{rows}.jsonl", [{column: row["text"]} for row in tiny.reviews(rows)])
    more = ["--max-new-tokens", "2"] if command == "generate" else []
    output = folder / f"{command}-{rows}.jsonl"
    arguments = [command, "-m", str(model), "--input", str(source), "--output", str(output), "--quiet", *more]
    child = subprocess.Popen([sys.executable, "-m", "llmkit", *arguments])
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    assert sum(1 for _ in output.open(encoding="utf-8")) == rows
    return usage.ru_maxrss / 1024


@pytest.mark.parametrize(
    ("command", "kind"), [("classify", "classifier"), ("embed", "classifier"), ("generate", "llama")]
)
def test_ten_times_as_many_rows_take_no_more_memory(request, tmp_path, command, kind):
    model = request.getfixturevalue(kind)
    small, large = (peak(command, model, rows, tmp_path) for rows in (ROWS, 10 * ROWS))
    print(f"\n{command}: {small:,.0f} MB for {ROWS:,} rows, {large:,.0f} MB for {10 * ROWS:,}")
    assert large <= ROOM * small
