"""llmkit serve -m MODEL."""

from __future__ import annotations

import os
import sys

from llmkit.options import ModelOptions, ServeOptions, TalkOptions
from llmkit.options.flags import option_groups, with_examples
from llmkit.output.report import Report, quiet_libraries


@with_examples(
    "llmkit serve",
    "llmkit serve -m HuggingFaceTB/SmolLM2-135M-Instruct --port 8001",
    "llmkit serve -m runs/chat --dtype float32 --device cpu",
    "llmkit serve -m runs/chat-lora --engine vllm --tensor-parallel-size 2",
)
@option_groups
def serve(*, model: ModelOptions, serving: ServeOptions, talk: TalkOptions) -> None:
    """Serve a model by OpenAI's API: `transformers serve`, or `vllm serve`, with the model found as everywhere.

    This process becomes the server's. Any client of that API can ask it, `llmkit generate --endpoint` too.
    """
    quiet_libraries(talk, model.offline)
    from llmkit.inference.endpoints.serving import serve_command

    report = Report(talk)
    command = serve_command(model, serving, report)
    report.say(f"serving: {command.line}")
    if talk.dry_run:
        report.say("dry run: everything checked, nothing served")
        return
    sys.stdout.flush()
    os.execvpe(command.arguments[0], command.arguments, {**os.environ, **command.environment})
