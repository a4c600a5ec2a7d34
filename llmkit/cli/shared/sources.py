"""What `llmkit generate --retrieve` shows: the passages that a dry run finds, the sources of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmkit.output.report import Report

if TYPE_CHECKING:
    from llmkit.inference.grounded_generation import GroundedGenerator


def show_passages(generator: GroundedGenerator, questions: Sequence[str], report: Report) -> None:
    """Show what a dry run finds: the passages nearest to each question, which are all that stdout holds."""
    for question in questions:
        found = generator.knowledge.nearest(question, generator.passages)
        fit = generator.fitting(question, found)
        report.say(f"dry run: {fit} of {len(found)} passages fit the {generator.context} tokens of the model")
        if report.json:
            report.json_line({"prompt": question, "sources": [one.as_dict() for one in found]})
        else:
            rows = [[f"{one.score:.3f}", one.passage.place, one.passage.text] for one in found]
            report.table("", ["score", "source", "passage"], rows)


def say_sources(sources: Sequence[dict[str, Any]], report: Report) -> None:
    """Name the passages that a prompt held, the nearest first."""
    for number, source in enumerate(sources, start=1):
        row = f", row {source['row']}" if "row" in source else ""
        title = f"{source['title']} ({source['file']}{row})" if "title" in source else f"{source['file']}{row}"
        span = f"characters {source['start']} to {source['end']}"
        report.say(f"source {number}: {title}, {span}, score {source['score']:.3f}")
