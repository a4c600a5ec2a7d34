"""Chats as people have them: what becomes of their turns, of what stands beside them, and of invalid rows."""

from __future__ import annotations

import json

import pytest
from datasets import Dataset

from llmkit.data.conversations import conversation_of
from llmkit.data.conversions import chats
from llmkit.errors import DataError, OptionError
from llmkit.options import DataOptions

CHAT = {"messages": "messages"}
PAIR = {"prompt": "prompt", "completion": "completion"}
ASKED, ANSWERED = {"role": "user", "content": "Wer?"}, {"role": "assistant", "content": "狐狸"}
CALL = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": {"word": "Fuchs", "n": 2}}}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "finds"}}


def converted(rows: list[dict], columns: dict[str, str], **flags):
    """The conversations of rows, and the conversion that they went through."""
    dataset = Dataset.from_list(rows)
    conversion = chats.find(dataset, columns, DataOptions(**flags))
    if conversion is not None:
        dataset, columns = conversion.apply(dataset), conversion.columns
    assert len(dataset) == len(rows)
    return [conversation_of(row, columns) for row in dataset], conversion


def said(conversation) -> list[str]:
    return [f"{turn['role'][0]}:{turn['content']}" for turn in conversation.messages]


@pytest.mark.parametrize(
    ("user", "assistant"),
    [
        ("user", "assistant"),
        ("User", "ASSISTANT"),
        ("human", "gpt"),
        ("Human", "ChatGPT"),
        ("prompter", "model"),
        ("user", "bot"),
        (" user ", "AI"),
    ],
)
@pytest.mark.parametrize("keys", [("role", "content"), ("from", "value"), ("speaker", "text"), ("author", "content")])
def test_turns_of_every_dialect_are_the_users_and_the_assistants(user, assistant, keys):
    turns = [dict(zip(keys, turn)) for turn in ((user, "Wer?"), (assistant, "狐狸"))]
    (found,), _ = converted([{"messages": turns}], CHAT)
    assert said(found) == ["u:Wer?", "a:狐狸"]
    assert found.completion_turns == [1]


