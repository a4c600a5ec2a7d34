"""How the processes of a command meet: all come in time, with the same arguments, and become one group."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from llmkit.errors import LaunchError, OptionError, one_line

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

JOIN_TIMEOUT = 120.0
PATIENCE = timedelta(hours=2)  # for a process that is busy, such as the main one with a download
OF_ONE_NODE = ("--node-rank", "--main-address", "--launch-config", "--join-timeout")  # may differ between nodes


def common_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments that all nodes have in common: those without the flags of one node."""
    common, skip = list[str](), False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in OF_ONE_NODE:
            skip = True
        elif argument.partition("=")[0] not in OF_ONE_NODE:
            common.append(argument)
    return common


def meet(rank: int, size: int, timeout: float, arguments: Sequence[str]) -> Store:
    """Wait for all processes of the command, and return the store that they share.

    Raises:
        LaunchError: not all came in time.
        OptionError: another has other arguments, or the same rank.
    """
    from torch.distributed.rendezvous import rendezvous

    seconds = timedelta(seconds=timeout)
    try:
        store: Store = next(iter(rendezvous("env://", rank, size, timeout=seconds)))[0]
        if store.add(f"llmkit/came/{rank}", 1) > 1:
            raise OptionError(f"two processes are rank {rank}: each node needs a --node-rank of its own")
        store.set(_key(rank), json.dumps(common_arguments(arguments)))
        _all_came(store, size, timeout)
        commands = [json.loads(store.get(_key(other))) for other in range(size)]
    except (RuntimeError, ValueError) as error:  # torch's own errors of stores are RuntimeErrors
        raise LaunchError(f"rank {rank} could not join the other processes: {one_line(error, 200)}") from error
    for other, command in enumerate(commands):
        if command != commands[0]:
            raise OptionError(_difference(other, commands[0], command))
    return store


def _key(rank: int) -> str:
    return f"llmkit/arguments/{rank}"


def _all_came(store: Store, size: int, timeout: float) -> None:
    keys = [_key(rank) for rank in range(size)]
    try:
        store.wait(keys, timedelta(seconds=timeout))
    except RuntimeError:
        missing = [str(rank) for rank, key in enumerate(keys) if not store.check([key])]
        if not missing:
            return
        few = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise LaunchError(
            f"{len(missing)} of {size} processes did not come in {timeout:g} s (rank {few}); --join-timeout SECONDS "
            "waits longer"
        ) from None


def _difference(rank: int, main: Sequence[str], other: Sequence[str]) -> str:
    """Return the sentence on a command that differs from that of the main process."""
    more = " ".join(argument for argument in other if argument not in main)
    less = " ".join(argument for argument in main if argument not in other)
    found = [f"{how} {one_line(what, 100)!r}" for how, what in (("with", more), ("without", less)) if what]
    return (
        f"rank {rank} was started {' and '.join(found) or 'with the arguments in another order'}, unlike rank 0: start "
        "the same command on each node, only --node-rank differs"
    )


def form_group(rank: int, size: int, store: Store) -> None:
    """Make the processes that met one process group: tensors of a GPU travel by NCCL, all else by gloo.

    Raises:
        LaunchError: the group has another size than was asked for.
    """
    import torch
    from torch import distributed
    from torch.distributed.distributed_c10d import PrefixStore

    if not torch.cuda.is_available():  # accelerate would take a CPU for one process alone, and train in each
        os.environ["ACCELERATE_USE_CPU"] = "true"
    backend, device = "gloo", None
    if os.environ.get("ACCELERATE_USE_CPU", "").lower() not in {"1", "true", "yes"}:
        backend, device = "cpu:gloo,cuda:nccl", torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    shared = PrefixStore("llmkit", store)
    distributed.init_process_group(
        backend, store=shared, rank=rank, world_size=size, timeout=PATIENCE, device_id=device
    )
    require_size(size)


def require_size(size: int) -> None:
    """Refuse a group that is not of all processes: each would train alone, in silence, into one folder.

    Raises:
        LaunchError: it has another size than was asked for.
    """
    from torch import distributed

    if distributed.get_world_size() != size:
        raise LaunchError(f"{size} processes were asked for, and {distributed.get_world_size()} came")
