"""Continue prompts: one at a time and streamed, or in batches; the same text either way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from transformers import StoppingCriteriaList, set_seed
from transformers.generation.streamers import BaseStreamer

from llmkit import tasks
from llmkit.data.columns import Row, column_for
from llmkit.errors import DataError, ModelError, OptionError, one_line
from llmkit.errors.characters import require_characters
from llmkit.inference.answering import Answerer
from llmkit.inference.decoding import generation_config, parse_fields
from llmkit.inference.prediction import resolve_task_and_model
from llmkit.inference.streaming import StopOnRequest, TextStreamer
from llmkit.models import BUILTIN_NAME, ResolvedModel, context_length
from llmkit.options import AskOptions, GenerateRequest, GenerationOptions, ModelOptions
from llmkit.output.report import Report
from llmkit.runs.interrupts import StopRequest
from llmkit.tasks import Task, TaskSettings
from llmkit.tasks.base.answers import Answer
from llmkit.tasks.encoding.chat_templates import chat_text
from llmkit.tasks.encoding.collation import pad_inputs


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as the model reads it; without ids where the text asks nothing."""

    text: str
    ids: list[int]
    max_new_tokens: int
    sources: tuple[dict[str, object], ...] = ()  # the passages in it, where it was given some: `RetrievedPassage`


