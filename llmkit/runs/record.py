"""What run.json says of a run; the README of the run folder, eval and push read it."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from llmkit.output.documents import JsonObject, ReferenceRecord
from llmkit.output.result import EvaluationResult, SearchResult, SeedsResult, ThroughputRecord, TrainingSummary


class ShareRecord(TypedDict):
    """How many of a model's weights are trained."""

    parameters: int
    of: int
    share: float


class ModelRecord(TypedDict):
    """The model that a training started from."""

    name: str
    commit: str | None
    parameters: int
    trainable: ShareRecord
    adapter: bool


# the model that a student learned from; `layers`, from 1, are those that it was cut from
TeacherRecord = TypedDict(
    "TeacherRecord",
    {
        "name": str,
        "revision": str | None,
        "commit": str | None,
        "sketch": str,  # the fingerprint of its weights
        "layers": NotRequired[list[int]],
        "mix": float,
        "temperature": float,
        "states": float,
    },
)


class CutRecord(TypedDict):
    """How validation rows were cut from a split."""

    split: str
    share: float
    seed: int
    limit: int | None
    column: str | None
    document: NotRequired[str]


class ComponentOfMix(TypedDict):
    """One dataset of a mix."""

    reference: str
    commit: str | None
    weight: float
    train_rows: int
    validation_rows: int
    validation: str
    cut: CutRecord | None


class DataRecord(TypedDict):
    """What was trained on and measured on: enough to find the same rows again."""

    reference: str
    commit: str | None
    columns: dict[str, str]
    labels: list[str] | None
    validation: str
    cut: CutRecord | None
    mix: list[ComponentOfMix] | None
    streaming: NotRequired[bool]
    head_sha256: NotRequired[str]  # of the first rows of a stream, in place of the three that follow
    train_rows: NotRequired[int]
    train_sha256: NotRequired[str]
    train_tokens: NotRequired[int]
    validation_rows: int
    validation_sha256: str


class RecipeRecord(TypedDict):
    """How it was trained: the fields of `training.loop.recipe.Recipe`."""

    epochs: float
    max_steps: int | None
    batch_size: int
    learning_rate: float
    seed: int
    measurements: int
    warmup: float
    schedule: str
    weight_decay: float
    betas: list[float]
    accumulation: int
    patience: int | None
    label_smoothing: float
    class_weights: list[float] | None
    checkpoint_activations: bool
    overrides: dict[str, object]


class FitRecord(TypedDict):
    """What the loop of a trial did."""

    steps: int
    seconds: float
    best_step: int | None
    best_value: float | None
    throughput: NotRequired[ThroughputRecord | None]


class GitRecord(TypedDict):
    """The state of the working directory."""

    commit: str
    dirty: bool


class Environment(TypedDict):
    """What figures may depend on beside the run itself."""

    versions: dict[str, str]
    platform: str
    git: GitRecord | None


class DifferingAnswer(TypedDict):
    """A prompt that a merged model answers otherwise than the adapter on its base did."""

    prompt: JsonObject
    before: object
    after: object


class MergedRecord(TypedDict):
    """How far a merged model answers as the adapter on its base did."""

    schema: int
    model: str
    adapter: str
    base: str
    prompts: int
    equal: int
    agreement: float
    largest_difference: float | None
    differing: list[DifferingAnswer]


class RunRecord(TypedDict, total=False):
    """run.json: a run has those fields that it has come to; `options` are those that were given, by name."""

    schema: int
    status: str  # running, stopped, failed (a trial) or finished
    command: str
    task: str
    options: JsonObject
    model: ModelRecord
    teacher: TeacherRecord | None
    reference: ReferenceRecord | None
    data: DataRecord
    max_length: int
    recipe: RecipeRecord
    dtype: Literal[
        "auto", "float32", "bfloat16", "float16"
    ]  # in which it computes: the value of --dtype, or what `auto` came to
    versions: dict[str, str]
    platform: str
    git: GitRecord | None
    result: EvaluationResult  # that of eval, on the validation rows
    training: TrainingSummary
    fit: FitRecord  # of a trial
    seeds: SeedsResult  # of --seeds
    search: SearchResult  # of --search
    merged: MergedRecord  # of merge


def split_special_tokens_of(run_record: RunRecord) -> bool | None:
    """Return whether control tokens that texts spelled were text in a training; None: as is usual for its task.

    One that was begun before there was the option read them as the tokens.
    """
    is_finetuned = run_record.get("command") in ("finetune", "merge") and "options" in run_record
    known = run_record.get("options", {}).get("split_special_tokens", False if is_finetuned else None)
    return known if isinstance(known, bool) else None
