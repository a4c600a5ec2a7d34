"""llmkit push RUN REPO."""

from __future__ import annotations

from typing import Annotated

import typer

from llmkit.options import PushOptions, TalkOptions
from llmkit.options.flags import option_groups, with_examples
from llmkit.output.report import Report, quiet_libraries


@with_examples(
    "llmkit push runs/mrpc me/mrpc-minilm",
    "llmkit push runs/mrpc me/mrpc-minilm --private --message 'Three epochs'",
    "llmkit push runs/mrpc me/mrpc-minilm --dry-run",
    "llmkit push runs/mrpc me/mrpc-minilm --json | jq .commit",
)
@option_groups
def push(
    run: Annotated[str, typer.Argument(help="A finished run folder.")],
    repo: Annotated[str, typer.Argument(help="Its name on the Hub: owner/name.")],
    options: PushOptions,
    talk: TalkOptions,
) -> None:
    """Put a finished run on the Hub: the model, its card and its figures; of what is there, only what changed.

    Checkpoints and other files stay here. A card that was edited by hand is kept, here and there.
    """
    quiet_libraries(talk)
    from llmkit.runs.publishing import push as run_push

    report = Report(talk)
    pushed = run_push(run, repo, options, report, talk.dry_run)
    if pushed is None:
        report.say("dry run: everything checked here, the Hub was not asked")
    elif report.json:
        report.json_line(pushed.as_dict())
    else:
        report.line(pushed.url)
