"""llmkit embed TEXT..."""

from __future__ import annotations

import typer

from llmkit.cli.launch import run_on_ranks
from llmkit.cli.shared.answers import answer_file, answer_texts
from llmkit.cli.shared.stdin import stdin_lines
from llmkit.options import EmbedRequest
from llmkit.options.flags import option_groups, with_examples
from llmkit.output.report import Report, quiet_libraries

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
    model, rows, talk = request.model, request.rows, request.talk
    run_on_ranks(call, request.launch, model.device, talk, None if rows.input else ONE_PROCESS)
    texts = request.texts or ([] if rows.input else stdin_lines(rows.encoding, "embed"))
    quiet_libraries(talk, model.offline)
    from llmkit.inference.embedding import DEFAULT_MODEL, Embedder

    report = Report(talk)
    if model.model is None:
        report.say(f"model: {DEFAULT_MODEL}, the default; -m names another")
    embedder = Embedder.open(model, request.embedding, report)
    if texts and report.table_wanted and not rows.output:
        answer_texts(embedder, [{embedder.role: text} for text in texts], rows, talk, report)
    else:
        answer_file(embedder, rows, request.launch, talk, report, texts)
