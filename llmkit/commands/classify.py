"""llmkit classify TEXT..."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmkit.commands.helping import with_examples
from llmkit.commands.standard_input import read_stdin
from llmkit.errors import OptionError
from llmkit.flags import flag, option_groups
from llmkit.options import ModelOptions, RowOptions, TalkOptions
from llmkit.report import Report, quiet_libraries

if TYPE_CHECKING:
    from llmkit.inference import Classifier

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
    top: Annotated[int | None, flag(panel="Labels", help="Show the probabilities of only the best N labels.")] = None,
    model: ModelOptions,
    rows: RowOptions,
    talk: TalkOptions,
) -> None:
    """Label texts with a finetuned model: names and probabilities, or a number for a regression.

    Prints a table on a terminal, and a JSON line for each text in a pipe or under --json.
    """
    _check(texts, pair, top, rows)
    inputs = texts or ([] if rows.input else _stdin_lines(rows.encoding))
    quiet_libraries(talk, model.offline)
    from llmkit.inference import Classifier

    report = Report(talk)
    if model.model is None:
        report.say(f"model: {DEFAULT_MODEL}, the default; -m names another")
    classifier = Classifier(model, report, DEFAULT_MODEL)
    if rows.input:
        _file(classifier, rows, top, talk, report)
    elif talk.dry_run:
        report.say(f"dry run: {len(inputs)} texts for {classifier.located.name}")
    else:
        _shell(classifier, inputs, pair, rows, top, report)


def _check(texts: list[str] | None, pair: list[str] | None, top: int | None, rows: RowOptions) -> None:
    problems = []
    if top is not None and top < 1:
        problems.append(f"--top must be at least 1, not {top}")
    if texts and rows.input:
        problems.append("give texts or --input, not both")
    if pair and rows.input:
        problems.append("--pair is for texts on the command line; a file's pairs are named by --column pair=NAME")
    if pair and len(pair) != len(texts or ()) and not rows.input:
        problems.append(f"{len(texts or ())} texts and {len(pair)} --pair texts: one for each is wanted")
    if problems:
        raise OptionError(*problems)


def _stdin_lines(encoding: str) -> list[str]:
    if sys.stdin is None or sys.stdin.isatty():
        raise OptionError('no text: llmkit classify "a text", or send lines by standard input')
    lines = read_stdin(encoding).removesuffix("\n").split("\n")
    return [line.removesuffix("\r") for line in lines]


def _shell(
    classifier: Classifier, texts: list[str], pair: list[str] | None, rows: RowOptions, top: int | None, report: Report
) -> None:
    answers = classifier.answer(texts, pair, rows.batch_size, top)
    pairs = [{"pair": second} for second in pair] if pair else [{} for _ in texts]
    records = [{"text": t, **p, **answer} for t, p, answer in zip(texts, pairs, answers, strict=True)]
    if not report.table_wanted:
        for record in records:
            report.record(record)
        return
    report.table("", ["text", "label", "score"], [_cells(record) for record in records])


def _cells(record: dict[str, Any]) -> list[str]:
    """Return a table row: the text, the labels, and their scores one below the other."""
    text = record["text"] + (f"\n{record['pair']}" if "pair" in record else "")
    if record["score"] is None:
        return [text, "", ""]
    scores = record.get("scores")
    if scores is None:  # a regression
        return [text, "", f"{record['score']:.4f}"]
    return [text, "\n".join(scores), "\n".join(f"{score:.4f}" for score in scores.values())]


def _file(classifier: Classifier, options: RowOptions, top: int | None, talk: TalkOptions, report: Report) -> None:
    from llmkit.rowfiles import Row, as_text, identity_of, process, read_rows

    rows = read_rows(options)
    columns = classifier.columns(rows, options.columns)
    report.say(f"columns: {', '.join(f'{role}={name}' for role, name in columns.items())}")
    if talk.dry_run:
        report.say(f"dry run: {len(rows)} rows for {classifier.located.name}")
        return

    def work(part: Any, start: int) -> list[Row]:
        texts = [as_text(row.get(columns["text"])) for row in part]
        pairs = [as_text(row.get(columns["pair"])) for row in part] if "pair" in columns else None
        return classifier.answer(texts, pairs, options.batch_size, top)

    located = classifier.located
    identity = identity_of(options, model=located.name, weights=located.stamp, dtype=classifier.options.dtype, top=top)
    process(rows, work, options, identity, report)
