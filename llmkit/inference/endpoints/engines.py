"""Models that vLLM runs in place of this process: their inputs are made here, token by token, as are the answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from llmkit.distributed.world import ALONE, World
from llmkit.errors import DataError, HubError, ModelError, OptionError, shortened
from llmkit.inference.embedding import Embedder
from llmkit.inference.endpoints.bodies import TextRequests, extra_fields
from llmkit.inference.endpoints.client import Client
from llmkit.inference.endpoints.commands import ServeCommand, vllm_command
from llmkit.inference.endpoints.generating import ServerTexts
from llmkit.inference.endpoints.server import EngineServer
from llmkit.inference.generation import Generator
from llmkit.inference.prediction import Predictor
from llmkit.inference.prompt_batches import EncodedPrompt
from llmkit.inference.vector_cache import Vectors
from llmkit.metrics.observations import Floats
from llmkit.models import ResolvedModel
from llmkit.options import ModelOptions, RequestOptions
from llmkit.output.documents import JsonObject
from llmkit.output.report import Report
from llmkit.tasks import TaskSettings
from llmkit.tasks.base.answers import Prediction

if TYPE_CHECKING:
    from datasets import Dataset

ENGINE = {"engine": "vllm"}  # a part of what answers depend on
POOLING = {"mean": "MEAN", "cls": "CLS", "lasttoken": "LAST"}  # ours -> vLLM's
LABELLED = ("text-classification", "multi-label-classification")
ROWS_PER_REQUEST = 16  # where no batch size says
LEAST_SHARE = 1e-30  # of a class, so that it has a logarithm


class ServedGenerator(Generator):
    """A decoder that vLLM runs: it is given the tokens of the prompts, and the texts are its."""

    computes_here = False
    server: EngineServer
    _texts: ServerTexts | None = None

    @property
    def streams(self) -> bool:
        return False

    def completions(
        self, prompts: Sequence[EncodedPrompt], batch_size: int | None, start: int = 0
    ) -> list[list[str | None]]:
        """Return the continuations of each prompt, in order; None where it asks nothing.

        Raises:
            HubError: the server ended or fails.
        """
        texts: list[list[str | None]] = [[None] * self.decoding.num_return_sequences for _ in prompts]
        asking = [place for place, prompt in enumerate(prompts) if prompt.ids]
        server_texts = self._server_texts()
        bodies = [
            replace(server_texts.requests, max_tokens=prompts[place].max_new_tokens).body(
                prompts[place].ids, start + place
            )
            for place in asking
        ]
        names = [f"row {start + place + 1}" for place in asking]
        written = server_texts.texts_of(bodies, names)
        for place, of_prompt in zip(asking, written, strict=True):
            texts[place] = of_prompt
        return texts

    def say_truncated(self, report: Report) -> None:
        if self._texts is not None:
            self._texts.say_ends()

    def identity(self) -> dict[str, object]:
        return {**super().identity(), **ENGINE}

    def require_served(self) -> None:
        """Refuse what vLLM cannot do, before it is started.

        Raises:
            ModelError: the model is an encoder-decoder.
            OptionError: a flag that vLLM does not take.
        """
        if self.is_encoder_decoder:
            raise ModelError(
                f"{self.resolved.name!r} is an encoder-decoder, which vLLM does not run; leave --engine out"
            )
        extra_fields(self.decoding, self.fields, "vllm", "the model")

    def _server_texts(self) -> ServerTexts:
        if self._texts is None:
            extras = extra_fields(self.decoding, self.fields, "vllm", "the model")
            client = self.server.client
            requests = TextRequests(self.server.command.model, False, self.max_new_tokens, self.decoding, extras)
            self._texts = ServerTexts(client, requests, self.report)
        return self._texts


class ServedPredictor(Predictor):
    """A classifier that vLLM runs: the probabilities of its classes, read as from the model itself."""

    computes_here = False
    server: EngineServer

    def require_served(self) -> None:
        """Refuse a task of which vLLM gives no probabilities.

        Raises:
            ModelError: naming the task.
        """
        labels = self.settings.labels
        if self.task.name not in LABELLED or labels is None or len(labels.names) < 2:
            raise ModelError(
                f"{self.resolved.name!r} is a {self.task.name} model, and vLLM's /classify is for classes of whole "
                "texts; leave --engine out"
            )

    def predictions_of(self, encoded: Dataset, settings: TaskSettings, batch_size: int | None) -> list[Prediction]:
        """Return the logits of each encoded row, up to a constant that no probability depends on.

        Raises:
            DataError: a row is a pair that the tokens alone do not tell apart.
            HubError: the server fails, or answers with something else.
        """
        if "token_type_ids" in encoded.column_names and any(map(any, encoded["token_type_ids"])):
            raise DataError(
                f"{self.resolved.name!r} tells the texts of a pair apart by more than tokens; leave --engine out"
            )
        rows = encoded["input_ids"][:]
        data = ask_in_parts(self.server.client, "classify", self.server.command.model, rows, batch_size)
        return [self._logits(entry).tolist() for entry in data]

    def identity(self) -> dict[str, object]:
        return {**super().identity(), **ENGINE}

    def _logits(self, entry: JsonObject) -> Floats:
        classes = int(self.resolved.config.num_labels)
        shares = numbers_in(entry.get("probs"), classes)
        several = self.task.name == LABELLED[1]
        if shares.min() < 0 or shares.max() > 1.001 or not (several or abs(shares.sum() - 1) < 0.02):
            raise HubError(f"the server's classes have no probabilities: {shortened(entry)}")
        logits: Floats = np.log(np.clip(shares, LEAST_SHARE, None))
        return logits - np.log(np.clip(1 - shares, LEAST_SHARE, None)) if several else logits


class ServedEmbedder(Embedder):
    """A model that vLLM runs: the vectors of texts, pooled there."""

    computes_here = False
    server: EngineServer

    def require_served(self) -> None:
        """Refuse what vLLM cannot do, before it is started.

        Raises:
            OptionError, ModelError: naming the pooling, or the flag.
        """
        if self.pooling.mode not in POOLING:
            raise ModelError(
                f"{self.resolved.name!r} pools by {self.pooling.mode}, which vLLM does not; leave --engine out"
            )
        if not self.embedding.normalize:
            raise OptionError("--no-normalize: vLLM gives vectors of length 1; leave it, or --engine, out")

    @property
    def pooler_flags(self) -> list[str]:
        """What makes vLLM pool as the model is pooled here."""
        return ["--runner", "pooling", "--pooler-config", json.dumps({"pooling_type": POOLING[self.pooling.mode]})]

    def vectors(
        self,
        texts: Sequence[str],
        batch_size: int | None,
        *prompts: str,
        report: Report | None = None,
        here: World = ALONE,
    ) -> Vectors:
        """Return the vector of each text, (texts, dimension) in float32; one of NaN for a text that is blank.

        Raises:
            HubError: the server fails, or answers with something else.
        """
        vectors = np.full((len(texts), self.dimension), np.nan, dtype=np.float32)
        places = [place for place, text in enumerate(texts) if text.strip()]
        rows = (
            [list(row["input_ids"]) for row in self.tokens([texts[place] for place in places], *prompts)]
            if places
            else []
        )
        readable = [(place, ids) for place, ids in zip(places, rows, strict=True) if ids]
        if readable:
            ids = [ids for _, ids in readable]
            data = ask_in_parts(self.server.client, "/embeddings", self.server.command.model, ids, batch_size)
            found = np.stack([numbers_in(entry.get("embedding"), self.dimension) for entry in data])
            length = np.linalg.norm(found, axis=1, keepdims=True)
            vectors[[place for place, _ in readable]] = found / np.where(length > 0, length, 1)
        return vectors

    def identity(self) -> dict[str, object]:
        return {**super().identity(), **ENGINE}


def ask_in_parts(
    client: Client, path: str, model: str, rows: Sequence[Sequence[int]], batch_size: int | None
) -> list[JsonObject]:
    """Return what a server answers to each row of tokens, so many rows in a request.

    Raises:
        HubError: it fails, or answers to more or fewer rows.
    """
    batch_size = batch_size or ROWS_PER_REQUEST
    parts = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    bodies: list[JsonObject] = [{"model": model, "input": [list(ids) for ids in part]} for part in parts]
    names = [f"rows {number * batch_size + 1} and on" for number in range(len(parts))]
    data: list[JsonObject] = []
    for reply, part, name in zip(client.post(path, bodies, names), parts, names, strict=True):
        entries = reply.get("data")
        listed = entries if isinstance(entries, list) else []
        by_place = {entry.get("index", place): entry for place, entry in enumerate(listed) if isinstance(entry, dict)}
        if sorted(by_place) != list(range(len(part))):
            raise HubError(f"{name}: the server answered to {len(by_place)} of {len(part)} rows")
        data += [by_place[place] for place in range(len(part))]
    return data


def numbers_in(value: object, count: int) -> Floats:
    """Return so many finite numbers of a server's answer.

    Raises:
        HubError: they are others.
    """
    right = isinstance(value, list) and len(value) == count and all(isinstance(one, int | float) for one in value)
    numbers = np.asarray(value if right else [], dtype=np.float64)
    if not right or not np.isfinite(numbers).all():
        raise HubError(f"the server gave {shortened(value)} where {count} numbers are wanted")
    return numbers


def vllm_server(
    resolved: ResolvedModel, model: ModelOptions, options: RequestOptions, report: Report, *more: str
) -> EngineServer:
    """Return a vLLM that serves a model when it is first asked.

    Raises:
        OptionError: there is no vLLM here.
        ModelError: it cannot serve the adapter.
    """

    def build(address: tuple[str, int]) -> ServeCommand:
        return vllm_command(resolved, model, options, address, *more)

    return EngineServer(build, options, report)


def length_flag(limit: int) -> list[str]:
    """Return what makes vLLM read so many tokens at most."""
    return ["--max-model-len", str(limit)]
