"""Which end of several ranks is told, as the earliest cause; and what a rank knows of ends."""

from __future__ import annotations

import json
import signal

import pytest

from llmkit.cli.launch.fleet import Fleet
from llmkit.cli.launch.running import accelerate_arguments, ranks_environment
from llmkit.cli.launch.verdict import ended_without_words, verdict
from llmkit.distributed.meeting import _difference, common_arguments
from llmkit.distributed.outcomes import Outcome, lost_peer, outcomes

LOST = {"consequence": True, "sentence": "the connection broke"}


def ends(*every: Outcome) -> dict[int, Outcome]:
    return {end.rank: end for end in every}


@pytest.mark.parametrize(
    ("every", "result"),
    [
        ((Outcome(0, 0), Outcome(1, 0)), (0, "")),
        ((Outcome(0, 1), Outcome(1, 0)), (1, "")),  # the main one said which gate
        ((Outcome(0, 1), Outcome(1, 4, **LOST)), (1, "")),
        ((Outcome(0, 75, "stopped"), Outcome(1, 75, "stopped")), (75, "stopped")),
        ((Outcome(0, 2, "no flag", time=1), Outcome(1, 2, "no flag", time=2)), (2, "no flag")),
        ((Outcome(0, 4, **LOST, time=1), Outcome(1, 11, "diverged", time=2)), (11, "rank 1: diverged")),
        ((Outcome(0, 11, "diverged", time=2), Outcome(1, 3, "bug", time=1)), (3, "rank 1: bug")),
        ((Outcome(0, 75, "stopped", time=1), Outcome(1, 12, "full", time=2)), (12, "rank 1: full")),
        ((Outcome(0, 2, "no row", time=1), Outcome(1, 4, **LOST, time=2)), (2, "no row")),
        ((Outcome(0, 12, "full", time=1), Outcome(1, 4, **LOST, time=2)), (12, "rank 0: full")),
        ((Outcome(1, 2, "no row"), Outcome(0, 0)), (2, "rank 1: no row")),
        ((Outcome(0, 4, **LOST, time=2), Outcome(1, 4, **LOST, time=1)), (4, "rank 1: the connection broke")),
        ((Outcome(2, 11, "rank 0: diverged", consequence=True), Outcome(3, 4, **LOST)), (11, "rank 0: diverged")),
        ((Outcome(0, 141), Outcome(1, 4, **LOST)), (141, "")),
        ((), (0, "")),
    ],
)
def test_the_earliest_cause_is_told(every, result):
    assert verdict(ends(*every), 2, []) == result


@pytest.mark.parametrize(
    ("codes", "received", "result"),
    [
        ((130, 130), [signal.SIGINT, signal.SIGINT], (130, "interrupted, nothing was saved")),
        ((130, 130), [signal.SIGTERM, signal.SIGTERM], (130, "interrupted, nothing was saved")),
        ((143, 143), [signal.SIGTERM], (143, "")),
        ((137, 137), [signal.SIGTERM, signal.SIGTERM], (143, "")),
        ((137, 137), [signal.SIGINT, signal.SIGINT], (130, "interrupted, nothing was saved")),
        ((11, 143), [signal.SIGTERM], (11, "rank 0: what it said")),
    ],
)
def test_what_a_signal_ended_is_told_as_of_one_process(codes, received, result):
    every = (Outcome(rank, code, "what it said") for rank, code in enumerate(codes))
    assert verdict(ends(*every), 2, received) == result


@pytest.mark.parametrize(
    ("code", "killed", "end"),
    [
        (-9, (), Outcome(1, 137, "rank 1 was killed by SIGKILL (out of memory?)", False, 5.0)),
        (-9, (1,), Outcome(1, 137, "rank 1 was killed by SIGKILL (out of memory?)", True, 5.0)),
        (-11, (), Outcome(1, 139, "rank 1 was killed by SIGSEGV", False, 5.0)),
        (-15, (), Outcome(1, 143, "rank 1 was killed by SIGTERM", True, 5.0)),
        (7, (), Outcome(1, 7, "rank 1 ended with exit code 7", False, 5.0)),
    ],
)
def test_a_rank_without_words_is_told_by_its_exit_code(tmp_path, code, killed, end):
    said = Outcome(0, 4, **LOST)
    assert ended_without_words({0: said}, {0: (4, 6), 1: (code, 5)}, killed, tmp_path) == {0: said, 1: end}


