"""llmkit embed TEXT..."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from llmkit.cli.launch import run_on_ranks
from llmkit.cli.shared.answers import SERVER, answer_file, answer_texts, prepare_to_ask, require_input
from llmkit.cli.shared.stdin import stdin_lines
from llmkit.options import EmbedRequest
from llmkit.options.flags import option_groups, with_examples
from llmkit.output.report import Report

if TYPE_CHECKING:
    from llmkit.inference.embedding import Embedder

ONE_PROCESS = "texts on the command line are embedded in one; --input FILE is for many"


@with_examples(
    'llmkit embed "A fox ran." "The fox was running."',
    "llmkit embed --input reviews.csv --output vectors.npy",
    "llmkit embed -m runs/reviews --pooling cls --input reviews.jsonl --output vectors.parquet --column text=body",
    "cat lines.txt | llmkit embed | jq -c .embedding",
)
@option_groups
def embed(call: typer.Context, *, request: EmbedRequest) -> None:
    """Turn texts into vectors: texts of like meaning are near each other in the space of an embedding model.

    Any model with hidden states will do, a decoder too. Prints a table on a terminal, and a JSON line for each text in
    a pipe or under --json. A blank text has no vector: null, or NaN in a .npy file.
    """
    request.check()
    require_input(request.rows)
    model, rows, talk = request.model, request.rows, request.talk
    one_process = SERVER if request.engine.asks_server else None if rows.input else ONE_PROCESS
    run_on_ranks(call, request.launch, model.device, talk, one_process)
    texts = request.texts or ([] if rows.input else stdin_lines(rows.encoding, "embed"))
    prepare_to_ask(model, talk)
    from llmkit.inference.embedding import DEFAULT_MODEL, Embedder

    report = Report(talk)
    if model.model is None:
        report.say(f"model: {DEFAULT_MODEL}, the default; -m names another")
    if request.engine.asks_server:
        from llmkit.inference.endpoints.opening import served_embedder

        with served_embedder(request, report) as embedder:
            _embed(embedder, texts, request, report)
        return
    _embed(Embedder.open(model, request.embedding, report), texts, request, report)


def _embed(embedder: Embedder, texts: list[str], request: EmbedRequest, report: Report) -> None:
    """Embed texts, or the rows of a file, in the form that is asked for."""
    rows, talk = request.rows, request.talk
    if texts and report.table_wanted and not rows.output:
        answer_texts(embedder, [{embedder.role: text} for text in texts], rows, talk, report)
    else:
        answer_file(embedder, rows, request.launch, talk, report, texts)
