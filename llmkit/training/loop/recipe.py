"""How one run trains: what flags, defaults, the model's size and the data came to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from datasets import Dataset
from transformers import PretrainedConfig

from llmkit import models
from llmkit.distributed.world import World, world
from llmkit.errors import OptionError
from llmkit.options import LaunchOptions, RecipeOptions, TrainingOptions, TunedRecipeOptions
from llmkit.output.report import Report
from llmkit.tasks import Task, TaskSettings

FIELD_OF_OPTION = {"accumulate": "accumulation"}  # where an option has another name than its field of the recipe


@dataclass(frozen=True)
class Recipe:
    """How one run trains."""

    epochs: float
    max_steps: int | None
    batch_size: int  # rows of one forward pass
    learning_rate: float | None  # None: that of the model's size, which is not known yet: see `with_learning_rate`
    seed: int
    measurements: int  # how many times it is measured on the validation rows
    warmup: float = 0.06  # share of the steps; from 1 on their number
    schedule: str = "linear"
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    accumulation: int = 1  # batches of one step
    patience: int | None = None  # measurements without a better one after which it stops
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None  # in the order of the labels
    checkpoint_activations: bool = False
    overrides: dict[str, object] = field(default_factory=dict)

    def steps(self, rows: int) -> int:
        """Return how many optimizer steps it takes on so many rows."""
        per_epoch = max(1, math.ceil(math.ceil(rows / self.batch_size) / self.accumulation))
        return self.max_steps or max(1, math.ceil(per_epoch * self.epochs))

    @property
    def rows_per_step(self) -> str:
        """A phrase for the user: `16`, or `16 (2 x 8)`."""
        total = self.accumulation * self.batch_size
        return str(total) if self.accumulation == 1 else f"{total} ({self.accumulation} x {self.batch_size})"

    @property
    def half(self) -> int:
        """The most rows, up to half a batch, that divide it; 0 of one row."""
        return next((each for each in range(self.batch_size // 2, 0, -1) if self.batch_size % each == 0), 0)

    @property
    def halves(self) -> str | None:
        """The flags of the same training with a half at once; None where that is one row."""
        times = self.accumulation * self.batch_size
        return f"--batch-size {self.half} --accumulate {times // self.half}" if self.half else None

    @property
    def remedy(self) -> str:
        """A phrase for the user on what takes less memory."""
        others = "--checkpoint-activations or a smaller --max-length"
        if self.halves is None:
            return f"with one row at once; try {others}"
        return f"with {self.batch_size} rows at once; try {self.halves}, which learns the same, {others}"

    def by_option(self) -> dict[str, Any]:
        """Return its values by the names of the options that set them."""
        values = asdict(self)
        return values | {option: values[name] for option, name in FIELD_OF_OPTION.items()}

    def with_options(self, values: Mapping[str, Any]) -> Recipe:
        """Return the recipe with other values, by the names of their options; those of no recipe are passed over."""
        fields = {FIELD_OF_OPTION.get(option, option): value for option, value in values.items()}
        changes = {name: value for name, value in fields.items() if name in vars(self)}
        if "epochs" in changes:
            changes["measurements"] = measurements(changes["epochs"], self.max_steps)
        return replace(self, **changes)


def measurements(epochs: float, max_steps: int | None) -> int:
    """Return how many times a finetuning is measured: after each epoch, or three times where steps are counted."""
    return 3 if max_steps else max(1, math.ceil(epochs))


def finetuning_recipe(task: Task, options: TrainingOptions, batch_size: int, overrides: dict[str, object]) -> Recipe:
    """Return how a model is finetuned for a task unless `RecipeOptions` say more; `batch_size` is the usual one."""
    epochs = options.epochs or task.default_epochs
    return Recipe(
        epochs=epochs,
        max_steps=options.max_steps,
        batch_size=options.rows or batch_size,
        learning_rate=options.learning_rate,
        seed=options.seed,
        measurements=measurements(epochs, options.max_steps),
        overrides=overrides,
    )


def learning_rate_for(parameters: int, config: PretrainedConfig, lr_multiplier: float = 1) -> float:
    """Return a finetuning rate: 1e-4 at 22 million parameters, falling with the square root of the size.

    A small model wants a larger rate; this gives 5.8e-5 at DistilBERT's size and 4.5e-5 at BERT-base's, the range that
    Devlin et al. (2019) searched, and stays within 1e-5 and 5e-4. A T5 takes five times that, 3e-4 at T5-small's size:
    its attention does not divide by the square root of the width (Raffel et al., 2020, train it with Adafactor at 1e-3,
    whatever its size). Where few weights are trained it is `lr_multiplier` times that, up to 1e-2: ten times is best
    for LoRA at any size (Schulman et al., LoRA Without Regret, 2025; Biderman et al., LoRA Learns Less and Forgets
    Less, 2024); a head alone forgets nothing, and on SST-2 wants a hundred times.
    """
    all_weights = min(5e-4, max(1e-5, 1e-4 * math.sqrt(22e6 / parameters)))
    family = 5 if config.model_type in models.T5_FAMILIES else 1
    return float(f"{min(1e-2, all_weights * family * lr_multiplier):.1e}")


def with_learning_rate(recipe: Recipe, parameters: int, config: PretrainedConfig, lr_multiplier: float) -> Recipe:
    """Return the recipe with the usual learning rate for so many weights, where no other is asked for."""
    if recipe.learning_rate is not None:
        return recipe
    return replace(recipe, learning_rate=learning_rate_for(parameters, config, lr_multiplier))


def amended(recipe: Recipe, options: RecipeOptions, weights: tuple[float, ...] | None = None) -> Recipe:
    """Return the recipe with what is asked for in place of the command's own choices; `weights` are of classes."""
    overrides = dict(recipe.overrides)
    library_schedule = overrides.pop("lr_scheduler_type", None)  # the library knows more schedules than the flag
    asked = {**vars(options), "schedule": options.schedule or library_schedule}
    given = {name: value for name, value in asked.items() if value is not None}
    return replace(recipe.with_options(given), class_weights=weights, overrides=overrides)


