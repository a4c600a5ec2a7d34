"""llmkit pretrain CORPUS..."""

from __future__ import annotations

from typing import Annotated

import typer

from llmkit.cli.shared.trained import show_trained
from llmkit.options import (
    ArchitectureOptions,
    CorpusOptions,
    ModelOptions,
    RecipeOptions,
    RunOptions,
    SplitOptions,
    TalkOptions,
    TrainingOptions,
)
from llmkit.options.flags import option_groups, with_examples
from llmkit.output.report import Report, quiet_libraries


@with_examples(
    "llmkit pretrain corpus.txt",
    "llmkit pretrain books/ more.jsonl --size mini --epochs 10 -o runs/books",
    "llmkit pretrain corpus.txt --arch bert --whole-word-masking",
    "llmkit pretrain medical.txt -m HuggingFaceTB/SmolLM2-135M",
)
@option_groups
def pretrain(
    corpus: Annotated[list[str], typer.Argument(help="Text files, folders, JSONL files or datasets; - is stdin.")],
    model: ModelOptions,
    architecture: ArchitectureOptions,
    data: CorpusOptions,
    splits: SplitOptions,
    training: TrainingOptions,
    recipe: RecipeOptions,
    run: RunOptions,
    talk: TalkOptions,
) -> None:
    """Train a language model on raw text: from scratch, or going on with a model (-m).

    Trains a tokenizer too, unless one is given. llama and gpt2 learn causal-lm, bert masked-lm, t5 seq2seq-lm.
    """
    quiet_libraries(talk, model.offline)
    from llmkit.training.pretraining import pretrain as run_pretrain

    report = Report(talk)
    trained = run_pretrain(corpus, model, architecture, data, splits, training, run, report, talk.dry_run, recipe)
    show_trained(trained, report)
