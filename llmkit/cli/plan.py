"""llmkit plan COMMAND ..."""

from __future__ import annotations

from typing import Annotated

import typer

from llmkit.cli.shared.named_files import require_named
from llmkit.errors import OptionError, listing
from llmkit.options import FinetuneRequest, PretrainRequest, TalkOptions
from llmkit.options.flags import option_groups, with_examples
from llmkit.options.planning import PlanOptions
from llmkit.output.report import Report, quiet_libraries

COMMANDS = ("finetune", "pretrain")


@with_examples(
    "llmkit plan finetune reviews.csv -m HuggingFaceTB/SmolLM2-135M --lora",
    "llmkit plan --gpus 8 --gpu-memory 80 --price-per-hour 2.5 --gpu-tflops 990 pretrain books/ --size base",
    "llmkit plan --gpu-memory 24 finetune my.jsonl -m Qwen/Qwen2.5-0.5B-Instruct --batch-size auto",
    "llmkit plan --measure-steps 5 --json finetune glue/mrpc",
)
@option_groups
def plan(
    command: Annotated[list[str], typer.Argument(help="finetune or pretrain, with all its arguments and flags.")],
    options: PlanOptions,
    talk: TalkOptions,
) -> None:
    """Tell what a training takes before it is begun: memory, FLOPs, time, cost, and what would make it fit.

    The flags of plan itself come before the name of the command. What does not fit is said, and the exit code is 0.
    """
    request = _request(command)
    quiet_libraries(talk, request.model.offline)
    named = request.dataset if isinstance(request, FinetuneRequest) else request.corpus
    require_named(request.model, named)
    from llmkit.training.estimates.report import lines_of, table_of
    from llmkit.training.estimates.strategies import FORMULAS
    from llmkit.training.forecast import forecast

    report = Report(talk)
    result = forecast(request, options, report)
    if report.json:
        report.json_line(result)
        return
    for line in lines_of(result):
        report.line(line)
    report.table("GPU memory on paper", ["GPUs", *FORMULAS], table_of(result))
    report.say_all(f"{name}: {formula}" for name, formula in FORMULAS.items())


def _request(command: list[str]) -> FinetuneRequest | PretrainRequest:
    """Return what a command line asks for, read by the flags of that command.

    Raises:
        OptionError: it is no training, or one of its values is wrong.
    """
    name, *rest = command
    if name not in COMMANDS:
        raise OptionError(f"llmkit plan knows the memory of {listing(COMMANDS)}, not of {name!r}; name one of them")
    found: list[FinetuneRequest | PretrainRequest] = []

    @option_groups
    def finetune(request: FinetuneRequest, talk: TalkOptions) -> None:
        found.append(request)

    @option_groups
    def pretrain(request: PretrainRequest, talk: TalkOptions) -> None:
        found.append(request)

    from llmkit.cli.app import CheckedCommand

    parser = typer.Typer(add_completion=False)
    parser.command(name, cls=CheckedCommand)({"finetune": finetune, "pretrain": pretrain}[name])
    typer.main.get_command(parser)(args=rest, prog_name=f"llmkit plan {name}", standalone_mode=False)
    if not found:  # its --help was asked for
        raise typer.Exit
    return found[0]


plan.context = {"allow_interspersed_args": False}  # type: ignore[attr-defined]  # what follows the command is its own
