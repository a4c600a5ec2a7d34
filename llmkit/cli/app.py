"""The command line: the Typer app, and the only place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import errno
import importlib
import os
import re
import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from llmkit.cli.shared.standard_streams import prepare_streams, readable_arguments
from llmkit.cli.shared.transformers_index import keep_transformers_index
from llmkit.distributed.outcomes import lost_peer
from llmkit.distributed.worker import LAUNCHED_VERBS, Rank, enter
from llmkit.distributed.world import world
from llmkit.errors import GateMissed, LlmkitError, OptionError, UndecidedError, one_line
from llmkit.options import print_version
from llmkit.options.config_file import MAY_BE_EMPTY
from llmkit.options.urls import unsigned

# verb -> (module, what `llmkit --help` says of it); a module is imported when its command runs
COMMANDS = {
    "generate": ("generate", "Continue a prompt, or answer it with a chat model."),
    "chat": ("chat", "Talk with a chat model: streamed answers, history, transcripts that can be trained on."),
    "classify": ("classify", "Label texts with a finetuned model."),
    "embed": ("embed", "Turn texts into vectors, by any model with hidden states."),
    "serve": ("serve", "Serve a model by OpenAI's API, through transformers or vLLM."),
    "data": ("data", "Look at a dataset before training on it: what it holds, and what is wrong with it."),
    "finetune": ("finetune", "Train a model on a dataset; the task is inferred from its columns."),
    "plan": ("plan", "Tell what a training takes before it is begun: memory, FLOPs, time, cost."),
    "merge": ("merge", "Fold an adapter into the model that it was trained on."),
    "push": ("push", "Put a finished run on the Hub, with its model card."),
    "pretrain": ("pretrain", "Train a language model from scratch, or go on with one, on raw text."),
    "eval": ("evaluate_model", "Measure a model on a dataset, with gates for CI."),
    "compare": ("compare", "Compare two saved results of eval, row by row."),
    "cache": ("cache", "Show or clear what eval keeps of models' answers."),
}

COLUMN = re.compile(r"[a-z_]+\d*=.")  # role=name
CONTEXT = {"help_option_names": ["-h", "--help"]}


class LazyGroup(TyperGroup):
    """A group that knows the names and help lines of its commands, and imports the one that runs."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=line) for name, (_, line) in COMMANDS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name, the command with its flags, and the arguments that are left for it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else _load(name), rest


class CheckedCommand(TyperCommand):
    """A command that takes no empty value for a flag: an empty path would be the current folder."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Return the arguments that are left over.

        Raises:
            OptionError: naming each flag that was given nothing.
        """
        args = _one_column_each(args)
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        flags = {parameter.name: parameter.opts[0] for parameter in self.params if parameter.opts}
        repeated = {name: value if isinstance(value, list | tuple) else [value] for name, value in given.items()}
        empty = [name for name, values in repeated.items() if "" in values and name not in MAY_BE_EMPTY]
        if empty:
            raise OptionError(*(f"{flags[name]} must not be empty" for name in empty))
        rest: list[str] = super().parse_args(ctx, args)
        return rest


def _one_column_each(args: Sequence[str]) -> list[str]:
    """Return arguments in which each of several columns behind one --column has the flag: text=a label=b."""
    each = list[str]()
    for place, argument in enumerate(args):
        follows = each[-2:-1] == ["--column"] and "--" not in args[:place]
        if follows and COLUMN.match(argument) and not Path(argument).exists():
            each.append("--column")
        each.append(argument)
    return each


def _load(name: str) -> Any:
    keep_transformers_index()
    module = COMMANDS[name][0]
    function = getattr(importlib.import_module(f"llmkit.cli.{module}"), module)
    settings = CONTEXT | getattr(function, "context", {})
    loaded = typer.Typer(add_completion=False, rich_markup_mode="rich")
    loaded.command(name, cls=CheckedCommand, context_settings=settings, epilog=function.epilog)(function)
    return typer.main.get_command(loaded)


