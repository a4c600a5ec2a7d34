"""--engine vllm: a server is started for a command, asked with the tokens that llmkit makes, and ended with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import peft_adapters
import pytest
from conftest import write_jsonl
from transformers import AutoTokenizer

from llmkit.errors import HubError
from llmkit.inference.endpoints import client, server
from llmkit.inference.endpoints.commands import ServeCommand
from llmkit.inference.endpoints.server import EngineServer
from llmkit.options import RequestOptions, TalkOptions
from llmkit.output.report import Report

SUPPORT = Path(__file__).parents[1] / "support"
PROGRAM = f"{sys.executable} {SUPPORT / 'stand_in_vllm.py'}"
TEXTS = ["the fox was good", "a king", "the river was cold and dark", "狐狸"]


@pytest.fixture(autouse=True)
def calls(tmp_path, monkeypatch):
    """Where the stand-in says what it was called with."""
    path = tmp_path / "calls.jsonl"
    monkeypatch.setenv("STAND_IN_CALLS", str(path))
    monkeypatch.delenv("STAND_IN_FAILS", raising=False)
    monkeypatch.setattr(server, "PAUSE", 0.02)
    monkeypatch.setattr(client, "PAUSE", 0.0)
    return path


def called(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def ended(pid: int) -> bool:
    """Tell whether a process ends in the time that a test has."""
    deadline = time.monotonic() + 30
    while is_alive(pid) and time.monotonic() < deadline:
        os.sched_yield()
    return not is_alive(pid)


def flag(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_prompts_go_as_the_tokens_that_the_model_reads_here(llmkit, assistant, tmp_path, calls):
    rows, output = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    write_jsonl(rows, [{"prompt": text, "n": number} for number, text in enumerate([*TEXTS, " "])])
    command = ["generate", "-m", assistant, "--input", rows, "--engine", "vllm", "--engine-command", PROGRAM]
    ran = llmkit(*command, "-o", output, "--dtype", "float32", "--tensor-parallel-size", 2, "--data-parallel-size", 3)
    assert ran.code == 0, ran.err
    tokenizer = AutoTokenizer.from_pretrained(assistant)
    sums = [
        sum(tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)["input_ids"])
        for text in TEXTS
    ]
    written = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["completion"] for row in written] == [*(f" {number}" for number in sums), None]
    assert [row["n"] for row in written] == list(range(5))
    (call,) = called(calls)
    words = call["words"]
    assert words[:2] == ["serve", str(assistant.resolve())]
    assert flag(words, "--host") == "127.0.0.1"
    assert flag(words, "--dtype") == "float32"
    assert flag(words, "--served-model-name") == str(assistant)
    assert flag(words, "--max-model-len") == "64"
    assert flag(words, "--tensor-parallel-size") == "2"
    assert flag(words, "--data-parallel-size") == "3"
    assert ended(call["pid"])


def test_a_file_goes_on_where_it_stopped_by_the_same_engine_alone(llmkit, llama, tmp_path, monkeypatch):
    rows, output, whole = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl", tmp_path / "whole.jsonl"
    write_jsonl(rows, [{"prompt": f"the fox {number}"} for number in range(20)])
    command = ["generate", "-m", llama, "--input", rows, "--batch-size", 1]
    engine = ["--engine", "vllm", "--engine-command", PROGRAM]
    monkeypatch.setenv("STAND_IN_FAILS", "after 10")
    ran = llmkit(*command, *engine, "-o", output)
    assert ran.code == 4
    assert "the server ended with code 5: RuntimeError: the engine is dead" in ran.err
    assert len(output.read_text(encoding="utf-8").splitlines()) == 8
    monkeypatch.delenv("STAND_IN_FAILS")
    assert llmkit(*command, "-o", output).code == 2
    ran = llmkit(*command, *engine, "-o", output)
    assert (ran.code, "holds 8 of 20 rows already" in ran.err) == (0, True)
    assert llmkit(*command, *engine, "-o", whole).code == 0
    assert output.read_bytes() == whole.read_bytes()


def test_a_dry_run_and_a_bad_row_start_no_server(llmkit, llama, tmp_path, calls):
    rows = tmp_path / "rows.jsonl"
    write_jsonl(rows, [{"prompt": "the fox " * 100}])
    engine = ["--engine", "vllm", "--engine-command", PROGRAM]
    assert llmkit("generate", "-m", llama, "the fox", *engine, "--dry-run").code == 0
    assert llmkit("generate", "-m", llama, "--input", rows, *engine).code == 2
    assert not calls.exists()


def test_labels_come_from_the_shares_of_the_classes(llmkit, classifier, tmp_path, calls):
    ran = llmkit("classify", "-m", classifier, *TEXTS, "--json", "--engine", "vllm", "--engine-command", PROGRAM)
    assert ran.code == 0, ran.err
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    first = [(sum(tokenizer(text)["input_ids"]) % 97 + 1) / 100 for text in TEXTS]
    names = json.loads((classifier / "config.json").read_text(encoding="utf-8"))["id2label"]
    for row, share in zip(ran.rows, first):
        assert row["scores"] == pytest.approx({names["0"]: share, names["1"]: 1 - share}, abs=1e-6)
        assert row["label"] == names["0" if share >= 0.5 else "1"]
    words = called(calls)[0]["words"]
    assert flag(words, "--runner") == "pooling"


def test_vectors_are_of_length_one_and_in_order(llmkit, encoder, tmp_path, calls):
    rows, output = tmp_path / "rows.jsonl", tmp_path / "vectors.npy"
    write_jsonl(rows, [{"text": text} for text in [*TEXTS, ""]])
    engine = ["--engine", "vllm", "--engine-command", PROGRAM]
    ran = llmkit("embed", "-m", encoder, "--input", rows, "-o", output, "--batch-size", 2, *engine)
    assert ran.code == 0, ran.err
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    ids = [tokenizer(text)["input_ids"] for text in TEXTS]
    raw = np.array([[sum(one), len(one)] for one in ids], dtype=np.float64)
    vectors = np.load(output)
    np.testing.assert_allclose(vectors[:4, :2], raw / np.linalg.norm(raw, axis=1, keepdims=True), rtol=1e-6)
    assert np.isnan(vectors[4]).all()
    words = called(calls)[0]["words"]
    assert json.loads(flag(words, "--pooler-config")) == {"pooling_type": "MEAN"}


def test_an_adapter_is_served_beside_its_base(llmkit, llama, tmp_path, calls):
    adapter = tmp_path / "adapter=1"
    peft_adapters.make(llama, adapter, "Lora", {"r": 9, **peft_adapters.QUERY})
    ran = llmkit("generate", "-m", adapter, "the fox", "--engine", "vllm", "--engine-command", PROGRAM)
    assert ran.code == 0, ran.err
    words = called(calls)[0]["words"]
    assert words[1] == str(llama.resolve())
    assert "--enable-lora" in words
    assert flag(words, "--max-lora-rank") == "16"
    assert json.loads(flag(words, "--lora-modules")) == {"name": str(adapter), "path": str(adapter.resolve())}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["generate", "-m", "{t5}", "--task", "summarization", "a b"], "is an encoder-decoder, which vLLM"),
        (["generate", "-m", "{llama}", "a", "--num-beams", "2"], "--num-beams: "),
        (["generate", "-m", "{llama}", "a", "--device", "cpu"], "--device cpu: vLLM picks its own"),
        (["classify", "-m", "{tagger}", "a b"], "is a token-classification model, and vLLM's /classify is for"),
        (["embed", "-m", "{encoder}", "a", "--no-normalize"], "--no-normalize: vLLM gives vectors of length 1"),
    ],
)
def test_what_vllm_does_not_do_is_refused_before_it_is_started(llmkit, request, calls, arguments, sentence):
    folders = {name: request.getfixturevalue(name) for name in ("t5", "llama", "tagger", "encoder")}
    filled = [argument.format(**folders) for argument in arguments]
    ran = llmkit(*filled, "--engine", "vllm", "--engine-command", PROGRAM)
    assert ran.code == 2
    assert sentence in ran.err
    assert not calls.exists()


def test_a_program_that_is_not_there_is_told_how_to_get(llmkit, llama, monkeypatch):
    monkeypatch.setenv("PATH", "")
    ran = llmkit("generate", "-m", llama, "a", "--engine", "vllm")
    assert ran.code == 2
    assert "there is no vllm on the PATH; install it in an environment of its own" in ran.err
    assert "--engine-command vllm-env/bin/vllm" in ran.err
    ran = llmkit("generate", "-m", llama, "a", "--engine", "vllm", "--engine-command", "/nowhere/vllm")
    assert (ran.code, "there is no such program" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "code"), [("ValueError: unknown architecture", 2), ("torch.OutOfMemoryError: CUDA out of memory", 12)]
)
def test_a_server_that_ends_before_it_is_ready_is_quoted(llmkit, llama, monkeypatch, words, code):
    monkeypatch.setenv("STAND_IN_FAILS", words)
    ran = llmkit("generate", "-m", llama, "a", "--engine", "vllm", "--engine-command", PROGRAM)
    assert ran.code == code
    assert f"the server ended with code 3 before it was ready: {words}" in ran.err


def test_a_server_that_is_never_ready_is_ended(tmp_path):
    script = tmp_path / "sleeper.py"
    script.write_text("import os, sys, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n")
    command = ServeCommand((sys.executable, str(script)), "tiny", {})
    options, quiet = RequestOptions(engine="vllm"), Report(TalkOptions(quiet=True))
    waiting = EngineServer(lambda address: command, options, quiet, seconds=3, pause=0.01)
    with pytest.raises(HubError, match=r"the server was not ready in 3 s: \d+") as raised, waiting as engine:
        assert engine.client is None
    assert ended(int(str(raised.value).rpartition(" ")[2]))


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGINT, 75), (signal.SIGKILL, -9)])
def test_a_signal_leaves_no_server_behind(llama, tmp_path, calls, number, code):
    rows, output = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    write_jsonl(rows, [{"prompt": f"the fox {number}"} for number in range(3000)])
    arguments = ["generate", "-m", llama, "--input", rows, "-o", output, "--batch-size", 1, "--concurrency", 1]
    engine = ["--engine", "vllm", "--engine-command", PROGRAM]
    arguments += ["--max-new-tokens", 4, *engine]
    with (tmp_path / "err.txt").open("w") as err:
        process = subprocess.Popen([sys.executable, "-m", "llmkit", *map(str, arguments)], stderr=err)
    while process.poll() is None and not (output.exists() and output.read_bytes().count(b"\n") > 8):  # two chunks
        os.sched_yield()
    process.send_signal(number)
    assert process.wait(timeout=60) == code, (tmp_path / "err.txt").read_text()
    assert ended(called(calls)[0]["pid"])