def test_the_last_line_of_a_rank_is_told_too(tmp_path):
    (tmp_path / "stderr-1").write_text("first\nfree(): invalid pointer\n\n", encoding="utf-8")
    end = ended_without_words({}, {1: (-6, 5)}, (), tmp_path)[1]
    assert end.sentence == "rank 1 was killed by SIGABRT: free(): invalid pointer"
    killed = ended_without_words({}, {1: (-9, 5)}, (), tmp_path)[1]  # by another, whatever it was saying
    assert killed.sentence == "rank 1 was killed by SIGKILL (out of memory?)"


def test_outcomes_are_read_as_they_were_written(tmp_path):
    every = [Outcome(0, 11, "é\nnext"), Outcome(12, 0, consequence=True)]
    for end in every:
        end.write(tmp_path)
    (tmp_path / "outcome-3.part").write_text("{", encoding="utf-8")
    assert outcomes(tmp_path) == ends(*every)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234"), True),
        (RuntimeError("[gloo/x] Read error [127.0.0.1]: Connection reset by peer"), True),
        (RuntimeError("NCCL communicator was aborted on rank 1"), True),
        (RuntimeError("shape mismatch"), False),
        (ConnectionResetError("Connection reset by peer"), False),  # of the Hub
        (ValueError("gloo"), False),
    ],
)
def test_an_error_of_a_collective_is_a_consequence(error, lost):
    assert lost_peer(error) is lost
    wrapped = ValueError("outer")
    wrapped.__cause__ = error
    assert lost_peer(wrapped) is lost


@pytest.mark.parametrize(
    "own", [["--node-rank", "1"], ["--node-rank=1"], ["--main-address", "h:1", "--join-timeout=3"], []], ids=str
)
def test_the_flags_of_one_node_may_differ(own):
    assert common_arguments(["finetune", *own, "a.csv", "-o", "run"]) == ["finetune", "a.csv", "-o", "run"]


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (["a", "--top", "1"], "started with '--top 1', unlike rank 0"),
        ([], "started without 'a', unlike rank 0"),
        (["b"], "started with 'b' and without 'a', unlike rank 0"),
        (["a", "a"], "started with the arguments in another order, unlike rank 0"),
    ],
)
def test_other_arguments_are_named(other, says):
    assert says in _difference(1, ["a"], other)


def test_arguments_reach_the_ranks_as_they_are(tmp_path):
    given = ["--", "-x", "a b", "$HOME", "${local_rank}", "", "--num_processes", "9"]
    parsed = accelerate_arguments(Fleet(processes=2), tmp_path, ("--module", "llmkit"), given)
    from torch.distributed.elastic.utils import macros

    assert macros.substitute(parsed.training_script_args, "0") == given
    assert (parsed.num_processes, parsed.module, parsed.training_script) == (2, True, "llmkit")


def test_threads_are_shared_unless_the_user_says_how_many(monkeypatch, tmp_path):
    monkeypatch.setattr("llmkit.cli.launch.running.usable_cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert ranks_environment(Fleet(processes=3), tmp_path)["OMP_NUM_THREADS"] == "2"
    assert ranks_environment(Fleet(processes=9), tmp_path)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert ranks_environment(Fleet(processes=3), tmp_path)["OMP_NUM_THREADS"] == "5"
    assert ranks_environment(Fleet(processes=3), tmp_path)["ACCELERATE_USE_CPU"] == "true"
    assert ranks_environment(Fleet(processes=3, on_cpu=False), tmp_path)["ACCELERATE_USE_CPU"] == "false"


def test_an_outcome_is_plain_json():
    assert json.loads(Outcome(1, 3, "é", True, 2.0).to_json())["sentence"] == "é"
