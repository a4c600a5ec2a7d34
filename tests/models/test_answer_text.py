"""The text of an answer: streamed or whole, in any pieces, with its stops, its ends and its cut characters."""

from __future__ import annotations

import codecs

import pytest
from chat_families import FAMILIES, tokenizer_of
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig
from transformers.convert_slow_tokenizer import bytes_to_unicode

from llmkit.models.text.answer_text import NO_ENDS, AnswerText, answer_text
from llmkit.models.text.ends import AnswerEnds, end_tokens, tokenizer_ends

families = pytest.mark.parametrize("family", list(FAMILIES))
TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=24)
WRITTEN = st.one_of(TEXT, st.sampled_from(["the fox\n\nAnd", "日本語 😀 é", "a  b ", "naïve café", "हिन्दी ไทย"]))
few = settings(max_examples=40, deadline=None)


def streamed(tokenizer, ids, prompt=(), ends=NO_ENDS, sizes=(1,)):
    """Hand tokens over in pieces of these sizes, and join what can be shown of them; the last is what is left."""
    answer, shown, place, turn = AnswerText(tokenizer, prompt, ends), "", 0, 0
    while place < len(ids) and not answer.ended:
        place += sizes[turn % len(sizes)]
        turn += 1
        answer.read(ids[:place])
        shown += answer.new_text()
    answer.finish()
    return shown + answer.new_text()


def plain_ids(tokenizer, text):
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


@families
@few
@given(text=WRITTEN, prompt=WRITTEN, sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3))
@example(text="\x1f", prompt="\x80\u0800" + "\U00010000" * 3, sizes=[1])  # 17 bytes: 16 begin within a character
def test_what_is_streamed_is_the_whole_text_in_whatever_pieces_tokens_come(family, text, prompt, sizes):
    tokenizer = tokenizer_of(family)
    ids, before = plain_ids(tokenizer, text), plain_ids(tokenizer, prompt)
    whole = answer_text(tokenizer, ids, before)
    assert streamed(tokenizer, ids, before, sizes=sizes) == whole
    known = tokenizer.decode(before, skip_special_tokens=True)
    joined = tokenizer.decode([*before, *ids], skip_special_tokens=True)
    if joined.startswith(known) and not known.endswith("\ufffd"):
        assert whole == joined[len(known) :]


@families
@few
@given(text=WRITTEN, stops=st.lists(TEXT.filter(bool) | st.sampled_from(["\n\n", "fox", "é", "  "]), max_size=3))
def test_what_comes_before_a_stop_holds_none_and_is_the_same_streamed(family, text, stops):
    tokenizer, ends = tokenizer_of(family), AnswerEnds(stops=tuple(stops))
    ids = plain_ids(tokenizer, text)
    whole, cut = answer_text(tokenizer, ids), answer_text(tokenizer, ids, ends=ends)
    assert not any(stop in cut for stop in stops)
    assert whole.startswith(cut)
    assert cut == whole or any(whole[len(cut) :].startswith(stop) for stop in stops)
    assert streamed(tokenizer, ids, ends=ends) == cut
    answer = AnswerText(tokenizer, (), ends)
    for end in range(1, len(ids) + 1):
        answer.read(ids[:end])
        assert cut.startswith(answer.text) or not answer.ended


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("the fox ran", ["fox ran away"], "the fox ran"),  # a beginning that proves to be no stop
        ("a\nb\n\nc", ["\n\n"], "a\nb"),
        ("a\n", ["\n\n"], "a\n"),
        ("abcd", ["bcd", "c"], "ab"),  # the first that is complete
        ("abcd", ["cd", "bcd"], "a"),  # both are at once: the longer
        ("", ["a"], ""),
        ("aaa", ["a"], ""),
    ],
)
def test_a_stop_counts_when_it_is_complete(text, stops, expected):
    tokenizer = tokenizer_of("chatml")
    assert answer_text(tokenizer, plain_ids(tokenizer, text), ends=AnswerEnds(stops=tuple(stops))) == expected


def test_text_is_held_back_while_it_may_be_a_stop_and_shown_when_it_is_none():
    tokenizer = tokenizer_of("chatml")
    answer = AnswerText(tokenizer, (), AnswerEnds(stops=("xyz",)))
    ids, shown = [plain_ids(tokenizer, sign)[0] for sign in "axyaxy"], []
    for end in range(1, len(ids) + 1):
        answer.read(ids[:end])
        shown.append(answer.new_text())
    assert shown == ["a", "", "", "xya", "", ""]
    answer.finish()
    assert answer.new_text() == "xy"


@families
@pytest.mark.parametrize("text", ["a😀", "日本語", "né", "😀😀", "ไทย", "a\ufffd"])
def test_a_character_that_is_cut_is_left_out(family, text):
    """Byte by byte: the reference is an incremental decoder of UTF-8, which keeps what is incomplete."""
    tokenizer, raw = tokenizer_of(family), text.encode()
    vocabulary, signs = tokenizer.get_vocab(), bytes_to_unicode()
    ids = [vocabulary.get(f"<0x{byte:02X}>", vocabulary.get(signs[byte])) for byte in raw]
    if None in ids:
        pytest.skip(f"{family} has no tokens of bytes")
    whole = [answer_text(tokenizer, ids[:end]) for end in range(len(ids) + 1)]
    assert whole == [codecs.getincrementaldecoder("utf-8")().decode(raw[:end]) for end in range(len(raw) + 1)]


def test_bytes_that_begin_no_character_stay_as_transformers_shows_them():
    tokenizer = tokenizer_of("chatml")
    byte = {sign: tokenizer.convert_tokens_to_ids(sign) for sign in ("Ģ", "ÿ")}  # 0x80 and 0xff
    assert None not in byte.values()
    ids = [*plain_ids(tokenizer, "a"), byte["Ģ"], byte["ÿ"], byte["Ģ"]]
    assert answer_text(tokenizer, ids) == tokenizer.decode(ids)


def test_an_end_token_is_the_last_and_what_follows_is_padding():
    tokenizer = tokenizer_of("chatml")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    ids = [*plain_ids(tokenizer, "fox"), end, *plain_ids(tokenizer, "more")]
    ends = AnswerEnds(tokens=(end,))
    assert answer_text(tokenizer, ids, ends=ends) == "fox"
    assert ends.cut(ids) == ids[: ids.index(end) + 1]
    assert answer_text(tokenizer, ids) == "foxmore"


@families
def test_the_ends_are_those_of_the_config_of_the_tokenizer_and_of_a_turn(family):
    tokenizer = tokenizer_of(family)
    config = GenerationConfig(eos_token_id=[7, 3])
    assert end_tokens(config, ()) == (7, 3)
    alone, chat = tokenizer_ends(tokenizer, chat=False), tokenizer_ends(tokenizer, chat=True)
    assert alone == (tokenizer.eos_token_id,)
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    rest = tokenizer.apply_chat_template(messages, tokenize=False).rpartition("yes")[2].strip()
    control = [text for text in FAMILIES[family].spellings if rest.startswith(text)]  # Gemma's is not special
    expected = {tokenizer.eos_token_id, *map(tokenizer.convert_tokens_to_ids, control)}
    assert set(chat) == expected


def test_another_beam_is_read_anew():
    tokenizer = tokenizer_of("chatml")
    answer = AnswerText(tokenizer, (), AnswerEnds())
    answer.read(plain_ids(tokenizer, "the fox"))
    answer.read(plain_ids(tokenizer, "a dog ran"))
    assert answer.finish() == "a dog ran"
