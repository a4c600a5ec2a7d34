"""`--batch-size auto`: as many rows at once as fit, and so many batches to a step that its rows stay as many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from llmkit.distributed.world import world
from llmkit.training.estimates.estimate import Estimate, estimate
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
    recipe, count = subject.recipe, available or memory_here(subject.device)
    rows = recipe.batch_size * recipe.accumulation
    whole = estimate(replace(subject, recipe=replace(recipe, batch_size=rows, accumulation=1)))
    if whole.memory.total <= MARGIN * count:
        size = rows
        took = whole.memory.total
    else:
        growth = room(replace(subject, recipe=replace(recipe, batch_size=rows, accumulation=2)), None)
        size = next((each for each in _divisors(rows) if each <= growth.rows(count)), 1)
        took = round(growth.fixed + growth.per_row * size)
    chosen = replace(recipe, batch_size=size, accumulation=rows // size)
    over = "" if took <= count else ", which may not fit"
    sentence = (
        f"--batch-size auto: {size} rows at once, {chosen.accumulation} times a step ({rows} rows as without it): "
        f"about {gigabytes(took)} of the {gigabytes(count)} here{over}"
    )
    return chosen, sentence


def _divisors(number: int) -> Iterator[int]:
    """Yield the numbers that divide a number, the largest first."""
    yield from (each for each in range(number, 0, -1) if number % each == 0)


def with_auto_batch(subject: Subject, asked: bool) -> Recipe:
    """Return the recipe with the batch that --batch-size auto comes to, where it is `asked` for, and say it.

    A run that is gone on with keeps the batch that it was begun with. Of several processes the main one decides.
    """
    recipe, begun = subject.recipe, subject.job.folder.begun.get("recipe")
    if not asked:
        return recipe
    if begun is not None:
        return replace(recipe, batch_size=begun["batch_size"], accumulation=begun["accumulation"])
    here = world()
    chosen, sentence = here.from_main(fitted(subject) if here.is_main else None)
    subject.session.report.say(sentence)
    return chosen
