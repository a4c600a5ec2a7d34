"""In which precision a training computes where nobody says: settled once, for all its steps and its resumes."""

from __future__ import annotations

from dataclasses import replace

from llmkit import models
from llmkit.distributed.world import world
from llmkit.models.precision import faster_dtype
from llmkit.training.loop.job import Job, Session
from llmkit.training.loop.recipe import Recipe


def settled(session: Session, job: Job, recipe: Recipe) -> Session:
    """Return the session with the faster dtype here in place of `auto`, and say why it is taken.

    A run that is gone on with keeps the one that it was begun in. Of several processes the main one decides.
    """
    options, dtype = session.options, job.folder.begun.get("dtype")
    if options.dtype != "auto":
        return session
    if dtype is None:
        here = world()
        device = models.pick_device(options.device)
        config, tokens = job.resolved.config, _tokens(job, recipe) // here.size
        choice = here.from_main(faster_dtype(config, tokens, device) if here.is_main else None)
        if choice.sentence is not None:
            session.report.say(choice.sentence)
        dtype = choice.dtype
    return replace(session, options=replace(options, dtype=dtype))


def _tokens(job: Job, recipe: Recipe) -> int:
    """Return how many tokens a batch has, roughly."""
    lengths: list[int] = job.encoded_train["length"]
    return round(recipe.batch_size * sum(lengths) / len(lengths))
