"""Two real processes of one launch: what they share, how they fail, how they stop, and what is left of them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
from conftest import write_jsonl

from llmkit.cli.launch.fleet import Fleet
from llmkit.cli.launch.running import launch
from llmkit.distributed.processes import free_port

PROGRAM = str(Path(__file__).parents[1] / "support" / "rank_program.py")
LAUNCH = """
import sys
from llmkit.cli.launch.fleet import Fleet
from llmkit.cli.launch.running import launch
code, sentence = launch(Fleet(processes=2), (sys.argv[1],), sys.argv[2:])
print(sentence, file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Let launches keep their folders in one that a test can look into."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


def left(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "tmp").iterdir()]


def test_the_ranks_share_arguments_and_standard_input_and_only_the_main_one_speaks(tmp_path, capfd, monkeypatch):
    file = tmp_path / "in.txt"
    file.write_text("é\nall of it", encoding="utf-8")
    with file.open(encoding="utf-8") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        before = dict(os.environ)
        given = ("say what is there", "-1", "-", "$5 ${local_rank}", "a b", "")
        assert launch(Fleet(processes=2), (PROGRAM,), given) == (0, "")
    one = ("é\nall of it", ["-", "$5 ${local_rank}", "a b", ""], os.environ["OMP_NUM_THREADS"])
    out, err = capfd.readouterr()
    assert out == f"a line of stdout\n{[one, one]}\n"
    assert err == ""
    assert dict(os.environ) == before
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("what", "who", "code", "sentence"),
    [
        ("diverge", 1, 11, "rank 1: training diverged"),
        ("SIGKILL", 1, 137, "rank 1 was killed by SIGKILL (out of memory?)"),
        pytest.param("diverge", -1, 11, "training diverged", marks=pytest.mark.slow),
        pytest.param("raise", 0, 3, "rank 0: ValueError: no such thing", marks=pytest.mark.slow),
        pytest.param("miss a gate", 0, 1, "", marks=pytest.mark.slow),
        pytest.param("SIGSEGV", 0, 139, "rank 0 was killed by SIGSEGV", marks=pytest.mark.slow),
        pytest.param("leave", 1, 7, "rank 1 ended with exit code 7: last words", marks=pytest.mark.slow),
        pytest.param("hang", 1, 7, "rank 1 ended with exit code 7", marks=pytest.mark.slow),
        pytest.param(
            "fill the disk", 1, 12, "rank 1: OSError: [Errno 28] No space left on device", marks=pytest.mark.slow
        ),
    ],
)
def test_the_cause_is_told_with_its_rank_and_code(tmp_path, capfd, what, who, code, sentence):
    assert launch(Fleet(processes=2), (PROGRAM,), (what, str(who))) == (code, sentence)
    assert capfd.readouterr() == ("a line of stdout\n", "")
    assert left(tmp_path) == []


