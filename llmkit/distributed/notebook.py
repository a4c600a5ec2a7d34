"""Several processes from within a notebook: accelerate's notebook launcher, on a port that is free."""

from __future__ import annotations

import os
from collections.abc import Callable

from llmkit.distributed.processes import free_port
from llmkit.distributed.world import join
from llmkit.errors import OptionError


def launch(function: Callable[..., object], *arguments: object, processes: int = 2) -> None:
    """Call a function of a notebook in so many processes that know each other, and return when all are done.

    What the function returns is lost: let it write files, as a training does.

    Raises:
        OptionError: this process has used a GPU already, which its copies cannot use then.
    """
    import torch
    from accelerate import notebook_launcher
    from accelerate.state import AcceleratorState

    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        raise OptionError("this notebook has used a GPU, which copies of it cannot then: restart it, and launch first")
    AcceleratorState._reset_state(reset_partial_state=True)  # of a training in this process, which is over
    port = str(free_port())  # the launcher's own is always the same one, and "0" waits for ever
    notebook_launcher(_joined, (function, arguments), num_processes=processes, use_port=port)


def _joined(function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    import torch

    torch.set_num_threads(1)  # the threads of the notebook's process are not in its copy, which would wait for them
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if not torch.cuda.is_available():
        os.environ["ACCELERATE_USE_CPU"] = "true"
    join()
    function(*arguments)
