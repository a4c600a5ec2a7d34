"""The groups of servers: what answers in place of a model in this process, and how it is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from llmkit.options.base import Options
from llmkit.options.flags import flag

KEY_VARIABLE = "OPENAI_API_KEY"
VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]{0,63}")
ROUTES = ("/chat/completions", "/completions", "/models")  # a URL that names one of them is cut before it
PANEL = "Endpoint"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
OF_VLLM = ("engine_command", "tensor_parallel_size", "data_parallel_size")


@dataclass(frozen=True, kw_only=True)
class EngineOptions(Options):
    """Which program runs the model, and on how many GPUs."""

    engine: Annotated[
        Literal["transformers", "vllm"],
        flag(panel=PANEL, help="What runs the model: transformers here, or an installed vLLM in a process beside."),
    ] = "transformers"
    engine_command: Annotated[
        str | None, flag(panel=PANEL, help='How vLLM is called, e.g. "/opt/vllm/bin/vllm"; default: vllm on the PATH.')
    ] = None
    tensor_parallel_size: Annotated[int | None, flag(panel=PANEL, help="vLLM: split each layer over so many GPUs.")] = (
        None
    )
    data_parallel_size: Annotated[
        int | None, flag(panel=PANEL, help="vLLM: so many copies of the model share the rows.")
    ] = None

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from self.at_least(1, "tensor_parallel_size", "data_parallel_size")
        if self.engine != "vllm":
            given = [name for name in OF_VLLM if getattr(self, name) is not None]
            yield from (f"--{name.replace('_', '-')} is for --engine vllm" for name in given)
        if self.engine_command is not None and not self.engine_command.strip():
            yield "--engine-command must not be empty"


@dataclass(frozen=True, kw_only=True)
class ServeOptions(EngineOptions):
    """Which program serves the model, and where."""

    host: Annotated[str, flag(panel=PANEL, help="Address to listen on; 127.0.0.1 is this machine alone.")] = "127.0.0.1"
    port: Annotated[int, flag(panel=PANEL, help="Port to listen on.")] = 8000

    @property
    def is_open(self) -> bool:
        """Whether other machines can ask."""
        return self.host not in LOOPBACK

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if not 1 <= self.port <= 65_535:
            yield f"--port must be from 1 to 65535, not {self.port}"
        if not self.host or any(character.isspace() for character in self.host) or "/" in self.host:
            yield f"--host takes an address such as 127.0.0.1, not {self.host!r}"


@dataclass(frozen=True, kw_only=True)
class RequestOptions(EngineOptions):
    """How a server is asked, where it answers in place of a model in this process."""

    concurrency: Annotated[int | None, flag(panel=PANEL, help="Requests that wait at a time; default 8.")] = None
    timeout: Annotated[float | None, flag(panel=PANEL, help="Seconds that one request may take; default 600.")] = None

    @property
    def requests_at_once(self) -> int:
        """How many requests wait for an answer at a time."""
        return 8 if self.concurrency is None else self.concurrency

    @property
    def seconds(self) -> float:
        """How long one request may take."""
        return 600.0 if self.timeout is None else float(self.timeout)

    @property
    def asks_server(self) -> bool:
        """Whether a server answers, and no model in this process."""
        return self.engine == "vllm"

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from self.at_least(1, "concurrency")
        if self.timeout is not None and not self.timeout > 0:
            yield f"--timeout must be more than 0, not {self.timeout:g}"
        if not self.asks_server:
            given = [name for name in ("concurrency", "timeout") if getattr(self, name) is not None]
            yield from (f"--{name} is for requests to a server: {self._servers()}" for name in given)

    def _servers(self) -> str:
        return "add --engine vllm"


@dataclass(frozen=True, kw_only=True)
class EndpointOptions(RequestOptions):
    """Which server answers in place of a model here, with which key."""

    endpoint: Annotated[
        str | None, flag(panel=PANEL, help="Ask this server, which speaks OpenAI's API: http://localhost:8000/v1.")
    ] = None
    api_key_env: Annotated[
        str | None, flag(panel=PANEL, help=f"The variable that holds the server's key; default {KEY_VARIABLE}.")
    ] = None

    @property
    def asks_server(self) -> bool:
        return self.endpoint is not None or super().asks_server

    @property
    def base_url(self) -> str:
        """The address before /chat/completions; a server is asked under /v1 where the URL names no path."""
        parts = urlsplit((self.endpoint or "").strip())
        path = parts.path.rstrip("/")
        path = next((path.removesuffix(route) for route in ROUTES if path.endswith(route)), path)
        return f"{parts.scheme.lower()}://{parts.netloc}{path or '/v1'}"

    @property
    def key_variable(self) -> str:
        """The name of the variable that holds the key."""
        return self.api_key_env or KEY_VARIABLE

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if self.endpoint is not None:
            yield from _url_problems(self.endpoint.strip())
            if self.engine == "vllm":
                yield "--endpoint asks a server that runs, and --engine vllm starts one: give one of them"
        elif self.api_key_env is not None:
            yield "--api-key-env is for --endpoint, which names the server"
        if self.api_key_env is not None and not VARIABLE.fullmatch(self.api_key_env):  # it may be the key: not repeated
            yield f"--api-key-env takes the name of a variable, such as {KEY_VARIABLE}, and no key"

    def _servers(self) -> str:
        return "add --endpoint URL, or --engine vllm"


def _url_problems(url: str) -> Iterator[str]:
    """Yield a phrase for a URL that names no server; what may be a secret is not repeated."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        yield "--endpoint is no URL; one such as http://localhost:8000/v1 is wanted"
        return
    if "@" in parts.netloc:
        yield f"--endpoint must hold no user or password: export the key as {KEY_VARIABLE}, or name --api-key-env"
    elif parts.query or parts.fragment:
        yield "--endpoint must end before ? and #: the address of the API alone is wanted, as http://localhost:8000/v1"
    elif not _is_address(parts) or port == 0:
        yield f"--endpoint must be a URL such as http://localhost:8000/v1, not {url!r}"


def _is_address(parts: SplitResult) -> bool:
    printable = all(character.isprintable() and not character.isspace() for character in parts.geturl())
    return parts.scheme.lower() in {"http", "https"} and bool(parts.hostname) and printable