def started(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", LAUNCH, PROGRAM, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until_ready(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return next(line for line in process.stdout if line.startswith("ready"))


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_reaches_all_ranks_which_save_once(tmp_path, number):
    process = started("stop", "-1")
    until_ready(process)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (75, "saved\n", "stopped and saved\n")
    assert left(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "says"), [(signal.SIGTERM, 143, ""), (signal.SIGINT, 130, "interrupted, nothing was saved")]
)
def test_ranks_that_do_not_save_end_as_one_process_does(tmp_path, number, code, says):
    process = started("sleep", "-1")
    until_ready(process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (code, says + "\n")


def test_no_rank_outlives_a_killed_launcher():
    process = started("sleep", "-1")
    until_ready(process)
    process.kill()
    assert process.communicate(timeout=5) == ("", "")  # stderr is closed by the last rank that holds it


def nodes(tmp_path: Path, *each: tuple[str, ...], host: str = "127.0.0.1") -> list[tuple[int, str, str]]:
    """Run the built-in model on nodes of this machine, with arguments of their own, and return how each ended."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a fox"}\n{"prompt": "a dog"}\n', encoding="utf-8")
    asked = ("generate", "--input", str(rows), "--max-new-tokens", "1")
    return ended_on_nodes(asked, each, [tmp_path] * len(each), host)


def ended_on_nodes(
    asked: tuple[str, ...], each: tuple[tuple[str, ...], ...], folders: list[Path], host: str = "127.0.0.1"
) -> list[tuple[int, str, str]]:
    """Run a command on nodes of this machine, each in its folder, and return how each ended."""
    shared = ("--nodes", "2", "--main-address", f"{host}:{free_port()}", "--quiet")
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "llmkit", *asked, *shared, *own],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        for own, folder in zip(each, folders, strict=True)
    ]
    return [(process.returncode, *ended) for process in running for ended in [process.communicate(timeout=120)]]


@pytest.mark.slow
def test_two_nodes_meet_on_another_address_of_the_loopback(tmp_path):
    ended = nodes(tmp_path, ("--node-rank", "0"), ("--node-rank", "1"), host="127.0.0.2")
    assert [code for code, _, _ in ended] == [0, 0]
    assert ended[1][1:] == ("", "")
    assert "a fox" in ended[0][1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked",
    [
        ("finetune", "rows.jsonl", "-o", "run", "-m", "{classifier}"),
        ("eval", "rows.jsonl", "-m", "{good}"),
        ("embed", "--input", "rows.jsonl", "--output", "out.npy", "-m", "{encoder}"),
    ],
    ids=lambda asked: asked[0],
)
def test_nodes_that_hold_other_rows_under_one_name_are_refused(tmp_path, asked, classifier, good, encoder):
    folders = [tmp_path / "first", tmp_path / "second"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        rows = tiny.reviews(30)
        rows[7]["text"] += " indeed" * number
        write_jsonl(folder / "rows.jsonl", rows)
    models = {"classifier": classifier, "good": good, "encoder": encoder}
    typed = tuple(argument.format(**models) for argument in asked)
    ended = ended_on_nodes(typed, (("--node-rank", "0"), ("--node-rank", "1")), folders)
    says = (
        "error: the rows of rows.jsonl are others in process 1 than in process 0: each process, on each node, needs "
        "the same files\n"
    )
    assert ended == [(2, "", says)] * 2
    assert [[path.name for path in folder.iterdir()] for folder in folders] == [["rows.jsonl"]] * 2


@pytest.mark.slow
def test_nodes_that_hold_another_model_under_one_name_are_refused(tmp_path, encoder):
    folders = [tmp_path / "first", tmp_path / "second"]
    for number, folder in enumerate(folders):
        shutil.copytree(encoder, folder / "model")
        write_jsonl(folder / "rows.jsonl", tiny.reviews(30))
        config = folder / "model" / "config.json"
        config.write_text(config.read_text(encoding="utf-8") + "\n" * number, encoding="utf-8")
    asked = ("embed", "--input", "rows.jsonl", "--output", "out.jsonl", "-m", "model")
    ended = ended_on_nodes(asked, (("--node-rank", "0"), ("--node-rank", "1")), folders)
    says = "error: the files of model are others in process 1 than in process 0: "
    assert [(code, out, err.startswith(says)) for code, out, err in ended] == [(2, "", True)] * 2


@pytest.mark.slow
def test_more_processes_than_rows_of_a_file_are_refused(llmkit, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a fox"}\n', encoding="utf-8")
    done = llmkit("generate", "-i", rows, "--processes", 2, "-o", tmp_path / "out.jsonl")
    assert (done.code, done.out, done.error) == (2, "", "--processes 2: 2 processes share 1 row; fewer processes do")
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.slow
def test_a_node_of_other_arguments_is_refused_on_both(tmp_path):
    ended = nodes(tmp_path, ("--node-rank", "0"), ("--node-rank", "1", "--seed", "7"))
    assert [code for code, _, _ in ended] == [2, 2]
    for _, out, err in ended:
        assert out == ""
        assert err.startswith("error: rank 1 was started with '--seed 7', unlike rank 0")
        assert err.count("\n") == 1


@pytest.mark.parametrize("rank", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_a_node_that_waits_in_vain_says_so(tmp_path, rank):
    [(code, out, err)] = nodes(tmp_path, ("--node-rank", rank, "--join-timeout", "2"))
    assert (code, out) == (4, "")
    assert re.match(rf"error: node {rank} waited 2 s for (all 2 nodes|node 0 at 127\.0\.0\.1:\d+): start the same", err)
    assert err.count("\n") == 1


def test_a_port_that_is_in_use_is_said(llmkit, tmp_path):
    import socket

    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a fox"}\n', encoding="utf-8")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = llmkit("generate", "-i", rows, "--nodes", 2, "--node-rank", 0, "--main-address", address)
    assert done.code == 2
    assert done.error.startswith(f"port {address[10:]} of --main-address is in use on this machine; name a free one")


def test_what_is_wrong_in_each_rank_is_said_once_and_without_a_rank(llmkit, tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a fox"}\n', encoding="utf-8")
    asked = ("generate", "-i", rows, "-m", tmp_path / "no-model")
    one, two = llmkit(*asked), llmkit(*asked, "--processes", 2)
    assert (two.code, two.out, two.err) == (one.code, one.out, one.err)
    assert one.code == 2


@pytest.mark.slow
def test_under_torchrun_only_the_main_process_speaks_and_errors_name_their_rank(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a fox"}\n', encoding="utf-8")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "llmkit", "generate"]
    done = subprocess.run(
        [*launcher, "-i", str(rows), "-m", str(tmp_path / "no-model")], capture_output=True, text=True, timeout=120
    )
    said = [line for line in done.stderr.splitlines() if "error: " in line and "no model" in line]
    assert said[0].startswith(("error: ", "rank 1: error: "))
    assert {line.partition("error: ")[2] for line in said} == {f"there is no model folder '{tmp_path / 'no-model'}'"}
    assert done.returncode == 1  # torchrun's own


def test_a_launch_finds_another_port_when_its_own_was_taken(monkeypatch, capfd):
    import socket

    from llmkit.cli.launch import running

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening: accelerate does not notice
        ports = iter([taken.getsockname()[1], free_port()])
        monkeypatch.setattr(running, "free_port", lambda: next(ports))
        assert launch(Fleet(processes=2), (PROGRAM,), ("done", "-1")) == (0, "")
    assert capfd.readouterr() == ("a line of stdout\n", "")
