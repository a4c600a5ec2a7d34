"""`python -m llmkit.training.series FD PARENT`: a worker of the search in the process PARENT, FD its line to that."""

from __future__ import annotations

import sys
from multiprocessing.connection import Connection

from llmkit.distributed.processes import end_with_parent

if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    from llmkit.training.series.worker import Line, work  # the imports take seconds, in which the parent may be killed

    try:
        work(Line(Connection(int(sys.argv[1]))))
    except (EOFError, ConnectionError):  # the search is gone
        sys.exit(1)
