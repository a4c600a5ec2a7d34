"""llmkit pretrain CORPUS..."""

from __future__ import annotations

import typer

from llmkit.cli.launch import run_on_ranks
from llmkit.cli.shared.named_files import require_named
from llmkit.cli.shared.trained import show_trained
from llmkit.options import PretrainRequest, TalkOptions
from llmkit.options.flags import option_groups, with_examples
from llmkit.output.report import Report, quiet_libraries


@with_examples(
    "llmkit pretrain corpus.txt",
    "llmkit pretrain books/ more.jsonl --size mini --epochs 10 -o runs/books",
    "llmkit pretrain corpus.txt --arch bert --whole-word-masking",
    "llmkit pretrain medical.txt -m HuggingFaceTB/SmolLM2-135M",
)
@option_groups
def pretrain(call: typer.Context, request: PretrainRequest, talk: TalkOptions) -> None:
    """Train a language model on raw text: from scratch, or going on with a model (-m).

    Trains a tokenizer too, unless one is given. llama and gpt2 learn causal-lm, bert masked-lm, t5 seq2seq-lm.
    """
    run_on_ranks(call, request.launch, request.model.device, talk)
    quiet_libraries(talk, request.model.offline)
    require_named(request.model, request.corpus)
    from llmkit.training.pretraining import run_pretrain

    report = Report(talk)
    show_trained(run_pretrain(request, report, talk.dry_run), report)
