"""The port at which the processes of a command meet: found, checked, or waited for."""

from __future__ import annotations

import socket
import time

from llmkit.cli.launch.fleet import Fleet
from llmkit.errors import LaunchError, OptionError

KNOCK = 2.0  # seconds for one try to reach the main node


def is_taken(port: int) -> bool:
    """Tell whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False


def meet_nodes(fleet: Fleet) -> None:
    """Check the address at which several nodes meet: free on the main node, and within reach of the others.

    Raises:
        OptionError: this is the main node, and the port is in use.
        LaunchError: the main node cannot be reached in time.
    """
    port = fleet.port or 0
    if fleet.nodes == 1:
        return
    if fleet.node_rank == 0:
        if is_taken(port):
            raise port_in_use(fleet)
        return
    deadline = time.monotonic() + fleet.timeout
    while True:
        try:
            socket.create_connection((fleet.host, port), timeout=KNOCK).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise nobody_came(fleet) from None
        time.sleep(0.3)


def port_in_use(fleet: Fleet) -> OptionError:
    """Return what is said when the main node cannot listen."""
    return OptionError(f"port {fleet.port} of --main-address is in use on this machine; name a free one on each node")


def nobody_came(fleet: Fleet) -> LaunchError:
    """Return what is said when other nodes, or the main one, did not come."""
    address = f"{fleet.host}:{fleet.port}"
    whom = f"all {fleet.nodes} nodes" if fleet.node_rank == 0 else f"node 0 at {address}"
    return LaunchError(
        f"node {fleet.node_rank} waited {fleet.timeout:g} s for {whom}: start the same command on each node with its "
        f"own --node-rank and --main-address {address}, or wait longer by --join-timeout"
    )
