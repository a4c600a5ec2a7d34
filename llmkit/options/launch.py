"""The group of the launch: how many processes run a command, and on how many nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from llmkit.errors import OptionError
from llmkit.options.base import Options
from llmkit.options.flags import flag

PORTS = 65_535
JOIN_TIMEOUT = 120.0


@dataclass(frozen=True, kw_only=True)
class LaunchOptions(Options):
    """How many processes run the command: on this machine, and on others."""

    processes: Annotated[
        int | None,
        flag(panel="Launch", help="Processes on this machine; default: all GPUs that can be seen, 1 on a CPU."),
    ] = None
    nodes: Annotated[
        int | None, flag(panel="Launch", help="Machines that run this same command, each with its --node-rank.")
    ] = None
    node_rank: Annotated[int | None, flag(panel="Launch", help="Which of the nodes this is; 0 is the main one.")] = None
    main_address: Annotated[
        str | None, flag(panel="Launch", help="HOST:PORT of node 0, at which the nodes meet; the port is free there.")
    ] = None
    launch_config: Annotated[
        Path | None, flag(panel="Launch", help="A YAML file as `accelerate config` writes it; flags win.")
    ] = None
    join_timeout: Annotated[
        float, flag(panel="Launch", help="Seconds to wait for all processes and nodes to come.")
    ] = JOIN_TIMEOUT

    def require_enough(self, rows: int, processes: int, remedy: str = "fewer processes do") -> None:
        """Refuse more processes than there are rows for; those of a machine's GPUs, which nobody named, may be idle.

        A dry run, which is one process, refuses what its command would.

        Raises:
            OptionError: naming the flag; `remedy` is its end.
        """
        processes = max(processes, (self.processes or 1) * (self.nodes or 1))
        if self.processes is not None and rows < processes:
            plural = "" if rows == 1 else "s"
            raise OptionError(f"--processes {self.processes}: {processes} processes share {rows} row{plural}; {remedy}")

    def problems(self) -> Iterator[str]:
        yield from self.at_least(1, "processes", "nodes", "join_timeout")
        yield from self.at_least(0, "node_rank")
        if self.main_address is not None:
            yield from address_problems(self.main_address)
        if self.launch_config is None:
            yield from self._node_problems()

    def _node_problems(self) -> Iterator[str]:
        """Yield a phrase for each flag that several nodes need, and for each that one has no use for."""
        nodes = 1 if self.nodes is None else self.nodes
        wanted = {"--node-rank": self.node_rank, "--main-address": self.main_address}
        missing = [name for name, value in wanted.items() if value is None]
        given = [name for name, value in wanted.items() if value is not None]
        if nodes > 1 and missing:
            example = " ".join(missing).replace("-rank", "-rank 0").replace("-address", "-address H:29500")
            yield f"--nodes {nodes} needs {' and '.join(missing)}, such as {example}"
        if self.nodes is None and given:
            yield f"{' and '.join(given)} {'is' if len(given) == 1 else 'are'} for several nodes: add --nodes"
        if self.nodes is not None and self.node_rank is not None and 1 <= self.nodes <= self.node_rank:
            highest = "which is 0" if self.nodes == 1 else f"which go from 0 to {self.nodes - 1}"
            yield f"--node-rank {self.node_rank} is none of the ranks of --nodes {self.nodes}, {highest}"


def address_problems(address: str) -> Iterator[str]:
    """Yield a phrase for an address that is not HOST:PORT."""
    host, port = split_address(address)
    if not host or port is None or not 1 <= port <= PORTS:
        yield f"--main-address must be HOST:PORT with a port of 1 to {PORTS}, such as 10.0.0.1:29500, not {address!r}"


def split_address(address: str) -> tuple[str, int | None]:
    """Return the host and the port of an address; an IPv6 host may stand in brackets."""
    host, _, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if "://" in address or (":" in host and bare == host) or any(letter.isspace() for letter in address):
        return "", None
    return bare, int(port) if port.isascii() and port.isdigit() else None
