"""Answers from a knowledge base: prompts that hold the passages nearest to a question, and name their sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llmkit.errors import DataError
from llmkit.inference.generation import Generator, Prompt
from llmkit.inference.retrieval import Found, Knowledge, open_embedder
from llmkit.models import ResolvedModel
from llmkit.options import AskOptions, GenerationOptions, ModelOptions, RetrievalOptions
from llmkit.output.report import Report
from llmkit.tasks import Task

INSTRUCTION = "Answer the question from these passages alone. If they do not hold the answer, say so."


class GroundedGenerator(Generator):
    """A model that answers each prompt from the passages that are nearest to it."""

    def __init__(
        self,
        task: Task,
        resolved: ResolvedModel,
        options: ModelOptions,
        asked: AskOptions,
        decoding: GenerationOptions,
        report: Report,
        retrieval: RetrievalOptions,
        encoding: str = "utf-8",
    ) -> None:
        super().__init__(task, resolved, options, asked, decoding, report)
        self.passages = retrieval.wanted
        embedder = open_embedder(retrieval.embedder, options, report)
        self.knowledge = Knowledge.open(str(retrieval.retrieve), embedder, encoding, report)

    def prompt(self, text: str, where: str = "the prompt") -> Prompt:
        """Return a prompt of as many passages as fit, the nearest first, and the question.

        Raises:
            DataError: the question is empty, or longer than one of the models reads, or not even one passage fits.
        """
        found = self.knowledge.nearest(text, self.passages, where)
        count = max(1, self.fitting(text, found))
        tokens = len(self.tokens(self._spelled(text, found[:count])))
        if tokens >= self.context:
            raise DataError(
                f"{where} has {tokens} tokens with the nearest passage, and {self.resolved.name!r} takes "
                f"{self.context}; -m names a model that takes more"
            )
        if count < len(found):
            self.report.say(
                f"{where}: {count} of {len(found)} passages fit the {self.context} tokens of {self.resolved.name}"
            )
        made = super().prompt(self._spelled(text, found[:count]), f"{where}, with its passages,")
        return replace(made, text=text, sources=tuple(one.as_dict() for one in found[:count]))

    def fitting(self, text: str, found: Sequence[Found]) -> int:
        """Return how many of the passages fit the model's context, with the question and an answer of full length."""
        room = self.context - self.most
        counts = range(len(found), 0, -1)
        return next((count for count in counts if len(self.tokens(self._spelled(text, found[:count]))) <= room), 0)

    def _spelled(self, question: str, found: Sequence[Found]) -> str:
        blocks = [f"[{number}] {one.passage.place}\n{one.passage.text}" for number, one in enumerate(found, start=1)]
        text = "\n\n".join([INSTRUCTION, *blocks, f"Question: {question}"])
        return text if self.chat else f"{text}\nAnswer:"

    def identity(self) -> dict[str, Any]:
        """Return what the answers depend on, the passages among it."""
        own = {"passages": self.passages, "embedder": self.knowledge.embedder.identity()}
        return {**super().identity(), **own, "texts": [passage.text for passage in self.knowledge.passages]}
