"""Talk with a chat model: a conversation that goes on, answers that come piece by piece, a context that can be full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmkit.data.turns import Message
from llmkit.errors import DataError, ModelError
from llmkit.errors.characters import require_characters
from llmkit.inference.answering import resolve_task_and_model
from llmkit.inference.generation import Generator
from llmkit.inference.prompt_batches import EncodedPrompt
from llmkit.inference.transcripts import line_of, load_conversation, save_conversation
from llmkit.models.text.prompts import encode_chat, require_system
from llmkit.options import AskOptions, ChatOptions, GenerateRequest, ModelOptions
from llmkit.output.report import Report
from llmkit.runs.interrupts import StopRequest

CHAT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
CONTEXT_PER_REPLY = 4  # one in so many tokens of the context is kept for the reply, where the conversation is long


@dataclass(frozen=True)
class ChatReply:
    """What the model replied, and why it ended: by itself, `stopped` by the user, or with no room left for more."""

    text: str
    tokens: int
    end: Literal["whole", "stopped", "length"]


class Chat:
    """A chat model and the conversation with it: `messages` are all its messages, a system message first if there is.

    The model reads the messages from the turn `forgotten` on; those before it have no room in its context any more.
    """

    def __init__(self, options: ModelOptions, decoding: ChatOptions, report: Report) -> None:
        asked = AskOptions(split_special_tokens=decoding.split_special_tokens)
        task, resolved = resolve_task_and_model("chat", options, asked, report, CHAT_MODEL)
        if options.model is None:
            report.say(f"model: {CHAT_MODEL}, the default; -m names another")
        request = GenerateRequest(model=options, asked=asked, decoding=decoding.generation)
        self.generator = Generator(task, resolved, request, report)
        if not self.generator.chat:
            raise ModelError(
                f"{resolved.name!r} has no chat template, so it cannot chat; `llmkit generate -m {resolved.name}` "
                f"continues texts, and {CHAT_MODEL} has one"
            )
        self.report, self.name = report, resolved.name
        self.system: str | None = None
        self.turns: list[Message] = []
        self.forgotten = 0  # how many messages of `turns` the model does not read any more: always pairs
        self._saved_line: str | None = None  # the conversation as a file holds it
        if decoding.system is not None:
            self.instruct(decoding.system)

    @property
    def messages(self) -> list[Message]:
        """All messages of the conversation."""
        return [*self._system_messages(self.system), *self.turns]

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
        self.system = self._checked_system(text)

    def reset(self) -> None:
        """Forget the turns; the system message stays."""
        self.turns, self.forgotten, self._saved_line = [], 0, None

    def save(self, path: Path) -> int:
        """Write the conversation as the last line of a file, and return its number: see `save_conversation`.

        Raises:
            DataError: no turn was answered yet, or the file cannot be written.
        """
        if not self.turns:
            raise DataError("there is nothing to save: no turn was answered yet")
        number = save_conversation(path, self.messages, self._saved_line)
        self._saved_line = line_of(self.messages)
        return number

    def load(self, path: Path) -> tuple[str | None, int]:
        """Go on with the last conversation of a file; return the turn that it leaves to answer, and its line's number.

        Raises:
            DataError, EmptyError: there is no conversation in it.
        """
        messages, number = load_conversation(path)
        system = self._checked_system(messages.pop(0)["content"] if messages[0]["role"] == "system" else "")
        waiting = messages.pop()["content"] if messages[-1]["role"] == "user" else None
        self.reset()
        self.system, self.turns = system, messages
        self._saved_line = line_of(self.messages) if waiting is None else None
        return waiting, number

    def ask(self, text: str, emit: Callable[[str], None], stop_request: StopRequest | None = None) -> ChatReply:
        """Return the reply to a turn of the user, which `emit` gets piece by piece; both join the conversation.

        Where a stop was asked for, or Ctrl-C pressed, the reply is what came before.

        Raises:
            DataError: the text is longer than the context; it is no part of the conversation then.
        """
        prompt, pieces = self._prompt(text), list[str]()

        def take(piece: str) -> None:
            pieces.append(piece)
            emit(piece)

        ids: list[int] | None = None  # None: it was not left to end
        try:
            ids = self.generator.stream(prompt, take, stop_request)
        except KeyboardInterrupt:
            if stop_request is None:  # nobody waits for a part of it
                raise
        reply = "".join(pieces)
        self.turns += [{"role": "user", "content": text}, {"role": "assistant", "content": reply}]
        if ids is None:
            return ChatReply(
                reply, len(self.generator.tokenizer(reply, add_special_tokens=False)["input_ids"]), "stopped"
            )
        if stop_request is not None and stop_request.asked:
            return ChatReply(reply, len(ids), "stopped")
        cut = len(ids) >= prompt.max_new_tokens and not self._is_ended(ids)
        return ChatReply(reply, len(ids), "length" if cut else "whole")

    def _checked_system(self, text: str) -> str | None:
        """Return a system message that the template shows and the context has room for, or None for a blank one."""
        system, context = text.strip() or None, self.generator.context
        if system is not None:
            require_system(self.generator.tokenizer, system, self.name)
        tokens = len(self._token_ids([*self._system_messages(system), {"role": "user", "content": "?"}]))
        if tokens >= context:
            raise DataError(
                f"the system message and the shortest turn have {tokens} tokens, and {self.name!r} takes "
                f"{context} in all: make it shorter"
            )
        return system

    def _prompt(self, text: str) -> EncodedPrompt:
        """Return the prompt of a turn, after as much of the conversation as fits: older turns are forgotten."""
        context, max_new_tokens = self.generator.context, self.generator.max_new_tokens
        forgotten = self.forgotten
        reserved = min(max_new_tokens, context // CONTEXT_PER_REPLY)
        system, turn = self._system_messages(self.system), {"role": "user", "content": text}
        self.generator.say_spelled(text, "the turn")
        self.generator.say_spelled(self.system or "", "the system message")
        while True:
            ids = self._token_ids([*system, *self.turns[forgotten:], turn])
            if len(ids) + reserved <= context or forgotten >= len(self.turns):
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
        return EncodedPrompt(text, ids, min(max_new_tokens, context - len(ids)))

    def _is_ended(self, ids: list[int]) -> bool:
        """Tell whether the model ended its reply in the last token that it had room for."""
        return ids[-1] in self.generator.resolved_decoding.ends.tokens

    def _token_ids(self, messages: Sequence[Message]) -> list[int]:
        for message in messages:
            require_characters(message["content"], "the conversation")
        tokenizer, keeps_text = self.generator.tokenizer, self.generator.settings.keeps_text
        return encode_chat(tokenizer, messages, split_special_tokens=keeps_text)

    @staticmethod
    def _system_messages(text: str | None) -> list[Message]:
        return [] if text is None else [{"role": "system", "content": text}]
