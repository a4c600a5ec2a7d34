"""Continue prompts: one at a time and streamed, or in batches; the same text either way."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING

from llmkit import tasks
from llmkit.data.columns import Row, column_for
from llmkit.errors import DataError, ModelError, OptionError, one_line, shortened
from llmkit.errors.characters import require_characters
from llmkit.inference.answering import Answerer, resolve_task_and_model
from llmkit.inference.prompt_batches import EncodedPrompt, answer_to, prompt_batches
from llmkit.inference.row_files import SpelledRows
from llmkit.inference.streaming import AnswerStops
from llmkit.models import BUILTIN_NAME, ResolvedModel, context_length
from llmkit.models.text.answer_text import AnswerText
from llmkit.models.text.decoding import Decoding, as_own, resolve_decoding
from llmkit.models.text.ends import end_tokens, stop_tokens, tokenizer_ends
from llmkit.models.text.fields import parse_fields
from llmkit.models.text.prompts import (
    control_tokens_in,
    encode_chat,
    encode_prompt,
    spelled_sentence,
    uses_chat_template,
)
from llmkit.models.text.sampling import RowSampler, row_seed
from llmkit.models.text.searching import search
from llmkit.options import AskOptions, GenerateRequest, GenerationOptions, ModelOptions, TalkOptions
from llmkit.output.report import Report
from llmkit.runs.interrupts import StopRequest
from llmkit.tasks import Task, TaskSettings
from llmkit.tasks.base.answers import Answer
from llmkit.tasks.encoding.collation import pad_inputs
from llmkit.tasks.encoding.language_codes import force_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NEW_TOKENS = 200  # of an answer, where neither a flag nor the task says
PACKING_PAYS = 16  # new tokens from which on the time that packed weights save is more than packing takes


class Generator(Answerer[EncodedPrompt]):
    """A model that continues prompts, answers them with its chat template, or writes a text for each (T5, BART)."""

    announces_columns = False

    def __init__(self, task: Task, resolved: ResolvedModel, request: GenerateRequest, report: Report) -> None:
        self.asked, self.decoding, self.report = request.asked, request.decoding, report
        self.fields, self.of_file = parse_fields(request.decoding), request.rows.input is not None
        super().__init__(resolved, request.model)
        self.task = task
        self.role = next(iter(task.columns.input_roles), "prompt")
        self.auto_class = task.auto_class_for(resolved.config)
        self.is_encoder_decoder = bool(resolved.config.is_encoder_decoder)  # an answer is a sequence of its own
        self.context = context_length(resolved.config, self.tokenizer)
        draft = TaskSettings(columns={role: role for role in task.columns.input_roles}, max_length=self.context)
        self.settings = tasks.settings_for(task, resolved, self.tokenizer, request.asked, draft)
        self.forced_tokens = task.encoding.forced_tokens(self.tokenizer, self.settings)
        self.chat = uses_chat_template(self.tokenizer, request.decoding, resolved.name)
        self._said: set[str] = set()
        self.spelled = SpelledRows() if request.rows.input else None
        least = self.fields.get("min_new_tokens")
        if isinstance(least, int) and least > self.max_new_tokens:
            raise OptionError(
                f"--set min_new_tokens {least}: no more than {self.max_new_tokens} new tokens are asked for"
            )

    @cached_property
    def model(self) -> PreTrainedModel:
        """The weights, laid out for one token after the other where that pays.

        Raises:
            ModelError: they are missing or damaged.
        """
        from llmkit.models.text.fused_decoder import prepare_for_tokens

        model = super().model
        if self.max_new_tokens >= PACKING_PAYS:
            prepare_for_tokens(model, fused=self.decoding.prompt_lookup is None)
        return model

    @cached_property
    def resolved_decoding(self) -> Decoding:
        """How answers are decoded, by the flags and the model's own generation config, which is said."""
        own = self.model.generation_config
        stops = stop_tokens(self.tokenizer, self.decoding.stop or ())
        ends = end_tokens(own, (*tokenizer_ends(self.tokenizer, self.chat), *stops))
        decoding = resolve_decoding(own, self.decoding, self.fields, ends)
        decoding.require_possible(self.is_encoder_decoder)
        decoding.config.pad_token_id = self.tokenizer.pad_token_id
        if self.decoding.prompt_lookup is not None:
            decoding.require_lookup(self.model, self.resolved.name)
            if str(self.model.dtype) != "torch.float32":
                self._say_once("--prompt-lookup: a text can change in half precision; --dtype float32 avoids it")
            decoding.config.prompt_lookup_num_tokens = self.decoding.prompt_lookup
        force_tokens(decoding.config, self.forced_tokens)
        if decoding.sentence is not None:
            self.report.say(decoding.sentence)
        return decoding

    @property
    def max_new_tokens(self) -> int:
        """How many tokens are asked for at most."""
        asked = self.asked.target_length or self.decoding.max_new_tokens
        return asked or self.task.answers.answer_length(self.settings) or NEW_TOKENS

    @property
    def streams(self) -> bool:
        """Whether text can come piece by piece: beams and several answers cannot."""
        return self.decoding.num_return_sequences == 1 and self.resolved_decoding.num_beams == 1

    def columns(self, rows: Sequence[Row], given: dict[str, str]) -> dict[str, str]:
        """Return the column of the prompts, by their role."""
        tasks.require_roles(given, (self.role,))
        usual = self.task.columns.column_names.get(self.role, ("prompt", "text"))
        return {self.role: column_for(rows, self.role, given, usual)}

    def prepare(self, inputs: Sequence[Row], names: Sequence[str], again: bool = False) -> list[EncodedPrompt]:
        """Return the prompts of rows, of which each is the only input, checked as by `prompt`; blank ones ask nothing.

        Raises:
            DataError: a prompt of the shell is empty, or one is too long.
        """
        texts = [str(next(iter(row.values()))) for row in inputs]
        report, self.report = self.report, Report(TalkOptions(quiet=True)) if again else self.report
        prompts = [
            EncodedPrompt(text, [], 0) if self.of_file and not text.strip() else self.prompt(text, name)
            for text, name in zip(texts, names, strict=True)
        ]
        self.report = report
        return prompts

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
        self.say_spelled(text, name)
        self.say_spelled(self.decoding.system or "", "--system")
        left = self.context - len(ids)
        room = min(self.max_new_tokens, self.context if self.is_encoder_decoder and left >= 0 else left)
        if room < 1:
            raise DataError(f"{name} has {len(ids)} tokens, and {self.resolved.name!r} takes {self.context} in all")
        if room < self.max_new_tokens:
            self.report.warn(f"{name} leaves room for {room} new tokens of the {self.max_new_tokens} asked for")
        return EncodedPrompt(text, ids, room)

    def token_ids(self, text: str) -> list[int]:
        """Return the token ids of a prompt, in the chat template where it is used."""
        prompt, split = self.task.answers.prompt(text, self.settings), self.settings.keeps_text
        if not self.chat:
            return encode_prompt(self.tokenizer, prompt, split_special_tokens=split, keeps_end=self.is_encoder_decoder)
        system = [] if self.decoding.system is None else [{"role": "system", "content": self.decoding.system}]
        messages = [*system, {"role": "user", "content": prompt}]
        return encode_chat(self.tokenizer, messages, split_special_tokens=split)

    def answer(self, prepared: Sequence[EncodedPrompt], batch_size: int | None, start: int = 0) -> list[Answer]:
        """Return the completion of each prompt, or several; the prompts that come after `start` others."""
        texts = self.completions(prepared, batch_size, start)
        return [answer_to(prompt, completions) for prompt, completions in zip(prepared, texts, strict=True)]

    def completions(
        self, prompts: Sequence[EncodedPrompt], batch_size: int | None, start: int = 0
    ) -> list[list[str | None]]:
        """Return the continuations of each prompt, in order; None where it asks nothing.

        What is sampled depends on the prompt, its number (`start` prompts come before these) and the seed alone.
        """
        per_prompt = self.decoding.num_return_sequences
        texts: list[list[str | None]] = [[None] * per_prompt for _ in prompts]
        batch_size = batch_size if self.decoding.prompt_lookup is None else 1
        by_length = self.resolved_decoding.reads_padding(self.is_encoder_decoder)
        for rows in prompt_batches(prompts, batch_size, self.max_new_tokens, by_length):
            if len(rows) > 1 and self.model.dtype.itemsize == 2:
                self._say_once(
                    f"in {str(self.model.dtype).removeprefix('torch.')} a text can change with the others of its "
                    "batch; --dtype float32 or --batch-size 1 avoids it"
                )
            sequences = self._generate([prompts[row] for row in rows], [start + row for row in rows])
            for place, row in enumerate(rows):
                answers = (self._answer_text(prompts[row]) for _ in range(per_prompt))
                for number, answer in enumerate(answers):
                    answer.read(sequences[place * per_prompt + number])
                    texts[row][number] = answer.finish()
        return texts

    def stream(
        self, prompt: EncodedPrompt, emit: Callable[[str], None], stop_request: StopRequest | None = None
    ) -> list[int]:
        """Continue one prompt and hand over the text as it comes, until a stop is asked for; return the new tokens."""
        start = 1 if self.is_encoder_decoder else len(prompt.ids)
        stops = AnswerStops([self._answer_text(prompt)], start, emit, stop_request)
        new = self._generate([prompt], [0], stops)[0]
        stops.answers[0].finish()
        stops.show()
        return new

    def dry_run(
        self, rows: int, columns: Mapping[str, str] | None = None, prepared: Sequence[EncodedPrompt] = ()
    ) -> str:
        """Return that the prompts fit, of the shell with their numbers of tokens."""
        if columns is not None:
            return f"{rows} prompts in column {columns[self.role]!r}, all fit"
        return f"{rows} prompts of {', '.join(str(len(prompt.ids)) for prompt in prepared)} tokens fit"

    def identity(self) -> dict[str, object]:
        """Return what the text depends on, for the note beside an output file."""
        return {**self.resolved.identity(self.options), **asdict(self.asked), **asdict(self.decoding)}

    def say_spelled(self, text: str, name: str) -> None:
        """Say once which control tokens a text spells that stay text; of the rows of a file `prepare` says it."""
        spelled = control_tokens_in(self.tokenizer, text) if self.settings.keeps_text else []
        if spelled and self.spelled is not None and name != "--system":
            self.spelled.add(spelled)
        elif spelled:
            self._say_once(spelled_sentence(f"{name} holds", spelled))

    def _say_once(self, sentence: str) -> None:
        if sentence not in self._said:
            self._said.add(sentence)
            self.report.say(sentence)

    def _answer_text(self, prompt: EncodedPrompt) -> AnswerText:
        """Return the answer to a prompt without any token yet; that of an encoder-decoder is a text of its own."""
        context = () if self.is_encoder_decoder else prompt.ids
        return AnswerText(self.tokenizer, context, self.resolved_decoding.ends)

    def _generate(
        self, prompts: Sequence[EncodedPrompt], numbers: Sequence[int], stops: AnswerStops | None = None
    ) -> list[list[int]]:
        """Return the new tokens of each sequence, those of a prompt one after the other; `numbers` are the prompts'."""
        import torch

        model, decoding = self.model, self.resolved_decoding
        per_prompt = self.decoding.num_return_sequences
        repeats = per_prompt if decoding.samples else 1
        prompts = [prompt for prompt in prompts for _ in range(repeats)]
        padding = self.tokenizer.pad_token_id or 0  # a tokenizer without any special token has none
        # a decoder goes on from the end
        inputs = pad_inputs([prompt.ids for prompt in prompts], padding, "right" if self.is_encoder_decoder else "left")
        start = 1 if self.is_encoder_decoder else inputs["input_ids"].shape[1]
        if stops is None and decoding.ends.stops:
            stops = AnswerStops([self._answer_text(prompt) for prompt in prompts], start)
        seeds = [row_seed(self.decoding.seed, number, place) for number in numbers for place in range(repeats)]
        config = copy.deepcopy(decoding.config)
        config.max_new_tokens = min(prompt.max_new_tokens for prompt in prompts)
        try:
            sampler = None if decoding.sampling is None else RowSampler(decoding.sampling, seeds)
            with torch.inference_mode(), as_own(model, config):
                on_device = {name: tensor.to(model.device) for name, tensor in inputs.items()}
                new = search(model, on_device, config, sampler, stops, decoding.looks_at_rows_alone)
        except (ValueError, TypeError) as error:
            if self.fields:
                raise OptionError(f"--set: {one_line(error, 200)}") from error
            if decoding.sentence is None:
                raise
            wrong = f"{self.resolved.name!r} cannot generate by its generation_config.json"
            raise ModelError(f"{wrong}: {one_line(error, 200)}; mend it") from error
        return [decoding.ends.cut(row) for row in new]


