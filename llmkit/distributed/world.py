"""The processes of one command: which one this is, and what they tell each other, through torch.distributed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

from llmkit.distributed.meeting import JOIN_TIMEOUT, form_group, meet, require_size
from llmkit.errors import DataError

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """One of the processes of a command; of one process each method answers without asking anybody.

    The methods are collective: each process calls them, in the same order.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that speaks and writes."""
        return self.rank == 0

    @property
    def spans_nodes(self) -> bool:
        """Whether some of the processes run on another machine, where files of the same name may differ."""
        return int(os.environ.get("LOCAL_WORLD_SIZE", self.size)) < self.size

    def gather(self, value: T) -> list[T]:
        """Return the value of each process, in the order of their ranks."""
        if self.size == 1:
            return [value]
        from torch import distributed

        values: list[T | None] = [None] * self.size
        distributed.all_gather_object(values, value)
        return cast("list[T]", values)

    def from_main(self, value: T | None) -> T:
        """Return the value of the main process; what the others hand in does not count."""
        if self.size == 1:
            return cast("T", value)
        from torch import distributed

        values = [value if self.is_main else None]
        distributed.broadcast_object_list(values, src=0)
        return cast("T", values[0])

    def any(self, asked: bool) -> bool:
        """Tell whether it is so in at least one process."""
        if self.size == 1:
            return asked
        import torch
        from torch import distributed

        flag = torch.tensor([int(asked)])
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        return bool(flag.item())

    def require_alike(self, value: object, what: str) -> None:
        """Refuse a process that was given something else than the main one, where each should have the same.

        Raises:
            DataError: `what` differs, such as "the rows of a.csv"; each process raises it.
        """
        values = self.gather(value)
        other = next((rank for rank, held in enumerate(values) if held != values[0]), None)
        if other is not None:
            raise DataError(
                f"{what} are others in process {other} than in process 0: each process, on each node, needs the same "
                "files"
            )

    def all_fail(self, seconds: float) -> bool:
        """Tell whether the other processes fail where this one does, and soon; where they do not, they wait for it."""
        if self.size == 1:
            return True
        from torch.distributed.distributed_c10d import _get_default_store

        store = _get_default_store()
        turn = store.add(f"llmkit/failures/{self.rank}", 1)
        keys = [f"llmkit/failed/{turn}/{rank}" for rank in range(self.size)]
        store.set(keys[self.rank], "")
        try:
            store.wait(keys, timedelta(seconds=seconds))
        except RuntimeError:
            return False
        return True

    def wait(self) -> None:
        """Go on when each process has come here."""
        self.gather(None)


ALONE = World()


def world() -> World:
    """Return which process this is, by the variables that accelerate's launcher and torchrun set."""
    return World(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


def join(timeout: float = JOIN_TIMEOUT, arguments: Sequence[str] = ()) -> World:
    """Join the other processes of the command, if there are any, and return which one this is.

    Raises:
        LaunchError: fewer came than were asked for, or not in time.
        OptionError: they were started with other arguments.
    """
    here = world()
    if here.size == 1:
        return here
    from torch import distributed

    if distributed.is_initialized():
        require_size(here.size)
    else:
        form_group(here.rank, here.size, meet(here.rank, here.size, timeout, arguments))
    return here
