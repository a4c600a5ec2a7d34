"""A server that lives as long as a command: started beside it, waited for, and ended with it."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import httpx2

from llmkit.distributed.processes import end_with_parent, free_port
from llmkit.errors import HubError, LlmkitError, ModelError, OptionError, ResourceError, one_line
from llmkit.inference.endpoints.client import Client
from llmkit.inference.endpoints.commands import ServeCommand
from llmkit.options import RequestOptions
from llmkit.output.report import Report

HOST = "127.0.0.1"
START_SECONDS = 1800.0  # in which it must be ready: large weights take long to load
END_SECONDS = 20.0  # between the request to end and the end of patience
PAUSE = 0.5  # seconds between two looks at whether it is ready
LOG_LINE = 200  # characters of its last words that are repeated


@dataclass
class EngineServer:
    """A server on a free port of this machine, which is started when it is first asked.

    Leave the context and it ends; so it does when this process is killed, where the system can see to that (Linux).
    """

    build: Callable[[tuple[str, int]], ServeCommand]
    options: RequestOptions
    report: Report
    seconds: float = START_SECONDS
    pause: float = PAUSE
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _client: Client | None = field(default=None, init=False)
    _log: Path | None = field(default=None, init=False)
    _sigterm: object = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.command = self.build((HOST, free_port()))  # what cannot be served is known before any row is read

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # SIGTERM as Ctrl-C: what is written is kept
            self._sigterm = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        died = self._process is not None and self._process.poll() is not None
        sentence = self._last_words() if died else ""
        self.end()
        if self._sigterm is not None:
            signal.signal(signal.SIGTERM, self._sigterm)  # type: ignore[arg-type]  # as `signal` returned it
        if died and isinstance(error, HubError) and sentence not in str(error):
            raise HubError(f"{one_line(error)}; {sentence}") from error

    @property
    def client(self) -> Client:
        """Who asks the server, which is started now if it was not before.

        Raises:
            ModelError, ResourceError: it ended before it was ready.
            HubError: it was not ready in time.
        """
        if self._client is None:
            self._client = self._start()
        return self._client

    def end(self) -> None:
        """End the server, and what it started, if it runs."""
        process, self._process, self._client = self._process, None, None
        if process is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(END_SECONDS)
        if self._log is not None:
            self._log.unlink(missing_ok=True)

    def _start(self) -> Client:
        port = free_port()  # the one that the command was checked with may be taken by now
        command = self.build((HOST, port))
        self.report.say(f"starting: {command.line}")
        descriptor, name = tempfile.mkstemp(prefix="llmkit-engine-", suffix=".log")
        self._log = Path(name)
        with os.fdopen(descriptor, "wb") as log:
            self._process = _started(command, log.fileno())
        client = Client(
            f"http://{HOST}:{port}/v1",
            concurrency=self.options.requests_at_once,
            timeout=self.options.seconds,
            retries=1,  # a server of ours that does not answer is gone
        )
        self._wait(self._process, client)
        self.report.say(f"ready: {command.model} at {client.url}")
        return client

    def _wait(self, process: subprocess.Popen[bytes], client: Client) -> None:
        deadline = time.monotonic() + self.seconds
        with httpx2.Client(trust_env=False, timeout=5) as session:
            while time.monotonic() < deadline:
                if process.poll() is not None:
                    raise self._failure(process.returncode)
                with contextlib.suppress(httpx2.HTTPError):
                    if session.get(f"{client.root}/health").is_success:
                        return
                time.sleep(self.pause)
        raise HubError(f"the server was not ready in {self.seconds:g} s{self._quoted()}")

    def _failure(self, code: int) -> LlmkitError:
        text = self._text().lower()
        kind = ResourceError if "out of memory" in text or "free memory" in text else ModelError
        return kind(f"the server ended with code {code} before it was ready{self._quoted()}")

    def _last_words(self) -> str:
        assert self._process is not None
        return f"the server ended with code {self._process.returncode}{self._quoted()}"

    def _quoted(self) -> str:
        """Return what it said last, of errors if it said any."""
        lines = [line.strip() for line in self._text().splitlines() if line.strip()]
        errors = [line for line in lines if "Error" in line or "error:" in line]
        said = one_line((errors or lines or [""])[-1], LOG_LINE)
        return f": {said}" if said else ""

    def _text(self) -> str:
        return "" if self._log is None else self._log.read_text(encoding="utf-8", errors="replace")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _started(command: ServeCommand, log: int) -> subprocess.Popen[bytes]:
    """Start the server in a group of processes of its own, which ends when this process does.

    Raises:
        OptionError: the program cannot be run.
    """
    words: Sequence[str] = command.arguments
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **command.environment},
            start_new_session=True,
            preexec_fn=functools.partial(end_with_parent, os.getpid(), signal.SIGTERM),
        )
    except OSError as error:
        raise OptionError(f"--engine-command: {words[0]!r} cannot be run: {error.strerror or error}") from None
