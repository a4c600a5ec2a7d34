"""A search on CoLA that is killed, and goes on."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest
from conftest import llmkit_command

pytestmark = pytest.mark.real


def test_a_search_on_cola_goes_on_after_kill_9_and_is_no_worse_than_the_default(hub):
    flags = (
        "glue/cola",
        "-m",
        "sentence-transformers/all-MiniLM-L6-v2",
        "-o",
        "runs/cola-search",
        "--max-steps",
        "20",
        "--limit",
        "320",
        "--search",
        "3",
    )
    begun = subprocess.Popen(
        llmkit_command("finetune", *flags),
        cwd=hub.folder,
        env=hub.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    seen = []
    for line in begun.stderr:
        seen.append(line)
        if line.startswith("step ") and any("trial 1 " in other for other in seen):
            begun.send_signal(signal.SIGKILL)
    assert begun.wait() == -signal.SIGKILL, "".join(seen)
    begun.stderr.close()
    again = hub("finetune", *flags)
    assert (again.code, "--resume goes on with it" in again.err) == (2, True)
    ended = hub("finetune", *flags, "--resume", "--json")
    assert ended.code == 0, ended.err
    assert "trial 0 (" not in ended.err
    told = json.loads(ended.out)["search"]
    assert [trial["state"] for trial in told["trials"]].count("complete") >= 2
    assert told["best_value"] >= told["default_value"] == told["trials"][0]["value"]
    assert not list((hub.folder / "runs" / "cola-search").rglob("checkpoints"))
