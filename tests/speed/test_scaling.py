"""How much several processes and requests at a time gain, side by side, in one run. `make bench-parts` prints it."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import tiny
from conftest import llmkit_command, write_jsonl

pytestmark = pytest.mark.benchmark
ROWS, STEPS = 3000, 60
REQUESTS, LATENCY = 400, 0.05  # seconds


def seconds(threads: int, *arguments: object) -> float:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    subprocess.run(llmkit_command(*arguments), env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny.bert_folder(tmp_path_factory.mktemp("scaling"), hidden=384)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    dice = random.Random(0)
    words = [word for sentence in tiny.SENTENCES for word in sentence.split()]
    texts = [" ".join(dice.choices(words, k=dice.randint(20, 60))) for _ in range(ROWS)]
    made = [{"text": text, "label": dice.choice(["negative", "positive"])} for text in texts]
    return write_jsonl(tmp_path_factory.mktemp("scaling") / "rows.jsonl", made)


def side_by_side(what: str, one: list[object], two: list[object]) -> None:
    """Run a command in one process of two threads and in two of one, in turn, and print the medians."""
    pairs = [(seconds(2, *one), seconds(1, *two, "--processes", "2")) for _ in range(3)]
    first, second = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"\n{what}: 1 process of 2 threads {first:.1f} s, 2 of 1 thread {second:.1f} s, ratio {ratio:.2f}")


def test_two_processes_train_against_one(model, rows, tmp_path):
    line = ["finetune", rows, "-m", model, "--max-steps", STEPS, "--dtype", "float32", "--overwrite", "--track", "none"]
    side_by_side(f"{STEPS} steps of 16 rows", [*line, "-o", tmp_path / "one"], [*line, "-o", tmp_path / "two"])
    records = [json.loads((tmp_path / name / "run.json").read_text(encoding="utf-8")) for name in ("one", "two")]
    print("of the last two the training alone: {} and {} s".format(*(each["training"]["seconds"] for each in records)))


def test_two_processes_label_a_file_against_one(model, rows, tmp_path):
    line = ["classify", "--input", rows, "-m", model, "--overwrite", "--output"]
    side_by_side(f"{ROWS} rows labelled", [*line, tmp_path / "one.jsonl"], [*line, tmp_path / "two.jsonl"])


class Slow(BaseHTTPRequestHandler):
    """Answers each chat after as long as a small model takes, with one word."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.reply({"object": "list", "data": [{"id": "any", "object": "model"}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        threading.Event().wait(LATENCY)
        message = {"role": "assistant", "content": "yes"}
        self.reply({"choices": [{"index": 0, "message": message, "text": "yes", "finish_reason": "stop"}]})

    def reply(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        # one write: a second small one would wait some 40 ms for the acknowledgement of the first
        self.wfile.write(head.encode() + body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Write nothing."""


@pytest.fixture(scope="module")
def endpoint():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("concurrency", [1, 2, 4, 8, 16])
def test_requests_at_a_time(endpoint, concurrency, tmp_path):
    prompts = write_jsonl(tmp_path / "prompts.jsonl", [{"prompt": f"say {number}"} for number in range(REQUESTS)])
    line = ["generate", "--input", prompts, "--endpoint", endpoint, "-m", "any", "--concurrency", concurrency]
    taken = seconds(1, *line, "--output", tmp_path / "answers.jsonl")
    print(f"\n--endpoint, {concurrency} at a time: {REQUESTS / taken:.0f} rows/s, start-up counted")
