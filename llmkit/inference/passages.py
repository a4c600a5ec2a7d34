"""Texts to answer from: documents of a folder or a dataset, cut into passages that an embedding model reads whole."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from llmkit.data import files, open_dataset
from llmkit.errors import DataError, EmptyError, HubError, ModelError, listing
from llmkit.output.report import Report
from llmkit.tasks.base.language_modeling import text_column

MOST_TOKENS = 180  # of a passage: one thought, of which a prompt holds several
TITLES = ("title", "name", "heading", "headline", "标题")
PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")  # what stands between two
SENTENCE = re.compile(r"""(?:[.!?…]["'”’)\]]*\s+|[。！？]["”’」』）]*\s*)""")  # noqa: RUF001  # what ends one

Span = tuple[int, int]  # the first character, and one past the last


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


def read_documents(reference: str, encoding: str, report: Report) -> list[Document]:
    """Return the documents of a folder of files, or of whatever else `open_dataset` opens: a row each.

    Raises:
        DataError: there is no such folder, file or dataset, a file is broken, or has another encoding.
        EmptyError: there is no text.
        HubError: the Hub cannot be reached or refuses access.
    """
    path = Path(reference).expanduser()
    if path.is_dir() and not _is_dataset(path):
        documents = list(_of_folder(path, encoding, report))
    elif path.is_file() and files.format_of(path) == "txt":
        documents = list(_of_file(path, path.name, encoding, report))
    else:
        documents = list(_of_dataset(reference, path, encoding, report))
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


def _of_folder(folder: Path, encoding: str, report: Report) -> Iterator[Document]:
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    inside = {path: path.relative_to(folder) for path in found}
    shown = [path for path in found if not any(part.startswith(".") for part in inside[path].parts)]
    known = [path for path in shown if files.format_of(path) is not None]
    if len(known) < len(shown):
        report.say(f"{len(shown) - len(known)} of {len(shown)} files in {folder} are of other kinds and left out")
    for path in known:
        yield from _of_file(path, inside[path].as_posix(), encoding, report)


def _of_file(path: Path, name: str, encoding: str, report: Report) -> Iterator[Document]:
    try:
        rows = files.read_file(path, encoding)
    except EmptyError:
        return
    if files.format_of(path) == "txt":
        yield Document(name, rows["text"][0])
    else:
        yield from _of_rows(rows, name, report)


def _of_dataset(reference: str, path: Path, encoding: str, report: Report) -> Iterator[Document]:
    try:
        source = open_dataset(reference, encoding=encoding, report=report)
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
    title = next((known for known in TITLES if known in rows.column_names and known != columns["text"]), None)
    titles = rows[title] if title else [None] * len(rows)
    for number, (text, called) in enumerate(zip(rows[columns["text"]], titles, strict=True), start=1):
        yield Document(name, str(text or ""), number, None if called is None else str(called))


def cut(documents: Sequence[Document], tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[Passage]:
    """Cut documents into passages of whole paragraphs, of at most 180 tokens and what a model of `max_length` reads.

    Paragraphs that follow one another are put together as long as they fit. One that is longer alone is cut between
    sentences, of which the last of a piece is the first of the next, and a sentence that is longer between tokens.

    Raises:
        ModelError: the tokenizer does not tell where in the text its tokens stand.
    """
    if not tokenizer.is_fast:
        raise ModelError(f"{tokenizer.name_or_path!r} has a slow tokenizer, which cannot tell where its tokens stand")
    most = min(MOST_TOKENS, max_length * 7 // 8 - tokenizer.num_special_tokens_to_add())  # a piece alone can have more
    passages: list[Passage] = []
    for document in documents:
        told = tokenizer(document.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        pieces = _Pieces(document.text, [start for start, _ in told["offset_mapping"]], max(most, 1))
        passages += [Passage(document, start, end) for start, end in pieces.merged()]
    return passages


@dataclass(frozen=True)
class _Pieces:
    """A text with the places of its tokens, to be cut."""

    text: str
    starts: list[int]  # the first character of each token
    most: int  # tokens of a piece

    def merged(self) -> Iterator[Span]:
        """Yield pieces, each of as many that follow one another as fit."""
        held: Span | None = None
        for span in self._paragraphs():
            if held is not None and self._count(held[0], span[1]) <= self.most:
                held = (held[0], span[1])
                continue
            if held is not None:
                yield held
            held = span
        if held is not None:
            yield held

    def _count(self, start: int, end: int) -> int:
        return bisect_left(self.starts, end) - bisect_left(self.starts, start)

    def _paragraphs(self) -> Iterator[Span]:
        for span in _between(self.text, 0, len(self.text), PARAGRAPH):
            yield from [span] if self._count(*span) <= self.most else self._sentences(*span)

    def _sentences(self, start: int, end: int) -> Iterator[Span]:
        """Cut a paragraph into pieces of whole sentences that overlap by one, where that leaves room for another."""
        sentences = [part for span in _after(self.text, start, end, SENTENCE) for part in self._tokens(*span)]
        first = 0
        while first < len(sentences):
            last = first
            while last + 1 < len(sentences) and self._count(sentences[first][0], sentences[last + 1][1]) <= self.most:
                last += 1
            yield sentences[first][0], sentences[last][1]
            if last + 1 == len(sentences):
                return
            again = last > first and self._count(sentences[last][0], sentences[last + 1][1]) <= self.most
            first = last if again else last + 1

    def _tokens(self, start: int, end: int) -> Iterator[Span]:
        """Cut a sentence that is too long between tokens."""
        first, last = bisect_left(self.starts, start), bisect_left(self.starts, end)
        marks = [start, *self.starts[first + self.most : last : self.most], end]
        for span in pairwise(marks):
            yield from _trimmed(self.text, *span)


def _between(text: str, start: int, end: int, gap: re.Pattern[str]) -> Iterator[Span]:
    """Yield what stands between gaps, without white space around it."""
    for found in gap.finditer(text, start, end):
        yield from _trimmed(text, start, found.start())
        start = found.end()
    yield from _trimmed(text, start, end)


def _after(text: str, start: int, end: int, ending: re.Pattern[str]) -> Iterator[Span]:
    """Yield what ends with an ending, without white space around it."""
    for found in ending.finditer(text, start, end):
        yield from _trimmed(text, start, found.end())
        start = found.end()
    yield from _trimmed(text, start, end)


def _trimmed(text: str, start: int, end: int) -> Iterator[Span]:
    part = text[start:end]
    if part.strip():
        yield start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
