"""llmkit classify TEXT..."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from llmkit.cli.launch import run_on_ranks
from llmkit.cli.shared.answers import SERVER, answer_file, answer_texts, prepare_to_ask, require_input
from llmkit.cli.shared.stdin import stdin_lines
from llmkit.options import ClassifyRequest
from llmkit.options.flags import option_groups, with_examples
from llmkit.output.report import Report

if TYPE_CHECKING:
    from llmkit.inference.prediction import Predictor

DEFAULT_MODEL = "distilbert/distilbert-base-uncased-finetuned-sst-2-english"
ONE_PROCESS = "texts on the command line are labelled in one; --input FILE is for many"


@with_examples(
    'llmkit classify "What a lovely film."',
    'llmkit classify -m runs/mrpc "He left." --pair "He went away."',
    "llmkit classify -m runs/reviews --input reviews.csv --output labelled.csv",
    "cat lines.txt | llmkit classify -m runs/reviews --top 1 | jq .label",
)
@option_groups
def classify(call: typer.Context, *, request: ClassifyRequest) -> None:
    """Label texts with a finetuned model: names and probabilities, entities, the best choice, or a number.

    Prints a table on a terminal, and a JSON line for each text in a pipe or under --json.
    """
    request.check()
    require_input(request.rows)
    rows, talk = request.rows, request.talk
    one_process = SERVER if request.engine.asks_server else None if rows.input else ONE_PROCESS
    run_on_ranks(call, request.launch, request.model.device, talk, one_process)
    texts = request.texts or ([] if rows.input else stdin_lines(rows.encoding, "classify"))
    prepare_to_ask(request.model, talk)
    from llmkit.inference.answering import resolve_task_and_model
    from llmkit.inference.prediction import Predictor

    report = Report(talk)
    if request.model.model is None:
        report.say(f"model: {DEFAULT_MODEL}, the default; -m names another")
    roles = [role for role, given in (("pair", request.pair), ("choices", request.choices)) if given]
    task, resolved = resolve_task_and_model("classify", request.model, request.asked, report, DEFAULT_MODEL, roles)
    if request.engine.asks_server:
        from llmkit.inference.endpoints.opening import served_predictor

        with served_predictor(task, resolved, request, report) as predictor:
            _label(predictor, texts, request, report)
        return
    _label(Predictor(task, resolved, request.model, request.asked), texts, request, report)


def _label(predictor: Predictor, texts: list[str], request: ClassifyRequest, report: Report) -> None:
    """Label texts, or the rows of a file, in the form that is asked for."""
    rows, talk = request.rows, request.talk
    if rows.input:
        answer_file(predictor, rows, request.launch, talk, report)
    else:
        answer_texts(predictor, request.inputs(texts, predictor.role), rows, talk, report)