app = typer.Typer(
    cls=LazyGroup,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
    epilog="Start with: llmkit generate 'Once upon a time'. Each command explains itself: llmkit finetune --help",
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """Pretrain, finetune, ask and measure Hugging Face text models from the command line."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@dataclass(frozen=True)
class Ending:
    """How a command ended: its exit code, and what is said of it on stderr."""

    code: int = 0
    sentence: str = ""
    error: BaseException | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run llmkit with `argv` (default: the process's own) and return its exit code."""
    given = sys.argv[1:] if argv is None else argv
    rank = enter()
    if rank is None:
        return _tell(_run(given, None))
    launched = given[:1] and given[0] in LAUNCHED_VERBS
    if not (launched or rank.world.is_main):
        return 0  # what runs in one process is done by the main one
    ending = _run(given, rank if launched else None)
    code = _tell(ending, says=rank.world.is_main and rank.folder is None)
    return rank.leave(code, ending.sentence, ending.error)


def _answer(argv: Sequence[str], rank: Rank | None) -> int:
    """Run the command and return the exit code that it asks for."""
    prepare_streams()
    arguments = readable_arguments(argv)
    if rank is not None:
        rank.join(arguments)
    code = app(args=arguments, prog_name="llmkit", standalone_mode=False, obj=arguments)
    sys.stdout.flush()
    if code == 130:  # Typer's answer to Ctrl-C
        raise KeyboardInterrupt
    return code if isinstance(code, int) else 0


def _run(argv: Sequence[str], rank: Rank | None) -> Ending:
    """Run the command, in one of several processes if there is a `rank`, and return how it ended."""
    try:
        return Ending(_answer(argv, rank))
    except GateMissed as error:  # nothing is wrong but the model
        print(error, file=sys.stderr)
        return Ending(error.exit_code)
    except LlmkitError as error:
        return Ending(error.exit_code, _message(error, argv), error)
    except TyperException as error:
        message = one_line(error.format_message()).replace(": Value error, ", ": ")  # pydantic's, in Typer's
        return Ending(error.exit_code, message, error)
    except (KeyboardInterrupt, typer.Abort) as error:
        return Ending(130, "interrupted, nothing was saved", error)
    except BrokenPipeError:
        return Ending(_reader_left())
    except SystemExit as ended:  # Typer's own answer to a reader that left is 1, the code of a gate
        if isinstance(ended.__context__, BrokenPipeError):
            return Ending(_reader_left())
        raise
    except Exception as error:  # the edge: nothing may reach the user as a traceback
        return _unexpected(error)


def _reader_left() -> int:
    """Leave as a process that SIGPIPE ended: the reader of the pipe wants no more."""
    _drop_stdout()
    return 141


def _drop_stdout() -> None:
    """Let what is still to be written go nowhere: the interpreter flushes once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(ending: Ending, says: bool = True) -> int:
    """Say how the command ended, unless its launcher `says` it, and return its exit code."""
    if ending.error is None:
        return ending.code
    if os.environ.get("LLMKIT_DEBUG") == "1":
        traceback.print_exception(ending.error)
    if says and ending.sentence:
        print(f"error: {ending.sentence}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:  # it stays in the buffer, and fails again at exit
        _drop_stdout()
    return ending.code


def _message(error: LlmkitError, argv: Sequence[str]) -> str:
    """Return what is said of an error; of data that can be read in several ways, the command for each."""
    if not isinstance(error, UndecidedError):
        return str(error)
    typed = shlex.join(map(unsigned, argv))
    lines = [f"  {phrase}\n    llmkit {typed} {flags}" for phrase, flags in error.readings]
    return "\n".join([f"{error.sentence}; one of these says which:", *lines])


def _unexpected(error: Exception) -> Ending:
    from llmkit.errors.libraries import translate

    if world().size > 1 and lost_peer(error):
        return Ending(4, f"the connection to the other processes broke: {one_line(error, 200)}", error)
    translated = translate(error)
    if translated is not None:
        return Ending(translated.exit_code, str(translated), error)
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Ending(12, f"no space left on the disk for {error.filename or 'the output'}", error)
    with tempfile.NamedTemporaryFile("w", prefix="llmkit-", suffix=".log", delete=False, encoding="utf-8") as log:
        traceback.print_exception(error, file=log)
    summary = one_line(error, 200)
    return Ending(3, f"llmkit failed ({type(error).__name__}: {summary}); the traceback is in {log.name}", error)
