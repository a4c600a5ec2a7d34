"""Texts into vectors: batched, the same vector in any company, into files of several kinds."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llmkit import models
from llmkit.data import files
from llmkit.data.columns import Row, column_for, given_texts, input_text, with_answer
from llmkit.distributed.world import ALONE, World, world
from llmkit.errors import ModelError, OptionError
from llmkit.inference.answering import LongTexts, TwoPrecisions, rows_together
from llmkit.inference.row_files import RowJob, TextCounts
from llmkit.inference.row_files.precision import Precision
from llmkit.inference.row_files.profile import MODEL, phase
from llmkit.inference.vector_cache import Vectors
from llmkit.models import ResolvedModel
from llmkit.models.pooling import OWN, pooled, read_pooling
from llmkit.options import EmbeddingOptions, ModelOptions, RowOptions, TalkOptions
from llmkit.output.atomic import staged
from llmkit.output.report import Report
from llmkit.tasks import TaskSettings, require_roles
from llmkit.tasks.base.answers import Answer
from llmkit.tasks.base.encoding import EncodedRow
from llmkit.tasks.base.sequence_classification import TEXT_COLUMNS, tokenize_rows
from llmkit.tasks.encoding.batches import BatchThreads, batches, on_device, threads_for, tokens_per_batch
from llmkit.tasks.encoding.collation import pad_batch

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
LEAST_COSINE = 0.999  # of a vector in bfloat16 and in float32, where bfloat16 is taken
NUMBERS_SHOWN = 6  # of a vector on a terminal


class Embedder(TwoPrecisions[str]):
    """A model that turns a text into one vector, from its hidden states."""

    role = "text"
    auto_class = "AutoModel"
    half_sentence = "the vectors of the first {rows} rows are the same to a cosine of 0.999"
    one_piece_endings = frozenset({".npy", ".parquet"})

    def __init__(self, resolved: ResolvedModel, options: ModelOptions, embedding: EmbeddingOptions) -> None:
        super().__init__(resolved, options)
        self.embedding = embedding
        self.rows_per_chunk = rows_together(resolved.config)
        self.pooling = read_pooling(resolved.path, embedding.pooling)
        context = models.context_length(resolved.config, self.tokenizer)
        self.max_length = min(context, self.pooling.max_length or context)

    @classmethod
    def open(cls, options: ModelOptions, embedding: EmbeddingOptions, report: Report) -> Embedder:
        """Find the model, by default all-MiniLM-L6-v2, and say how it pools unless that was asked for.

        Raises:
            ModelError: there is no such model, or its files name a pooling that is not done here.
            HubError: the Hub cannot be reached or refuses access.
        """
        embedder = cls(models.resolve_model(options, report, DEFAULT_MODEL), options, embedding)
        if embedding.pooling == OWN:
            report.say(f"pooling: {embedder.pooling.description}")
        return embedder

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        return int(self.resolved.config.get_text_config().hidden_size)

    def columns(self, rows: Sequence[Row], given: dict[str, str]) -> dict[str, str]:
        """Return the column of the texts, by their role."""
        require_roles(given, (self.role,))
        return {self.role: column_for(rows, self.role, given, TEXT_COLUMNS)}

    def prepare(self, inputs: Sequence[Row], names: Sequence[str], again: bool = False) -> list[str]:
        """Return the texts of rows."""
        return [str(row[self.role]) for row in inputs]

    def answer(self, prepared: Sequence[str], batch_size: int | None, start: int = 0) -> list[Answer]:
        """Return the vector of each text as a list of numbers; None where it is blank."""
        return [{"embedding": numbers_of(vector)} for vector in self.vectors(prepared, batch_size)]

    def vectors(
        self,
        texts: Sequence[str],
        batch_size: int | None,
        *prompts: str,
        report: Report | None = None,
        here: World = ALONE,
    ) -> Vectors:
        """Return the vector of each text, (texts, dimension) in float32; one of NaN for a text that is blank.

        `prompts` are names of the model's prompts, such as query: the first that it has stands before each text. The
        processes of `here` embed a batch each in turn, and all of them get all vectors.

        Raises:
            ModelError: a vector is not of finite numbers.
        """
        vectors = np.full((len(texts), self.dimension), np.nan, dtype=np.float32)
        places = [place for place, text in enumerate(texts) if text.strip()]
        if not places:
            return vectors
        with phase(self.profile, "tokenize"):
            rows = self.tokens([texts[place] for place in places], *prompts)
        model = self.settled_model
        with (report or Report(TalkOptions(quiet=True))).progress("embedding", len(rows)) as advance:
            all_batches = list(batches([len(row["input_ids"]) for row in rows], batch_size, tokens_per_batch(model)))
            # a tokenizer can leave nothing of a text
            readable = [[row for row in batch if rows[row]["input_ids"]] for batch in all_batches]
            mine = ([rows[row] for row in batch] for batch in readable[here.rank :: here.size])
            with BatchThreads(threads_for(model) if len(all_batches) >= threads_for(model) else 1) as threads:
                computed = threads.map(partial(self._pooled, divisible=batch_size is None), mine)
                for start in range(0, len(readable), here.size):
                    turn = readable[start : start + here.size]
                    embedded = next(computed) if here.rank < len(turn) else None
                    for read, part in zip(turn, here.gather(embedded), strict=False):
                        if part is not None:
                            vectors[[places[row] for row in read]] = part
                    advance(sum(map(len, all_batches[start : start + here.size])))
        return vectors

    def tokens(self, texts: Sequence[str], *prompts: str) -> list[EncodedRow]:
        """Return the model's inputs of each text, and count those that are longer than it reads."""
        from datasets import Dataset

        settings = TaskSettings(columns={"text": "text"}, max_length=self.max_length)
        prompted = Dataset.from_dict({"text": [self.pooling.with_prompt(text, *prompts) for text in texts]})
        columns = tokenize_rows(prompted, self.tokenizer, settings)
        cut = sum(columns.pop("truncated"))
        roles = frozenset({self.role} if cut else ())
        self.counts = self.counts.plus(TextCounts(len(texts), cut, roles, self.role))
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def half_error(self, prepared: Sequence[str]) -> float | None:
        counts, compared = self.counts, []
        for is_half in (False, True):
            self.precision = Precision(is_half)
            compared.append(self.vectors(prepared, None).astype(np.float64))
        self.counts = counts
        full, half = (vectors[~np.isnan(compared[0]).any(1)] for vectors in compared)
        lengths = np.linalg.norm(full, axis=1) * np.linalg.norm(half, axis=1)
        is_alike = len(full) > 0 and bool(((full * half).sum(1) >= LEAST_COSINE * lengths).all())
        if not is_alike:
            return None
        self.__dict__.pop("model", None)  # which is not asked again
        return float(np.abs(full - half).max())

    def _pooled(self, rows: list[EncodedRow], divisible: bool) -> Vectors | None:
        """Return the vectors of a batch, (rows, dimension); of a divisible one in two halves where memory is short."""
        import torch

        if not rows:
            return None
        vectors, model = None, self.settled_model
        try:
            with torch.inference_mode():
                vectors = pooled(model, on_device(pad_batch(rows, self.tokenizer), model), self.pooling.mode)
                if self.embedding.normalize:
                    vectors = torch.nn.functional.normalize(vectors)
        except torch.OutOfMemoryError:
            if not divisible or len(rows) == 1:
                raise
        if vectors is None:
            torch.cuda.empty_cache()
            half = len(rows) // 2
            parts = (self._pooled(part, divisible) for part in (rows[:half], rows[half:]))
            return np.concatenate([part for part in parts if part is not None])
        if not vectors.isfinite().all():
            raise ModelError(
                f"{self.resolved.name!r} gives vectors of no finite numbers: its weights are damaged, or its precision "
                "overflows and --dtype float32 would not"
            )
        return np.asarray(vectors.cpu().numpy(), dtype=np.float32)

    def write_in_one_piece(self, job: RowJob[str]) -> None:
        """Write the vectors of texts as .npy, or as parquet beside the rows' columns, which all are in memory then.

        Raises:
            OptionError: the file exists, and --overwrite was not given.
            DataError: a column of the rows cannot be kept in parquet.
        """
        path, report, total = job.options.output, job.report, job.rows.total
        assert path is not None
        if path.exists() and not job.options.overwrite:
            raise OptionError(f"{str(path)!r} exists; add --overwrite, or name another")
        kept = None
        if path.suffix == ".parquet":  # what cannot be kept is known before the work
            rows = [row for _, batch in job.rows.batches() for row in batch]
            kept = _kept_columns(rows, str(job.options.input or "the texts"))
            del rows
        job.settle_precision()
        job.begin_profile()
        parts = self._parts(job)
        if report.speaks:
            write_vectors(path, kept, parts, (total, self.dimension))
        else:
            deque(parts, maxlen=0)
        job.tell_profile()
        report.say(f"wrote {total} vectors of {self.dimension} numbers to {path}")

    def _parts(self, job: RowJob[str]) -> Iterator[Vectors]:
        """Yield the vectors of the rows in order, a chunk at a time, each process with its share of the batches."""
        with job.report.progress("embedding", job.rows.total) as advance:
            for start, rows in job.rows.chunks(job.rows_per_chunk):
                with phase(self.profile, MODEL):
                    vectors = self.vectors(job.prepared(rows, start), job.options.batch_size, here=world())
                yield vectors
                advance(len(rows))

    def dry_run(self, rows: int, columns: Mapping[str, str] | None = None, prepared: Sequence[str] = ()) -> str:
        """Return how many texts there are for which model."""
        return f"{rows} texts for {self.resolved.name}, vectors of {self.dimension} numbers"

    def identity(self) -> dict[str, object]:
        """Return what the vectors depend on, for the note beside an output file."""
        model = self.resolved.identity(self.options)
        return {**model, **asdict(self.pooling), "normalize": self.embedding.normalize}

    def headings(self) -> list[str]:
        """Return the headings of the table of vectors."""
        return ["text", "numbers", "embedding"]

    def cells(self, inputs: Row, answer: Answer) -> list[str]:
        """Return the cells of one row of that table, of a vector its first numbers."""
        text, vector = str(inputs[self.role]), answer["embedding"]
        if vector is None:
            return [text, "", ""]
        first = " ".join(f"{number:.4f}" for number in vector[:NUMBERS_SHOWN])
        return [text, str(len(vector)), f"{first}{' …' if len(vector) > NUMBERS_SHOWN else ''}"]

    def say_truncated(self, report: Report) -> None:
        counts = self.counts
        if counts.cut:
            long = LongTexts(counts, self.max_length)
            report.warn(f"{long.described}, and {long.unread(self.tokenizer.truncation_side)} was not read")


