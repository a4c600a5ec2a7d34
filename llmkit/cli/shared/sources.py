"""What `llmkit generate --retrieve` shows: the passages that a dry run finds, the sources of an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmkit.output.report import Report

if TYPE_CHECKING:
    from llmkit.inference.grounded_generation import GroundedGenerator


def show_passages(generator: GroundedGenerator, questions: Sequence[str], report: Report) -> None:
    """Show what a dry run finds: the passages nearest to each question, which are all that stdout holds."""
    for question in questions:
        passages = generator.knowledge.nearest(question, generator.passages_per_prompt)
        fit = generator.fitting(question, passages)
        report.say(f"dry run: {fit} of {len(passages)} passages fit the {generator.context} tokens of the model")
        if report.json:
            report.json_line({"prompt": question, "sources": [passage.as_dict() for passage in passages]})
        else:
            rows = [
                [f"{retrieved.score:.3f}", retrieved.passage.place, retrieved.passage.text] for retrieved in passages
            ]
            report.table("", ["score", "source", "passage"], rows)


def say_sources(sources: Sequence[Mapping[str, Any]], report: Report) -> None:
    """Name the passages that a prompt held, the nearest first."""
    for number, source in enumerate(sources, start=1):
        row = f", row {source['row']}" if "row" in source else ""
        title = f"{source['title']} ({source['file']}{row})" if "title" in source else f"{source['file']}{row}"
        characters = f"characters {source['start']} to {source['end']}"
        report.say(f"source {number}: {title}, {characters}, score {source['score']:.3f}")
