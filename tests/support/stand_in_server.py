"""A loopback stand-in for a server that speaks OpenAI's API: it keeps what it was asked, and fails as a test scripts.

What it writes to a prompt is the prompt in capitals. `script` holds the replies to a prompt that come before its own,
in order; those of "*" are to any prompt, and those of a path, such as "/v1/models", to any request there.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TIMES = 10**6  # as often as it is asked


@dataclass(frozen=True)
class Scripted:
    """One reply; `short`: its body ends before the length that it says; `held`: it waits until the server ends."""

    status: int = 200
    body: Any = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    short: bool = False
    held: bool = False
    times: int = 1

    @property
    def data(self) -> bytes:
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


@dataclass(frozen=True)
class Asked:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def prompt(self) -> Any:
        if "messages" in self.body:
            return self.body["messages"][-1]["content"]
        return self.body.get("prompt", self.body.get("input"))


class StandIn:
    """What the stand-in server answers, and what it was asked."""

    def __init__(self, script: Mapping[str, list[Scripted]] | None = None, owner: str = "stand-in") -> None:
        self.models, self.owner = ["tiny"], owner
        self.script = {key: list(replies) for key, replies in (script or {}).items()}
        self.asked: list[Asked] = []
        self.most_at_once = self.at_once = 0
        self.ended, self.lock = threading.Event(), threading.Lock()
        self.url = ""

    @property
    def posts(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.body]

    def prompts(self) -> list[Any]:
        return sorted(asked.prompt for asked in self.posts)

    def reply(self, asked: Asked) -> Scripted:
        with self.lock:
            self.asked.append(asked)
            for key in (asked.path, asked.prompt if isinstance(asked.prompt, str) else "", "*" if asked.body else ""):
                waiting = self.script.get(key)
                if waiting:
                    first = waiting[0]
                    if first.times > 1:
                        waiting[0] = Scripted(
                            first.status, first.body, first.headers, first.short, first.held, first.times - 1
                        )
                    else:
                        waiting.pop(0)
                    return first
        return Scripted(body=self.usual(asked))

    def usual(self, asked: Asked) -> dict[str, Any]:
        if asked.path == "/v1/models":
            return {"object": "list", "data": [{"id": name, "owned_by": self.owner} for name in self.models]}
        return written(asked)


def written(asked: Asked, text: str | None = None, end: str = "stop") -> dict[str, Any]:
    """Return the usual answer, with as many choices as were asked for."""
    text = str(asked.prompt).upper() if text is None else text
    chat = asked.path.endswith("/chat/completions")
    texts = [text if place == 0 else f"{text} {place}" for place in range(asked.body.get("n", 1))]
    parts = [{"message": {"role": "assistant", "content": one}} if chat else {"text": one} for one in texts]
    return {"choices": [{"index": place, "finish_reason": end, **part} for place, part in enumerate(parts)][::-1]}


@contextlib.contextmanager
def standing_in(
    script: Mapping[str, list[Scripted]] | None = None,
    owner: str = "stand-in",
    port: int = 0,
    kind: type[StandIn] = StandIn,
) -> Iterator[StandIn]:
    """Serve on loopback while the context lasts."""
    stand_in = kind(script, owner)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer({})

        def do_POST(self) -> None:
            self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def answer(self, body: dict[str, Any]) -> None:
            with stand_in.lock:
                stand_in.at_once += 1
                stand_in.most_at_once = max(stand_in.most_at_once, stand_in.at_once)
            try:
                self.send(stand_in.reply(Asked(self.path, dict(self.headers), body)))
            finally:
                with stand_in.lock:
                    stand_in.at_once -= 1

        def send(self, reply: Scripted) -> None:
            if reply.held:
                stand_in.ended.wait(60)
            length = len(reply.data) + (100 if reply.short else 0)
            headers = {"Content-Type": "application/json", "Content-Length": str(length), **reply.headers}
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send_response(reply.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(reply.data)
            if reply.short:
                self.close_connection = True

        def log_message(self, format: str, *arguments: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        stand_in.ended.set()
        server.shutdown()
        server.server_close()
