"""Answers from a knowledge base: prompts that hold the passages nearest to a question, and name their sources."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmkit.errors import DataError
from llmkit.inference.generation import Generator
from llmkit.inference.prompt_batches import EncodedPrompt
from llmkit.inference.retrieval import KnowledgeBase, RetrievedPassage, open_embedder
from llmkit.models import ResolvedModel
from llmkit.options import GenerateRequest
from llmkit.output.report import Report
from llmkit.tasks import Task

INSTRUCTION = "Answer the question from these passages alone. If they do not hold the answer, say so."


class GroundedGenerator(Generator):
    """A model that answers each prompt from the passages of `request.retrieval` that are nearest to it."""

    def __init__(self, task: Task, resolved: ResolvedModel, request: GenerateRequest, report: Report) -> None:
        super().__init__(task, resolved, request, report)
        retrieval = request.retrieval
        self.passages_per_prompt = retrieval.passages_per_prompt
        embedder = open_embedder(retrieval.embedder, request.model, report)
        self.knowledge = KnowledgeBase.open(str(retrieval.retrieve), embedder, request.rows, report)

    def prompt(self, text: str, name: str = "the prompt") -> EncodedPrompt:
        """Return a prompt of as many passages as fit, the nearest first, and the question.

        Raises:
            DataError: the question is empty, or longer than one of the models reads, or not even one passage fits.
        """
        nearest = self.knowledge.nearest(text, self.passages_per_prompt, name)
        count = max(1, self.fitting(text, nearest))
        tokens = len(self.token_ids(self._with_passages(text, nearest[:count])))
        if tokens >= self.context:
            raise DataError(
                f"{name} has {tokens} tokens with the nearest passage, and {self.resolved.name!r} takes "
                f"{self.context}; -m names a model that takes more"
            )
        if count < len(nearest):
            self.report.say(
                f"{name}: {count} of {len(nearest)} passages fit the {self.context} tokens of {self.resolved.name}"
            )
        prompt = super().prompt(self._with_passages(text, nearest[:count]), f"{name}, with its passages,")
        return replace(prompt, text=text, sources=tuple(passage.as_dict() for passage in nearest[:count]))

    def fitting(self, text: str, passages: Sequence[RetrievedPassage]) -> int:
        """Return how many of the passages fit the model's context, with the question and an answer of full length."""
        room = self.context - self.max_new_tokens
        for count in range(len(passages), 0, -1):
            if len(self.token_ids(self._with_passages(text, passages[:count]))) <= room:
                return count
        return 0

    def _with_passages(self, question: str, passages: Sequence[RetrievedPassage]) -> str:
        numbered = enumerate((retrieved.passage for retrieved in passages), start=1)
        blocks = [f"[{number}] {passage.place}\n{passage.text}" for number, passage in numbered]
        text = "\n\n".join([INSTRUCTION, *blocks, f"Question: {question}"])
        return text if self.chat else f"{text}\nAnswer:"

    def identity(self) -> dict[str, object]:
        """Return what the answers depend on, the passages among it."""
        knowledge = {"passages": self.passages_per_prompt, "embedder": self.knowledge.embedder.identity()}
        return {**super().identity(), **knowledge, "texts": [passage.text for passage in self.knowledge.passages]}
