"""`python -m llmkit`, and the console script: Ctrl-C is quiet even while the first imports run."""

from __future__ import annotations

import atexit
import gc
import os
import sys


def run() -> None:
    """Run the command line and leave the process with its exit code."""
    gc.set_threshold(1_000_000, 20, 20)  # imports make objects that stay: looking through them is a tenth of their time
    codes: list[int] = []
    atexit.register(_leave_at_once, codes)  # the first to be registered is the last to be called
    try:
        from llmkit.cli.app import main
        from llmkit.distributed.threads import share_cores

        share_cores()  # before anything imports torch, which reads it once
        code = main()
    except KeyboardInterrupt:
        code = 130
    codes.append(code)
    sys.exit(code)


def _leave_at_once(codes: list[int]) -> None:
    """End the process with the code of a command that ended, when all else of an exit has been done.

    To take down torch, transformers and their objects one by one lasts up to a second, and frees nothing that the
    system does not free by itself.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # Python says so as it ends
        return
    if codes:
        os._exit(codes[0])


if __name__ == "__main__":
    run()
