"""Shared by all tests: no network beyond loopback, tiny models, and llmkit run as a user runs it."""

from __future__ import annotations

import copy
import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import tty
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from example_results import SCHEMA
from hypothesis import settings

settings.register_profile("same-examples", derandomize=True, database=None)  # in every run, on every machine
settings.load_profile("same-examples")
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_UPDATE_DOWNLOAD_COUNTS="0",
    HF_HUB_DISABLE_XET="1",
    TRANSFORMERS_VERBOSITY="error",
    TOKENIZERS_PARALLELISM="false",
)
os.environ.setdefault("OMP_NUM_THREADS", "1")
for _name in ("GITHUB_STEP_SUMMARY", "GITHUB_ACTIONS", "LLMKIT_DEBUG", "HF_TOKEN", "HF_ENDPOINT"):
    os.environ.pop(_name, None)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for jobs in the background

import tiny  # noqa: E402  (after the environment is set)


def pytest_collection_modifyitems(items):
    """Begin with the slow tests, so that no worker is left alone with one when the others are through."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def _one_precision():
    """Train in float32 on any CPU, in this process; in others models are too small for anything else to be tried."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llmkit.models.precision.known_times", lambda product: (1.0, 1.0))
        yield


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path, monkeypatch):
    """Keep what eval remembers of a test apart from the user's, and from other tests'."""
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path / "llmkit-cache"))


@dataclass(frozen=True)
class Ran:
    """What one run of llmkit gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.out.split("\n") if line]  # splitlines() ends one at U+2028 too

    @property
    def error(self) -> str:
        """The one error sentence; fails the test when there is none, or more than one."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0].removeprefix("error: ")


@pytest.fixture
def llmkit(capfd, monkeypatch):
    """Run llmkit in this process: `llmkit("eval", path, "-m", model, stdin="...")`."""

    def run(*arguments: object, stdin: str | bytes | None = None) -> Ran:
        from llmkit.cli.app import main

        if stdin is not None:
            read, write = os.pipe()
            os.write(write, stdin if isinstance(stdin, bytes) else stdin.encode())
            os.close(write)
            monkeypatch.setattr("sys.stdin", os.fdopen(read, "r", encoding="utf-8"))
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return run


@pytest.fixture
def on_terminal(llmkit, monkeypatch):
    """Run llmkit in this process with a pseudo-terminal for its standard output, or for its standard error."""

    def run(*arguments: object, stream: str = "stdout") -> Ran:
        master, slave = os.openpty()
        tty.setraw(slave)
        pieces: list[bytes] = []

        def read() -> None:
            try:
                while piece := os.read(master, 4096):
                    pieces.append(piece)
            except OSError:  # the other end was closed
                return

        reader = threading.Thread(target=read)
        reader.start()
        with monkeypatch.context() as patch, os.fdopen(slave, "w", encoding="utf-8") as terminal:
            patch.setattr(f"sys.{stream}", terminal)
            patch.setenv("COLUMNS", "100")
            ran = llmkit(*arguments)
        reader.join()
        os.close(master)
        seen = b"".join(pieces).decode()
        return Ran(ran.code, seen, ran.err) if stream == "stdout" else Ran(ran.code, ran.out, seen)

    return run


@pytest.fixture
def llmkit_process(tmp_path):
    """Run llmkit as a process of its own."""

    def run(*arguments: object, stdin: str = "", env: dict[str, str] | None = None, timeout: int = 300) -> Ran:
        done = subprocess.run(
            llmkit_command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


def threads() -> str:
    """Return how many threads a process can have beside those of the other workers."""
    return str(max(1, (os.cpu_count() or 2) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))))


def llmkit_command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "llmkit", *(str(argument) for argument in arguments)]


