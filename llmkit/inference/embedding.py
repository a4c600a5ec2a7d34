"""Texts into vectors: batched, the same vector in any company, into files of several kinds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from llmkit import models
from llmkit.data import files
from llmkit.errors import ModelError
from llmkit.inference.prediction import batches, on_device
from llmkit.inference.row_files import Row, merged
from llmkit.inference.vector_cache import Vectors
from llmkit.models import ResolvedModel
from llmkit.models.pooling import OWN, pooled, read_pooling
from llmkit.options import EmbeddingOptions, ModelOptions, TalkOptions
from llmkit.output.atomic import staged
from llmkit.output.report import Report
from llmkit.tasks import TaskSettings
from llmkit.tasks.base.sequence_classification import model_inputs
from llmkit.tasks.encoding.collation import pad_batch

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"


class Embedder:
    """A model that turns a text into one vector, from its hidden states."""

    def __init__(self, resolved: ResolvedModel, options: ModelOptions, wanted: EmbeddingOptions) -> None:
        self.resolved, self.options, self.wanted = resolved, options, wanted
        self.tokenizer = models.load_tokenizer(resolved, options)
        self.pooling = read_pooling(resolved.path, wanted.pooling)
        context = models.context_length(resolved.config, self.tokenizer)
        self.max_length = min(context, self.pooling.max_length or context)
        self.truncated = 0  # texts of which not all was read, until now

    @classmethod
    def open(cls, options: ModelOptions, wanted: EmbeddingOptions, report: Report) -> Embedder:
        """Find the model, by default all-MiniLM-L6-v2, and say how it pools unless that was asked for.

        Raises:
            ModelError: there is no such model, or its files name a pooling that is not done here.
            HubError: the Hub cannot be reached or refuses access.
        """
        embedder = cls(models.resolve_model(options, report, DEFAULT_MODEL), options, wanted)
        if wanted.pooling == OWN:
            report.say(f"pooling: {embedder.pooling.description}")
        return embedder

    @cached_property
    def model(self) -> PreTrainedModel:
        """The weights, loaded when they are first needed."""
        return models.load_model(self.resolved, "AutoModel", self.tokenizer, self.options)

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        return int(self.resolved.config.get_text_config().hidden_size)

    def vectors(self, texts: Sequence[str], batch_size: int, *uses: str, report: Report | None = None) -> Vectors:
        """Return the vector of each text, (texts, dimension); one of NaN for a text that is blank.

        `uses` are names of the model's prompts, such as query: the first that it has stands before each text.

        Raises:
            ModelError: a vector is not of finite numbers.
        """
        made = np.full((len(texts), self.dimension), np.nan, dtype=np.float32)
        places = [place for place, text in enumerate(texts) if text.strip()]
        if not places:
            return made
        rows = self.tokens([texts[place] for place in places], *uses)
        with (report or Report(TalkOptions(quiet=True))).progress("embedding", len(rows)) as advance:
            for some in batches([len(row["input_ids"]) for row in rows], batch_size):
                told = [row for row in some if rows[row]["input_ids"]]  # a tokenizer can leave nothing of a text
                if told:
                    made[[places[row] for row in told]] = self._ask([rows[row] for row in told])
                advance(len(some))
        return made

    def tokens(self, texts: Sequence[str], *uses: str) -> list[dict[str, Any]]:
        """Return the model's inputs of each text, and count those that are longer than it reads."""
        settings = TaskSettings(columns={"text": "text"}, max_length=self.max_length)
        spelled = Dataset.from_dict({"text": [self.pooling.with_prompt(text, *uses) for text in texts]})
        columns = model_inputs(spelled, self.tokenizer, settings)
        self.truncated += sum(columns.pop("truncated"))
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    @torch.inference_mode()
    def _ask(self, rows: list[dict[str, Any]]) -> Vectors:
        found = pooled(self.model, on_device(pad_batch(rows, self.tokenizer), self.model), self.pooling.mode)
        if self.wanted.normalize:
            found = torch.nn.functional.normalize(found)
        if not found.isfinite().all():
            raise ModelError(
                f"{self.resolved.name!r} gives vectors of no finite numbers: its weights are damaged, or its precision "
                "overflows and --dtype float32 would not"
            )
        return np.asarray(found.cpu().numpy(), dtype=np.float32)

    def say_truncated(self, report: Report) -> None:
        """Warn of the texts of which not all was read."""
        if self.truncated:
            report.warn(f"{self.truncated} texts are longer than {self.max_length} tokens: their rest is not embedded")

    def identity(self) -> dict[str, Any]:
        """Return what the vectors depend on, for the note beside an output file."""
        own = self.resolved.identity(self.options.dtype)
        return {**own, **asdict(self.pooling), "normalize": self.wanted.normalize}


def numbers_of(vector: Vectors) -> list[float] | None:
    """Return a vector as numbers that are read back as the same float32, in few digits; None for one of NaN."""
    return None if np.isnan(vector).any() else [float(str(number)) for number in vector]


def write_vectors(path: Path, rows: Sequence[Row], vectors: Vectors) -> None:
    """Write vectors whole: alone as .npy, (rows, dimension) in float32; else as parquet, beside the rows' columns."""
    with staged(path) as beside:
        if path.suffix == ".npy":
            with beside.open("wb") as file:
                np.save(file, vectors)
            return
        kept = [merged(row, {"embedding": None}) for row in rows]
        table = files.from_rows(kept).with_format("arrow")[:].drop_columns(["embedding"])
        absent = pa.array(np.isnan(vectors).any(1))
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1], mask=absent)
        pq.write_table(table.append_column("embedding", column), beside)


def embed(
    texts: Sequence[str] | str,
    model: str | ModelOptions | None = None,
    pooling: Literal["own", "mean", "cls"] = "own",
    normalize: bool = True,
    batch_size: int = 16,
) -> Vectors:
    """Return the vectors of texts, (texts, dimension) in float32, NaN for a blank one; by default of all-MiniLM-L6-v2.

    Raises:
        ModelError: there is no such model, or it names a pooling that is not done here.
        HubError: the Hub cannot be reached or refuses access.
    """
    rows = [texts] if isinstance(texts, str) else list(texts)
    options = model if isinstance(model, ModelOptions) else ModelOptions(model=model)
    wanted = EmbeddingOptions(pooling=pooling, normalize=normalize)
    return Embedder.open(options, wanted, Report(TalkOptions(quiet=True))).vectors(rows, batch_size)
