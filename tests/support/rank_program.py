"""A program for the ranks of a launch: WHAT it does, on the rank WHO (-1: each); run by tests as a script."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time

from llmkit.distributed.outcomes import lost_peer
from llmkit.distributed.worker import Rank, enter


def stop_on_signal(rank: Rank) -> None:
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.append(1))
    rank.world.wait()  # a signal to one that does not listen yet would end it
    print("ready", flush=True)
    while not rank.world.any(bool(asked)):
        time.sleep(0.02)
    rank.world.wait()
    if rank.world.is_main:
        time.sleep(0.5)  # it saves, and the others have gone
        print("saved", flush=True)


def run(rank: Rank, what: str, arguments: list[str]) -> tuple[int, str]:
    if what == "diverge":
        return 11, "training diverged"
    if what == "raise":
        raise ValueError("no such thing")
    if what == "fill the disk":
        raise OSError(errno.ENOSPC, "No space left on device")
    if what in ("SIGKILL", "SIGSEGV"):
        os.kill(os.getpid(), signal.Signals[what])
    if what == "leave":
        print("last words", file=sys.stderr, flush=True)
        os._exit(7)
    if what == "miss a gate":
        return 1, ""
    if what == "say what is there":
        text = sys.stdin.read()
        print(rank.world.gather((text, sys.argv[3:], os.environ["OMP_NUM_THREADS"])), flush=True)
    return 0, ""


def main() -> int:
    rank = enter()
    assert rank is not None
    what, who = sys.argv[1], int(sys.argv[2])
    try:
        rank.join(sys.argv[1:])
        print("a line of stdout", flush=True)
        if what == "stop":
            stop_on_signal(rank)
            return rank.leave(75, "stopped and saved")
        if what == "hang":  # one that no signal reaches, as in a collective of NCCL
            if rank.world.rank == who:
                os._exit(7)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(300)
        if what == "sleep":
            print("ready", flush=True)
            time.sleep(300)
        code, sentence = run(rank, what, sys.argv[3:]) if who in (rank.world.rank, -1) else (0, "")
        if not code:
            rank.world.wait()
        return rank.leave(code, sentence)
    except KeyboardInterrupt as error:
        return rank.leave(130, "interrupted", error)
    except Exception as error:
        code = 12 if isinstance(error, OSError) and error.errno == errno.ENOSPC else 4 if lost_peer(error) else 3
        return rank.leave(code, f"{type(error).__name__}: {error}", error)


if __name__ == "__main__":
    sys.exit(main())
