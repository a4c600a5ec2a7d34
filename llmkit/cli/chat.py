"""llmkit chat."""

from __future__ import annotations

from llmkit.cli.shared.answers import prepare_to_ask
from llmkit.options import ChatOptions, ModelOptions, TalkOptions
from llmkit.options.flags import option_groups, with_examples
from llmkit.output.report import Report


@with_examples(
    "llmkit chat",
    'llmkit chat -m HuggingFaceTB/SmolLM2-135M-Instruct --system "Answer briefly."',
    "llmkit chat -m runs/my-chat --temperature 0.7 --top-p 0.9 --max-new-tokens 500",
    "printf 'hello\\nand you?\\n' | llmkit chat --json",
)
@option_groups
def chat(*, model: ModelOptions, decoding: ChatOptions, talk: TalkOptions) -> None:
    """Talk with a chat model. /help lists what can be typed beside turns; Ctrl-C stops an answer, Ctrl-D leaves.

    Greedy, unless a sampling flag is given. From a pipe, each line is a turn, and the answers alone are printed.
    """
    prepare_to_ask(model, talk)
    from llmkit.cli.shared.chat_loop import ChatLoop
    from llmkit.inference.chat import Chat

    report = Report(talk)
    conversation = Chat(model, decoding, report)
    if talk.dry_run:
        report.say(f"dry run: {conversation.name} can chat, in a context of {conversation.generator.context} tokens")
        return
    ChatLoop(conversation, report).run()
