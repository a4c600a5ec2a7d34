"""Calls of tools in chat templates: what is learned of them, and what is refused because a template drops it."""

from __future__ import annotations

import json

import pytest
import tiny
from datasets import Dataset
from transformers import AutoTokenizer

from llmkit.data.conversations import conversation_of
from llmkit.errors import DataError
from llmkit.tasks import TASKS, TaskSettings
from llmkit.tasks.conversational import ConversationalSettings
from llmkit.tasks.encoding.assistant_masks import encode_conversations, render

EOS = "<|endoftext|>"
CALLS = "{% for c in m.tool_calls or [] %}<{{ c.function.name }}{{ ARGUMENTS }}>{% endfor %}"
TOOLS = "{% if tools %}[{% for t in tools %}{{ t.function.name }}{% endfor %}]{% endif %}"
BODY = "{{ m.content }}" + CALLS + "{{ eos_token }}"
AS_OBJECT, AS_TEXT = "{{ c.function.arguments | tojson }}", "{{ ':' + c.function.arguments }}"
PRINTED = "{{ c.function.arguments }}"  # a template that joins texts, and never fails
CHAT = TOOLS + tiny.CHAT.replace("{{ m.content }}{{ eos_token }}", BODY)
MARKED = TOOLS + tiny.MARKED.replace("{{ m.content }}{{ eos_token }}{% endgen", BODY + "{% endgen")
TURNS = [
    {"role": "user", "content": "Wetter?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "sky", "arguments": '{"stadt": "Köln"}'}}],
    },
    {"role": "tool", "content": "sunny"},
    {"role": "assistant", "content": "Sonne."},
]
TOOL = json.dumps([{"name": "sky"}])


def template(text: str, arguments: str = AS_OBJECT) -> str:
    return text.replace("{{ ARGUMENTS }}", arguments)


def conversation(turns=TURNS, tools=TOOL):
    return conversation_of({"messages": turns, "tools": tools}, {"messages": "messages", "tools": "tools"})


@pytest.fixture
def tokenizer(assistant):
    return AutoTokenizer.from_pretrained(assistant)


def texts_with_loss(found, tokenizer) -> list[str]:
    (row,) = encode_conversations([found], tokenizer, 200)
    text = tokenizer.decode(
        [token if token == label else tokenizer.eos_token_id for token, label in zip(row["input_ids"], row["labels"])]
    )
    return [piece for piece in text.split(EOS) if piece]


@pytest.mark.parametrize("arguments", [AS_OBJECT, AS_TEXT, PRINTED], ids=["object", "text", "printed"])
@pytest.mark.parametrize("form", [CHAT, MARKED], ids=["plain", "marked"])
def test_a_call_has_loss_and_what_the_tool_answers_has_none(tokenizer, form, arguments):
    tokenizer.chat_template = template(form, arguments)
    mark = ":" if arguments == AS_TEXT else ""
    assert texts_with_loss(conversation(), tokenizer) == ["<sky" + mark + '{"stadt": "Köln"}>', "Sonne."]
    assert render(conversation(), tokenizer).text.startswith(f"[sky]u:Wetter?{EOS}a:<sky")


@pytest.mark.parametrize("form", [CHAT, MARKED], ids=["plain", "marked"])
def test_a_turn_without_weight_has_no_loss(tokenizer, form):
    tokenizer.chat_template = template(form)
    turns = [*TURNS[:3], {**TURNS[3], "weight": 0}, TURNS[0], {"role": "assistant", "content": "Ja."}]
    assert texts_with_loss(conversation(turns), tokenizer)[1:] == ["Ja."]
    opened = [{"role": "assistant", "content": "Hallo"}, *TURNS[:1], TURNS[3]]
    assert texts_with_loss(conversation(opened, None), tokenizer) == ["Sonne."]
    assert texts_with_loss(conversation([*opened[:2], {**TURNS[3], "train": False}], None), tokenizer) == []


@pytest.mark.parametrize(
    ("form", "wrong"),
    [
        (tiny.CHAT, r"the chat template does not write its tools \(sky\)"),
        (TOOLS + tiny.CHAT, "drops or changes turn 2, the assistant's call of 'sky'"),
        (template(CHAT).replace("in messages %}", "in messages if m.role != 'tool' %}"), "turn 3, the tool's 'sunny'"),
    ],
)
def test_what_a_template_drops_is_refused(tokenizer, form, wrong):
    tokenizer.chat_template = form
    with pytest.raises(DataError, match=wrong):
        render(conversation(), tokenizer)


def test_rows_that_a_template_refuses_are_left_out_where_it_is_asked(tokenizer):
    tokenizer.chat_template = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + tiny.CHAT
    )
    task, plain = TASKS["conversational"], [TURNS[0], {"role": "assistant", "content": "Ja."}]
    rows = [{"messages": plain} for _ in range(30)]
    rows[2] = {"messages": [{"role": "system", "content": "x"}, *plain]}
    strict = TaskSettings({"messages": "messages"}, 64)
    skipping = TaskSettings({"messages": "messages"}, 64, specific=ConversationalSettings(skip_invalid=0.1))
    dataset = Dataset.from_list(rows)
    place, reason = task.encoding.first_unencodable_row(dataset, tokenizer, strict)
    assert (place, "no system" in reason, "--skip-invalid 0.1" in reason) == (2, True, True)
    assert task.encoding.first_unencodable_row(dataset, tokenizer, skipping) is None
    assert list(task.encoding.unencodable_rows(dataset, tokenizer, skipping)) == [2]
    encoded = task.encoding.encode(dataset, tokenizer, skipping, training=True)
    assert encoded["row"][:] == [row for row in range(30) if row != 2]
    many = Dataset.from_list([rows[2]] * 4 + rows)
    place, reason = task.encoding.first_unencodable_row(many, tokenizer, skipping)
    assert "5 of 34 rows are invalid, which is more than --skip-invalid 0.1 leaves out" in reason
