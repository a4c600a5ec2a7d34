"""The four shapes of conversational rows, and what is wrong with rows of none."""

from __future__ import annotations

import pytest

from llmkit.data.conversations import Conversation, conversation_of, messages_of
from llmkit.errors import DataError

CHAT = {"messages": "messages"}
PAIR = {"prompt": "prompt", "completion": "completion"}
ALPACA = {"prompt": "instruction", "input": "input", "completion": "output"}


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


ASKED, ANSWERED = said("user", "Was ist ein Fuchs?"), said("assistant", "一只狐狸。")


@pytest.mark.parametrize(
    ("row", "columns", "given"),
    [
        ({"messages": [ASKED, ANSWERED]}, CHAT, 0),
        (
            {"messages": [{"from": "human", "value": ASKED["content"]}, {"from": "gpt", "value": ANSWERED["content"]}]},
            CHAT,
            0,
        ),
        ({"prompt": ASKED["content"], "completion": ANSWERED["content"]}, PAIR, 1),
        ({"prompt": [ASKED], "completion": [ANSWERED]}, PAIR, 1),
        ({"instruction": ASKED["content"], "input": "", "output": ANSWERED["content"]}, ALPACA, 1),
        ({"instruction": "Was ist", "input": "ein Fuchs?", "output": ANSWERED["content"]}, ALPACA, 1),
    ],
    ids=["messages", "sharegpt", "texts", "lists of messages", "alpaca", "alpaca with an input"],
)
def test_rows_of_every_shape_become_the_same_messages(row, columns, given):
    found = conversation_of(row, columns)
    if row.get("input"):
        assert found.messages[0] == said("user", "Was ist\nein Fuchs?")
    else:
        assert found == Conversation((ASKED, ANSWERED), given)
    assert found.completion_turns == [1]


def test_every_turn_of_the_assistant_is_learned_but_those_of_a_prompt():
    system = said("system", "Be brief.")
    turns = [system, ASKED, ANSWERED, ASKED, ANSWERED]
    assert conversation_of({"messages": turns}, CHAT).completion_turns == [2, 4]
    assert conversation_of({"prompt": turns[:4], "completion": turns[4:]}, PAIR).completion_turns == [4]
    told = {"instruction": "Ja?", "system": "Be brief.", "output": "Nein."}
    found = conversation_of(told, {"prompt": "instruction", "system": "system", "completion": "output"})
    assert [turn["role"] for turn in found.messages] == ["system", "user", "assistant"]
    unsaid = conversation_of({"messages": [said("system", " "), ASKED, ANSWERED]}, CHAT)
    assert unsaid.messages == (ASKED, ANSWERED)


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"messages": None}, CHAT),
        ({"messages": []}, CHAT),
        ({"messages": [ASKED, said("assistant", " ")]}, CHAT),
        ({"prompt": "", "completion": "x"}, PAIR),
        ({"prompt": "x", "completion": None}, PAIR),
    ],
)
def test_a_row_with_a_blank_turn_holds_no_conversation(row, columns):
    assert conversation_of(row, columns) is None


@pytest.mark.parametrize(
    ("turns", "wrong"),
    [
        ([ASKED], "no turn is the assistant's"),
        ([ANSWERED, ASKED], "the last turn is the user's"),
        ([ASKED, ASKED, ANSWERED], "turn 2 is the user's, out of order"),
        ([ASKED, said("system", "x"), ANSWERED], "turn 2 is the system's, out of order"),
        ([ASKED, ANSWERED, ASKED], "the last turn is the user's, and the assistant's is wanted"),
        ([ASKED, said("narrator", "3"), ANSWERED], "none of system, user, assistant, tool and their usual"),
        ([ASKED, ANSWERED, said("tool", "3")], "the last turn is the tool's"),
        ([ASKED, {"text": "x"}], "turn 2 has no role: {'text': 'x'}, and"),
        ([ASKED, "yes"], "turn 2 is 'yes', and {\"role\""),
        ([ASKED, {"role": "assistant", "content": [{"type": "text"}]}], "the content of turn 2 holds {'type': 'text'}"),
        ("ja", "its messages are 'ja', and a list is wanted"),
        (3, "3 is neither a text nor a list of messages"),
    ],
)
def test_what_is_wrong_with_a_row_is_a_phrase_that_names_the_turn(turns, wrong):
    with pytest.raises(DataError) as raised:
        conversation_of({"messages": turns}, CHAT)
    assert wrong in str(raised.value)


def test_a_text_is_one_message_of_the_role_that_it_stands_for():
    assert messages_of("ja", "assistant") == [said("assistant", "ja")]
    assert messages_of([ASKED], "assistant") == [ASKED]
