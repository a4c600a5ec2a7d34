"""What a training is asked for: the groups of a command as one object, in the order in which --help shows them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Annotated

import typer

from llmkit.options.adapters import AdapterOptions
from llmkit.options.data import CorpusOptions, DataOptions, SplitOptions
from llmkit.options.distillation import DistillingOptions
from llmkit.options.model import ModelOptions
from llmkit.options.pretraining import ArchitectureOptions
from llmkit.options.training import RecipeOptions, RunOptions, SeriesOptions, TrainingOptions, TunedRecipeOptions

DATASET_HELP = "glue/mrpc, org/name, org/name:config, a file, a folder, or -; several with weights: a@2 b."
CORPUS_HELP = "Text files, folders, JSONL files or datasets; - is stdin."


@dataclass(frozen=True, kw_only=True)
class FinetuneRequest:
    """What `llmkit finetune` is asked for."""

    dataset: Annotated[list[str], typer.Argument(help=DATASET_HELP)]
    model: ModelOptions = field(default_factory=ModelOptions)
    data: DataOptions = field(default_factory=DataOptions)
    splits: SplitOptions = field(default_factory=SplitOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    recipe: TunedRecipeOptions = field(default_factory=TunedRecipeOptions)
    adapter: AdapterOptions = field(default_factory=AdapterOptions)
    distilling: DistillingOptions = field(default_factory=DistillingOptions)
    series: SeriesOptions = field(default_factory=SeriesOptions)
    run: RunOptions = field(default_factory=RunOptions)

    @property
    def identity(self) -> dict[str, object]:
        """The options that make two trainings the same one, by name, for run.json; those of a series come on top."""
        return {
            "dataset": self.dataset[0] if len(self.dataset) == 1 else self.dataset,
            **asdict(self.model),
            **asdict(self.data),
            **asdict(self.splits),
            **asdict(self.training),
            **self.adapter.given,
            **self.recipe.given,
            **self.distilling.given,
        }


@dataclass(frozen=True, kw_only=True)
class PretrainRequest:
    """What `llmkit pretrain` is asked for."""

    corpus: Annotated[list[str], typer.Argument(help=CORPUS_HELP)]
    model: ModelOptions = field(default_factory=ModelOptions)
    architecture: ArchitectureOptions = field(default_factory=ArchitectureOptions)
    data: CorpusOptions = field(default_factory=CorpusOptions)
    splits: SplitOptions = field(default_factory=SplitOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    recipe: RecipeOptions = field(default_factory=RecipeOptions)
    run: RunOptions = field(default_factory=RunOptions)

    @property
    def identity(self) -> dict[str, object]:
        """The options that make two trainings the same one, by name, for run.json."""
        return {
            "corpus": self.corpus,
            **asdict(self.model),
            **asdict(self.architecture),
            **asdict(self.data),
            **asdict(self.splits),
            **asdict(self.training),
            **self.recipe.given,
        }
