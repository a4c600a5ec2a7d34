"""Arguments, stdin and stdout in the encodings that systems have: read as what they are, or one sentence."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest
from conftest import llmkit_command, write_jsonl

from llmkit.cli.shared.standard_streams import prepare_streams, readable_arguments
from llmkit.errors import DataError, OptionError
from llmkit.errors.characters import lone_surrogate
from llmkit.inference.generation import generate

C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def escaped(text: str) -> str:
    """Return a text as a system that reads ASCII alone gives its bytes."""
    return text.encode().decode("ascii", "surrogateescape")


@pytest.mark.parametrize("text", ["plain", "café", "中文", "😀", "a\nb", ""])
def test_arguments_are_utf8_whatever_the_system_reads(text):
    assert readable_arguments([text, escaped(text)]) == [text, text]


@pytest.mark.parametrize("text", ["caf\udce9", "a\ud800b", "\udcff\udcfe"])
def test_an_argument_of_other_bytes_is_refused_by_its_number(text):
    with pytest.raises(OptionError, match="argument 2 is not UTF-8"):
        readable_arguments(["classify", text])


@pytest.mark.parametrize("verb", ["classify", "generate", "data", "finetune", "eval", "embed"])
def test_every_command_refuses_an_argument_of_other_bytes(llmkit, verb):
    ran = llmkit(verb, "caf\udce9")
    assert ran.code == 2
    assert "argument 2 is not UTF-8: 'caf\\udce9'" in ran.error


@pytest.mark.parametrize(
    ("value", "found"),
    [("é", None), ("a\ud83d", "\\ud83d"), (["a", {"b": "\udc00"}], "\\udc00"), ({"\ud800": 1}, "\\ud800"), (3, None)],
)
def test_half_a_character_is_found_wherever_it_is(value, found):
    assert lone_surrogate(value) == found


@pytest.mark.parametrize("row", [{"prompt": "a \ud800 b"}, {"prompt": "a", "note": ["\ud800"]}])
def test_half_a_character_in_a_file_is_refused_by_its_row(llmkit, llama, tmp_path, row):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in ({"prompt": "the fox"}, row)))
    ran = llmkit("generate", "-m", llama, "--input", file, "--max-new-tokens", "2")
    assert ran.code == 2
    assert "rows.jsonl, row 2: column" in ran.error
    assert "\\ud800, which is half of a character" in ran.error
    assert not ran.out


def test_half_a_character_is_refused_in_python_and_in_a_conversation(llmkit, llama, assistant, tmp_path):
    with pytest.raises(DataError, match="half of a character"):
        generate("a \ud800 b", str(llama))
    talk = tmp_path / "talk.jsonl"
    talk.write_text(json.dumps({"messages": [{"role": "user", "content": "a \ud800"}]}) + "\n")
    ran = llmkit("chat", "-m", assistant, "--max-new-tokens", "2", stdin=f"/load {talk}\n")
    assert ran.code == 2
    assert "half of a character" in ran.err


def test_a_turn_of_other_bytes_is_refused_by_its_line(llmkit, assistant):
    ran = llmkit("chat", "-m", assistant, "--max-new-tokens", "2", stdin=b"hi\ncaf\xe9\n")
    assert ran.code == 2
    assert "line 2 of standard input is not utf-8" in ran.error


def test_what_stdout_cannot_write_is_escaped_as_json_does_and_said_once(monkeypatch, capsys):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding="ascii"))
    prepare_streams()
    print(json.dumps({"text": "é😀"}, ensure_ascii=False), flush=True)
    print("ü", flush=True)
    first, second = out.getvalue().decode("ascii").splitlines()
    assert json.loads(first) == {"text": "é😀"}
    assert second == "\\u00fc"
    assert capsys.readouterr().err.count("stdout is ascii") == 1


@pytest.mark.parametrize("name", ["stdin", "stdout", "stderr"])
def test_a_stream_that_was_closed_is_opened_on_nothing(monkeypatch, name):
    monkeypatch.setattr(sys, name, None)
    prepare_streams()
    stream = getattr(sys, name)
    assert not stream.isatty()
    assert stream.read() == "" if name == "stdin" else stream.write("x") == 1
    stream.close()


def process(arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run a shell line in which LLMKIT is the command."""
    line = arguments.replace("LLMKIT", " ".join(llmkit_command()))
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, timeout=300, env={**os.environ, **(env or {})}, check=False
    )


@pytest.mark.slow
def test_a_classification_is_the_same_json_in_every_locale(classifier):
    line = f"LLMKIT classify -m {classifier} --json $'caf\\xc3\\xa9 \\xf0\\x9f\\x98\\x80'"
    runs = [process(line, env) for env in ({}, C_LOCALE, {"PYTHONIOENCODING": "ascii"})]
    assert [run.returncode for run in runs] == [0, 0, 0], runs
    assert {json.loads(run.stdout)["text"] for run in runs} == {"café 😀"}
    assert [b"stdout is ascii" in run.stderr for run in runs] == [False, True, True]


def test_closed_streams_change_no_exit_code(classifier, tmp_path):
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"text": "a good film"}])
    out = tmp_path / "out.jsonl"
    line = f"LLMKIT classify -m {classifier} --input {rows} --output {out} <&- >&- 2>&-"
    ran = process(line)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")
    assert json.loads(out.read_text())["label"] in {"negative", "positive"}
    assert process("LLMKIT classify --top 0 x >&- 2>&-").returncode == 2
