"""One of the processes that a launcher started: whom it dies with, where it writes, how it joins and how it leaves."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from llmkit.distributed.meeting import JOIN_TIMEOUT, form_group, meet
from llmkit.distributed.outcomes import Outcome, lost_peer, outcomes, write_whole
from llmkit.distributed.processes import end_with_parent
from llmkit.distributed.world import World, world
from llmkit.errors import LaunchError

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

LAUNCHER, FOLDER, SIZE, TIMEOUT = (f"LLMKIT_LAUNCH_{name}" for name in ("PID", "FOLDER", "SIZE", "TIMEOUT"))
LAUNCHED_VERBS = ("pretrain", "finetune", "eval", "classify", "embed", "generate")
CAUSE = "llmkit/cause"  # the key of the shared store under which the cause of a failure is said to other nodes
STOPPED = (75, 130)  # codes of a stop, which may come in the middle of a transfer
OTHERS_TURN = 3.0  # seconds in which the other processes may fail of the same


@dataclass
class Rank:
    """The process as one of several: `folder` is the launcher's, and None under another launcher than llmkit's."""

    world: World
    folder: Path | None = None
    asked: int | None = None
    timeout: float = JOIN_TIMEOUT
    stderr: TextIO = field(default_factory=lambda: sys.stderr)  # the one that a user reads
    store: Store | None = None

    def join(self, arguments: Sequence[str]) -> None:
        """Join the other processes.

        Raises:
            LaunchError: they are not as many as were asked for, or do not come in time.
            OptionError: they were started with other arguments.
        """
        if self.asked not in (None, self.world.size):
            raise LaunchError(f"{self.asked} processes were asked for, and {self.world.size} were started")
        if os.environ.get("LLMKIT_DEBUG") != "1":
            logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
        self.store = meet(self.world.rank, self.world.size, self.timeout, arguments)
        form_group(self.world.rank, self.world.size, self.store)

    def leave(self, code: int, sentence: str = "", error: BaseException | None = None) -> int:
        """Say how this process ended, and return the exit code with which its launcher does the right thing.

        An end that all agree on is 0 for llmkit's launcher: at another it would end those that still save.
        """
        end = Outcome(self.world.rank, code, sentence, error is not None and lost_peer(error))
        if self.folder is None:
            return self._leave_another(end)
        if not end.failed:
            end.write(self.folder)
            _dissolve()
            return 0
        self._from_cause(end).write(self.folder)
        local, deadline = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), time.monotonic() + OTHERS_TURN
        while not end.consequence and len(outcomes(self.folder)) < local and time.monotonic() < deadline:
            time.sleep(0.05)
        if end.code not in STOPPED:
            _dissolve(only="gloo")  # NCCL may wait for those that failed
        return code

    def _leave_another(self, end: Outcome) -> int:
        """Leave a launcher that is not llmkit's: say what is wrong, and wait so that it ends nobody who still works."""
        if end.failed and end.sentence and not self.world.is_main:
            print(f"rank {end.rank}: error: {end.sentence}", file=self.stderr, flush=True)
        if not end.failed and self.store is not None:
            with contextlib.suppress(RuntimeError):
                self.world.wait()
            _dissolve()
        return end.code

    def _from_cause(self, end: Outcome) -> Outcome:
        """Return the cause, said by a process of any node, of an end that is a consequence; tell a cause to others."""
        if self.store is None:
            return end
        with contextlib.suppress(RuntimeError):  # the store is gone with its node
            if not end.consequence:
                self.store.set(CAUSE, end.to_json())
            elif self.store.check([CAUSE]):
                cause = Outcome.from_json(self.store.get(CAUSE))
                return replace(end, code=cause.code, sentence=f"rank {cause.rank}: {cause.sentence}")
        return end


def enter() -> Rank | None:
    """Return which process this is, when it is one of several; the only one that speaks then is the main one.

    Call before anything is read, written or imported: it binds the process to its launcher, and its streams.
    """
    here = world()
    if here.size == 1:
        return None
    given = {name: os.environ.pop(name, "") for name in (LAUNCHER, FOLDER, SIZE, TIMEOUT)}  # children are no ranks
    folder = Path(given[FOLDER]) if given[FOLDER] else None
    if folder is not None:
        end_with_parent(int(given[LAUNCHER]))
        write_whole(folder / f"pid-{here.rank}", str(os.getpid()))
    rank = Rank(here, folder)
    if folder is not None:
        rank.asked, rank.timeout = int(given[SIZE]), float(given[TIMEOUT])
    rank.stderr = _own_streams(here, folder)
    return rank


def _own_streams(here: World, folder: Path | None) -> TextIO:
    """Give this process the streams that are its own, and return stderr as it was.

    Each reads what came on standard input from a copy; all but the main one write to nothing.
    """
    spooled = folder / "stdin" if folder is not None else None
    if spooled is not None and spooled.exists():
        _point(0, str(spooled), os.O_RDONLY)
    elif not here.is_main:
        _point(0, os.devnull, os.O_RDONLY)
    if here.is_main:
        return sys.stderr
    stderr = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="backslashreplace")
    _point(1, os.devnull, os.O_WRONLY)
    if os.environ.get("LLMKIT_DEBUG") != "1":
        log = os.devnull if folder is None else str(folder / f"stderr-{here.rank}")
        _point(2, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return stderr


def _point(number: int, path: str, mode: int) -> None:
    opened = os.open(path, mode, 0o600)
    os.dup2(opened, number)
    if opened != number:
        os.close(opened)


def _dissolve(only: str = "") -> None:
    """Leave the process group in order, as NCCL wants it, and as gloo's threads need it not to abort the process.

    With `only`, groups of another backend than that are left as they are.
    """
    if "torch.distributed" not in sys.modules:
        return
    from torch import distributed

    if not distributed.is_available() or not distributed.is_initialized():
        return
    if only in ("", distributed.get_backend()):
        with contextlib.suppress(RuntimeError):
            distributed.destroy_process_group()
