"""What a search for a better recipe varies: what a file names, or what suits the task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llmkit.errors import OptionError
from llmkit.options import FinetuneRequest
from llmkit.options.training.search_space import Categorical, Range, Space
from llmkit.training.series.trial import TrialRun


def space_for(request: FinetuneRequest, trial_run: TrialRun, named_space: Space | None) -> Space:
    """Return what is searched: what a file names, else what suits the task, without what a flag has settled.

    Raises:
        OptionError: the file names what a flag gives, or what cannot be varied here; or nothing is left to search.
    """
    groups = (request.training, request.recipe, request.adapter)
    given = {name for group in groups for name, value in vars(group).items() if value is not None}
    if named_space is None:
        space = {name: values for name, values in _default_space(trial_run).items() if name not in given}
        if not space:
            raise OptionError("--search has nothing to vary: flags give all of it; leave some out, or --search-space")
        return space
    task, settings = trial_run.job.task, trial_run.job.settings
    for name, values in named_space.items():
        flag = f"--{name.replace('_', '-')}"
        if name in given:
            raise OptionError(f"{flag} and --search-space both give {name}; leave one out")
        if name.startswith("lora_") and not request.adapter.adapts:
            raise OptionError(f"--search-space: {name} is searched with --lora or --qlora alone")
        if name == "label_smoothing" and not task.supports_label_smoothing(settings):
            raise OptionError(f"--search-space: {task.name} here has no label_smoothing to search")
        for group in groups:
            if name in vars(group):
                changes: dict[str, Any] = {name: values.ends[0]}
                replace(group, **changes)  # refuses what does not go together, as with --max-steps
    return named_space


def _default_space(trial_run: TrialRun) -> Space:
    """Return the space for a task: around the default of the model's size."""
    recipe = trial_run.default_recipe
    rate, rows = recipe.learning_rate, recipe.batch_size
    assert rate is not None  # of the default recipe
    space: dict[str, Range | Categorical] = {
        "learning_rate": Range(rate / 5, rate * 5, log=True),
        "batch_size": Categorical(tuple(sorted({max(1, rows // 2), rows, rows * 2}))),
        **trial_run.job.task.search_space(trial_run.job.settings),
    }
    if recipe.max_steps is not None:
        del space["epochs"]
    if trial_run.spec.adapter.adapts:
        space["lora_rank"] = Categorical((4, 8, 16, 32))
    return space
