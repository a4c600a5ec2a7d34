"""The groups of generation: how the tokens of an answer are chosen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated

from llmkit.options.base import Options, seed_problems
from llmkit.options.flags import flag


@dataclass(frozen=True, kw_only=True)
class DecodingOptions(Options):
    """How to choose the tokens of an answer. Greedy, unless a sampling flag is given."""

    max_new_tokens: Annotated[
        int | None, flag(panel="Decoding", help="Stop after so many new tokens; default: as the task says, else 200.")
    ] = None
    temperature: Annotated[float | None, flag(panel="Decoding", help="Sample, at this temperature.")] = None
    top_p: Annotated[float | None, flag(panel="Decoding", help="Sample from this much probability mass.")] = None
    top_k: Annotated[int | None, flag(panel="Decoding", help="Sample from so many tokens.")] = None
    repetition_penalty: Annotated[float | None, flag(panel="Decoding", help="Above 1: less repetition.")] = None
    stop: Annotated[list[str] | None, flag(panel="Decoding", help="Stop before this text; repeatable.")] = None
    seed: Annotated[int, flag(panel="Decoding", help="Seed of the sampling.")] = 42
    system: Annotated[str | None, flag(panel="Prompt", help="System message of the chat template.")] = None
    set: Annotated[
        list[str] | None,
        flag("--set", panel="Decoding", help="Any GenerationConfig field: --set min_p=0.1; repeatable."),
    ] = None

    @property
    def sampling(self) -> bool:
        """Whether a flag asks for sampling."""
        return not (self.temperature is None and self.top_p is None and self.top_k is None)

    def problems(self) -> Iterator[str]:
        yield from self.at_least(1, "max_new_tokens", "top_k")
        yield from seed_problems(self.seed)
        if self.temperature is not None and not self.temperature > 0:
            yield f"--temperature must be more than 0, not {self.temperature}; leave it out for greedy decoding"
        if self.top_p is not None and not 0 < self.top_p <= 1:
            yield f"--top-p must be in (0, 1], not {self.top_p}"
        if self.repetition_penalty is not None and not self.repetition_penalty > 0:
            yield f"--repetition-penalty must be more than 0, not {self.repetition_penalty}"
        for name in ("stop", "set"):
            texts = getattr(self, name)
            if isinstance(texts, str) or any(not isinstance(text, str) for text in texts or ()):
                yield f"--{name} takes a list of texts, not {texts!r}"
        if any(text == "" for text in self.stop or ()):
            yield "--stop must not be empty"


@dataclass(frozen=True, kw_only=True)
class GenerationOptions(DecodingOptions):
    """How to decode, and what of a prompt: one answer or several, in the chat template or not."""

    num_beams: Annotated[
        int | None, flag(panel="Decoding", help="Beam search with so many beams; default: the model's own, else 1.")
    ] = None
    num_return_sequences: Annotated[
        int, flag("--num-return-sequences", "-n", panel="Decoding", help="Answers per prompt.")
    ] = 1
    prompt_lookup: Annotated[
        int | None,
        flag(
            "--prompt-lookup",
            panel="Decoding",
            help="Try so many tokens at once, copied from where the text was alike before: sooner where it repeats.",
        ),
    ] = None
    chat: Annotated[
        bool | None,
        flag("--chat/--no-chat", panel="Prompt", help="Use the chat template; default: when the model has one."),
    ] = None
    echo: Annotated[
        bool, flag("--echo/--no-echo", panel="Prompt", help="Print the prompt before its continuation.")
    ] = False

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from self.at_least(1, "num_beams", "num_return_sequences", "prompt_lookup")
        if self.prompt_lookup is not None and (self.sampling or (self.num_beams or 1) > 1):
            yield "--prompt-lookup is for greedy search; leave it out to sample or to search with --num-beams"
        if self.num_return_sequences > 1 and not self.sampling and (self.num_beams or 1) < self.num_return_sequences:
            yield "-n above 1 gives equal answers under greedy decoding; add --temperature, or as many --num-beams"
        if (self.num_beams or 1) > 1 and self.sampling:
            yield "--num-beams searches and --temperature, --top-p and --top-k sample; give one kind"
        if self.system is not None and self.chat is False:
            yield "--system is a part of the chat template, which --no-chat turns off"


@dataclass(frozen=True, kw_only=True)
class ChatOptions(DecodingOptions):
    """How to decode in a chat, and what of what is typed."""

    split_special_tokens: Annotated[
        bool | None,
        flag(
            "--split-special-tokens/--no-split-special-tokens",
            panel="Prompt",
            help="Is <|im_end|> in a turn that text, or the token? Text, unless it is given.",
        ),
    ] = None

    @property
    def generation(self) -> GenerationOptions:
        """The same options for one answer, without the system message, which a chat can change."""
        values = {field.name: getattr(self, field.name) for field in fields(DecodingOptions)}
        return GenerationOptions(**{**values, "system": None})
