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

    Checkpoints and other files stay here. Files there that llmkit did not put there are named and stay, and a card that
    was edited by hand is kept, here and there. A dry run compares and lists what would go.
    """
    quiet_libraries(talk)
    from llmkit.runs.publishing import push as run_push

    report = Report(talk)
    pushed = run_push(run, repo, options, report, talk.dry_run)
    if report.json:
        report.json_line(pushed.as_dict())
    elif pushed.url is not None:
        report.line(pushed.url)
    pushed.changes.require_allowed(repo)  # of a dry run; a push was refused before
    if talk.dry_run:
        report.say("dry run: nothing was sent")
