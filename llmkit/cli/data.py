"""llmkit data DATASET."""

from __future__ import annotations

from typing import Annotated

import typer

from llmkit.cli.shared.named_files import require_named
from llmkit.options import DataOptions, ModelOptions, SurveyOptions, TalkOptions
from llmkit.options.flags import option_groups, with_examples
from llmkit.output.atomic import write_whole
from llmkit.output.report import Report, quiet_libraries, to_json


@with_examples(
    "llmkit data glue/mrpc",
    "llmkit data reviews.csv -m distilbert/distilbert-base-uncased --max-length 128",
    "llmkit data my.jsonl --near --picture my.png",
    "llmkit data glue/mrpc --json | jq '.findings[].sentence'",
)
@option_groups
def data(
    dataset: Annotated[str, typer.Argument(help="glue/mrpc, org/name, org/name:config, a file, a folder, or -.")],
    model: ModelOptions,
    reading: DataOptions,
    looking: SurveyOptions,
    talk: TalkOptions,
) -> None:
    """Look at a dataset before training on it: what it holds, what is wrong with it, and what a model will see.

    Copies, rows of one split in another, contradictions, labels and lengths are counted exactly. Without -m, tokens are
    those of the built-in model.
    """
    quiet_libraries(talk, model.offline)
    require_named(model, [dataset])
    from llmkit.inspection.survey import survey
    from llmkit.output import survey as views

    report = Report(talk)
    surveyed = survey(dataset, model, reading, looking, report, talk.dry_run)
    if surveyed is None:
        report.say("dry run: the dataset can be read, nothing was counted")
        return
    result = surveyed.as_dict()
    if looking.output:
        write_whole(looking.output, to_json(result, indent=1) + "\n")
    if looking.picture:
        views.draw_survey(looking.picture, result)
    views.show_survey(result, report)
