"""What a command is asked for: its groups as one object, in the order in which --help shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated

import typer

from llmkit.errors import OptionError
from llmkit.options.base import TalkOptions, named_twice
from llmkit.options.data import CorpusOptions, DataOptions, RowOptions, SplitOptions
from llmkit.options.embedding import EmbeddingOptions, RetrievalOptions, VectorRowOptions
from llmkit.options.endpoints import EndpointOptions, RequestOptions
from llmkit.options.evaluation import EvalOptions, GateOptions, ResultOptions
from llmkit.options.flags import flag
from llmkit.options.generation import GenerationOptions
from llmkit.options.launch import LaunchOptions
from llmkit.options.model import ModelOptions
from llmkit.options.tasks import AskOptions
from llmkit.options.training.adapters import AdapterOptions
from llmkit.options.training.distillation import DistillingOptions
from llmkit.options.training.pretraining import ArchitectureOptions
from llmkit.options.training.recipe import RecipeOptions, RunOptions, SeriesOptions, TrainingOptions, TunedRecipeOptions
from llmkit.options.urls import unsigned_fields

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
    launch: LaunchOptions = field(default_factory=LaunchOptions)

    def __post_init__(self) -> None:
        unsigned_fields(self)

    @property
    def identity(self) -> dict[str, object]:
        """The options that make two trainings the same one, by name, for run.json; those of a series come on top."""
        return {
            "dataset": self.dataset[0] if len(self.dataset) == 1 else self.dataset,
            **self.model.of_training,
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
    launch: LaunchOptions = field(default_factory=LaunchOptions)

    def __post_init__(self) -> None:
        unsigned_fields(self)

    @property
    def identity(self) -> dict[str, object]:
        """The options that make two trainings the same one, by name, for run.json."""
        return {
            "corpus": self.corpus,
            **self.model.of_training,
            **asdict(self.architecture),
            **asdict(self.data),
            **asdict(self.splits),
            **asdict(self.training),
            **self.recipe.given,
        }


@dataclass(frozen=True, kw_only=True)
class EvalRequest:
    """All that one evaluation is asked: what to measure, on what, what to demand, and where to write it."""

    dataset: Annotated[
        str,
        typer.Argument(help="glue/mrpc, org/name, org/name:config, a file, a folder, -, lm-eval:NAMES, a suite.yaml."),
    ]
    model: ModelOptions = field(default_factory=ModelOptions)
    data: DataOptions = field(default_factory=DataOptions)
    endpoint: EndpointOptions = field(default_factory=EndpointOptions)
    evaluation: EvalOptions = field(default_factory=EvalOptions)
    gates: GateOptions = field(default_factory=GateOptions)
    files: ResultOptions = field(default_factory=ResultOptions)
    launch: LaunchOptions = field(default_factory=LaunchOptions)

    def __post_init__(self) -> None:
        unsigned_fields(self)


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """What one call of generate takes."""

    prompts: Annotated[list[str] | None, typer.Argument(help="Prompts; without any, standard input is one.")] = None
    context: Annotated[
        str | None,
        flag(panel="Prompt", help="Question answering: the text that holds the answer, a file, or - (stdin)."),
    ] = None
    model: ModelOptions = field(default_factory=ModelOptions)
    asked: AskOptions = field(default_factory=AskOptions)
    endpoint: EndpointOptions = field(default_factory=EndpointOptions)
    decoding: GenerationOptions = field(default_factory=GenerationOptions)
    retrieval: RetrievalOptions = field(default_factory=RetrievalOptions)
    rows: RowOptions = field(default_factory=RowOptions)
    launch: LaunchOptions = field(default_factory=LaunchOptions)
    talk: TalkOptions = field(default_factory=TalkOptions)

    def check(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            OptionError: naming the flags.
        """
        if self.decoding.echo and (self.rows.input or self.talk.json):
            raise OptionError("--echo is for text: rows and --json hold the prompt anyway")
        problems = []
        if self.prompts and self.rows.input:
            problems.append("give prompts or --input, not both")
        if self.context is not None and self.rows.input:
            problems.append("--context is for the command line; a file's contexts are named by --column context=NAME")
        if self.context == "-" and not self.prompts:
            problems.append("--context - takes standard input, so the question must be an argument")
        if problems:
            raise OptionError(*problems)


@dataclass(frozen=True, kw_only=True)
class ClassifyRequest:
    """What one call of classify takes."""

    texts: Annotated[list[str] | None, typer.Argument(help="Texts; without any, each line of standard input.")] = None
    pair: Annotated[list[str] | None, flag(panel="Labels", help="The second text of a pair; one for each text.")] = None
    choices: Annotated[
        list[str] | None,
        flag("--choice", "--choices", panel="Labels", help="Multiple choice: an answer to choose from; repeatable."),
    ] = None
    model: ModelOptions = field(default_factory=ModelOptions)
    asked: AskOptions = field(default_factory=AskOptions)
    engine: RequestOptions = field(default_factory=RequestOptions)
    rows: RowOptions = field(default_factory=RowOptions)
    launch: LaunchOptions = field(default_factory=LaunchOptions)
    talk: TalkOptions = field(default_factory=TalkOptions)

    def check(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            OptionError: naming the flags.
        """
        problems = []
        if self.texts and self.rows.input:
            problems.append("give texts or --input, not both")
        for name, given, role in (("--pair", self.pair, "pair"), ("--choice", self.choices, "choices")):
            if given and self.rows.input:
                problems.append(f"{name} is for texts on the command line; a file's are named by --column {role}=NAME")
        twice = named_twice(self.choices or ())
        if twice is not None:
            problems.append(f"--choice {twice!r} is given twice; each choice once is wanted")
        texts = len(self.texts or ())
        if self.pair and len(self.pair) != texts and not self.rows.input:
            problems.append(f"{texts} texts and {len(self.pair)} --pair texts: one for each is wanted")
        if problems:
            raise OptionError(*problems)

    def inputs(self, texts: Sequence[str], role: str) -> list[dict[str, object]]:
        """Return the inputs of texts, by role; `role` is that of the texts."""
        choices = {"choices": self.choices} if self.choices else {}
        pairs = [{"pair": text} for text in self.pair] if self.pair else [{} for _ in texts]
        return [{role: text, **pair, **choices} for text, pair in zip(texts, pairs, strict=True)]


@dataclass(frozen=True, kw_only=True)
class EmbedRequest:
    """What one call of embed takes."""

    texts: Annotated[list[str] | None, typer.Argument(help="Texts; without any, each line of standard input.")] = None
    model: ModelOptions = field(default_factory=ModelOptions)
    embedding: EmbeddingOptions = field(default_factory=EmbeddingOptions)
    engine: RequestOptions = field(default_factory=RequestOptions)
    rows: VectorRowOptions = field(default_factory=VectorRowOptions)
    launch: LaunchOptions = field(default_factory=LaunchOptions)
    talk: TalkOptions = field(default_factory=TalkOptions)

    def check(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            OptionError: naming the flags.
        """
        if self.texts and self.rows.input:
            raise OptionError("give texts or --input, not both")
