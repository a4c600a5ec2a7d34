"""The groups of embeddings: how texts become vectors, files of vectors, passages to answer from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from llmkit.options.base import Options
from llmkit.options.data import RowOptions
from llmkit.options.flags import flag


@dataclass(frozen=True, kw_only=True)
class EmbeddingOptions(Options):
    """How a text becomes a vector."""

    pooling: Annotated[
        Literal["own", "mean", "cls"],
        flag(panel="Vectors", help="One vector of a text's tokens; own: as the model's files say, else the mean."),
    ] = "own"
    normalize: Annotated[
        bool, flag("--normalize/--no-normalize", panel="Vectors", help="Scale each vector to length 1.")
    ] = True


@dataclass(frozen=True, kw_only=True)
class VectorRowOptions(RowOptions):
    """Rows in, vectors out."""

    endings: ClassVar[tuple[str, ...]] = (".npy", ".jsonl", ".parquet")
    output_alone: ClassVar[bool] = True

    output: Annotated[
        Path | None, flag("--output", "-o", panel="Data", help="npy, jsonl or parquet file to write.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class RetrievalOptions(Options):
    """Which texts to answer from."""

    retrieve: Annotated[
        str | None, flag(panel="Knowledge", help="Answer from this folder's or dataset's texts, and name the sources.")
    ] = None
    passages: Annotated[int | None, flag(panel="Knowledge", help="Put so many passages in the prompt; default 3.")] = (
        None
    )
    embedder: Annotated[
        str | None, flag(panel="Knowledge", help="The model that finds the passages; default all-MiniLM-L6-v2.")
    ] = None

    @property
    def passages_per_prompt(self) -> int:
        """How many passages a prompt holds at most."""
        return 3 if self.passages is None else self.passages

    def problems(self) -> Iterator[str]:
        yield from self.at_least(1, "passages")
        if self.retrieve is None:
            given = [name for name in ("passages", "embedder") if getattr(self, name) is not None]
            yield from (f"--{name} is for --retrieve, which names the texts to answer from" for name in given)
        elif not self.retrieve.strip():
            yield "--retrieve must not be empty"
