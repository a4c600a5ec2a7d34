"""llmkit merge ADAPTER."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from llmkit.cli.shared.named_files import require_named
from llmkit.options import MergeOptions, ModelOptions, TalkOptions
from llmkit.options.flags import option_groups, with_examples
from llmkit.output.report import Report, quiet_libraries


@with_examples(
    "llmkit merge runs/mrpc-lora -o runs/mrpc-merged",
    "llmkit merge runs/chat-lora --prompts questions.txt --min-agreement 0.95",
    "llmkit merge runs/mrpc-lora -m models/all-MiniLM-L6-v2 --dry-run",
    "llmkit merge runs/mrpc-lora --json | jq .agreement",
)
@option_groups
def merge(
    adapter: Annotated[str, typer.Argument(help="An adapter: a run folder of finetune --lora, or a Hub name.")],
    options: MergeOptions,
    model: ModelOptions,
    talk: TalkOptions,
) -> None:
    """Fold an adapter into its base: a plain model folder, compared with the adapter on the same prompts.

    -m names the base, where it is not where the adapter says.
    """
    quiet_libraries(talk, model.offline)
    require_named(replace(model, model=adapter))
    from llmkit.training.merging import merge as run_merge

    report = Report(talk)
    merged = run_merge(adapter, options, model, report, talk.dry_run)
    if merged is None:
        report.say("dry run: everything checked, nothing merged, no file written")
        return
    if report.json:
        report.json_line(merged.as_dict())
    else:
        report.line(f"agreement: {merged.agreement:.4f} ({merged.equal} of {merged.compared} answers as before)")
        if merged.largest_difference is not None:
            report.line(f"largest difference: {merged.largest_difference:.2g}")
        report.say(f"saved in {merged.folder}")
    merged.require(options.min_agreement)
