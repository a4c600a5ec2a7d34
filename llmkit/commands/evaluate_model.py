"""llmkit eval DATASET -m MODEL. (Not named eval: that is a builtin.)"""

from __future__ import annotations

from typing import Annotated

import typer

from llmkit.commands.figures import show_evaluation, write_step_summary
from llmkit.commands.helping import with_examples
from llmkit.flags import option_groups
from llmkit.options import DataOptions, EvalOptions, ModelOptions, TalkOptions
from llmkit.report import Report, quiet_libraries, to_json


@with_examples(
    "llmkit eval glue/mrpc -m runs/mrpc",
    "llmkit eval glue/mrpc -m runs/mrpc --json --fail-under f1=0.85",
    "llmkit eval wikitext/wikitext-2-raw-v1 -m HuggingFaceTB/SmolLM2-135M --stride 512",
    "llmkit eval my_test.csv -m runs/mine --output results.json",
)
@option_groups
def evaluate_model(
    dataset: Annotated[str, typer.Argument(help="glue/mrpc, org/name, org/name:config, a file, a folder, or -.")],
    model: ModelOptions,
    data: DataOptions,
    evaluation: EvalOptions,
    talk: TalkOptions,
) -> None:
    """Measure a model on a dataset; exit 1 when a gate is not met.

    The dataset's labels are matched to the model's by name. Text is measured by perplexity and bits per byte.
    """
    quiet_libraries(talk, model.offline)
    from llmkit.evaluation import evaluate

    report = Report(talk)
    found = evaluate(dataset, model, data, evaluation, report, talk.dry_run)
    if found is None:
        report.say("dry run: everything checked, nothing measured")
        return
    if evaluation.output:
        evaluation.output.parent.mkdir(parents=True, exist_ok=True)
        evaluation.output.write_text(to_json(found.as_dict(), indent=2) + "\n", encoding="utf-8")
    show_evaluation(found, report)
    write_step_summary(found)
    found.require_gates()
