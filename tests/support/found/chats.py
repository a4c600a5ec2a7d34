"""Conversations and pairs of answers, in the dialects of the tools that write them."""

from __future__ import annotations

import json
from typing import Any

from found.writing import Writer, csv_of, cycled, jsonl_of, one

QUESTIONS = [f"what was {thing} ({row})" for row, thing in enumerate(cycled("good", "bad", "warm", rows=20))]
ANSWERS = [f"the {thing}" for thing in cycled("soup", "film", "king", "river", rows=20)]
CALL = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
TOOLS = [{"type": "function", "function": {"name": "clock", "parameters": {"type": "object", "properties": {}}}}]


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def made(row: Any) -> list[Any]:
    """Return what `row` makes of each question and its answer."""
    return [row(question, answer) for question, answer in zip(QUESTIONS, ANSWERS)]


def lines(row: Any, name: str = "chat.jsonl") -> Writer:
    return one(name, jsonl_of(made(row)))


def spoken(user: str = "user", assistant: str = "assistant", *first: dict[str, Any]) -> Writer:
    """Write conversations with roles that are called so."""
    return lines(lambda asks, says: {"messages": [*first, turn(user, asks), turn(assistant, says)]})


def shared(**more: Any) -> Writer:
    """Write conversations as ShareGPT has them, with more columns."""
    return lines(lambda asks, says: {"conversations": _sharegpt(asks, says), **more})


def _sharegpt(asks: str, says: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": asks}, {"from": "gpt", "value": says}]


def _history(row: int) -> list[list[str]]:
    return [["hello", "welcome"]] if row % 2 else []


def _alpaca() -> list[dict[str, Any]]:
    return [
        {"instruction": asks, "input": "", "output": says, "history": _history(row)}
        for row, (asks, says) in enumerate(zip(QUESTIONS, ANSWERS))
    ]


def pairs(row: Any) -> Writer:
    return lines(row, "pairs.jsonl")


def dialogue(asks: str, says: str) -> str:
    return f"\n\nHuman: {asks}\n\nAssistant: {says}"


KINDS: dict[str, Writer] = {
    "chat_prompt_response": lines(lambda asks, says: {"prompt": asks, "response": says}),
    "chat_question_answer": lines(lambda asks, says: {"question": asks, "answer": says}),
    "gsm8k": one(
        "train.jsonl",
        jsonl_of(
            {"question": f"Tom buys {n} pens and {n} more. How many?", "answer": f"{n}+{n}={2 * n}\n#### {2 * n}"}
            for n in range(20)
        ),
    ),
    "chat_problem_solution": lines(lambda asks, says: {"problem": asks, "solution": says}),
    "chat_dolly": one(
        "dolly.jsonl",
        jsonl_of(
            {"instruction": asks, "context": f"a note on {says}", "response": says, "category": kind}
            for asks, says, kind in zip(QUESTIONS, ANSWERS, cycled("closed_qa", "brainstorming", rows=20))
        ),
    ),
    "chat_csv_messages": one(
        "chat.csv",
        csv_of(made(lambda asks, says: {"messages": json.dumps([turn("user", asks), turn("assistant", says)])})),
    ),
    "chat_role_caps": spoken("User", "ASSISTANT", turn("System", "be kind")),
    "chat_developer": spoken("user", "assistant", turn("developer", "be kind")),
    "chat_model_role": spoken("prompter", "model"),
    "chat_unknown_role": spoken("user", "oracle"),
    "chat_content_parts": lines(
        lambda asks, says: {
            "messages": [
                turn("user", [{"type": "text", "text": asks}]),
                turn("assistant", [{"type": "text", "text": says}]),
            ]
        }
    ),
    "chat_tool_calls": lines(
        lambda asks, says: {
            "messages": [
                turn("user", asks),
                turn("assistant", None, tool_calls=[CALL]),
                turn("tool", "noon", tool_call_id="c1"),
                turn("assistant", says),
            ],
            "tools": TOOLS,
        }
    ),
    "chat_sharegpt_system_col": shared(system="you are a cook"),
    "chat_weight": lines(
        lambda asks, says: {
            "messages": [
                turn("user", asks),
                turn("assistant", "no idea", weight=0),
                turn("user", "and again"),
                turn("assistant", says, weight=1),
            ]
        }
    ),
    "chat_alpaca_history": one("chat.jsonl", jsonl_of(_alpaca())),
    "chat_history_dropped": one("chat.json", json.dumps(_alpaca())),
    "chat_gpt_first": lines(
        lambda asks, says: {"conversations": [{"from": "gpt", "value": "hello"}, *_sharegpt(asks, says)]}
    ),
    "chat_two_users": lines(
        lambda asks, says: {"messages": [turn("user", asks), turn("user", "be quick"), turn("assistant", says)]}
    ),
    "chat_json_string": lines(
        lambda asks, says: {"messages": json.dumps([turn("user", asks), turn("assistant", says)])}
    ),
    "chat_image_dropped": lines(
        lambda asks, says: {"image": "photos/1.png", "conversations": _sharegpt(f"<image>\n{asks}", says)}
    ),
    "chat_tools_column_dropped": shared(tools=json.dumps([{"name": "clock"}])),
    "completion_of_numbers": one(
        "sums.csv", csv_of([{"prompt": f"{n}*2=", "completion": str(2 * n)} for n in range(20)])
    ),
    "dpo_hh": pairs(lambda asks, says: {"chosen": dialogue(asks, says), "rejected": dialogue(asks, "who knows")}),
    "dpo_intel": pairs(
        lambda asks, says: {"system": "be kind", "question": asks, "chosen": says, "rejected": "who knows"}
    ),
    "dpo_kto": one(
        "kto.jsonl",
        jsonl_of(
            {"prompt": asks, "completion": says, "label": good}
            for asks, says, good in zip(QUESTIONS, ANSWERS, cycled(True, False, rows=20))
        ),
    ),
    "dpo_ultrafeedback": pairs(
        lambda asks, says: {
            "prompt": asks,
            "chosen": [turn("user", asks), turn("assistant", says)],
            "rejected": [turn("user", asks), turn("assistant", "who knows")],
            "score_chosen": 9.0,
            "score_rejected": 2.5,
        }
    ),
    "dpo_answers_as_one_message": pairs(
        lambda asks, says: {
            "prompt": [turn("user", asks)],
            "chosen": turn("assistant", says),
            "rejected": turn("assistant", "who knows"),
        }
    ),
    "dpo_identical_after_cut": pairs(
        lambda asks, says: {"prompt": asks, "chosen": "so " * 90 + says, "rejected": "so " * 90 + "who knows"}
    ),
}
