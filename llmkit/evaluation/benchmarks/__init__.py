"""LLM benchmarks through lm-eval: `lm-eval:hellaswag,arc_easy`. Its tasks, its prompts, its numbers; our report."""

from llmkit.evaluation.benchmarks.harness import BenchmarkOptions, require_chat, run
from llmkit.evaluation.benchmarks.registry import is_benchmark, task_names
from llmkit.evaluation.benchmarks.results import BenchmarkResult, FailedBenchmark

__all__ = [
    "BenchmarkOptions",
    "BenchmarkResult",
    "FailedBenchmark",
    "is_benchmark",
    "require_chat",
    "run",
    "task_names",
]
