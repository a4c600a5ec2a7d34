"""`--batch-size auto`: as many rows at once as fit, and so many batches to a step that its rows stay as many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from llmkit.distributed.world import world
from llmkit.options import RecipeOptions
from llmkit.training.estimates.estimate import Estimate, estimate, too_large
from llmkit.training.estimates.memory import gigabytes, memory_here
from llmkit.training.estimates.strategies import MARGIN
from llmkit.training.estimates.tracked import Subject
from llmkit.training.loop.recipe import Recipe


@dataclass(frozen=True)
class Room:
    """How the memory of a training grows with the rows of a forward pass."""

    fixed: float
    per_row: float

    def rows(self, available: int) -> int:
        """Return how many rows fit; none where not even one does."""
        left = MARGIN * available - self.fixed
        return max(0, int(left / max(1.0, self.per_row)))


def room(subject: Subject, known: Estimate | None = None) -> Room:
    """Return how the memory grows, from two batch sizes; `known` is the estimate of the subject's own."""
    own = known or estimate(subject)
    other = own.rows * 2 if own.rows < 8 else own.rows // 2
    second = estimate(subject.with_batch_size(other))
    per_row = (second.memory.total - own.memory.total) / (other - own.rows)
    return Room(own.memory.total - per_row * own.rows, per_row)


def fitted(subject: Subject, available: int | None = None) -> tuple[Recipe, str]:
    """Return the recipe with a batch that fits, and a sentence on why; a step is of as many rows as before.

    `available` are the bytes to fit in: those that are here unless given.
    """
    count = available or memory_here(subject.device)
    chosen, took = _divided(subject, count)
    return chosen, f"--batch-size auto: {_described(chosen, took, count)}"


def _divided(subject: Subject, count: int) -> tuple[Recipe, int]:
    """Return the recipe with as many rows at once as fit in so many bytes, and what it takes."""
    recipe = subject.recipe
    rows = recipe.batch_size * recipe.accumulation
    whole = estimate(replace(subject, recipe=replace(recipe, batch_size=rows, accumulation=1)))
    if whole.memory.total <= MARGIN * count:
        return replace(recipe, batch_size=rows, accumulation=1), whole.memory.total
    growth = room(replace(subject, recipe=replace(recipe, batch_size=rows, accumulation=2)), None)
    possible = [each for each in _divisors(rows) if each >= subject.processes]
    size = next((each for each in possible if each <= growth.rows(count)), possible[-1])
    return replace(recipe, batch_size=size, accumulation=rows // size), round(growth.fixed + growth.per_row * size)


def _described(chosen: Recipe, took: int, count: int) -> str:
    size, times = chosen.batch_size, chosen.accumulation
    over = "" if took <= count else ", which may not fit"
    return (
        f"{size} rows at once, {times} times a step ({size * times} rows as without it): "
        f"about {gigabytes(took)} of the {gigabytes(count)} here{over}"
    )


def _divisors(number: int) -> Iterator[int]:
    """Yield the numbers that divide a number, the largest first."""
    yield from (each for each in range(number, 0, -1) if number % each == 0)


def with_auto_batch(subject: Subject, asked: bool) -> Recipe:
    """Return the recipe with the batch that --batch-size auto comes to, where it is `asked` for, and say it.

    A run that is gone on with keeps the batch that it was begun with. Of several processes the main one decides.
    """
    if not asked:
        return subject.recipe
    if subject.job.folder.begun.get("recipe") is not None:
        return _as_begun(subject)
    here = world()
    chosen, sentence = here.from_main(fitted(subject) if here.is_main else None)
    subject.session.report.say(sentence)
    return chosen


def with_room(subject: Subject, options: RecipeOptions) -> Recipe:
    """Return the recipe with its batch in parts where it would not fit as a whole, and say it; else as it is.

    It is left as it is where `options` say how many batches a step has. The closed formula tells whether it has to be
    looked at, and a step without data whether it fits. As for the rest see `with_auto_batch`.
    """
    recipe, here = subject.recipe, world()
    if options.accumulate is not None or recipe.batch_size * recipe.accumulation == 1:
        return recipe
    if subject.job.folder.begun.get("recipe") is not None:
        return _as_begun(subject)
    count = memory_here(subject.device)
    is_needed = here.is_main and too_large(subject) is not None
    chosen, took = here.from_main(_divided(subject, count) if is_needed else (recipe, 0))
    if chosen.accumulation <= recipe.accumulation:
        return recipe
    described = _described(chosen, took, count)
    subject.session.report.say(f"batch: {described}; --accumulate {recipe.accumulation} takes it whole")
    return chosen


def _as_begun(subject: Subject) -> Recipe:
    begun = subject.job.folder.begun["recipe"]
    return replace(subject.recipe, batch_size=begun["batch_size"], accumulation=begun["accumulation"])
