"""llmkit classify TEXT..."""

from __future__ import annotations

from typing import Annotated

import typer

from llmkit.cli.shared.answers import answer_file, answer_texts
from llmkit.cli.shared.stdin import stdin_lines
from llmkit.errors import OptionError
from llmkit.options import AskOptions, ModelOptions, RowOptions, TalkOptions
from llmkit.options.flags import flag, option_groups, with_examples
from llmkit.output.report import Report, quiet_libraries

DEFAULT_MODEL = "distilbert/distilbert-base-uncased-finetuned-sst-2-english"


@with_examples(
    'llmkit classify "What a lovely film."',
    'llmkit classify -m runs/mrpc "He left." --pair "He went away."',
    "llmkit classify -m runs/reviews --input reviews.csv --output labelled.csv",
    "cat lines.txt | llmkit classify -m runs/reviews --top 1 | jq .label",
)
@option_groups
def classify(
    texts: Annotated[list[str] | None, typer.Argument(help="Texts; without any, each line of standard input.")] = None,
    *,
    pair: Annotated[
        list[str] | None, flag(panel="Labels", help="The second text of a pair; one for each text.")
    ] = None,
    choices: Annotated[
        list[str] | None,
        flag("--choice", "--choices", panel="Labels", help="Multiple choice: an answer to choose from; repeatable."),
    ] = None,
    model: ModelOptions,
    asked: AskOptions,
    rows: RowOptions,
    talk: TalkOptions,
) -> None:
    """Label texts with a finetuned model: names and probabilities, entities, the best choice, or a number.

    Prints a table on a terminal, and a JSON line for each text in a pipe or under --json.
    """
    _check(texts, pair, choices, rows)
    inputs = texts or ([] if rows.input else stdin_lines(rows.encoding, "classify"))
    quiet_libraries(talk, model.offline)
    from llmkit.inference.prediction import Predictor, find

    report = Report(talk)
    if model.model is None:
        report.say(f"model: {DEFAULT_MODEL}, the default; -m names another")
    roles = [role for role, value in (("pair", pair), ("choices", choices)) if value]
    predictor = Predictor(*find("classify", model, asked, report, DEFAULT_MODEL, roles), model, asked)
    if rows.input:
        answer_file(predictor, rows, talk, report)
        return
    choice = {"choices": choices} if choices else {}
    more = [{"pair": text, **choice} for text in pair] if pair else [choice for _ in inputs]
    answer_texts(predictor, inputs, more, rows, talk, report)


def _check(texts: list[str] | None, pair: list[str] | None, choices: list[str] | None, rows: RowOptions) -> None:
    problems = []
    if texts and rows.input:
        problems.append("give texts or --input, not both")
    for flag_name, given, role in (("--pair", pair, "pair"), ("--choice", choices, "choices")):
        if given and rows.input:
            problems.append(f"{flag_name} is for texts on the command line; a file's are named by --column {role}=NAME")
    if pair and len(pair) != len(texts or ()) and not rows.input:
        problems.append(f"{len(texts or ())} texts and {len(pair)} --pair texts: one for each is wanted")
    if problems:
        raise OptionError(*problems)
