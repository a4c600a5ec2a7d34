"""Option groups: each flag declared once, with its type, default, help and limits.

Commands take groups (`flags.option_groups`) or a request, which is all of them; Python callers build them. A group is
valid once it exists: its limits are checked when it is built, and all its problems are reported together, spelled as
the user spells flags.
"""

from __future__ import annotations

from llmkit.options.base import Options, TalkOptions, print_version
from llmkit.options.data import (
    CorpusOptions,
    DataOptions,
    FileOptions,
    ReadingOptions,
    RowOptions,
    SplitOptions,
    SurveyOptions,
)
from llmkit.options.embedding import EmbeddingOptions, RetrievalOptions, VectorRowOptions
from llmkit.options.endpoints import EndpointOptions, EngineOptions, RequestOptions, ServeOptions
from llmkit.options.evaluation import CompareOptions, EvalOptions, GateOptions, ResultOptions
from llmkit.options.generation import ChatOptions, DecodingOptions, GenerationOptions
from llmkit.options.launch import LaunchOptions
from llmkit.options.model import ModelOptions
from llmkit.options.planning import PlanOptions
from llmkit.options.publishing import PushOptions
from llmkit.options.requests import (
    ClassifyRequest,
    EmbedRequest,
    EvalRequest,
    FinetuneRequest,
    GenerateRequest,
    PretrainRequest,
)
from llmkit.options.tasks import AskOptions, TaskFlags
from llmkit.options.training.adapters import AdapterOptions, MergeOptions
from llmkit.options.training.distillation import DistillingOptions
from llmkit.options.training.pretraining import ArchitectureOptions
from llmkit.options.training.recipe import RecipeOptions, RunOptions, SeriesOptions, TrainingOptions, TunedRecipeOptions

__all__ = [
    "AdapterOptions",
    "ArchitectureOptions",
    "AskOptions",
    "ChatOptions",
    "ClassifyRequest",
    "CompareOptions",
    "CorpusOptions",
    "DataOptions",
    "DecodingOptions",
    "DistillingOptions",
    "EmbedRequest",
    "EmbeddingOptions",
    "EndpointOptions",
    "EngineOptions",
    "EvalOptions",
    "EvalRequest",
    "FileOptions",
    "FinetuneRequest",
    "GateOptions",
    "GenerateRequest",
    "GenerationOptions",
    "LaunchOptions",
    "MergeOptions",
    "ModelOptions",
    "Options",
    "PlanOptions",
    "PretrainRequest",
    "PushOptions",
    "ReadingOptions",
    "RecipeOptions",
    "RequestOptions",
    "ResultOptions",
    "RetrievalOptions",
    "RowOptions",
    "RunOptions",
    "SeriesOptions",
    "ServeOptions",
    "SplitOptions",
    "SurveyOptions",
    "TalkOptions",
    "TaskFlags",
    "TrainingOptions",
    "TunedRecipeOptions",
    "VectorRowOptions",
    "print_version",
]
