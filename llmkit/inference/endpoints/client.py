"""A server that speaks OpenAI's API, asked over HTTP: several requests at a time, answers in order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx2

from llmkit.errors import HubError, LlmkitError, OptionError
from llmkit.inference.endpoints.faults import Fault, fault_of, read_json, refusal, retry_after
from llmkit.options.endpoints import EndpointOptions
from llmkit.output.documents import JsonObject
from llmkit.output.report import Report

PAUSE = 1.0  # seconds before a request is put a second time, doubled for each that follows
LONGEST_PAUSE = 60.0  # seconds that a server may ask for; where it asks for more, that is said
RETRIED = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError)


@dataclass(frozen=True)
class Client:
    """Who asks a server: `url` is that of its API, up to /v1; a request is put again after pauses that double."""

    url: str
    key: str | None = field(default=None, repr=False)
    key_variable: str = ""
    concurrency: int = 8
    timeout: float = 600.0
    retries: int = 4
    pause: float = PAUSE

    @classmethod
    def of(cls, options: EndpointOptions, report: Report) -> Client:
        """Return who asks the server that --endpoint names, with the key of the environment, if there is one.

        Raises:
            OptionError: the variable that --api-key-env names is not there, or holds what no request can carry.
        """
        key, name = os.environ.get(options.key_variable, "").strip(), options.key_variable
        if options.api_key_env is not None and not key:
            raise OptionError(f"--api-key-env {name}: there is no such variable, or it is empty; export {name}=KEY")
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise OptionError(f"the key in {name} holds a character that no request can carry; export it anew")
        client = cls(options.base_url, key or None, name, options.requests_at_once, options.seconds, pause=PAUSE)
        if key and urlsplit(client.url).scheme == "http" and not client.is_local:
            report.warn(f"the key in {name} goes to {client.url} unencrypted; https:// would encrypt it")
        return client

    @cached_property
    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def root(self) -> str:
        """The server's address without /v1."""
        return self.url.removesuffix("/v1")

    def get(self, path: str) -> JsonObject:
        """Return what the server answers to one question without a body; a refused connection is not tried again.

        Raises:
            HubError: it cannot be reached, or fails.
            OptionError, ModelError, DataError: it refuses the question.
        """

        async def ask() -> JsonObject:
            async with self._session() as session:
                return await self._send(session, session.build_request("GET", self.url + path), retries=0)

        return asyncio.run(ask())

    def post(self, path: str, bodies: Sequence[JsonObject], names: Sequence[str]) -> list[JsonObject]:
        """Return the server's answer to each body, in order; `names` are what errors call them.

        Raises:
            HubError: it cannot be reached, or fails, after retries.
            OptionError, ModelError, DataError: it refuses a request.
        """
        url = self.url + path if path.startswith("/") else f"{self.root}/{path}"

        async def ask() -> list[JsonObject]:
            gate = asyncio.Semaphore(self.concurrency)
            async with self._session() as session, asyncio.TaskGroup() as group:
                requests = (session.build_request("POST", url, json=body) for body in bodies)
                pairs = zip(requests, names, strict=True)
                jobs = [group.create_task(self._named(session, request, name, gate)) for request, name in pairs]
            return [job.result() for job in jobs]

        try:
            return asyncio.run(ask())
        except BaseExceptionGroup as failed:  # the others were not waited for
            known = [error for error in failed.exceptions if isinstance(error, LlmkitError)]
            raise (known or failed.exceptions)[0] from None

    def _session(self) -> httpx2.AsyncClient:
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        limits = httpx2.Limits(max_connections=self.concurrency, max_keepalive_connections=self.concurrency)
        return httpx2.AsyncClient(
            headers=headers, limits=limits, timeout=None, follow_redirects=False, trust_env=not self.is_local
        )

    async def _named(
        self, session: httpx2.AsyncClient, request: httpx2.Request, name: str, gate: asyncio.Semaphore
    ) -> JsonObject:
        """Return the answer to a request of that name, when its turn has come."""
        async with gate:
            try:
                return await self._send(session, request, self.retries)
            except Fault as fault:
                raise fault.of_row(name) from None

    async def _send(self, session: httpx2.AsyncClient, request: httpx2.Request, retries: int) -> JsonObject:
        """Return the JSON object that a request is answered with, put again where that can help.

        Raises:
            Fault: it is refused, or was put as often as is allowed.
        """
        for number in range(1, retries + 2):
            pause = self.pause * 2 ** (number - 1)
            try:
                async with asyncio.timeout(self.timeout):
                    response = await session.send(request)
            except TimeoutError:
                raise Fault(f"{self.url} did not answer in {self.timeout:g} s; --timeout allows more") from None
            except httpx2.HTTPError as error:
                fault = fault_of(error, self.url)
                if not isinstance(error, RETRIED) or fault.is_final or number > retries:
                    raise fault from error
            else:
                if response.is_success:
                    return read_json(response, self.url)
                known = refusal(response, self.url, self.key_variable, self.key, number)
                asked = retry_after(response)
                if known.is_final or number > retries or (asked or 0) > LONGEST_PAUSE:
                    raise known
                pause = pause if asked is None else asked
            await asyncio.sleep(pause)
        raise HubError(f"{self.url} was asked nothing")  # there is one try at least
