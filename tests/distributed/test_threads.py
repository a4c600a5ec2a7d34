"""How many threads a process computes with, and how they wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from llmkit.distributed import threads

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")


@pytest.fixture
def container(monkeypatch, tmp_path):
    """Let the quota be read from a folder, on a machine of eight cores where the user has set nothing."""
    for name in NAMES:
        monkeypatch.setenv(name, "")  # put back afterwards, whatever is set below
        monkeypatch.delenv(name)
    monkeypatch.setattr(threads, "allowed_cores", lambda: 8)
    monkeypatch.setattr(threads, "QUOTA_V2", tmp_path / "cpu.max")
    monkeypatch.setattr(threads, "QUOTA_V1", (tmp_path / "cpu.cfs_quota_us", tmp_path / "cpu.cfs_period_us"))
    return tmp_path


def test_threads_wait_without_spinning_and_as_many_as_there_are_cores_stay(container):
    threads.share_cores()
    assert [os.environ.get(name) for name in NAMES] == ["passive", "1000", None]


@pytest.mark.parametrize(("name", "value"), [("OMP_WAIT_POLICY", "active"), ("GOMP_SPINCOUNT", "infinite")])
def test_what_the_user_says_of_waiting_stands(container, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    threads.share_cores()
    assert {each: os.environ[each] for each in NAMES if each in os.environ} == {name: value}


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("200000 100000\n", 2),
        ("150000 100000\n", 1),
        ("50000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("max 100000\n", 8),
        ("", 8),
        ("words\n", 8),
        ("1 0\n", 8),
    ],
)
def test_no_more_threads_than_the_container_has_cores(container, quota, expected):
    (container / "cpu.max").write_text(quota)
    assert threads.usable_cores() == expected
    threads.share_cores()
    assert os.environ.get("OMP_NUM_THREADS") == (str(expected) if expected < 8 else None)


def test_the_older_files_of_a_container_are_read_too(container):
    (container / "cpu.cfs_quota_us").write_text("300000\n")
    (container / "cpu.cfs_period_us").write_text("100000\n")
    assert threads.usable_cores() == 3
    (container / "cpu.cfs_quota_us").write_text("-1\n")
    assert threads.usable_cores() == 8


def test_a_number_of_threads_that_the_user_gives_stands(container, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    (container / "cpu.max").write_text("200000 100000\n")
    threads.share_cores()
    assert os.environ["OMP_NUM_THREADS"] == "6"


def test_it_is_set_before_torch_can_read_it():
    code = (
        "import sys, os, llmkit.cli.app as app, llmkit.__main__ as entry\n"
        "app.main = lambda: print('torch' in sys.modules, os.environ['OMP_WAIT_POLICY']) or 0\n"
        "entry.run()"
    )
    environment = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "False passive\n")
