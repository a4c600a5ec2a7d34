"""What a server is asked in a request for text, and what it answers: fields of OpenAI's API, checked both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from llmkit.data.turns import Message
from llmkit.errors import HubError, OptionError, listing, shortened
from llmkit.models.text.sampling import row_seed
from llmkit.options import GenerationOptions
from llmkit.output.documents import JsonObject

CHAT, COMPLETIONS = "/chat/completions", "/completions"
SEEDS = 2**31  # that each server takes
# what servers take beside OpenAI's fields, by what they call themselves in /v1/models: our name -> theirs
EXTRAS: dict[str, dict[str, str]] = {
    "vllm": {
        "top_k": "top_k",
        "repetition_penalty": "repetition_penalty",
        "min_p": "min_p",
        "min_new_tokens": "min_tokens",
    },
    "sglang": {"top_k": "top_k", "repetition_penalty": "repetition_penalty", "min_p": "min_p"},
    "llamacpp": {"top_k": "top_k", "repetition_penalty": "repeat_penalty", "min_p": "min_p"},
}
FLAG_NAMES = {"top_k": "--top-k", "repetition_penalty": "--repetition-penalty"}


@dataclass(frozen=True)
class WrittenText:
    """What a server wrote; None: it gave no text. `end` is its own word for why it stopped."""

    text: str | None
    end: str = ""


@dataclass(frozen=True)
class TextRequests:
    """How a server is asked for texts: by which model, in a chat or not, and with which fields beside the prompt."""

    model: str
    chat: bool
    max_tokens: int
    decoding: GenerationOptions
    extras: Mapping[str, object] = field(default_factory=dict)  # by the server's own names
    length_name: str = "max_tokens"  # what the server calls it

    @property
    def path(self) -> str:
        """Where the requests go."""
        return CHAT if self.chat else COMPLETIONS

    def body(self, prompt: str | Sequence[int], number: int) -> JsonObject:
        """Return the request of a prompt, or of its tokens, that comes after `number` others."""
        decoding = self.decoding
        body: JsonObject = {"model": self.model}
        if self.chat:
            system = [] if decoding.system is None else [Message(role="system", content=decoding.system)]
            body["messages"] = [*system, Message(role="user", content=str(prompt))]
        else:
            body["prompt"] = prompt if isinstance(prompt, str) else list(prompt)
        body[self.length_name] = self.max_tokens
        body["temperature"] = _temperature(decoding)
        if decoding.sampling:
            body["seed"] = row_seed(decoding.seed, number, 0) % SEEDS
        if decoding.top_p is not None:
            body["top_p"] = decoding.top_p
        if decoding.stop:
            body["stop"] = list(decoding.stop)
        if decoding.num_return_sequences > 1:
            body["n"] = decoding.num_return_sequences
        return {**body, **self.extras}

    def renamed(self) -> TextRequests:
        """Return the requests with OpenAI's newer name of the length."""
        return replace(self, length_name="max_completion_tokens")

    def read(self, reply: JsonObject, name: str) -> list[WrittenText]:
        """Return the texts of an answer, as many as were asked for, each without what comes from a stop text on.

        Raises:
            HubError: there are fewer or more of them, or they are of another kind; `name` is what the row is called.
        """
        wanted, choices = self.decoding.num_return_sequences, reply.get("choices")
        if not isinstance(choices, list):
            raise HubError(f"{name}: the server's answer has no list of choices: {shortened(reply)}")
        if len(choices) != wanted:
            advice = "; it does not take -n, so leave that out" if wanted > 1 else ""
            raise HubError(f"{name}: the server gave {_counted(len(choices))} where {wanted} were asked for{advice}")
        if all(isinstance(choice, dict) and isinstance(choice.get("index"), int) for choice in choices):
            choices = sorted(choices, key=lambda choice: int(choice["index"]))
        return [self._text(choice, name) for choice in choices]

    def _text(self, choice: object, name: str) -> WrittenText:
        fields = choice if isinstance(choice, dict) else {}
        end, content = fields.get("finish_reason"), fields.get("text", 0)
        if self.chat:
            message = fields.get("message")
            message = message if isinstance(message, dict) else {}
            content = message.get("content", None if "tool_calls" in message or "refusal" in message else 0)
        if not isinstance(content, str | None):
            raise HubError(f"{name}: a text is wanted in the server's answer, not {shortened(choice)}")
        text = None if content is None else _before_stops(content, self.decoding.stop or ())
        return WrittenText(text, end if isinstance(end, str) else "")


def extra_fields(
    decoding: GenerationOptions, fields: Mapping[str, object], owner: str, server: str
) -> dict[str, object]:
    """Return what is asked beside OpenAI's fields, by the names of the server; `owner` is what it calls itself.

    Raises:
        OptionError: a flag or a field of --set that the server does not take.
    """
    names = EXTRAS.get(owner, {})
    asked = {name: getattr(decoding, name) for name in FLAG_NAMES if getattr(decoding, name) is not None} | dict(fields)
    refused = [FLAG_NAMES.get(name, f"--set {name}") for name in asked if name not in names]
    if decoding.num_beams is not None and decoding.num_beams > 1:
        refused.append("--num-beams")
    if decoding.prompt_lookup is not None:
        refused.append("--prompt-lookup")
    if refused:
        kind = f"a server of {owner}" if owner in EXTRAS else "OpenAI's API"
        takes = listing(["--max-new-tokens", "--temperature", "--top-p", "--stop", "--seed", "-n", *_spelled(names)])
        raise OptionError(f"{listing(refused)}: {server} is asked by {kind}, which takes {takes}")
    return {names[name]: value for name, value in asked.items()}


def _spelled(names: Mapping[str, str]) -> list[str]:
    return [FLAG_NAMES.get(name, f"--set {name}") for name in names]


def _temperature(decoding: GenerationOptions) -> float:
    if not decoding.sampling:
        return 0.0
    return 1.0 if decoding.temperature is None else decoding.temperature


def _before_stops(text: str, stops: Sequence[str]) -> str:
    """Return a text up to the first of the stop texts, which some servers leave in it."""
    ends = [(place + len(stop), place) for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(ends)[1]] if ends else text


def _counted(count: int) -> str:
    return "1 choice" if count == 1 else f"{count} choices"
