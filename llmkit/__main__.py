"""`python -m llmkit`, and the console script: Ctrl-C is quiet even while the first imports run."""

from __future__ import annotations

import gc
import sys


def run() -> None:
    """Run the command line and leave the process with its exit code."""
    gc.set_threshold(100_000, 20, 20)  # imports make objects that stay: looking through them is a tenth of their time
    try:
        from llmkit.cli.app import main
        from llmkit.distributed.threads import share_cores

        share_cores()  # before anything imports torch, which reads it once
        code = main()
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    run()
