"""llmkit generate --endpoint: prompts and files, answered by a server, kept in order, and gone on with."""

from __future__ import annotations

import csv
import json
import signal
import threading

import pytest
from stand_in_server import TIMES, Scripted, standing_in

from llmkit.cli.app import main
from llmkit.inference.endpoints import client

KEY = "sk-very-secret-0123"
ROWS = [{"id": number, "prompt": f"say {number}", "note": "的"} for number in range(21)]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(client, "PAUSE", 0.0)


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return path


def run(*arguments: object) -> int:
    return main(["generate", *map(str, arguments)])


def answers(path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_prompt_of_the_shell_is_answered_in_a_chat(capsys):
    with standing_in() as server:
        assert run("hello", "--endpoint", server.url, "--system", "Be brief.", "--max-new-tokens", 5) == 0
        body = server.posts[0].body
    out, err = capsys.readouterr()
    assert out == "HELLO\n"
    assert f"endpoint: {server.url}/v1, model tiny, chat completions" in err
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    assert (body["max_tokens"], body["temperature"], body["model"]) == (5, 0.0, "tiny")


def test_prompts_as_json_and_echoed(capsys):
    with standing_in() as server:
        assert run("a", "b", "--endpoint", server.url, "--json", "-q") == 0
        assert run("a", "--endpoint", server.url, "--echo", "--no-chat", "-q", "-n", 2, "--temperature", 0.5) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines[:2]] == [
        {"prompt": "a", "completion": "A"},
        {"prompt": "b", "completion": "B"},
    ]
    assert lines[2:] == ["aA", "", "aA 1"]


def test_a_file_keeps_its_columns_and_its_order(rows_file, tmp_path):
    output = tmp_path / "answers.csv"
    with standing_in() as server:
        assert run("--input", rows_file, "--output", output, "--endpoint", server.url, "--batch-size", 1) == 0
        assert server.prompts() == sorted(row["prompt"] for row in ROWS)
    with output.open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert written == [
        {"id": str(row["id"]), "prompt": row["prompt"], "note": "的", "completion": row["prompt"].upper()}
        for row in ROWS
    ]


@pytest.mark.parametrize("fault", [Scripted(500, times=TIMES), Scripted(200, "<html>"), Scripted(400, {"detail": "x"})])
def test_rows_that_were_written_outlive_a_fault_and_are_not_asked_again(rows_file, tmp_path, capsys, fault):
    """Chunks are of eight rows here."""
    whole, output = tmp_path / "whole.jsonl", tmp_path / "answers.jsonl"
    command = ["--input", rows_file, "--batch-size", 1]
    with standing_in({"say 17": [fault]}) as server:
        code = run(*command, "--output", output, "--endpoint", server.url)
        assert code == (2 if fault.status == 400 else 4)
        assert len(answers(output)) == 16
        assert f"; 16 rows are in {output}, and the same command goes on" in capsys.readouterr().err
        server.script, server.asked = {}, []
        assert run(*command, "--output", output, "--endpoint", server.url) == 0
        assert set(server.prompts()) == {f"say {number}" for number in range(16, 21)}  # some of the first run come late
        assert "holds 16 of 21 rows already, going on" in capsys.readouterr().err
        assert run(*command, "--output", whole, "--endpoint", server.url) == 0
    assert output.read_bytes() == whole.read_bytes()


def test_nothing_is_written_where_the_first_rows_fail(rows_file, tmp_path, capsys):
    output = tmp_path / "answers.jsonl"
    with standing_in({"say 3": [Scripted(403)]}) as server:
        assert run("--input", rows_file, "--output", output, "--endpoint", server.url) == 4
    assert not output.exists()
    assert [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")] == [
        f"error: {server.url}/v1 wants a key (403): export OPENAI_API_KEY=KEY, or name --api-key-env"
    ]


def test_another_server_or_model_does_not_go_on_with_the_file(rows_file, tmp_path):
    output = tmp_path / "answers.jsonl"
    with standing_in() as server:
        assert run("--input", rows_file, "--output", output, "--endpoint", server.url) == 0
        assert run("--input", rows_file, "--output", output, "--endpoint", server.url, "-m", "other") == 2
        assert run("--input", rows_file, "--output", output, "--endpoint", server.url, "--no-chat") == 2