class Generator(Answerer[EncodedPrompt]):
    """A model that continues prompts, answers them with its chat template, or writes a text for each (T5, BART)."""

    announces_columns = False

    def __init__(self, task: Task, resolved: ResolvedModel, request: GenerateRequest, report: Report) -> None:
        self.asked, self.decoding, self.report = request.asked, request.decoding, report
        self.fields = parse_fields(request.decoding)
        super().__init__(resolved, request.model)
        self.task = task
        self.role = next(iter(task.columns.input_roles), "prompt")
        self.auto_class = task.auto_class_for(resolved.config)
        self.is_encoder_decoder = bool(resolved.config.is_encoder_decoder)  # an answer is a sequence of its own
        self.context = context_length(resolved.config, self.tokenizer)
        draft = TaskSettings(columns={role: role for role in task.columns.input_roles}, max_length=self.context)
        self.settings = tasks.settings_for(task, resolved, self.tokenizer, request.asked, draft)
        self.forced_tokens = task.encoding.forced_tokens(self.tokenizer, self.settings)
        self.chat = self._uses_chat_template()

    def _uses_chat_template(self) -> bool:
        has_template = bool(self.tokenizer.chat_template)
        if not has_template and (self.decoding.chat or self.decoding.system is not None):
            flag = "--chat" if self.decoding.chat else "--system"
            raise OptionError(f"{flag}: {self.resolved.name!r} has no chat template")
        return has_template if self.decoding.chat is None else self.decoding.chat

    @property
    def max_new_tokens(self) -> int:
        """How many tokens are asked for at most."""
        return self.asked.target_length or self.decoding.max_new_tokens

    @property
    def streams(self) -> bool:
        """Whether text can come piece by piece: beams and several answers cannot."""
        return self.decoding.num_beams == 1 and self.decoding.num_return_sequences == 1

    def columns(self, rows: Sequence[Row], given: dict[str, str]) -> dict[str, str]:
        """Return the column of the prompts, by their role."""
        tasks.require_roles(given, (self.role,))
        usual = self.task.columns.column_names.get(self.role, ("prompt", "text"))
        return {self.role: column_for(rows, self.role, given, usual)}

    def prepare(self, inputs: Sequence[Row], names: Sequence[str]) -> list[EncodedPrompt]:
        """Return the prompts of rows, of which each is the only input, checked as by `prompt`."""
        texts = [str(next(iter(row.values()))) for row in inputs]
        return [self.prompt(text, name) for text, name in zip(texts, names, strict=True)]

    def prompt(self, text: str, name: str = "the prompt") -> EncodedPrompt:
        """Tokenize a prompt, in the chat template where it is used, and check that it leaves room for an answer.

        Raises:
            DataError: the prompt is empty, or longer than the model's context; `name` is what it is called.
        """
        require_characters(text, name)
        if not self.task.columns.is_answerable({"text": text}):
            return EncodedPrompt(text, [], 0)
        ids = self.token_ids(text)
        if not ids:
            raise DataError(f"{name} is empty")
        left = self.context - len(ids)
        room = min(self.max_new_tokens, self.context if self.is_encoder_decoder and left >= 0 else left)
        if room < 1:
            raise DataError(f"{name} has {len(ids)} tokens, and {self.resolved.name!r} takes {self.context} in all")
        if room < self.max_new_tokens:
            self.report.warn(f"{name} leaves room for {room} new tokens of the {self.max_new_tokens} asked for")
        return EncodedPrompt(text, ids, room)

    def token_ids(self, text: str) -> list[int]:
        """Return the token ids of a prompt, in the chat template where it is used."""
        prompt = self.task.answers.prompt(text, self.settings)
        if self.chat:
            prompt = chat_text(self.tokenizer, prompt, self.decoding.system)
        return list(self.tokenizer(prompt, add_special_tokens=not self.chat)["input_ids"])

    def answer(self, prepared: Sequence[EncodedPrompt], batch_size: int, start: int = 0) -> list[Answer]:
        """Return the completion of each prompt, or several; the prompts that come after `start` others.

        A run that was stopped and goes on samples what one does that was not.
        """
        texts = self.completions(prepared, batch_size, self.decoding.seed + start)
        return [_answer(prompt, completions) for prompt, completions in zip(prepared, texts, strict=True)]

    def completions(
        self, prompts: Sequence[EncodedPrompt], batch_size: int, seed: int | None = None
    ) -> list[list[str | None]]:
        """Return the continuations of each prompt, in order; None where it asks nothing."""
        set_seed(self.decoding.seed if seed is None else seed)
        per_prompt = self.decoding.num_return_sequences
        texts: list[list[str | None]] = [[None] * per_prompt for _ in prompts]
        for rows in self._batches(prompts, batch_size):
            batch = [prompts[row] for row in rows]
            sequences = self._generate(batch, min(prompt.max_new_tokens for prompt in batch))
            for place, row in enumerate(rows):
                new = sequences[place * per_prompt : (place + 1) * per_prompt]
                texts[row] = [_before(self._text(prompts[row], ids), self.decoding.stop or ()) for ids in new]
        return texts

    def stream(
        self, prompt: EncodedPrompt, emit: Callable[[str], None], stop_request: StopRequest | None = None
    ) -> list[int]:
        """Continue one prompt and hand over the text as it comes, until a stop is asked for; return the new tokens."""
        set_seed(self.decoding.seed)
        streamer = TextStreamer(lambda ids: self._text(prompt, ids), self.decoding.stop or [], emit)
        return self._generate([prompt], prompt.max_new_tokens, streamer, stop_request)[0]

    def dry_run(self, prepared: Sequence[EncodedPrompt], columns: Mapping[str, str] | None = None) -> str:
        """Return that the prompts fit, of the shell with their numbers of tokens."""
        if columns is not None:
            return f"{len(prepared)} prompts in column {columns[self.role]!r}, all fit"
        return f"{len(prepared)} prompts of {', '.join(str(len(prompt.ids)) for prompt in prepared)} tokens fit"

    def identity(self) -> dict[str, object]:
        """Return what the text depends on, for the note beside an output file."""
        return {**self.resolved.identity(self.options.dtype), **asdict(self.asked), **asdict(self.decoding)}

    def _batches(self, prompts: Sequence[EncodedPrompt], batch_size: int) -> Iterator[list[int]]:
        """Put prompts of like length together; one that has less room than the others goes alone."""
        asking = [row for row, prompt in enumerate(prompts) if prompt.ids]
        order = sorted(asking, key=lambda row: len(prompts[row].ids))
        roomy = [row for row in order if prompts[row].max_new_tokens == self.max_new_tokens]
        for start in range(0, len(roomy), batch_size):
            yield roomy[start : start + batch_size]
        yield from ([row] for row in order if prompts[row].max_new_tokens < self.max_new_tokens)

    def _generate(
        self,
        prompts: Sequence[EncodedPrompt],
        max_new_tokens: int,
        streamer: BaseStreamer | None = None,
        stop_request: StopRequest | None = None,
    ) -> list[list[int]]:
        """Return the new tokens of each sequence, those of a prompt one after the other."""
        model = self.model
        criteria = None if stop_request is None else StoppingCriteriaList([StopOnRequest(stop_request)])
        padding = self.tokenizer.pad_token_id or 0  # a tokenizer without any special token has none
        # a decoder goes on from the end
        inputs = pad_inputs([prompt.ids for prompt in prompts], padding, "right" if self.is_encoder_decoder else "left")
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        config = generation_config(
            model.generation_config, self.decoding, self.tokenizer, self.forced_tokens, self.fields
        )
        config.max_new_tokens = max_new_tokens
        try:
            with torch.inference_mode():
                sequences = model.generate(
                    input_ids=ids.to(model.device),
                    attention_mask=mask.to(model.device),
                    generation_config=config,
                    streamer=streamer,
                    tokenizer=self.tokenizer,
                    stopping_criteria=criteria,
                )
        except (ValueError, TypeError) as error:
            if not self.fields:
                raise
            raise OptionError(f"--set: {one_line(error, 200)}") from error
        start = 1 if self.is_encoder_decoder else ids.shape[1]
        return [row[start:] for row in sequences.tolist()]

    def _text(self, prompt: EncodedPrompt, new: list[int]) -> str:
        """Decode the new tokens in their context: some tokenizers drop a leading space from a text's start."""
        if not self.is_encoder_decoder:
            before = self.tokenizer.decode(prompt.ids, skip_special_tokens=True)
            text = self.tokenizer.decode(prompt.ids + new, skip_special_tokens=True)
            if text.startswith(before):
                return str(text[len(before) :])
        return str(self.tokenizer.decode(new, skip_special_tokens=True))


def _before(text: str, stops: Sequence[str]) -> str:
    """Return what comes before the first of the stop texts."""
    return text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))]


def _answer(prompt: EncodedPrompt, completions: list[str | None]) -> Answer:
    answer: Answer = {"completion": completions[0]} if len(completions) == 1 else {"completions": completions}
    return {**answer, "sources": prompt.sources} if prompt.sources else answer


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
    task, resolved = resolve_task_and_model("generate", options, asked, report, BUILTIN_NAME)
    if not task.answers.continues_prompt:
        raise ModelError(f"{resolved.name!r} is a {task.name} model, which continues no prompt")
    request = GenerateRequest(model=options, asked=asked, decoding=decoding or GenerationOptions())
    generator = Generator(task, resolved, request, report)
    return generator.completions([generator.prompt(text) for text in rows], batch_size)
