"""Talk with a chat model: a conversation that goes on, answers that come piece by piece, a context that can be full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from llmkit.data.conversations import Message
from llmkit.errors import DataError, ModelError
from llmkit.inference.generation import Generator, Prompt
from llmkit.inference.prediction import find
from llmkit.inference.transcripts import line_of, load_conversation, save_conversation
from llmkit.options import AskOptions, DecodingOptions, GenerationOptions, ModelOptions
from llmkit.output.report import Report
from llmkit.tasks.encoding.chat_templates import rendered

CHAT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
RESERVED = 4  # one in so many tokens of the context is kept for the answer, where the conversation is long


@dataclass(frozen=True)
class Answer:
    """What the model said, and why it ended: by itself, `stopped` by the user, or with no room left for more."""

    text: str
    tokens: int
    end: Literal["whole", "stopped", "length"]


class Chat:
    """A chat model and the conversation with it: `messages` is all that was said, a system message first if there is.

    The model reads the messages from the turn `forgotten` on; those before it have no room in its context any more.
    """

    def __init__(self, options: ModelOptions, decoding: DecodingOptions, report: Report) -> None:
        task, resolved = find("chat", options, AskOptions(), report, CHAT_MODEL)
        if options.model is None:
            report.say(f"model: {CHAT_MODEL}, the default; -m names another")
        plain = GenerationOptions(**asdict(replace(decoding, system=None)))
        self.generator = Generator(task, resolved, options, AskOptions(), plain, report)
        if not self.generator.chat:
            raise ModelError(
                f"{resolved.name!r} has no chat template, so it cannot chat; `llmkit generate -m {resolved.name}` "
                f"continues texts, and {CHAT_MODEL} has one"
            )
        self.report, self.name = report, resolved.name
        self.system: str | None = None
        self.turns: list[Message] = []
        self.forgotten = 0  # how many messages of `turns` the model does not read any more: always pairs
        self._kept: str | None = None  # the conversation as a file holds it
        if decoding.system is not None:
            self.instruct(decoding.system)

    @property
    def messages(self) -> list[Message]:
        """All that was said."""
        return [*self._system(self.system), *self.turns]

    def open_model(self) -> None:
        """Load the weights, so that the first answer need not wait for them.

        Raises:
            ModelError: they are missing or damaged.
        """
        self.generator.model.eval()

    def instruct(self, text: str) -> None:
        """Set the system message, for the turns to come; an empty one takes it away.

        Raises:
            ModelError: the chat template has no place for one.
            DataError: it leaves no room in the context.
        """
        self.system = self._possible(text)

    def reset(self) -> None:
        """Forget the turns; the system message stays."""
        self.turns, self.forgotten, self._kept = [], 0, None

    def save(self, path: Path) -> int:
        """Write the conversation as the last line of a file, and return its number: see `save_conversation`.

        Raises:
            DataError: nothing was said yet, or the file cannot be written.
        """
        if not self.turns:
            raise DataError("there is nothing to save: no turn was answered yet")
        number = save_conversation(path, self.messages, self._kept)
        self._kept = line_of(self.messages)
        return number

    def load(self, path: Path) -> tuple[str | None, int]:
        """Go on with the last conversation of a file; return the turn that it leaves to answer, and its line's number.

        Raises:
            DataError, EmptyError: there is no conversation in it.
        """
        messages, number = load_conversation(path)
        system = self._possible(messages.pop(0)["content"] if messages[0]["role"] == "system" else "")
        waiting = messages.pop()["content"] if messages[-1]["role"] == "user" else None
        self.reset()
        self.system, self.turns = system, messages
        self._kept = line_of(self.messages) if waiting is None else None
        return waiting, number

    def ask(self, text: str, emit: Callable[[str], None], stopping: Callable[[], bool] | None = None) -> Answer:
        """Say something and return the answer, which `emit` gets piece by piece; both become part of the conversation.

        What came before `stopping` is the answer; so is what came before a KeyboardInterrupt.

        Raises:
            DataError: the text alone is longer than the context; it is no part of the conversation then.
        """
        prompt, pieces = self._prompt(text), list[str]()

        def take(piece: str) -> None:
            pieces.append(piece)
            emit(piece)

        new: list[int] | None = None  # None: it was not left to end
        try:
            new = self.generator.stream(prompt, take, stopping)
        except KeyboardInterrupt:
            if stopping is None:  # nobody waits for a part of it
                raise
        said = "".join(pieces)
        self.turns += [{"role": "user", "content": text}, {"role": "assistant", "content": said}]
        if new is None:
            return Answer(said, len(self._ids(said)), "stopped")
        if stopping is not None and stopping():
            return Answer(said, len(new), "stopped")
        return Answer(said, len(new), "length" if len(new) >= prompt.room and not self._ended(new) else "whole")

    def _possible(self, text: str) -> str | None:
        """Return a system message that the template shows and the context has room for, or None for a blank one."""
        system, name = text.strip() or None, self.name
        probe = rendered(self.generator.tokenizer, [*self._system(system), {"role": "user", "content": "?"}], ask=True)
        if system is not None and system not in probe:
            raise ModelError(f"the chat template of {name!r} drops the system message; say it in a turn")
        tokens = len(self._ids(probe))
        if tokens >= self.generator.context:
            raise DataError(
                f"the system message and the shortest turn have {tokens} tokens, and {name!r} takes "
                f"{self.generator.context} in all: make it shorter"
            )
        return system

    def _prompt(self, text: str) -> Prompt:
        """Return the prompt of a turn, after as much of the conversation as fits: older turns are forgotten."""
        asked, context = {"role": "user", "content": text}, self.generator.context
        wanted, forgotten = min(self.generator.most, context // RESERVED), self.forgotten
        while True:
            shown = [*self._system(self.system), *self.turns[forgotten:], asked]
            ids = self._ids(rendered(self.generator.tokenizer, shown, ask=True))
            if len(ids) + wanted <= context or forgotten >= len(self.turns):
                break
            forgotten += 2
        if len(ids) >= context:
            raise DataError(f"the prompt has {len(ids)} tokens, and {self.name!r} takes {context} in all: shorten it")
        if forgotten > self.forgotten:
            turns = (forgotten - self.forgotten) // 2
            self.report.say(
                f"the context of {context} tokens is full: the model no longer reads the oldest "
                f"{'turn' if turns == 1 else f'{turns} turns'}"
            )
            self.forgotten = forgotten
        return Prompt(text, ids, min(self.generator.most, context - len(ids)))

    def _ended(self, new: list[int]) -> bool:
        """Tell whether the model ended its answer in the last token that it had room for."""
        ends = self.generator.model.generation_config.eos_token_id or self.generator.tokenizer.eos_token_id
        return new[-1] in (ends if isinstance(ends, list) else [ends])

    def _ids(self, text: str) -> list[int]:
        return list(self.generator.tokenizer(text, add_special_tokens=False)["input_ids"])

    @staticmethod
    def _system(text: str | None) -> list[Message]:
        return [] if text is None else [{"role": "system", "content": text}]