@pytest.mark.parametrize(
    "cell",
    [
        [["Wer?", "狐狸"], ["Ja?", "Nein"]],
        [{"user": "Wer?", "assistant": "狐狸"}, {"user": "Ja?", "assistant": "Nein"}],
        [{"human": "Wer?", "assistant": "狐狸"}, {"human": "Ja?", "assistant": "Nein"}],
        json.dumps([ASKED, ANSWERED, {"role": "user", "content": "Ja?"}, {"role": "assistant", "content": "Nein"}]),
        str([ASKED, ANSWERED, {"role": "user", "content": "Ja?"}, {"role": "assistant", "content": "Nein"}]),
        "[{'from': 'human', 'value': 'Wer?'} {'from': 'gpt', 'value': '狐狸'}\n {'from': 'human', 'value': 'Ja?'}\n"
        " {'from': 'gpt', 'value': 'Nein'}]".replace("} {", "}\n {"),
        json.dumps({"messages": [["Wer?", "狐狸"], ["Ja?", "Nein"]]}),
        [
            {"role": "user", "content": [{"type": "text", "text": "We"}, {"type": "text", "text": "r?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "狐狸"}]},
            {"role": "user", "content": [{"type": "text", "text": "Ja?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Nein"}]},
        ],
    ],
    ids=["pairs", "user and assistant", "firefly", "json", "python", "numpy", "json of an object", "parts"],
)
def test_messages_of_every_shape_are_the_same_turns(cell):
    (found,), _ = converted([{"messages": cell}], CHAT)
    assert said(found) == ["u:Wer?", "a:狐狸", "u:Ja?", "a:Nein"]
    assert found.completion_turns == [1, 3]


def test_plain_rows_stay_as_they_are():
    rows = Dataset.from_list([{"messages": [ASKED, ANSWERED], "id": 3, "system_id": "x"}])
    assert chats.find(rows, CHAT, DataOptions()) is None
    pairs = Dataset.from_list([{"prompt": "ja", "completion": 3, "input": ""}])
    assert chats.find(pairs, {**PAIR, "input": "input"}, DataOptions()) is None
    assert said(conversation_of(pairs[0], PAIR)) == ["u:ja", "a:3"]


def test_a_name_of_ones_own_is_a_role_by_its_flag():
    rows = [{"messages": [{"role": "Kunde", "content": "Wer?"}, {"role": "Shop AG", "content": "狐狸"}]}]
    with pytest.raises(DataError, match=r"row 1: turn 1 has the role 'Kunde'.*--role Kunde=assistant"):
        converted(rows, CHAT, role=["Shop AG=assistant"])
    (found,), _ = converted(rows, CHAT, role=["kunde=user", "Shop AG=assistant"])
    assert said(found) == ["u:Wer?", "a:狐狸"]
    for pair in ("kunde", "kunde=client", "=user"):
        with pytest.raises(OptionError, match="--role takes name=role"):
            DataOptions(role=[pair])


def test_a_system_column_is_the_system_message_or_contradicts_one():
    rows = [{"messages": [ASKED, ANSWERED], "system": text} for text in ("Kurz.", "", None)]
    columns = {**CHAT, "system": "system"}
    found, _ = converted(rows, columns)
    assert [said(one)[0] for one in found] == ["s:Kurz.", "u:Wer?", "u:Wer?"]
    rows.append({"messages": [{"role": "developer", "content": "Lang."}, ASKED, ANSWERED], "system": "Kurz."})
    with pytest.raises(DataError, match=r"row 4: its column of system messages says 'Kurz.', and turn 1 says 'Lang.'"):
        converted(rows, columns)
    rows[3]["system"] = "Lang. "
    assert said(converted(rows, columns)[0][3])[0] == "s:Lang. "


@pytest.mark.parametrize("history", [[["Ja?", "Nein"]], '[["Ja?", "Nein"]]', [{"user": "Ja?", "assistant": "Nein"}]])
def test_a_history_is_the_turns_before_the_prompt_of_which_nothing_is_learned(history):
    rows = [{"prompt": "Wer?", "completion": "狐狸", "history": history, "system": "Kurz."}]
    columns = {**PAIR, "history": "history", "system": "system"}
    (found,), conversion = converted(rows, columns)
    assert said(found) == ["s:Kurz.", "u:Ja?", "a:Nein", "u:Wer?", "a:狐狸"]
    assert found.completion_turns == [4]
    assert "history=history" in conversion.sentence
    assert conversion.columns == CHAT
    none = [{**rows[0], "history": "" if isinstance(history, str) else []}]
    assert said(converted(none, columns)[0][0]) == ["s:Kurz.", "u:Wer?", "a:狐狸"]


@pytest.mark.parametrize(
    ("flag", "no", "yes"),
    [("weight", 0, 1), ("weight", 0.0, 1.0), ("train", False, True), ("loss", False, True), ("trainable", "0", "1")],
)
def test_a_turn_without_weight_is_not_learned(flag, no, yes):
    turns = [ASKED, {**ANSWERED, flag: no}, ASKED, {**ANSWERED, flag: yes}, ASKED, ANSWERED]
    (found,), _ = converted([{"messages": turns}], CHAT)
    assert found.completion_turns == [3, 5]
    masked, _ = converted([{"messages": [ASKED, {**ANSWERED, "masked": True}, ASKED, ANSWERED]}], CHAT)
    assert masked[0].completion_turns == [3]


def test_other_weights_are_refused():
    with pytest.raises(DataError, match=r"row 1: the weight of turn 2 is 0.5, and 1 .* or 0 .* is read; --skip"):
        converted([{"messages": [ASKED, {**ANSWERED, "weight": 0.5}]}], CHAT)


@pytest.mark.parametrize("tools", [[TOOL], json.dumps([TOOL]), json.dumps([TOOL["function"]]), json.dumps(TOOL)])
@pytest.mark.parametrize(
    "calling",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{**CALL, "function": {"name": "look_up", "arguments": '{"word": "Fuchs", "n": 2}'}}],
        },
        {"role": "assistant", "function_call": {"name": "look_up", "arguments": '{"word": "Fuchs", "n": 2}'}},
        {"role": "function_call", "content": '{"name": "look_up", "arguments": {"word": "Fuchs", "n": 2}}'},
    ],
    ids=["objects", "texts", "function_call", "sharegpt"],
)
@pytest.mark.parametrize("answering", ["tool", "function", "observation", "ipython"])
def test_calls_and_their_results_are_turns(tools, calling, answering):
    turns = [ASKED, calling, {"role": answering, "content": "fox", "tool_call_id": "c1"}, ANSWERED]
    rows = [{"messages": turns, "tools": tools}]
    (found,), conversion = converted(rows, {**CHAT, "tools": "tools"})
    assert said(found) == ["u:Wer?", "a:", "t:fox", "a:狐狸"]
    (call,) = json.loads(found.messages[1]["tool_calls"])
    assert call["function"] == CALL["function"]
    assert json.loads(found.tools) == [TOOL]
    assert found.completion_turns == [1, 3]
    assert conversion.columns == {**CHAT, "tools": "tools"}


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ({"messages": [ASKED, {"role": "function_call", "content": "look up"}]}, "turn 2 is a call, and holds 'look"),
        ({"messages": [ASKED, {**ANSWERED, "tool_calls": '[{"id": "1"}]'}]}, "which names no function"),
        ({"messages": [{**ASKED, "function_call": '{"name": "x"}'}, ANSWERED]}, "turn 1 calls a tool"),
        ({"messages": [ASKED, ANSWERED], "tools": "no tools"}, "its tools are 'no tools'"),
        ({"messages": [ASKED, ANSWERED], "tools": '[{"a": 1}]'}, "its tools hold {'a': 1}, which names no function"),
        ({"messages": "User: hi"}, "its messages are 'User: hi', and a list is wanted, or JSON of one"),
        ({"messages": [ASKED, ANSWERED], "image": "a.png"}, "it comes with image 'a.png', and only text is read"),
        ({"messages": [ASKED, ANSWERED], "images": ["a.png"]}, "it comes with images ['a.png'], and only text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "a"}]}, ANSWERED]},
            "the content of turn 1 holds a part of type 'image_url', and only text is read",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_row(row, wrong):
    columns = {**CHAT, **({"tools": "tools"} if "tools" in row else {})}
    row = {**row, "messages": json.dumps(row["messages"]) if isinstance(row["messages"], list) else row["messages"]}
    with pytest.raises(DataError) as raised:
        converted([row], columns)
    assert str(raised.value).startswith("row 1: ")
    assert wrong in str(raised.value)
    assert "--skip-invalid" in str(raised.value)


def test_neighbours_of_one_role_are_joined_where_it_is_asked():
    rows = [{"messages": [ASKED, {"role": "user", "content": "Bitte."}, ANSWERED, ANSWERED]}]
    plain, conversion = Dataset.from_list(rows), chats.find(Dataset.from_list(rows), CHAT, DataOptions())
    assert conversion is None
    with pytest.raises(DataError, match=r"turn 2 is the user's, out of order: .*--merge-turns .*--skip-invalid 0.1"):
        conversation_of(plain[0], CHAT)
    (found,), _ = converted(rows, CHAT, merge_turns=True)
    assert said(found) == ["u:Wer?\n\nBitte.", "a:狐狸\n\n狐狸"]
    mixed = [{"messages": [ASKED, {**ANSWERED, "weight": 0}, {**ANSWERED, "weight": 1}]}]
    with pytest.raises(
        DataError, match="turn 3 and the one before it are both the assistant's, and one of them has no"
    ):
        converted(mixed, CHAT, merge_turns=True)


def test_a_conversation_that_the_assistant_opens_is_kept_and_its_opening_not_learned():
    hello = {"role": "assistant", "content": "Hallo!"}
    for turns in ([hello, ASKED, ANSWERED], [{"role": "system", "content": "x"}, hello, ASKED, ANSWERED]):
        (found,), _ = converted([{"messages": turns}], CHAT)
        assert found.completion_turns == [len(turns) - 1]
    with pytest.raises(DataError, match="no turn is the user's"):
        converted([{"messages": [hello]}], CHAT)


def test_invalid_rows_are_left_out_and_counted_up_to_a_share():
    rows = [{"messages": [ASKED, ANSWERED]} for _ in range(20)]
    rows[4] = rows[11] = {"messages": [ASKED, ASKED, ANSWERED]}
    found, conversion = converted(rows, CHAT, skip_invalid=0.1)
    assert [place for place, one in enumerate(found) if one is None] == [4, 11]
    assert "--skip-invalid leaves out 2 of 20 rows (row 5: turn 2 is the user's, out of order" in conversion.sentence
    rows[0] = {"messages": [ASKED]}
    with pytest.raises(DataError, match=r"row 1: no turn is .*3 of 20 rows are invalid.*--skip-invalid 0.15 does"):
        converted(rows, CHAT, skip_invalid=0.1)
    assert converted(rows, CHAT, skip_invalid=0.15)[1].skipped.count == 3
    with pytest.raises(DataError, match="row 2: turn 2"):
        conversion.apply(Dataset.from_list([{"messages": [ASKED, ANSWERED]}, *[rows[4]] * 3]))
    for share in (-0.1, 1.5, float("nan")):
        with pytest.raises(OptionError, match="--skip-invalid must be"):
            DataOptions(skip_invalid=share)


def test_later_rows_are_converted_alike_and_keep_their_other_columns():
    train = Dataset.from_list([{"id": 1, "conversations": json.dumps([ASKED, ANSWERED]), "tools": json.dumps([TOOL])}])
    conversion = chats.find(train, {"messages": "conversations", "tools": "tools"}, DataOptions())
    later = conversion.apply(Dataset.from_list([{"id": 7, "conversations": json.dumps([ASKED, ANSWERED])}]))
    assert later["id"][:] == [7]
    assert later.features["messages"] == conversion.apply(train).features["messages"]
    found = conversation_of(later[0], conversion.columns)
    assert (said(found), found.tools) == (["u:Wer?", "a:狐狸"], "")
    assert conversion.reads == ("conversations",)


@pytest.mark.parametrize("column", ["prompt", "completion"])
def test_texts_that_are_json_of_messages_are_read_and_others_stay_texts(column):
    rows = [{"prompt": "Wer?", "completion": "狐狸"}]
    rows[0][column] = json.dumps([ASKED if column == "prompt" else ANSWERED])
    assert said(converted(rows, PAIR)[0][0]) == ["u:Wer?", "a:狐狸"]
    rows[0][column] = '[{"name": "x"}]'
    found, conversion = converted(rows, PAIR)
    assert conversion is None
    assert '{"name": "x"}' in "".join(said(found[0]))


@pytest.mark.parametrize(("cell", "text"), [(0, "0"), (3, "3"), (2.5, "2.5"), (-1, "-1")])
def test_numbers_are_texts_of_a_prompt_and_of_its_answer(cell, text):
    (found,), _ = converted([{"prompt": cell, "completion": cell}], PAIR)
    assert said(found) == [f"u:{text}", f"a:{text}"]
    (more,), _ = converted([{"prompt": "a", "input": cell, "completion": cell}], {**PAIR, "input": "input"})
    assert said(more) == [f"u:a\n{text}", f"a:{text}"]
