"""Option groups: each flag declared once, with its type, default, help and limits.

Commands take groups (`flags.option_groups`), Python callers build them. A group is valid once it exists: its limits are
checked when it is built, and all its problems are reported together, spelled as the user spells flags.
"""

from __future__ import annotations

from llmkit.options.adapters import AdapterOptions, MergeOptions
from llmkit.options.base import Options, TalkOptions, print_version
from llmkit.options.distilling import DistillingOptions
from llmkit.options.embedding import EmbeddingOptions, RetrievalOptions, VectorRowOptions
from llmkit.options.measuring import CompareOptions, EvalOptions, GateOptions, ResultOptions
from llmkit.options.pushing import PushOptions
from llmkit.options.recipe import RecipeOptions, SeriesOptions, TunedRecipeOptions
from llmkit.options.shared import (
    CorpusOptions,
    DataOptions,
    ModelOptions,
    ReadingOptions,
    RowOptions,
    RunOptions,
    SplitOptions,
    TrainingOptions,
)
from llmkit.options.task_flags import AskOptions, TaskFlags
from llmkit.options.verbs import ArchitectureOptions, DecodingOptions, GenerationOptions, SurveyOptions

__all__ = [
    "AdapterOptions",
    "ArchitectureOptions",
    "AskOptions",
    "CompareOptions",
    "CorpusOptions",
    "DataOptions",
    "DecodingOptions",
    "DistillingOptions",
    "EmbeddingOptions",
    "EvalOptions",
    "GateOptions",
    "GenerationOptions",
    "MergeOptions",
    "ModelOptions",
    "Options",
    "PushOptions",
    "ReadingOptions",
    "RecipeOptions",
    "ResultOptions",
    "RetrievalOptions",
    "RowOptions",
    "RunOptions",
    "SeriesOptions",
    "SplitOptions",
    "SurveyOptions",
    "TalkOptions",
    "TaskFlags",
    "TrainingOptions",
    "TunedRecipeOptions",
    "VectorRowOptions",
    "print_version",
]
