"""What a command asks first: whether it runs here, in this process, or on ranks that run the same command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from llmkit.cli.launch.fleet import Fleet, fleet_of
from llmkit.cli.launch.running import launch
from llmkit.distributed.threads import usable_cores
from llmkit.distributed.world import world
from llmkit.errors import OptionError, RanksFailed
from llmkit.options import LaunchOptions, TalkOptions
from llmkit.output.report import Report

MODULE = ("--module", "llmkit")


def run_on_ranks(
    call: typer.Context, options: LaunchOptions, device: str, talk: TalkOptions, alone: str | None = None
) -> None:
    """Run the command line on as many processes as are wanted; come back when this process runs it itself.

    `alone` says why a command runs in one process, such as "prompts on the command line are answered in one process".

    Raises:
        OptionError: more processes are asked for than can be had.
        RanksFailed: the processes ended with another code than 0.
        typer.Exit: they are done.
    """
    here = world()
    if here.size > 1:
        _check_world(options, here.size, alone)
        return
    asked = any(value is not None for value in (options.processes, options.nodes, options.launch_config))
    if alone is not None and not asked:
        return
    fleet = fleet_of(options, device)
    if fleet.size == 1 or talk.dry_run:
        return
    if alone is not None:
        raise OptionError(f"{fleet.size} processes are asked for, and {alone}")
    _say(fleet, asked, Report(talk))
    arguments: Sequence[str] = call.obj if isinstance(call.obj, list) else sys.argv[1:]
    code, sentence = launch(fleet, MODULE, arguments)
    if code:
        raise RanksFailed(sentence, code)
    raise typer.Exit(0)


def _check_world(options: LaunchOptions, size: int, alone: str | None) -> None:
    """Refuse a world that another launcher made and that is not the one asked for."""
    wanted = (options.processes or 0) * (options.nodes or 1)
    if wanted and wanted != size:
        raise OptionError(
            f"a launcher started {size} processes, and --processes and --nodes ask for {wanted}; leave the flags to "
            "one of the two"
        )
    if alone is not None:
        raise OptionError(f"a launcher started {size} processes, and {alone}")


def _say(fleet: Fleet, asked: bool, report: Report) -> None:
    """Tell what was chosen, and what is likely to be slow."""
    if not asked:
        report.say(f"processes: {fleet.processes}, one for each GPU that can be seen; --processes 1 runs one")
    cores = usable_cores()
    if fleet.on_cpu and fleet.processes > cores:
        report.warn(f"{fleet.processes} processes share {cores} cores: as many as there are cores is faster")
