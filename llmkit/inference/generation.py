"""Continue prompts: one at a time and streamed, or in batches; the same text either way."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel, StoppingCriteriaList, set_seed
from transformers.generation.streamers import BaseStreamer

from llmkit import models, tasks
from llmkit.errors import DataError, ModelError, OptionError, one_line
from llmkit.inference.prediction import find
from llmkit.inference.streaming import TextPieces, Until
from llmkit.models import BUILTIN_NAME, ResolvedModel
from llmkit.options import AskOptions, GenerationOptions, ModelOptions
from llmkit.options.overrides import parse_settings
from llmkit.output.report import Report
from llmkit.tasks import Task, TaskSettings
from llmkit.tasks.encoding.chat_templates import chat_text
from llmkit.tasks.encoding.language_codes import begin

OWNED = {
    name: "--" + name.replace("_", "-")
    for name in (
        "max_new_tokens",
        "temperature",
        "top_p",
        "top_k",
        "num_beams",
        "num_return_sequences",
        "repetition_penalty",
    )
} | {"do_sample": "--temperature", "stop_strings": "--stop", "max_length": "--max-new-tokens"}


# what the library finds out only after the weights are loaded, or never: the least and the most of each
LIMITS = {
    "min_p": (0, 1),
    "typical_p": (0, 1),
    "epsilon_cutoff": (0, 1),
    "eta_cutoff": (0, 1),
    "top_h": (0, 1),
    "length_penalty": (-math.inf, math.inf),
    "no_repeat_ngram_size": (0, math.inf),
    "min_new_tokens": (0, math.inf),
    "min_length": (0, math.inf),
    "encoder_repetition_penalty": (0, math.inf),
    "guidance_scale": (0, math.inf),
}


def _check_limits(values: dict[str, Any]) -> None:
    for name, (least, most) in LIMITS.items():
        value = values.get(name)
        if value is not None and not (isinstance(value, int | float) and least <= value <= most):
            raise OptionError(f"--set {name} takes a number from {least} to {most}, not {value!r}")


@dataclass(frozen=True)
class Prompt:
    """A prompt as the model sees it, and how many tokens may follow; without ids where the text asks nothing."""

    text: str
    ids: list[int]
    room: int
    sources: tuple[dict[str, Any], ...] = ()  # the passages in it, where it was given some: see `grounding`


class Generator:
    """A model that continues prompts, answers them with its chat template, or writes a text for each (T5, BART)."""

    def __init__(
        self,
        task: Task,
        resolved: ResolvedModel,
        options: ModelOptions,
        asked: AskOptions,
        decoding: GenerationOptions,
        report: Report,
    ) -> None:
        known = [name for name in GenerationConfig().to_dict() if not name.startswith("_")]
        self.extra = parse_settings(decoding.set, known, OWNED, "GenerationConfig")
        _check_limits(self.extra)
        self.task, self.resolved, self.options, self.asked = task, resolved, options, asked
        self.decoding, self.report = decoding, report
        self.tokenizer = models.load_tokenizer(resolved, options)
        self.encodes = bool(resolved.config.is_encoder_decoder)  # prompts go to an encoder, answers start anew
        self.context = models.context_length(resolved.config, self.tokenizer)
        draft = TaskSettings(columns={role: role for role in task.columns.input_roles}, max_length=self.context)
        self.settings = tasks.settings_for(task, resolved, self.tokenizer, asked, draft)
        self.first = task.encoding.forced_tokens(self.tokenizer, self.settings)
        self.chat = self._wants_chat()

    def _wants_chat(self) -> bool:
        has_template = bool(self.tokenizer.chat_template)
        if not has_template and (self.decoding.chat or self.decoding.system is not None):
            flag = "--chat" if self.decoding.chat else "--system"
            raise OptionError(f"{flag}: {self.resolved.name!r} has no chat template")
        return has_template if self.decoding.chat is None else self.decoding.chat

    @cached_property
    def model(self) -> PreTrainedModel:
        """The weights, loaded when they are first needed."""
        network = self.task.auto_class_for(self.resolved.config)
        return models.load_model(self.resolved, network, self.tokenizer, self.options).eval()

    def prompt(self, text: str, where: str = "the prompt") -> Prompt:
        """Tokenize a prompt, in the chat template where it is used, and check that it leaves room for an answer.

        Raises:
            DataError: the prompt is empty, or longer than the model's context.
        """
        if not self.task.columns.is_answerable({"text": text}):
            return Prompt(text, [], 0)
        ids = self.tokens(text)
        if not ids:
            raise DataError(f"{where} is empty")
        left = self.context - len(ids)
        room = min(self.most, self.context if self.encodes and left >= 0 else left)
        if room < 1:
            raise DataError(f"{where} has {len(ids)} tokens, and {self.resolved.name!r} takes {self.context} in all")
        if room < self.most:
            self.report.warn(f"{where} leaves room for {room} new tokens of the {self.most} asked for")
        return Prompt(text, ids, room)

    def tokens(self, text: str) -> list[int]:
        """Return the tokens of a prompt, in the chat template where it is used."""
        asked = self.task.answers.prompt(text, self.settings)
        rendered = self._chat_text(asked) if self.chat else asked
        return list(self.tokenizer(rendered, add_special_tokens=not self.chat)["input_ids"])

    @property
    def role(self) -> str:
        """What a prompt is called: in a row of JSON, and by --column."""
        return self.task.columns.input_roles[0] if self.task.columns.input_roles else "prompt"

    @property
    def most(self) -> int:
        """How many tokens are asked for at most."""
        return self.asked.target_length or self.decoding.max_new_tokens

    def _chat_text(self, text: str) -> str:
        return chat_text(self.tokenizer, text, self.decoding.system)

    def stream(
        self, prompt: Prompt, emit: Callable[[str], None], stopping: Callable[[], bool] | None = None
    ) -> list[int]:
        """Continue one prompt, hand over the text as it comes, until `stopping` if given; return the new tokens."""
        set_seed(self.decoding.seed)
        streamer = TextPieces(lambda ids: self._text(prompt, ids), self.decoding.stop or [], emit)
        return self._run([prompt], prompt.room, streamer, stopping)[0]

    @property
    def streams(self) -> bool:
        """Whether text can come piece by piece: beams and several answers cannot."""
        return self.decoding.num_beams == 1 and self.decoding.num_return_sequences == 1

    def answers(self, prompts: Sequence[Prompt], batch_size: int, seed: int | None = None) -> list[list[str | None]]:
        """Return the continuations of each prompt, in order; None where it asks nothing."""
        set_seed(self.decoding.seed if seed is None else seed)
        answers: list[list[str | None]] = [[None] * self.decoding.num_return_sequences for _ in prompts]
        for rows in self._batches(prompts, batch_size):
            batch = [prompts[row] for row in rows]
            made = self._run(batch, min(prompt.room for prompt in batch))
            per = self.decoding.num_return_sequences
            for place, row in enumerate(rows):
                sequences = made[place * per : (place + 1) * per]
                answers[row] = [self._cut(self._text(prompts[row], ids)) for ids in sequences]
        return answers

    def _batches(self, prompts: Sequence[Prompt], batch_size: int) -> Iterator[list[int]]:
        """Put prompts of like length together; one that has less room than the others goes alone."""
        asking = [row for row, prompt in enumerate(prompts) if prompt.ids]
        order = sorted(asking, key=lambda row: len(prompts[row].ids))
        full = [row for row in order if prompts[row].room == self.most]
        for start in range(0, len(full), batch_size):
            yield full[start : start + batch_size]
        yield from ([row] for row in order if prompts[row].room < self.most)

    def _run(
        self,
        prompts: Sequence[Prompt],
        room: int,
        streamer: BaseStreamer | None = None,
        stopping: Callable[[], bool] | None = None,
    ) -> list[list[int]]:
        model = self.model
        until = None if stopping is None else StoppingCriteriaList([Until(stopping)])
        ids, mask = self._padded([prompt.ids for prompt in prompts])
        try:
            with torch.inference_mode():
                made = model.generate(
                    input_ids=ids.to(model.device),
                    attention_mask=mask.to(model.device),
                    generation_config=self._config(room),
                    streamer=streamer,
                    tokenizer=self.tokenizer,
                    stopping_criteria=until,
                )
        except (ValueError, TypeError) as error:
            if not self.extra:
                raise
            raise OptionError(f"--set: {one_line(error, 200)}") from error
        start = 1 if self.encodes else ids.shape[1]
        return [row[start:] for row in made.tolist()]

    def _padded(self, prompts: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask (prompts, tokens): padded on the left for a decoder, which goes on from the end."""
        longest, pad = max(map(len, prompts)), self.tokenizer.pad_token_id or 0
        gaps = [longest - len(ids) for ids in prompts]
        rows = [
            (ids + [pad] * gap, [1] * len(ids) + [0] * gap)
            if self.encodes
            else ([pad] * gap + ids, [0] * gap + [1] * len(ids))
            for ids, gap in zip(prompts, gaps, strict=True)
        ]
        return torch.tensor([ids for ids, _ in rows]), torch.tensor([mask for _, mask in rows])

    def _config(self, room: int) -> GenerationConfig:
        """Return the model's own generation config with what was asked for; greedy unless a flag asks for sampling."""
        config, asked = copy.deepcopy(self.model.generation_config), self.decoding
        config.max_length, config.max_new_tokens = None, room
        config.do_sample, config.num_beams = asked.sampling, asked.num_beams
        config.num_return_sequences = asked.num_return_sequences
        config.pad_token_id = self.tokenizer.pad_token_id
        begin(config, self.first)
        if config.eos_token_id is None:
            config.eos_token_id = self.tokenizer.eos_token_id
        if asked.sampling:
            config.temperature = asked.temperature if asked.temperature is not None else (config.temperature or 1.0)
            config.top_p = asked.top_p if asked.top_p is not None else (config.top_p or 1.0)
            config.top_k = asked.top_k if asked.top_k is not None else 0  # the library's own default is a silent 50
        else:
            config.temperature = config.top_p = config.top_k = None
        if asked.repetition_penalty is not None:
            config.repetition_penalty = asked.repetition_penalty
        config.stop_strings = list(asked.stop) if asked.stop else None
        for name, value in self.extra.items():
            setattr(config, name, value)
        return config

    def _text(self, prompt: Prompt, new: list[int]) -> str:
        """Decode the new tokens in their context: some tokenizers drop a leading space from a text's start."""
        if self.encodes:
            return str(self.tokenizer.decode(new, skip_special_tokens=True))
        before = self.tokenizer.decode(prompt.ids, skip_special_tokens=True)
        whole = self.tokenizer.decode(prompt.ids + new, skip_special_tokens=True)
        if whole.startswith(before):
            return str(whole[len(before) :])
        return str(self.tokenizer.decode(new, skip_special_tokens=True))

    def _cut(self, text: str) -> str:
        ends = [text.find(stop) for stop in self.decoding.stop or () if stop in text]
        return text[: min(ends)] if ends else text

    def identity(self) -> dict[str, Any]:
        """Return what the text depends on, for the note beside an output file."""
        return {**self.resolved.identity(self.options.dtype), **asdict(self.asked), **asdict(self.decoding)}


def generate(
    prompts: Sequence[str] | str,
    model: str | ModelOptions | None = None,
    decoding: GenerationOptions | None = None,
    batch_size: int = 16,
    asked: AskOptions | None = None,
) -> list[list[str | None]]:
    """Continue prompts: for each a list of texts (None: it asks nothing); without a model, with the built-in one.

    Raises:
        DataError: a prompt is longer than the model's context.
        ModelError: the model cannot generate.
    """
    rows = [prompts] if isinstance(prompts, str) else list(prompts)
    options = model if isinstance(model, ModelOptions) else ModelOptions(model=model)
    asked, report = asked or AskOptions(), Report()
    task, resolved = find("generate", options, asked, report, BUILTIN_NAME)
    if not task.answers.continues_prompt:
        raise ModelError(f"{resolved.name!r} is a {task.name} model, which continues no prompt")
    generator = Generator(task, resolved, options, asked, decoding or GenerationOptions(), report)
    return generator.answers([generator.prompt(text) for text in rows], batch_size)
