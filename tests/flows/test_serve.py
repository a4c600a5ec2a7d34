"""llmkit serve: the command that it hands over to, and what is said of it."""

from __future__ import annotations

import importlib.util
import json
import signal
import socket
import subprocess
import sys
import urllib.request

import peft_adapters
import pytest

from llmkit.distributed.processes import free_port
from llmkit.errors import extras

HAS_SERVING = all(importlib.util.find_spec(name) for name in ("fastapi", "uvicorn", "openai"))


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(extras, "is_installed", lambda module: True)


def words_of(err: str) -> list[str]:
    return next(line for line in err.splitlines() if line.startswith("serving: ")).removeprefix("serving: ").split()


def test_a_model_is_handed_to_transformers_serve(llmkit, llama, installed):
    port = free_port()
    ran = llmkit("serve", "-m", llama, "--port", port, "--dtype", "float32", "--device", "cpu", "--dry-run")
    assert ran.code == 0, ran.err
    assert words_of(ran.err) == [
        *(sys.executable, "-m", "transformers.cli.transformers", "serve", str(llama.resolve())),
        *("--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--device", "cpu"),
    ]
    assert (
        f"ask it: llmkit generate --endpoint http://127.0.0.1:{port} -m {llama.resolve()} --no-chat PROMPT" in ran.err
    )


def test_a_chat_model_is_asked_without_more(llmkit, assistant, installed):
    ran = llmkit("serve", "-m", assistant, "--port", free_port(), "--dry-run")
    assert (ran.code, "--no-chat" in ran.err) == (0, False)


def test_the_built_in_model_is_served(llmkit, installed):
    ran = llmkit("serve", "--port", free_port(), "--dry-run")
    assert ran.code == 0, ran.err
    assert "builtin/model" in " ".join(words_of(ran.err))


def test_an_open_address_is_warned_of(llmkit, llama, installed):
    ran = llmkit("serve", "-m", llama, "--host", "0.0.0.0", "--port", free_port(), "--dry-run")
    assert ran.code == 0, ran.err
    assert "warning: --host 0.0.0.0: other machines can ask, and there is no key" in ran.err


def test_a_port_that_is_taken_is_refused(llmkit, llama, installed):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ran = llmkit("serve", "-m", llama, "--port", port, "--dry-run")
    assert (ran.code, f"--host 127.0.0.1 --port {port}: Address already in use; name another" in ran.err) == (2, True)


def test_an_adapter_is_merged_or_served_by_vllm(llmkit, llama, tmp_path, installed):
    peft_adapters.make(llama, tmp_path / "adapter", "Lora", {"r": 4, **peft_adapters.QUERY})
    ran = llmkit("serve", "-m", tmp_path / "adapter", "--port", free_port(), "--dry-run")
    assert ran.code == 2
    assert f"`llmkit merge {tmp_path / 'adapter'}` makes a model of it" in ran.err
    command = ["--engine", "vllm", "--engine-command", sys.executable, "--port", free_port(), "--dry-run"]
    ran = llmkit("serve", "-m", tmp_path / "adapter", *command)
    assert ran.code == 0, ran.err
    assert words_of(ran.err)[:3] == [sys.executable, "serve", str(llama.resolve())]
    assert "--enable-lora" in words_of(ran.err)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--port", "0"], "--port must be from 1 to 65535, not 0"),
        (["--host", "http://x"], "--host takes an address such as 127.0.0.1"),
        (["--tensor-parallel-size", "2"], "--tensor-parallel-size is for --engine vllm"),
    ],
)
def test_flags_that_cannot_be_are_refused(llmkit, llama, flags, sentence):
    ran = llmkit("serve", "-m", llama, *flags)
    assert (ran.code, sentence in ran.err) == (2, True)


def test_a_classifier_is_none_for_transformers_serve(llmkit, classifier, installed):
    ran = llmkit("serve", "-m", classifier, "--port", free_port())
    assert (ran.code, "that continues no text" in ran.err) == (2, True)


def test_what_serving_needs_is_named(llmkit, llama, monkeypatch):
    monkeypatch.setattr(extras, "is_installed", lambda module: module != "uvicorn")
    ran = llmkit("serve", "-m", llama)
    assert (ran.code, "pip install 'llmkit[serve]'" in ran.err) == (2, True)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_SERVING, reason="llmkit[serve] is not installed")
def test_the_built_in_model_answers_over_http_as_it_does_here(llmkit):
    port = free_port()
    command = [sys.executable, "-m", "llmkit", "serve", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    try:
        said = next(line for line in process.stderr if line.startswith(b"serving: ")).decode()
        model = said.split()[5]
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as reply:
                    assert json.load(reply)["status"] == "ok"
                break
            except OSError:
                assert process.poll() is None
        prompt = ["Once upon a time", "--max-new-tokens", 20, "-q"]
        asked = llmkit("generate", *prompt, "--endpoint", f"http://127.0.0.1:{port}", "-m", model, "--no-chat")
        assert asked.code == 0, asked.err
        assert asked.out == llmkit("generate", *prompt).out
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
