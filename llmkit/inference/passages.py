"""Texts to answer from: documents of a folder or a dataset, cut into passages that an embedding model reads whole."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from llmkit.data import files, open_dataset
from llmkit.data.columns import text_of
from llmkit.errors import DataError, EmptyError, HubError, ModelError, listing
from llmkit.options import FileOptions
from llmkit.output.report import Report
from llmkit.tasks.base.language_modeling import text_column

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

MAX_PASSAGE_TOKENS = 180  # one thought, of which a prompt holds several
TITLE_COLUMNS = ("title", "name", "heading", "headline", "标题")
PARAGRAPH_BREAK = re.compile(r"\n[^\S\n]*\n\s*")
SENTENCE_END = re.compile(r"""(?:[.!?…]["'”’)\]]*\s+|[。！？]["”’」』）]*\s*)""")  # noqa: RUF001  # full-width marks

CharacterRange = tuple[int, int]  # the first character, and the one after the last


@dataclass(frozen=True)
class Document:
    """A text, and where it stands: a file, or a row of one or of a dataset."""

    file: str
    text: str
    row: int | None = None  # from 1
    title: str | None = None


@dataclass(frozen=True)
class Passage:
    """A piece of a document, from character `start` to before `end`."""

    document: Document
    start: int
    end: int

    @property
    def text(self) -> str:
        """What stands there."""
        return self.document.text[self.start : self.end]

    @property
    def place(self) -> str:
        """Where it stands, as a person reads it: the title of the document, or its file and row."""
        document = self.document
        return document.title or (document.file if document.row is None else f"{document.file}, row {document.row}")


def read_documents(reference: str, options: FileOptions, report: Report) -> list[Document]:
    """Return the documents of a folder of files, or of whatever else `open_dataset` opens: a row each.

    Raises:
        DataError: there is no such folder, file or dataset, a file is broken, or has another encoding.
        EmptyError: there is no text.
        HubError: the Hub cannot be reached or refuses access.
    """
    path = Path(reference).expanduser()
    if path.is_dir() and not _is_dataset(path):
        documents = list(_of_folder(path, options, report))
    elif path.is_file() and files.format_of(path) == "txt":
        documents = list(_of_file(path, path.name, options, report))
    else:
        documents = list(_of_dataset(reference, path, options, report))
    documents = [document for document in documents if document.text.strip()]
    if not documents:
        raise EmptyError(
            f"--retrieve {reference}: there is no text in it; llmkit reads {listing(files.FORMATS)} and md"
        )
    return documents


def _is_dataset(folder: Path) -> bool:
    saved = (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()
    card = folder / "README.md"
    return saved or (card.is_file() and "configs:" in card.read_text(encoding="utf-8", errors="replace"))


def _of_folder(folder: Path, options: FileOptions, report: Report) -> Iterator[Document]:
    paths = {path: path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()}
    visible = [path for path, name in paths.items() if not any(part.startswith(".") for part in name.parts)]
    readable = [path for path in visible if files.format_of(path) is not None]
    if len(readable) < len(visible):
        report.say(
            f"{len(visible) - len(readable)} of {len(visible)} files in {folder} are of other kinds and left out"
        )
    for path in readable:
        yield from _of_file(path, paths[path].as_posix(), options, report)


def _of_file(path: Path, name: str, options: FileOptions, report: Report) -> Iterator[Document]:
    try:
        rows = files.read_file(path, options)
    except EmptyError:
        return
    if files.format_of(path) == "txt":
        yield Document(name, rows["text"][0])
    else:
        yield from _of_rows(rows, name, report)


def _of_dataset(reference: str, path: Path, options: FileOptions, report: Report) -> Iterator[Document]:
    try:
        source = open_dataset(reference, options, report=report)
    except (DataError, HubError) as error:
        if path.exists():
            raise
        raise type(error)(f"--retrieve {reference}: there is no such folder or file here, and {error}") from error
    for split, rows in source.splits.items():
        yield from _of_rows(rows, reference if len(source.splits) == 1 else f"{reference}, {split}", report)


def _of_rows(rows: Dataset, name: str, report: Report) -> Iterator[Document]:
    columns = text_column(rows, {})
    if columns is None:
        report.warn(f"{name} has no column of texts and is left out")
        return
    usable = (column for column in TITLE_COLUMNS if column in rows.column_names and column != columns["text"])
    title_column = next(usable, None)
    titles = rows[title_column] if title_column else [None] * len(rows)
    for number, (text, title) in enumerate(zip(rows[columns["text"]], titles, strict=True), start=1):
        yield Document(name, text_of(text), number, None if title is None else str(title))


def cut(documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Passage]:
    """Cut documents into passages of whole paragraphs, of at most 180 tokens and what a model of `max_length` reads.

    Paragraphs that follow one another are put together as long as they fit. A longer paragraph is cut between
    sentences, of which the last of a piece is the first of the next, and a longer sentence between tokens.

    Raises:
        ModelError: the tokenizer does not tell where in the text its tokens stand.
    """
    if not tokenizer.is_fast:
        raise ModelError(f"{tokenizer.name_or_path!r} has a slow tokenizer, which cannot tell where its tokens stand")
    readable = max_length * 7 // 8 - tokenizer.num_special_tokens_to_add()  # a piece by itself can have more tokens
    max_tokens = max(min(MAX_PASSAGE_TOKENS, readable), 1)
    passages: list[Passage] = []
    for document in documents:
        encoded = tokenizer(document.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        token_starts = [start for start, _ in encoded["offset_mapping"]]
        pieces = _Splitter(document.text, token_starts, max_tokens).pieces()
        passages += [Passage(document, start, end) for start, end in pieces]
    return passages


@dataclass(frozen=True)
class _Splitter:
    """A text with the places of its tokens, to be cut."""

    text: str
    token_starts: list[int]  # the first character of each token
    max_tokens: int  # of a piece

    def pieces(self) -> Iterator[CharacterRange]:
        """Yield pieces, each of as many paragraphs that follow one another as fit."""
        piece: CharacterRange | None = None
        for start, end in self._paragraphs():
            if piece is not None and self._fits(piece[0], end):
                piece = (piece[0], end)
                continue
            if piece is not None:
                yield piece
            piece = (start, end)
        if piece is not None:
            yield piece

    def _fits(self, start: int, end: int) -> bool:
        return bisect_left(self.token_starts, end) - bisect_left(self.token_starts, start) <= self.max_tokens

    def _paragraphs(self) -> Iterator[CharacterRange]:
        for start, end in _between(self.text, 0, len(self.text), PARAGRAPH_BREAK):
            yield from [(start, end)] if self._fits(start, end) else self._sentences(start, end)

    def _sentences(self, start: int, end: int) -> Iterator[CharacterRange]:
        """Cut a paragraph into pieces of whole sentences that overlap by one, where that leaves room for another."""
        ranges = _after(self.text, start, end, SENTENCE_END)
        sentences = [part for sentence in ranges for part in self._within_tokens(*sentence)]
        first = 0
        while first < len(sentences):
            last = first
            while last + 1 < len(sentences) and self._fits(sentences[first][0], sentences[last + 1][1]):
                last += 1
            yield sentences[first][0], sentences[last][1]
            if last + 1 == len(sentences):
                return
            overlaps = last > first and self._fits(sentences[last][0], sentences[last + 1][1])
            first = last if overlaps else last + 1

    def _within_tokens(self, start: int, end: int) -> Iterator[CharacterRange]:
        """Cut a sentence that is too long between tokens."""
        first, last = bisect_left(self.token_starts, start), bisect_left(self.token_starts, end)
        marks = [start, *self.token_starts[first + self.max_tokens : last : self.max_tokens], end]
        for left, right in pairwise(marks):
            yield from _trimmed(self.text, left, right)


def _between(text: str, start: int, end: int, gap: re.Pattern[str]) -> Iterator[CharacterRange]:
    """Yield what stands between gaps, without white space around it."""
    for match in gap.finditer(text, start, end):
        yield from _trimmed(text, start, match.start())
        start = match.end()
    yield from _trimmed(text, start, end)


def _after(text: str, start: int, end: int, ending: re.Pattern[str]) -> Iterator[CharacterRange]:
    """Yield what ends with an ending, without white space around it."""
    for match in ending.finditer(text, start, end):
        yield from _trimmed(text, start, match.end())
        start = match.end()
    yield from _trimmed(text, start, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[CharacterRange]:
    part = text[start:end]
    if part.strip():
        yield start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
