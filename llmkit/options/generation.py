"""How a model is asked: how to decode, and what one call of generate or classify takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import typer

from llmkit.errors import OptionError
from llmkit.options.base import Options, TalkOptions, seed_problems
from llmkit.options.data import RowOptions
from llmkit.options.embedding import RetrievalOptions
from llmkit.options.flags import flag
from llmkit.options.model import ModelOptions
from llmkit.options.tasks import AskOptions


@dataclass(frozen=True, kw_only=True)
class DecodingOptions(Options):
    """How to choose the tokens of an answer. Greedy, unless a sampling flag is given."""

    max_new_tokens: Annotated[int, flag(panel="Decoding", help="Stop after so many new tokens.")] = 200
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
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            yield f"--temperature must be more than 0, not {self.temperature}; leave it out for greedy decoding"
        if self.top_p is not None and not 0 < self.top_p <= 1:
            yield f"--top-p must be in (0, 1], not {self.top_p}"
        if self.repetition_penalty is not None and not 0 < self.repetition_penalty < math.inf:
            yield f"--repetition-penalty must be more than 0, not {self.repetition_penalty}"
        if any(not text for text in self.stop or ()):
            yield "--stop must not be empty"


@dataclass(frozen=True, kw_only=True)
class GenerationOptions(DecodingOptions):
    """How to decode, and what of a prompt: one answer or several, in the chat template or not."""

    num_beams: Annotated[int, flag(panel="Decoding", help="Beam search with so many beams.")] = 1
    num_return_sequences: Annotated[
        int, flag("--num-return-sequences", "-n", panel="Decoding", help="Answers per prompt.")
    ] = 1
    chat: Annotated[
        bool | None,
        flag("--chat/--no-chat", panel="Prompt", help="Use the chat template; default: when the model has one."),
    ] = None
    echo: Annotated[
        bool, flag("--echo/--no-echo", panel="Prompt", help="Print the prompt before its continuation.")
    ] = False

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from self.at_least(1, "num_beams", "num_return_sequences")
        if self.num_return_sequences > 1 and not self.sampling and self.num_beams < self.num_return_sequences:
            yield "-n above 1 gives equal answers under greedy decoding; add --temperature, or as many --num-beams"
        if self.num_beams > 1 and self.sampling:
            yield "--num-beams searches and --temperature, --top-p and --top-k sample; give one kind"
        if self.system is not None and self.chat is False:
            yield "--system is a part of the chat template, which --no-chat turns off"


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """What one call of generate takes."""

    prompts: Annotated[list[str] | None, typer.Argument(help="Prompts; without any, standard input is one.")] = None
    context: Annotated[
        str | None,
        flag(panel="Prompt", help="Question answering: the text that holds the answer, a file, or - (stdin)."),
    ] = None
    model: ModelOptions = field(default_factory=ModelOptions)
    asked: AskOptions = field(default_factory=AskOptions)
    decoding: GenerationOptions = field(default_factory=GenerationOptions)
    retrieval: RetrievalOptions = field(default_factory=RetrievalOptions)
    rows: RowOptions = field(default_factory=RowOptions)
    talk: TalkOptions = field(default_factory=TalkOptions)

    def check(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            OptionError: naming the flags.
        """
        if self.decoding.echo and (self.rows.input or self.talk.json):
            raise OptionError("--echo is for text: rows and --json hold the prompt anyway")
        problems = []
        if self.prompts and self.rows.input:
            problems.append("give prompts or --input, not both")
        if self.context is not None and self.rows.input:
            problems.append("--context is for the command line; a file's contexts are named by --column context=NAME")
        if self.context == "-" and not self.prompts:
            problems.append("--context - takes standard input, so the question must be an argument")
        if problems:
            raise OptionError(*problems)


@dataclass(frozen=True, kw_only=True)
class ClassifyRequest:
    """What one call of classify takes."""

    texts: Annotated[list[str] | None, typer.Argument(help="Texts; without any, each line of standard input.")] = None
    pair: Annotated[list[str] | None, flag(panel="Labels", help="The second text of a pair; one for each text.")] = None
    choices: Annotated[
        list[str] | None,
        flag("--choice", "--choices", panel="Labels", help="Multiple choice: an answer to choose from; repeatable."),
    ] = None
    model: ModelOptions = field(default_factory=ModelOptions)
    asked: AskOptions = field(default_factory=AskOptions)
    rows: RowOptions = field(default_factory=RowOptions)
    talk: TalkOptions = field(default_factory=TalkOptions)

    def check(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            OptionError: naming the flags.
        """
        problems = []
        if self.texts and self.rows.input:
            problems.append("give texts or --input, not both")
        for name, given, role in (("--pair", self.pair, "pair"), ("--choice", self.choices, "choices")):
            if given and self.rows.input:
                problems.append(f"{name} is for texts on the command line; a file's are named by --column {role}=NAME")
        texts = len(self.texts or ())
        if self.pair and len(self.pair) != texts and not self.rows.input:
            problems.append(f"{texts} texts and {len(self.pair)} --pair texts: one for each is wanted")
        if problems:
            raise OptionError(*problems)

    def inputs(self, texts: Sequence[str], role: str) -> list[dict[str, object]]:
        """Return the inputs of texts, by role; `role` is that of the texts."""
        choices = {"choices": self.choices} if self.choices else {}
        pairs = [{"pair": text} for text in self.pair] if self.pair else [{} for _ in texts]
        return [{role: text, **pair, **choices} for text, pair in zip(texts, pairs, strict=True)]
