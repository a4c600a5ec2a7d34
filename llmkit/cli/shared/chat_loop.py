"""A conversation on standard input and output: replies to turns, slash commands, and a sentence for each mistake."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.cli.shared.chat_input import Turn, Turns
from llmkit.errors import DataError, EmptyError, ModelError, did_you_mean, listing
from llmkit.output.report import Report
from llmkit.runs.interrupts import StopRequest

if TYPE_CHECKING:
    from llmkit.inference.chat import Chat

HELP = """\
/system TEXT   tell the model how to answer; without TEXT, take that away
/reset         forget the conversation, but for the system message
/save FILE     add the conversation to a .jsonl file, which finetuning reads
/load FILE     go on with the last conversation of such a file
/help          show this
/quit          leave, as Ctrl-D does
A line that ends in \\ goes on in the next; \"\"\" begins and ends a block of lines; // begins a turn with a slash.
Ctrl-C stops an answer."""


class ChatLoop:
    """The loop over turns: each is answered, or obeyed where it is a command."""

    def __init__(self, chat: Chat, report: Report) -> None:
        self.chat, self.report, self.turns = chat, report, Turns(report)
        self.commands: dict[str, Callable[[str], None]] = {
            "system": self._system,
            "reset": self._reset,
            "save": self._save,
            "load": self._load,
            "help": self._help,
        }
        self.answered = 0

    def run(self) -> None:
        """Answer turns until there are no more.

        Raises:
            DataError: lines of a pipe could not be answered or obeyed; the rest were.
        """
        self.chat.open_model()
        if self.turns.typed:
            self.report.say(f"talking with {self.chat.name}: /help lists the commands, Ctrl-D leaves")
        done = failed = 0
        for turn in self.turns:
            if not turn.block and turn.text.strip() == "/quit":
                break
            done += 1
            try:
                self._take(turn)
            except (DataError, ModelError, EmptyError) as error:
                failed += 1
                self.report.error_line(str(error) if self.turns.typed else f"line {turn.line}: {error}")
        if failed and not self.turns.typed:
            raise DataError(f"{failed} of {done} turns and commands of standard input failed, as told above")

    def _take(self, turn: Turn) -> None:
        if turn.block or not turn.text.startswith("/"):
            self._answer(turn.text)
        elif turn.text.startswith("//"):
            self._answer(turn.text[1:])
        else:
            name, _, rest = turn.text[1:].partition(" ")
            if name not in self.commands:
                commands = [f"/{command}" for command in (*self.commands, "quit")]
                raise DataError(
                    f"there is no command /{name}{did_you_mean(f'/{name}', commands)}; there are {listing(commands)}; "
                    f"// begins a turn with a slash"
                )
            self.commands[name](rest.strip())

    def _answer(self, text: str) -> None:
        emit = _discard if self.report.json else self.report.stream
        if self.turns.typed:
            with StopRequest(self.report, "", (signal.SIGINT,)) as stop_request:
                reply = self.chat.ask(text, emit, stop_request)
        else:
            reply = self.chat.ask(text, emit)
        self.answered += 1
        if self.report.json:
            self.report.json_line(
                {"turn": self.answered, "prompt": text, "answer": reply.text, "tokens": reply.tokens, "end": reply.end}
            )
        else:
            self.report.stream("\n")
        if reply.end == "stopped":
            self.report.say("(stopped: what came of the answer stays in the conversation)")
        elif reply.end == "length":
            self.report.say(
                f"(cut after {reply.tokens} tokens: --max-new-tokens allows more, as far as the context has room)"
            )

    def _system(self, text: str) -> None:
        self.chat.instruct(text)
        self.report.say("system message set, from here on" if text else "no system message any more")

    def _reset(self, rest: str) -> None:
        self.chat.reset()
        self.report.say("a new conversation" + (", with the same system message" if self.chat.system else ""))

    def _save(self, file: str) -> None:
        number = self.chat.save(_path(file, "save"))
        self.report.say(f"saved as line {number} of {file}")

    def _load(self, file: str) -> None:
        waiting, number = self.chat.load(_path(file, "load"))
        turns = len(self.chat.turns) // 2
        self.report.say(f"line {number} of {file}: {turns} turn{'' if turns == 1 else 's'}")
        if waiting is not None:
            self._answer(waiting)

    def _help(self, rest: str) -> None:
        self.report.error_line(HELP)


def _discard(piece: str) -> None:
    """Take a piece of a reply that is printed in one piece."""


def _path(file: str, verb: str) -> Path:
    if not file:
        raise DataError(f"/{verb} takes the name of a file: /{verb} talk.jsonl")
    return Path(file).expanduser()
