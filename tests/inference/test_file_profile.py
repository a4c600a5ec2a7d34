from __future__ import annotations

import json

import pytest
import tiny
from conftest import write_jsonl


@pytest.mark.parametrize(
    ("command", "model", "ending", "phases"),
    [
        ("classify", "classifier", "jsonl", {"read", "tokenize", "model", "write"}),
        ("embed", "classifier", "jsonl", {"read", "tokenize", "model", "write"}),
        ("embed", "classifier", "npy", {"tokenize", "model"}),
        ("generate", "llama", "jsonl", {"read", "model", "write"}),
    ],
)
def test_a_profile_tells_phases_and_rates_and_changes_no_answer(
    llmkit, request, tmp_path, command, model, ending, phases
):
    folder, column = request.getfixturevalue(model), "prompt" if command == "generate" else "text"
    rows = write_jsonl(tmp_path / "rows.jsonl", [{column: row["text"]} for row in tiny.reviews(20)])
    more = ["--max-new-tokens", "3"] if command == "generate" else []
    files = [tmp_path / f"{name}.{ending}" for name in ("plain", "profiled")]
    for file, flags in zip(files, ([], ["--profile"]), strict=True):
        ran = llmkit(command, "-m", folder, "--input", rows, "--output", file, *more, *flags)
        assert ran.code == 0, ran.err
    assert files[0].read_bytes() == files[1].read_bytes()
    names = [line.split()[0] for line in ran.err.splitlines() if line.rstrip().endswith("%")]
    assert phases <= set(names)
    for figure in ("tokens/s in the model", "padding", "GFLOP/s", "peak memory"):
        assert figure in ran.err
    trace = json.loads((tmp_path / f"profiled.{ending}.trace.json").read_text())
    assert any("linear" in str(event.get("name")) or "mm" in str(event.get("name")) for event in trace["traceEvents"])


def test_a_profile_is_of_a_file(llmkit, classifier):
    ran = llmkit("classify", "good", "-m", classifier, "--profile")
    assert ran.code == 2
    assert "--profile shows where the time of a file goes, and needs --input" in ran.err