SESSION = """
import contextlib, io, json, sys
from llmkit.cli import main
for line in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(line)
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def hub_session(lines: Sequence[str], endpoint: str, home: Path, **more: str) -> list[Ran]:
    """Run command lines one after the other, in one process of a user of the Hub at endpoint with its cache in home."""
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", SESSION],
        input=json.dumps([shlex.split(line) for line in lines]),
        text=True,
        capture_output=True,
        timeout=300,
        env={**kept, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), **more},
    )
    assert done.returncode == 0, done.stderr
    return [Ran(*json.loads(line)) for line in done.stdout.splitlines()]


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def models_root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def classifier(models_root) -> Path:
    """A random BERT classifier of negative and positive."""
    return tiny.bert_folder(models_root / "classifier")


@pytest.fixture(scope="session")
def sorter(models_root) -> Path:
    """A random BERT that tells which of three topics a text is of, any number of them."""
    folder = tiny.bert_folder(models_root / "sorter", list(tiny.TOPICS), seed=3)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))
    return folder


@pytest.fixture(scope="session")
def masked(models_root) -> Path:
    """A random BERT for masked-lm."""
    return tiny.bert_folder(models_root / "masked", kind="masked")


@pytest.fixture(scope="session")
def encoder(models_root) -> Path:
    """A random BERT without a head."""
    return tiny.bert_folder(models_root / "encoder", kind="encoder")


@pytest.fixture(scope="session")
def tagger(models_root) -> Path:
    """A random BERT that tags people and places."""
    return tiny.bert_folder(models_root / "tagger", ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"], kind="tagger")


@pytest.fixture(scope="session")
def reader(models_root) -> Path:
    """A random BERT that finds answers."""
    return tiny.bert_folder(models_root / "reader", kind="reader")


@pytest.fixture(scope="session")
def chooser(models_root) -> Path:
    """A random BERT that chooses."""
    return tiny.bert_folder(models_root / "chooser", kind="chooser")


@pytest.fixture(scope="session")
def assistant(models_root) -> Path:
    """A decoder with a chat template."""
    return tiny.llama_folder(models_root / "assistant", seed=5, chat_template=tiny.CHAT)


@pytest.fixture(scope="session")
def llama(models_root) -> Path:
    """A random Llama."""
    return tiny.llama_folder(models_root / "llama")


@pytest.fixture(scope="session")
def t5(models_root) -> Path:
    """A random T5."""
    return tiny.t5_folder(models_root / "t5")


@pytest.fixture(scope="session")
def translator(models_root) -> Path:
    """A random T5 that remembers to translate from English to German."""
    params = {"translation_en_to_de": {"prefix": "to German: ", "max_length": 16}}
    return tiny.t5_folder(models_root / "translator", params=params)


@pytest.fixture(scope="session")
def summarizer(models_root) -> Path:
    """A random T5 that remembers to summarize."""
    params = {"summarization": {"prefix": "sum: ", "max_length": 16}}
    return tiny.t5_folder(models_root / "summarizer", params=params)


@pytest.fixture(scope="session")
def good(models_root) -> Path:
    """A classifier that reads every review right."""
    from evaluating import separable

    return separable(models_root)


@pytest.fixture
def data(tmp_path) -> Path:
    """Reviews of which four have the other label: the good classifier has 36 of 40 right."""
    from evaluating import mislabelled

    return write_csv(tmp_path / "mine.csv", mislabelled())


@pytest.fixture
def reviews(tmp_path) -> Path:
    """A folder with train.csv and validation.csv of separable reviews."""
    write_csv(tmp_path / "reviews" / "train.csv", tiny.reviews(64))
    write_csv(tmp_path / "reviews" / "validation.csv", tiny.reviews(24, seed=1))
    return tmp_path / "reviews"


@pytest.fixture
def rows_of(tmp_path):
    """Write a file and return the rows that llmkit reads from it."""
    from llmkit.data.files import read_file
    from llmkit.options import FileOptions

    def read(name: str, content: str | bytes, **options: object) -> list[dict[str, object]]:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_file(path, FileOptions(**options)).to_list()

    return read


@pytest.fixture
def corpus(tmp_path) -> Path:
    """A text file of simple sentences."""
    path = tmp_path / "corpus.txt"
    path.write_text(tiny.corpus(400), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def real_hub() -> Path:
    """The folder of real data and models; the test is skipped where there is none."""
    folder = os.environ.get("LLMKIT_REAL_HUB")
    if not folder or not Path(folder).is_dir():
        pytest.skip("LLMKIT_REAL_HUB names no folder of real data")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def hub(real_hub, tmp_path_factory):
    """Serve the real data on loopback; `hub("eval", ...)` runs llmkit against it, in one working folder."""
    work = tmp_path_factory.mktemp("real")
    (work / "examples").symlink_to(Path(__file__).parents[1] / "examples")
    from hub_server import serve

    with serve([real_hub]) as server:
        env = {key: value for key, value in os.environ.items() if key not in {"HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"}}
        env |= {
            "HF_ENDPOINT": server.endpoint,
            "HF_HOME": str(work / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "LLMKIT_CACHE": str(work / "cache"),
            "OMP_NUM_THREADS": threads(),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

        def run(*arguments: object, stdin: str = "") -> Ran:
            done = subprocess.run(
                llmkit_command(*arguments), input=stdin, capture_output=True, text=True, cwd=work, env=env, timeout=1500
            )
            return Ran(done.returncode, done.stdout, done.stderr)

        run.folder, run.env = work, env
        yield run


@pytest.fixture(scope="session")
def smollm2(real_hub, tmp_path_factory):
    """The folder of SmolLM2-135M-Instruct with its weights."""
    folder = Path(os.environ.get("LLMKIT_SMOLLM2") or tmp_path_factory.mktemp("models") / "SmolLM2-135M-Instruct")
    if not (folder / "model.safetensors").is_file():
        fetch = [sys.executable, str(real_hub / "get_smollm2.py"), str(folder)]
        done = subprocess.run(fetch, capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            pytest.skip(f"the weights of SmolLM2 cannot be had: {done.stderr.strip().splitlines()[-1:]}")
    return folder


@pytest.fixture
def result() -> dict[str, Any]:
    """The first example of the schema of results: it has all parts."""
    return copy.deepcopy(SCHEMA["examples"][0])


@pytest.fixture
def language() -> dict[str, Any]:
    """A result without classes, gates or a baseline."""
    return copy.deepcopy(SCHEMA["examples"][2]["results"][0])
