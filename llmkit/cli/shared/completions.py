"""Completions as text: what generate prints where no JSON is asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmkit.cli.shared.answers import prompt_names
from llmkit.cli.shared.sources import say_sources
from llmkit.output.report import Report

if TYPE_CHECKING:
    from llmkit.inference.endpoints.generating import EndpointGenerator
    from llmkit.inference.generation import Generator


def print_completions(
    generator: Generator | EndpointGenerator, texts: Sequence[str], batch_size: int | None, report: Report
) -> None:
    """Print what continues each text, with blank lines between; as it is written, where one is for a terminal."""
    from llmkit.inference.generation import Generator

    names = prompt_names(len(texts))
    prompts = [generator.prompt(text, name) for text, name in zip(texts, names, strict=True)]
    if isinstance(generator, Generator) and len(prompts) == 1 and generator.streams and sys.stdout.isatty():
        report.stream(texts[0] if generator.decoding.echo else "")
        if prompts[0].ids:
            generator.stream(prompts[0], report.stream)
        report.stream("\n")
        say_sources(prompts[0].sources, report)
        return
    completions = generator.completions(prompts, batch_size)
    for number, (prompt, several) in enumerate(zip(prompts, completions, strict=True)):
        for place, completion in enumerate(several):
            report.stream("\n" if number or place else "")
            report.line((prompt.text if generator.decoding.echo else "") + (completion or ""))
        say_sources(prompt.sources, report)
    generator.say_truncated(report)
