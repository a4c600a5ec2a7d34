"""The launch itself: a folder for what the ranks say, accelerate's launcher, and what came of it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.cli.launch.fleet import Fleet, written_config
from llmkit.cli.launch.ports import meet_nodes, nobody_came, port_in_use
from llmkit.cli.launch.relay import Relay
from llmkit.cli.launch.verdict import ended_without_words, verdict
from llmkit.distributed.outcomes import Outcome, outcomes
from llmkit.distributed.processes import free_port
from llmkit.distributed.threads import usable_cores
from llmkit.distributed.worker import FOLDER, LAUNCHER, SIZE, TIMEOUT
from llmkit.errors import LaunchError, OptionError, one_line

if TYPE_CHECKING:
    from argparse import Namespace

SHUTDOWN = 10  # seconds between SIGTERM and SIGKILL for those that are left
PORT_TRIES = 5
TAKEN = ("EADDRINUSE", "address already in use", "is utilizing it")


def launch(fleet: Fleet, program: Sequence[str], argv: Sequence[str]) -> tuple[int, str]:
    """Run a program on the processes of a fleet, and return its exit code and what is to be said of it.

    `program` is what accelerate launches: ("--module", "llmkit"), or the path of a script.

    Raises:
        LaunchError: a process or a node did not come.
        OptionError: the main address cannot be used, or accelerate refuses the config file.
    """
    folder = Path(tempfile.mkdtemp(prefix="llmkit-launch-"))
    try:
        _spool_stdin(folder, argv)
        with _environment(ranks_environment(fleet, folder)), _quiet(), Relay(folder, fleet) as relay:
            ends = _run(fleet, folder, program, argv, relay)
            return verdict(ends, fleet.processes, relay.received)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(fleet: Fleet, folder: Path, program: Sequence[str], argv: Sequence[str], relay: Relay) -> dict[int, Outcome]:
    """Start the ranks, wait for them, and return how each ended."""
    from accelerate.commands.launch import launch_command
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    meet_nodes(fleet)
    for left in reversed(range(PORT_TRIES)):
        try:
            launch_command(accelerate_arguments(fleet, folder, program, argv))
        except ChildFailedError as error:
            if fleet.nodes > 1:
                time.sleep(2)  # the store is this process's: other nodes read the cause of the failure there
            failures = {rank: (failure.exitcode, failure.timestamp) for rank, failure in error.failures.items()}
            return ended_without_words(outcomes(folder), failures, relay.killed, folder)
        except SignalException:  # of a torch that does not leave the signals to the relay
            pass
        except (RuntimeError, ConnectionError, ValueError, ImportError) as error:
            if fleet.port is None and left and _is_taken(error):
                continue
            raise _refused(fleet, error) from error
        return outcomes(folder)
    raise LaunchError(f"no free port was found in {PORT_TRIES} tries")


def _refused(fleet: Fleet, error: Exception) -> LaunchError | OptionError:
    """Return what is said when torch or accelerate did not start the ranks."""
    if fleet.nodes > 1 and _is_taken(error):
        return port_in_use(fleet)
    if isinstance(error, ValueError | ImportError):
        config = "" if fleet.config is None else f"--launch-config {fleet.config.path}: "
        return OptionError(f"{config}accelerate cannot launch this: {one_line(error, 200)}")
    if fleet.nodes > 1:
        return nobody_came(fleet)
    return LaunchError(f"the processes could not be started: {one_line(error, 200)}")


def accelerate_arguments(fleet: Fleet, folder: Path, program: Sequence[str], argv: Sequence[str]) -> Namespace:
    """Return what accelerate's launcher is called with: its own parser's answer to a list of arguments."""
    from accelerate.commands.launch import launch_command_parser

    kind = "MULTI_GPU" if fleet.config is None else fleet.config.kind
    config = written_config(folder) if fleet.config is None else fleet.config.path
    given = {
        "--config_file": config,
        "--num_processes": fleet.size,
        "--num_machines": fleet.nodes,
        "--machine_rank": fleet.node_rank,
        "--main_process_ip": fleet.host,
        "--main_process_port": fleet.port or free_port(),
        "--rdzv_backend": "static",
        "--rdzv_conf": f"timeout={max(int(fleet.timeout), 1)}",
        "--max_restarts": 0,
        "--log_dir": folder / "torch",  # or torch leaves a folder of its own behind
    }
    flags = [text for name, value in given.items() for text in (name, str(value))]
    flags += ["--same_network", *([] if kind in {"FSDP", "DEEPSPEED"} else ["--multi_gpu"])]
    parsed: Namespace = launch_command_parser().parse_args([*flags, *program])
    parsed.training_script_args = [argument.replace("$", "$$") for argument in argv]  # torch fills in ${local_rank}
    parsed.signals_to_handle, parsed.shutdown_timeout = "", SHUTDOWN  # torchrun's, which accelerate hands on
    return parsed


def ranks_environment(fleet: Fleet, folder: Path) -> dict[str, str]:
    """Return the variables that the ranks get on top of this process's."""
    given = {
        LAUNCHER: str(os.getpid()),
        FOLDER: str(folder),
        SIZE: str(fleet.size),
        TIMEOUT: str(fleet.timeout),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(usable_cores() // fleet.processes, 1)),
        "ACCELERATE_USE_CPU": str(fleet.on_cpu).lower(),
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(SHUTDOWN),
    }
    if os.environ.get("LLMKIT_DEBUG") != "1":
        given["TORCH_CPP_LOG_LEVEL"] = os.environ.get("TORCH_CPP_LOG_LEVEL", "FATAL")
    local = fleet.nodes == 1 or fleet.host == "localhost" or fleet.host.startswith("127.")
    if local and sys.platform == "linux" and "GLOO_SOCKET_IFNAME" not in os.environ:
        given["GLOO_SOCKET_IFNAME"] = "lo"  # whatever the machine's own name leads to
    if sys.path[:1] not in ([""], [str(Path.cwd())]):
        given["PYTHONSAFEPATH"] = "1"  # `llmkit` does not import from the current folder, and `-m llmkit` would
    return given


def _is_taken(error: Exception) -> bool:
    return any(text.lower() in str(error).lower() for text in TAKEN)


def _spool_stdin(folder: Path, argv: Sequence[str]) -> None:
    """Copy standard input for the ranks, when the command reads it: each of them has to read all of it."""
    if any(argument == "-" or argument.endswith("=-") for argument in argv) and not sys.stdin.isatty():
        with (folder / "stdin").open("wb") as copy:
            shutil.copyfileobj(sys.stdin.buffer, copy)


@contextlib.contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    """Let this process, and so the ranks, have variables while the context lasts."""
    before = dict(os.environ)
    os.environ.update(given)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the launchers' own logging off the terminal, unless LLMKIT_DEBUG=1 asks for it."""
    if os.environ.get("LLMKIT_DEBUG") == "1":
        yield
        return
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
