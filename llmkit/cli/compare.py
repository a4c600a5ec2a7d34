"""llmkit compare A B."""

from __future__ import annotations

from typing import Annotated

import typer

from llmkit.options import CompareOptions, TalkOptions
from llmkit.options.flags import option_groups, with_examples
from llmkit.output.report import Report, quiet_libraries


@with_examples(
    "llmkit compare old.json new.json",
    "llmkit compare old.json new.json --max-drop f1=0.01 --strict",
    "llmkit compare old.json new.json --metric f1 --markdown summary.md",
    "llmkit compare old.json new.json --json | jq .metrics.f1.p",
)
@option_groups
def compare(
    before: Annotated[str, typer.Argument(metavar="A", help="A result that `llmkit eval --output` wrote.")],
    after: Annotated[str, typer.Argument(metavar="B", help="A later one, of the same rows.")],
    options: CompareOptions,
    talk: TalkOptions,
) -> None:
    """Compare two saved results on the same rows, paired by content: differences, intervals, p, and rows that flipped.

    Accuracy is tested by McNemar's test (exact when few rows differ), every other metric by the paired bootstrap.
    """
    quiet_libraries(talk)
    from llmkit.evaluation.comparison import compare_saved
    from llmkit.evaluation.gates import require_met
    from llmkit.output import markdown, terminal

    report = Report(talk)
    compared = compare_saved(before, after, options)
    if talk.dry_run:
        report.say("dry run: both results can be read and their rows paired")
        return
    result = compared.as_dict()
    if options.markdown:
        markdown.write_comparison(options.markdown, result)
    if report.json:
        report.json_line(result)
    else:
        terminal.show_comparison(result, report)
    require_met(compared.gates)