def require_one_schedule(options: RecipeOptions, overrides: Mapping[str, object]) -> None:
    """Refuse two schedules.

    Raises:
        OptionError: --set names one beside the flag.
    """
    library_schedule = overrides.get("lr_scheduler_type")
    if library_schedule is not None and options.schedule is not None:
        raise OptionError(
            f"--schedule {options.schedule} and --set lr_scheduler_type={library_schedule}: give one of them"
        )


def require_suited(options: TunedRecipeOptions, task: Task, settings: TaskSettings, train: Dataset) -> None:
    """Refuse what the loss of the task does not have; `train` are encoded rows.

    Raises:
        OptionError: naming the flag.
    """
    if options.label_smoothing and not task.supports_label_smoothing(settings):
        raise OptionError(
            f"--label-smoothing spreads the target over classes or tokens, which {_kind(task, settings)} does not "
            "choose one of; leave it out"
        )
    if options.class_weight is not None and task.class_counts(train, settings) is None:
        raise OptionError(
            f"--class-weight {options.class_weight} weighs classes of which each text or word has one, and "
            f"{_kind(task, settings)} has none; leave it out"
        )


def _kind(task: Task, settings: TaskSettings) -> str:
    regression = settings.labels is not None and settings.labels.regression
    return f"{task.name} of a number (regression)" if regression else task.name


def balanced_weights(counts: list[int]) -> tuple[float, ...]:
    """Return n / (k * n_c) for each of the k classes that occur, as scikit-learn's compute_class_weight does.

    A class without rows is no target, and keeps the weight 1.
    """
    present = sum(count > 0 for count in counts)
    return tuple(sum(counts) / (present * count) if count else 1.0 for count in counts)


def class_weights(
    options: TunedRecipeOptions, task: Task, settings: TaskSettings, train: Dataset, report: Report
) -> tuple[float, ...] | None:
    """Return how much each class counts in the loss, in the order of the labels, and tell; None where all alike.

    Raises:
        OptionError: as `require_suited`.
    """
    require_suited(options, task, settings, train)
    counts = task.class_counts(train, settings) if options.class_weight is not None else None
    if counts is None or settings.labels is None:
        return None
    weights = balanced_weights(counts)
    by_label = zip(settings.labels.names, weights, strict=True)
    report.say(f"class weights: {', '.join(f'{name} {weight:.3g}' for name, weight in by_label)} (balanced)")
    return weights


def require_rows_for_all(recipe: Recipe, launch: LaunchOptions) -> None:
    """Refuse more processes than a forward pass has rows.

    Raises:
        OptionError: naming the flags.
    """
    processes = world().size
    launch.require_enough(recipe.batch_size, processes, f"--batch-size {processes} or more, or fewer processes")


def say_recipe(recipe: Recipe, rows: int, mixed: dict[str, bool], best_metric: str, report: Report) -> None:
    """Tell what was chosen; `best_metric` is the metric that keeps the best checkpoint."""
    length = f"{recipe.max_steps} steps" if recipe.max_steps else f"{recipe.epochs:g} epochs"
    halves = "float16 autocast" if mixed.get("fp16") else "bfloat16 autocast" if mixed.get("bf16") else "float32"
    phrases = [
        f"training: {length} = {recipe.steps(rows)} steps of {recipe.rows_per_step} rows{_shared_by(world())}",
        f"learning rate {recipe.learning_rate:g} ({recipe.schedule})",
        halves,
        f"seed {recipe.seed}",
    ]
    report.say(", ".join([*phrases, *_unusual(recipe, best_metric)]))
    if recipe.patience is not None and recipe.patience >= recipe.measurements and "eval_steps" not in recipe.overrides:
        report.warn(
            f"--patience {recipe.patience} stops nothing: it is measured {recipe.measurements} times; "
            "try more --epochs, or --set eval_steps=N with --set save_steps=N"
        )


def _shared_by(here: World) -> str:
    return "" if here.size == 1 else f" in {here.size} processes together"


def _unusual(recipe: Recipe, best_metric: str) -> Iterator[str]:
    """Yield phrases on what differs from the usual recipe of finetuning or of pretraining."""
    default = Recipe(recipe.epochs, recipe.max_steps, 1, 0.0, 0, 1)
    if recipe.warmup != default.warmup:
        yield f"warmup {recipe.warmup:.0%}" if recipe.warmup < 1 else f"warmup {recipe.warmup:g} steps"
    if recipe.weight_decay != default.weight_decay:
        yield f"weight decay {recipe.weight_decay:g}"
    if recipe.label_smoothing:
        yield f"label smoothing {recipe.label_smoothing:g}"
    if recipe.class_weights is not None:
        yield "balanced class weights"
    if recipe.checkpoint_activations:
        yield "activations computed twice"
    if recipe.patience is not None:
        yield f"stopping after {recipe.patience} measurements without a better {best_metric}"