def generate(
    prompts: Sequence[str] | str,
    model: str | ModelOptions | None = None,
    decoding: GenerationOptions | None = None,
    batch_size: int | None = None,
    asked: AskOptions | None = None,
) -> list[list[str | None]]:
    """Continue prompts: for each a list of texts (None: it asks nothing); without a model, with the built-in one.

    Raises:
        DataError: a prompt is no text, or longer than the model's context.
        OptionError: the batch size is less than 1.
        ModelError: the model cannot generate.
    """
    rows = [prompts] if isinstance(prompts, str) else list(prompts)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, str):
            raise DataError(f"prompt {number} is a {type(row).__name__}, {shortened(row)}; a text is wanted")
    if batch_size is not None and batch_size < 1:
        raise OptionError(f"batch_size must be at least 1, not {batch_size}")
    options = model if isinstance(model, ModelOptions) else ModelOptions(model=model)
    asked, report = asked or AskOptions(), Report()
    task, resolved = resolve_task_and_model("generate", options, asked, report, BUILTIN_NAME)
    if not task.answers.continues_prompt:
        raise ModelError(f"{resolved.name!r} is a {task.name} model, which continues no prompt")
    request = GenerateRequest(model=options, asked=asked, decoding=decoding or GenerationOptions())
    generator = Generator(task, resolved, request, report)
    return generator.completions([generator.prompt(text) for text in rows], batch_size)
