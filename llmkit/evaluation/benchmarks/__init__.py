"""LLM benchmarks through lm-eval: `lm-eval:hellaswag,arc_easy`. Its tasks, its prompts, its numbers; our report."""

from llmkit.evaluation.benchmarks.harness import each, run
from llmkit.evaluation.benchmarks.registry import is_benchmark, task_names
from llmkit.evaluation.benchmarks.results import Benchmark, Failed

__all__ = ["Benchmark", "Failed", "each", "is_benchmark", "run", "task_names"]