def numbers_of(vector: Vectors) -> list[float] | None:
    """Return a vector as numbers that are read back as the same float32, in few digits; None for one of NaN."""
    return None if np.isnan(vector).any() else [float(str(number)) for number in vector]


def write_vectors(path: Path, kept: pa.Table | None, parts: Iterable[Vectors], shape: tuple[int, int]) -> None:
    """Write vectors of float32 that come in parts, and have this shape together.

    They are written as parquet beside the columns that are kept, or alone as .npy.
    """
    with staged(path) as temporary:
        if kept is None:
            with temporary.open("wb") as file:
                described = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, described)
                for part in parts:  # np.save would leave a full disk without its error number
                    file.write(np.ascontiguousarray(part).tobytes())
            return
        with ExitStack() as stack:
            start, writer = 0, None
            for part in parts:
                absent = pa.array(np.isnan(part).any(1))
                column = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), shape[1], mask=absent)
                table = kept.slice(start, len(part)).append_column("embedding", column)
                writer = writer or stack.enter_context(pq.ParquetWriter(temporary, table.schema))
                writer.write_table(table)
                start += len(part)


def _kept_columns(rows: Sequence[Row], where: str) -> pa.Table:
    """Return the columns of rows beside which their vectors stand.

    Raises:
        DataError: a column mixes types; it is named with two of its rows.
    """
    without_vectors = [with_answer(row, {"embedding": None}) for row in rows]
    return files.from_rows(without_vectors, where).with_format("arrow")[:].drop_columns(["embedding"])


def embed(
    texts: Sequence[str] | str,
    model: str | os.PathLike[str] | ModelOptions | None = None,
    pooling: Literal["own", "mean", "cls"] = "own",
    normalize: bool = True,
    batch_size: int | None = None,
) -> Vectors:
    """Return the vectors of texts, (texts, dimension) in float32, NaN for a blank one; by default of all-MiniLM-L6-v2.

    Raises:
        ModelError: there is no such model, or it names a pooling that is not done here.
        HubError: the Hub cannot be reached or refuses access.
    """
    rows = [input_text(text, "text", number) for number, text in enumerate(given_texts(texts), start=1)]
    name = model if model is None or isinstance(model, ModelOptions) else os.fspath(model)
    options = name if isinstance(name, ModelOptions) else ModelOptions(model=name)
    embedding = EmbeddingOptions(pooling=pooling, normalize=normalize)
    size = RowOptions(batch_size=batch_size).batch_size
    return Embedder.open(options, embedding, Report(TalkOptions(quiet=True))).vectors(rows, size)