def test_the_key_goes_to_the_server_and_nowhere_else(rows_file, tmp_path, monkeypatch, capsys):
    output = tmp_path / "answers.jsonl"
    monkeypatch.setenv("MY_KEY", KEY)
    script = {"say 20": [Scripted(500, {"error": f"Bearer {KEY} is tired"}, times=TIMES)]}
    command = ["--input", rows_file, "--output", output, "--api-key-env", "MY_KEY", "--batch-size", 1, "-v"]
    with standing_in(script) as server:
        assert run(*command, "--endpoint", server.url) == 4
        assert {asked.headers["Authorization"] for asked in server.asked} == {f"Bearer {KEY}"}
        server.script = {}
        assert run(*command, "--endpoint", server.url) == 0
    said = capsys.readouterr()
    files = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert not [text for text in (said.out, said.err, *files) if KEY in text]


def test_another_key_goes_on_with_the_file(rows_file, tmp_path, monkeypatch):
    output = tmp_path / "answers.jsonl"
    with standing_in({"say 20": [Scripted(401)]}) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "one")
        command = ["--input", rows_file, "--output", output, "--endpoint", server.url, "--batch-size", 1]
        assert run(*command) == 4
        monkeypatch.setenv("OPENAI_API_KEY", "two")
        assert run(*command) == 0
    assert [row["completion"] for row in answers(output)] == [row["prompt"].upper() for row in ROWS]


def test_ctrl_c_keeps_the_rows_that_were_written(rows_file, tmp_path, capsys):
    output = tmp_path / "answers.jsonl"
    with standing_in({"say 20": [Scripted(held=True)]}) as server:

        def interrupt() -> None:
            while "say 20" not in server.prompts():
                pass
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # which waits, and is woken by its own

        threading.Thread(target=interrupt, daemon=True).start()
        command = ["--input", rows_file, "--output", output, "--endpoint", server.url, "--batch-size", 1]
        assert run(*command) == 75
        assert "stopped after 16 of 21 rows: the same command goes on from there" in capsys.readouterr().err
        assert run(*command) == 0
    assert [row["completion"] for row in answers(output)] == [row["prompt"].upper() for row in ROWS]


def test_blank_rows_are_null_and_not_asked(tmp_path, capsys):
    path, output = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": " "}\n{"prompt": null}\n{"prompt": "b"}\n', encoding="utf-8")
    with standing_in() as server:
        assert run("--input", path, "--output", output, "--endpoint", server.url) == 0
        assert server.prompts() == ["a", "b"]
    assert [row["completion"] for row in answers(output)] == ["A", None, None, "B"]
    assert "2 of 4 rows have no prompt, and are answered null" in capsys.readouterr().err


def test_a_dry_run_asks_for_no_text(rows_file, capsys):
    with standing_in() as server:
        assert run("--input", rows_file, "--endpoint", server.url, "--dry-run") == 0
        assert server.posts == []
    assert "dry run: 21 prompts in column 'prompt' for tiny at http://127.0.0.1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--dtype", "float32", "--revision", "main"], "--revision, --dtype: that is for a model here"),
        (["--task", "translation", "--source", "en"], "--source, --task: that is for a model here"),
        (["--retrieve", "docs"], "--retrieve: that is for a model here"),
        (["--num-beams", "2"], "--num-beams: "),
        (["--no-chat", "--system", "x"], "--system is a part of the chat template"),
    ],
)
def test_flags_of_a_model_here_are_refused(flags, sentence, capsys):
    with standing_in() as server:
        assert run("hello", "--endpoint", server.url, *flags) == 2
        assert server.posts == []
    assert sentence in capsys.readouterr().err


def test_several_models_want_one_named(capsys):
    with standing_in() as server:
        server.models = ["one", "two"]
        assert run("hello", "--endpoint", server.url) == 2
        assert f"{server.url}/v1 has one, two: name one with -m" in capsys.readouterr().err
        assert run("hello", "--endpoint", server.url, "-m", "two", "-q") == 0
        assert server.posts[0].body["model"] == "two"


def test_a_server_without_a_list_of_models_wants_one_named(capsys):
    with standing_in({"/v1/models": [Scripted(500, times=TIMES)]}) as server:
        assert run("hello", "--endpoint", server.url) == 2
        assert "does not say which models it has: name one with -m" in capsys.readouterr().err
        assert run("hello", "--endpoint", server.url, "-m", "any", "-q") == 0
