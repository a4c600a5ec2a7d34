"""LLM benchmarks through lm-eval: `lm-eval:hellaswag,arc_easy`. Its tasks, its prompts, its numbers; our report."""

from llmkit.benchmarks.harness import each, run
from llmkit.benchmarks.registry import is_benchmark, task_names
from llmkit.benchmarks.results import Benchmark, Failed

__all__ = ["Benchmark", "Failed", "each", "is_benchmark", "run", "task_names"]
