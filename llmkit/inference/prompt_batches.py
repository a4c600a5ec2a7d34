"""Encoded prompts, and which of them are answered together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from llmkit.tasks.base.answers import Answer

PROMPTS_PER_BATCH = 64  # where no batch size says
TOKENS_PER_BATCH = 16_384  # then, of prompts and answers, padding counted: what is kept of them takes memory


@dataclass(frozen=True)
class EncodedPrompt:
    """A prompt as the model reads it; without ids where the text asks nothing."""

    text: str
    ids: list[int]
    max_new_tokens: int
    sources: tuple[dict[str, object], ...] = ()  # the passages in it, where it was given some: `RetrievedPassage`


def prompt_batches(
    prompts: Sequence[EncodedPrompt], batch_size: int | None, max_new_tokens: int, by_length: bool
) -> Iterator[list[int]]:
    """Yield the places of prompts of like length, of the same length alone where `by_length` says.

    Without a batch size they are up to 64 that fit a number of tokens. One that has room for fewer than
    `max_new_tokens` goes alone; one that asks nothing is left out.
    """
    asking = [row for row, prompt in enumerate(prompts) if prompt.ids]
    order = sorted(asking, key=lambda row: len(prompts[row].ids))
    roomy = [row for row in order if prompts[row].max_new_tokens == max_new_tokens]
    for _, group in groupby(roomy, lambda row: len(prompts[row].ids) if by_length else 0):
        batch: list[int] = []
        for row in group:
            tokens = (len(batch) + 1) * (len(prompts[row].ids) + max_new_tokens)
            is_full = len(batch) >= (batch_size or PROMPTS_PER_BATCH) or (
                batch_size is None and tokens > TOKENS_PER_BATCH
            )
            if batch and is_full:
                yield batch
                batch = []
            batch.append(row)
        yield batch
    yield from ([row] for row in order if prompts[row].max_new_tokens < max_new_tokens)


def answer_to(prompt: EncodedPrompt, completions: list[str | None]) -> Answer:
    """Return the answer to a prompt that has these completions, with the passages that were given to it."""
    answer: Answer = {"completion": completions[0]} if len(completions) == 1 else {"completions": completions}
    return {**answer, "sources": prompt.sources} if prompt.sources else answer
