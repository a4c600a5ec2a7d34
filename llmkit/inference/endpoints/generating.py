"""Texts that a server writes: prompts in, completions out, in the rows and files of `llmkit generate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import cast

from llmkit.data.columns import Row, column_for
from llmkit.errors import DataError, HubError, OptionError, did_you_mean, listing
from llmkit.errors.characters import require_characters
from llmkit.inference.answering import Answerer
from llmkit.inference.endpoints.bodies import TextRequests, WrittenText, extra_fields
from llmkit.inference.endpoints.client import Client
from llmkit.inference.endpoints.faults import Fault, unknown_model
from llmkit.inference.prompt_batches import EncodedPrompt, answer_to
from llmkit.inference.row_files import TextCounts
from llmkit.models.text.fields import parse_fields
from llmkit.options import GenerateRequest, GenerationOptions, ModelOptions
from llmkit.output.documents import JsonObject
from llmkit.output.report import Report
from llmkit.tasks import require_roles
from llmkit.tasks.base.answers import Answer

NEW_TOKENS = 200  # of an answer, where no flag says; as of a model in this process
NO_TEMPLATE = "; a model without a chat template is asked by --no-chat"


class ServerTexts:
    """A server that writes texts: found, its model named, and asked row by row."""

    def __init__(self, client: Client, requests: TextRequests, report: Report, models: Sequence[str] = ()) -> None:
        self.client, self.requests, self.report, self.models = client, requests, report, models
        self.ends: Counter[str] = Counter()  # why texts ended, of those that came until now
        self.without_text = self.empty = 0

    @classmethod
    def find(
        cls, client: Client, model: str | None, decoding: GenerationOptions, max_tokens: int, report: Report
    ) -> ServerTexts:
        """Ask a server which models it has, and say which is asked, and how.

        Raises:
            OptionError: no model is named where there are several; a flag that the server does not take.
            HubError: the server cannot be reached, or wants a key.
        """
        entries = known_models(client, report)
        names = [str(entry["id"]) for entry in entries]
        name = model if model is not None else named_model(client, names)
        owner = next((str(entry.get("owned_by")) for entry in entries if entry["id"] == name), "")
        extras = extra_fields(decoding, parse_fields(decoding), owner, client.url)
        requests = TextRequests(name, decoding.chat is not False, max_tokens, decoding, extras)
        how = "chat completions" if requests.chat else "completions"
        if decoding.chat is None:
            how += " (--no-chat: the prompts as they are)"
        report.say(f"endpoint: {client.url}, model {name}, {how}")
        return cls(client, requests, report, names)

    def write(self, prompts: Sequence[str], names: Sequence[str], numbers: Sequence[int]) -> list[list[str | None]]:
        """Return the texts that the server writes for each prompt; seeds hang on the `numbers` of the rows.

        Raises:
            HubError: the server fails, or answers with something else.
            DataError, ModelError, OptionError: it refuses a request.
        """
        bodies = [self.requests.body(prompt, number) for prompt, number in zip(prompts, numbers, strict=True)]
        return self.texts_of(bodies, names)

    def texts_of(self, bodies: Sequence[JsonObject], names: Sequence[str]) -> list[list[str | None]]:
        """Return the texts that the server writes to each request.

        Raises:
            HubError, DataError, ModelError, OptionError: as `write`.
        """
        replies = self._replies(bodies, names)
        texts = [self.requests.read(reply, name) for reply, name in zip(replies, names, strict=True)]
        return [[self._counted(text) for text in of_prompt] for of_prompt in texts]

    def say_ends(self) -> None:
        """Warn of the texts that were cut, are empty, or did not come."""
        total, cut = self.ends.total(), self.ends["length"]
        if cut:
            be = "is" if cut == 1 else "are"
            self.report.warn(
                f"{cut} of {total} answers {be} cut at {self.requests.max_tokens} tokens; --max-new-tokens allows more"
            )
        if self.empty:
            self.report.warn(f"{self.empty} of {total} answers {'is' if self.empty == 1 else 'are'} empty")
        if self.without_text:
            why = listing(sorted(end for end in self.ends if end not in ("stop", "length", "")))
            self.report.warn(
                f"{self.without_text} of {total} answers came without a text{f' ({why})' if why else ''}, and are null"
            )

    def _replies(self, bodies: Sequence[JsonObject], names: Sequence[str]) -> list[JsonObject]:
        try:
            return self.client.post(self.requests.path, bodies, names)
        except Fault as fault:
            newer = self.requests.renamed()
            if fault.status == 400 and newer.length_name in str(fault) and newer != self.requests:
                old, self.requests = self.requests.length_name, newer
                renamed = [{newer.length_name if key == old else key: body[key] for key in body} for body in bodies]
                return self._replies(renamed, names)
            raise self._explained(fault) from fault

    def _explained(self, fault: Fault) -> Exception:
        """Return a fault with what is known of the server: its models, and that a chat may be what it cannot."""
        if fault.status == 404 and self.models and self.requests.model not in self.models:
            known = f"{listing(self.models)}{did_you_mean(self.requests.model, self.models)}"
            return unknown_model(self.client.url, self.requests.model, known)
        if fault.status == 404:
            return OptionError(f"{fault}; it was asked for {self.requests.path} of {self.requests.model!r}")
        is_about_chat = fault.status == 500 or "template" in str(fault)
        hint = NO_TEMPLATE if self.requests.decoding.chat is None and is_about_chat else ""
        return fault.kind(f"{fault}{hint}")

    def _counted(self, written: WrittenText) -> str | None:
        self.ends[written.end] += 1
        self.without_text += written.text is None
        self.empty += written.text == ""
        return written.text


class EndpointGenerator(Answerer[EncodedPrompt]):
    """A server that continues prompts, or answers them in a chat."""

    announces_columns = computes_here = False
    role = "prompt"
    streams = False

    def __init__(self, texts: ServerTexts, request: GenerateRequest, prefix: str = "") -> None:
        # there is no model here, and so no tokenizer: what the base class opens is not asked for
        self.texts, self.decoding, self.prefix = texts, request.decoding, prefix
        self.rows, self.counts = request.rows, TextCounts()

    @classmethod
    def open(cls, request: GenerateRequest, report: Report) -> EndpointGenerator:
        """Find the server that --endpoint names.

        Raises:
            OptionError: flags that are for a model in this process, or that the server does not take.
            HubError: the server cannot be reached, or wants a key.
        """
        require_server_flags(request)
        client = Client.of(request.endpoint, report)
        max_tokens = request.asked.target_length or request.decoding.max_new_tokens or NEW_TOKENS
        texts = ServerTexts.find(client, request.model.model, request.decoding, max_tokens, report)
        return cls(texts, request, request.asked.prefix or "")

    def columns(self, rows: Sequence[Row], given: dict[str, str]) -> dict[str, str]:
        """Return the column of the prompts, by their role."""
        require_roles(given, (self.role,))
        return {self.role: column_for(rows, self.role, given, ("prompt", "text"))}

    def prepare(self, inputs: Sequence[Row], names: Sequence[str], again: bool = False) -> list[EncodedPrompt]:
        """Return the prompts of rows; of a file, blank ones ask nothing.

        Raises:
            DataError: a prompt of the shell is empty, or one holds half of a character.
        """
        texts = [str(row[self.role]) for row in inputs]
        return [
            EncodedPrompt(text, [], 0) if self.rows.input and not text.strip() else self.prompt(text, name)
            for text, name in zip(texts, names, strict=True)
        ]

    def prompt(self, text: str, name: str = "the prompt") -> EncodedPrompt:
        """Return a prompt, of which the server alone knows the tokens.

        Raises:
            DataError: it is empty, or holds half of a character.
        """
        require_characters(text, name)
        if not text.strip():
            raise DataError(f"{name} is empty")
        return EncodedPrompt(text, [], self.texts.requests.max_tokens)

    def answer(self, prepared: Sequence[EncodedPrompt], batch_size: int | None, start: int = 0) -> list[Answer]:
        """Return the completion of each prompt, or several; the prompts that come after `start` others."""
        texts = self.completions(prepared, batch_size, start)
        return [answer_to(prompt, completions) for prompt, completions in zip(prepared, texts, strict=True)]

    def completions(
        self, prompts: Sequence[EncodedPrompt], batch_size: int | None, start: int = 0
    ) -> list[list[str | None]]:
        """Return what the server writes for each prompt, in order; None where it asks nothing.

        Raises:
            HubError: the server fails; of a file, the rows that were written before are kept.
        """
        texts: list[list[str | None]] = [[None] * self.decoding.num_return_sequences for _ in prompts]
        asking = [place for place, prompt in enumerate(prompts) if prompt.max_new_tokens]
        names = [f"row {start + place + 1}" if self.rows.input else f"prompt {place + 1}" for place in asking]
        numbers = [start + place for place in asking]
        try:
            written = self.texts.write([self.prefix + prompts[place].text for place in asking], names, numbers)
        except (HubError, DataError) as error:
            if not (start and self.rows.output):
                raise
            raise type(error)(
                f"{error}; {start} rows are in {self.rows.output}, and the same command goes on"
            ) from error
        for place, of_prompt in zip(asking, written, strict=True):
            texts[place] = of_prompt
        return texts

    def dry_run(
        self, rows: int, columns: Mapping[str, str] | None = None, prepared: Sequence[EncodedPrompt] = ()
    ) -> str:
        """Return how many prompts there are for which server."""
        where = "" if columns is None else f" in column {columns[self.role]!r}"
        return f"{rows} prompts{where} for {self.texts.requests.model} at {self.texts.client.url}"

    def say_truncated(self, report: Report) -> None:
        self.texts.say_ends()

    def identity(self) -> dict[str, object]:
        """Return what the texts depend on, for the note beside an output file; no key is part of it."""
        requests = self.texts.requests
        return {
            "endpoint": self.texts.client.url,
            "model": requests.model,
            "chat": requests.chat,
            "max_tokens": requests.max_tokens,
            "prefix": self.prefix,
            **asdict(self.decoding),
        }


def known_models(client: Client, report: Report) -> list[JsonObject]:
    """Return what a server says of its models; nothing where it has no such list.

    Raises:
        HubError: it cannot be reached, or wants a key.
    """
    try:
        reply = client.get("/models")
    except Fault as fault:
        if fault.status is None or fault.status in (401, 403) or 300 <= fault.status < 400:
            raise
        report.debug(f"no list of models: {fault}")
        return []
    entries = reply.get("data")
    listed = entries if isinstance(entries, list) else []
    return [cast(JsonObject, entry) for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str)]


def named_model(client: Client, names: Sequence[str]) -> str:
    """Return the only model of a server.

    Raises:
        OptionError: it has several, or does not say.
    """
    if len(names) == 1:
        return names[0]
    which = f"{client.url} has {listing(names)}" if names else f"{client.url} does not say which models it has"
    raise OptionError(f"{which}: name one with -m")


def require_server_flags(request: GenerateRequest) -> None:
    """Refuse flags that are for a model in this process.

    Raises:
        OptionError: naming them.
    """
    given = model_flags(request.model)
    given += ["--" + name.replace("_", "-") for name in request.asked.given if name not in ("prefix", "target_length")]
    given += [f"--{name}" for name in ("task", "top", "windows") if getattr(request.asked, name) is not None]
    given += ["--context"] if request.context is not None else []
    given += ["--retrieve"] if request.retrieval.retrieve is not None else []
    if given:
        raise OptionError(f"{listing(given)}: that is for a model here, and --endpoint asks a server; leave it out")


def require_no_model_flags(model: ModelOptions) -> None:
    """Refuse flags that say how a model in this process is opened.

    Raises:
        OptionError: naming them.
    """
    given = model_flags(model)
    if given:
        raise OptionError(f"{listing(given)}: that is for a model here, and --endpoint asks a server; leave it out")


def model_flags(model: ModelOptions) -> list[str]:
    """Return the flags beside -m that were given of a model."""
    default = ModelOptions()
    names = [field.name for field in fields(ModelOptions) if field.name != "model"]
    return ["--" + name.replace("_", "-") for name in names if getattr(model, name) != getattr(default, name)]
