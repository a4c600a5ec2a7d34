"""llmkit eval DATASET -m MODEL. (Not named eval: that is a builtin.)"""

from __future__ import annotations

import typer

from llmkit.cli.launch import run_on_ranks
from llmkit.cli.shared.answers import SERVER
from llmkit.cli.shared.named_files import require_named
from llmkit.cli.shared.results import check_files, deliver
from llmkit.options import EvalRequest, ModelOptions, ResultOptions, TalkOptions
from llmkit.options.flags import option_groups, with_examples
from llmkit.output.report import Report, quiet_libraries


@with_examples(
    "llmkit eval glue/mrpc -m runs/mrpc",
    "llmkit eval glue/mrpc -m runs/mrpc --fail-under f1=0.85 --baseline old.json --max-drop f1=0.01 --output new.json",
    "llmkit eval wikitext/wikitext-2-raw-v1 -m HuggingFaceTB/SmolLM2-135M --stride 512",
    "llmkit eval my_test.csv --predictions answers.jsonl --junit report.xml",
    "llmkit eval lm-eval:piqa,arc_easy -m HuggingFaceTB/SmolLM2-135M --limit 200",
    "llmkit eval wmt14/de-en --endpoint http://localhost:8000/v1 --limit 200",
    "llmkit eval suite.yaml -m runs/mine",
)
@option_groups
def evaluate_model(call: typer.Context, request: EvalRequest, talk: TalkOptions) -> None:
    """Measure a model on a dataset; exit 1 when a gate is not met.

    Every figure comes with its 95% interval. The dataset's labels are matched to the model's by name. Text is measured
    by perplexity and bits per byte.
    """
    check_files(request.files)
    scores_file = request.evaluation.predictions is not None
    alone = "--predictions FILE is scored in one process" if scores_file else None
    alone = SERVER if request.endpoint.asks_server else alone
    run_on_ranks(call, request.launch, request.model.device, talk, alone)
    quiet_libraries(talk, request.model.offline)
    if request.files == ResultOptions():  # else what is wrong is told in those files too
        require_named(ModelOptions() if request.endpoint.asks_server else request.model, [request.dataset])
    from llmkit.evaluation.suite import evaluate_all

    report = Report(talk)
    outcome = evaluate_all(request, report, talk.dry_run)
    if talk.dry_run:
        outcome.require_success()
        report.say("dry run: everything checked, nothing measured")
        return
    deliver(outcome, request.files, report)
