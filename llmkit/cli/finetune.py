"""llmkit finetune DATASET."""

from __future__ import annotations

import typer

from llmkit.cli.launch import run_on_ranks
from llmkit.cli.shared.named_files import require_named
from llmkit.cli.shared.trained import show_trained
from llmkit.options import FinetuneRequest, TalkOptions
from llmkit.options.flags import option_groups, with_examples
from llmkit.output.report import Report, quiet_libraries


@with_examples(
    "llmkit finetune glue/mrpc",
    "llmkit finetune reviews.csv -m distilbert/distilbert-base-uncased -o runs/reviews",
    'llmkit finetune glue/sst2 --train-split "train[:10%]" --epochs 1 --warmup 100',
    "llmkit finetune glue/cola -m sentence-transformers/all-MiniLM-L6-v2 --search 20 -o runs/cola",
    "llmkit finetune glue/mrpc -m sentence-transformers/all-MiniLM-L6-v2 --lora -o runs/mrpc-lora",
    "llmkit finetune glue/mrpc --teacher runs/mrpc --student-layers 2 -o runs/mrpc-small",
    "llmkit finetune my.jsonl --column text=body --column label=stars --dry-run",
    "llmkit finetune reviews.csv@2 tweets.jsonl -o runs/both",
)
@option_groups
def finetune(call: typer.Context, request: FinetuneRequest, talk: TalkOptions) -> None:
    """Finetune a model on a dataset; the task is inferred from its columns.

    The best checkpoint by the task's metric is kept, and measured with the code of `llmkit eval`.
    """
    alone = "the workers of --search are processes that train different trials" if request.series.workers > 1 else None
    run_on_ranks(call, request.launch, request.model.device, talk, alone)
    quiet_libraries(talk, request.model.offline)
    require_named(request.model, request.dataset)
    from llmkit.training.finetuning import run_finetune

    report = Report(talk)
    show_trained(run_finetune(request, report, talk.dry_run), report)
