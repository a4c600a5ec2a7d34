"""llmkit embed TEXT..."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmkit.cli.shared.stdin import stdin_lines
from llmkit.errors import OptionError
from llmkit.options import EmbeddingOptions, ModelOptions, TalkOptions, VectorRowOptions
from llmkit.options.flags import option_groups, with_examples
from llmkit.output.report import Report, quiet_libraries

if TYPE_CHECKING:
    from llmkit.inference.embedding import Embedder

SHOWN = 6  # numbers of a vector on a terminal


@with_examples(
    'llmkit embed "A fox ran." "The fox was running."',
    "llmkit embed --input reviews.csv --output vectors.npy",
    "llmkit embed -m runs/reviews --pooling cls --input reviews.jsonl --output vectors.parquet --column text=body",
    "cat lines.txt | llmkit embed | jq -c .embedding",
)
@option_groups
def embed(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; without any, each line of standard input.")] = None,
    *,
    model: ModelOptions,
    wanted: EmbeddingOptions,
    rows: VectorRowOptions,
    talk: TalkOptions,
) -> None:
    """Turn texts into vectors: texts of like meaning are near each other in the space of an embedding model.

    Any model with hidden states will do, a decoder too. Prints a table on a terminal, and a JSON line for each text in
    a pipe or under --json. A blank text has no vector: null, or NaN in a .npy file.
    """
    if texts and rows.input:
        raise OptionError("give texts or --input, not both")
    read = [{"text": text} for text in texts or ([] if rows.input else stdin_lines(rows.encoding, "embed"))]
    quiet_libraries(talk, model.offline)
    from llmkit.data.columns import column_for
    from llmkit.inference.embedding import DEFAULT_MODEL, Embedder
    from llmkit.inference.row_files import as_text, read_rows
    from llmkit.tasks import require_roles
    from llmkit.tasks.base.sequence_classification import TEXT_COLUMNS

    report = Report(talk)
    if model.model is None:
        report.say(f"model: {DEFAULT_MODEL}, the default; -m names another")
    embedder = Embedder.open(model, wanted, report)
    column = "text"
    if rows.input:
        read = read_rows(rows)
        require_roles(rows.columns, ("text",))
        column = column_for(read, "text", rows.columns, TEXT_COLUMNS)
        report.say(f"columns: text={column}")
    if talk.dry_run:
        report.say(f"dry run: {len(read)} texts for {embedder.resolved.name}, vectors of {embedder.dimension} numbers")
        return
    _answer(embedder, read, [as_text(row.get(column)) for row in read], rows, report)
    embedder.say_truncated(report)


def _answer(
    embedder: Embedder, read: list[dict[str, Any]], texts: list[str], rows: VectorRowOptions, report: Report
) -> None:
    """Write the vectors where they are wanted: into a file, as JSON lines, or as a table."""
    from llmkit.inference.embedding import numbers_of, write_vectors
    from llmkit.inference.row_files import Row, identity_of, process

    if rows.output and rows.output.suffix != ".jsonl":
        if rows.output.exists() and not rows.overwrite:
            raise OptionError(f"{str(rows.output)!r} exists; add --overwrite, or name another")
        write_vectors(rows.output, read, embedder.vectors(texts, rows.batch_size, report=report))
        report.say(f"wrote {len(read)} vectors of {embedder.dimension} numbers to {rows.output}")
        return
    if not rows.input and not rows.output and report.table_wanted:
        made = map(numbers_of, embedder.vectors(texts, rows.batch_size))
        report.table("", ["text", "numbers", "embedding"], [_cells(*pair) for pair in zip(texts, made, strict=True)])
        return

    def work(part: Any, start: int) -> list[Row]:
        made = embedder.vectors(texts[start : start + len(part)], rows.batch_size)
        return [{"embedding": numbers_of(vector)} for vector in made]

    typed = None if rows.input else texts
    process(read, work, rows, identity_of(rows, texts=typed, **embedder.identity()), report)


def _cells(text: str, vector: list[float] | None) -> list[str]:
    if vector is None:
        return [text, "", ""]
    first = " ".join(f"{number:.4f}" for number in vector[:SHOWN])
    return [text, str(len(vector)), f"{first}{' …' if len(vector) > SHOWN else ''}"]
