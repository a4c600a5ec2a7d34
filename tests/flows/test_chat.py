"""Talk with a chat model: what it reads of the conversation, what is kept of it, and what stops an answer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tty
from pathlib import Path

import pytest
import tiny
import torch
from conftest import write_jsonl
from plain_text import whole_characters
from transformers import AutoModelForCausalLM, AutoTokenizer

TEMPLATE = (
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
)
DEAF = TEMPLATE.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
FEW = ("--max-new-tokens", "6")


@pytest.fixture(scope="module")
def narrow(models_root) -> Path:
    """A Llama that talks, in a context of 64 tokens."""
    return tiny.llama_folder(models_root / "narrow", chat_template=TEMPLATE, seed=4)


@pytest.fixture(scope="module")
def talker(narrow, models_root) -> Path:
    """The same in a context of 512."""
    folder = shutil.copytree(narrow, models_root / "talker")
    for name, key in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(settings | {key: 512}))
    return folder


def plain_answer(folder: Path, messages: list[dict[str, str]], tokens: int = 6) -> str:
    """What transformers alone answers."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        made = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False)
    start = len(ids[0])
    return whole_characters(tokenizer, made[0][start:].tolist(), ids[0].tolist())


def said(*texts: str, system: str | None = None) -> list[dict[str, str]]:
    """Messages in turns, the user's first."""
    begun = [] if system is None else [{"role": "system", "content": system}]
    return begun + [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


@pytest.fixture
def typed(llmkit, monkeypatch):
    """Run llmkit with a pseudo-terminal for its standard input, on which a person types lines and then Ctrl-D."""

    def run(text: str, *arguments: object):
        master, slave = os.openpty()
        tty.setcbreak(slave)  # lines as they come, no editing
        os.write(master, text.encode())
        with monkeypatch.context() as patch, os.fdopen(slave, "r", encoding="utf-8") as terminal:
            patch.setattr("sys.stdin", terminal)
            ran = llmkit(*arguments)
        os.close(master)
        return ran

    return run


def test_each_line_of_a_pipe_is_a_turn_and_the_model_reads_all_before_it(llmkit, talker):
    ran = llmkit("chat", "-m", talker, *FEW, stdin='the fox\n\nthe \\\nking\n"""\n/the\nday"""\n//x')
    turns: list[str] = []
    for text in ("the fox", "the \nking", "/the\nday", "/x"):
        turns += [text, plain_answer(talker, said(*turns, text))]
    assert (ran.code, ran.out) == (0, "".join(f"{answer}\n" for answer in turns[1::2])), ran.err
    assert "> " not in ran.err


def test_json_is_one_object_for_each_answer(llmkit, talker):
    flags = ("--system", "be kind", "--json", "--quiet", *FEW)
    ran = llmkit("chat", "-m", talker, *flags, stdin="the fox\n/reset\nthe fox\n/system\n/reset\nthe fox\n")
    kind, plain = (plain_answer(talker, said("the fox", system=system)) for system in ("be kind", None))
    assert [(row["turn"], row["prompt"], row["answer"]) for row in ran.rows] == [
        (1, "the fox", kind),
        (2, "the fox", kind),
        (3, "the fox", plain),
    ]
    assert {(row["tokens"], row["end"]) for row in ran.rows} == {(6, "length")}
    assert (kind != plain, ran.code, ran.err) == (True, 0, "")


def test_a_conversation_is_saved_as_a_line_that_grows_and_goes_on_where_it_was_left(llmkit, talker, tmp_path):
    file = write_jsonl(tmp_path / "talk.jsonl", [{"messages": said("a", "b"), "of": "another"}])
    chat = ("chat", "-m", talker, "--json", *FEW)
    first = llmkit(*chat, stdin=f"/system be kind\nthe fox\n/save {file}\nthe king\n/save {file}\n")
    assert first.code == 0, first.err
    answers = [row["answer"] for row in first.rows]
    begun = said("the fox", answers[0], "the king", answers[1], system="be kind")
    kept = [json.loads(line) for line in file.read_text().splitlines()]
    assert kept == [{"messages": said("a", "b"), "of": "another"}, {"messages": begun}]  # not the shorter one too
    again = llmkit(*chat, stdin=f"/load {file}\nthe day\n/save {file}\n/reset\nso\n/save {file}\n")
    third, other = (row["answer"] for row in again.rows)
    assert third == plain_answer(talker, [*begun, *said("the day")])
    grown, fresh = [json.loads(line) for line in file.read_text().splitlines()][1:]
    assert grown == {"messages": [*begun, *said("the day", third)]}
    assert fresh == {"messages": said("so", other, system="be kind")}


def test_a_prompt_in_a_file_is_answered_when_it_is_loaded(llmkit, talker, tmp_path):
    file = write_jsonl(tmp_path / "prompts.jsonl", [{"messages": said("the fox")}])
    ran = llmkit("chat", "-m", talker, *FEW, stdin=f"/load {file}\n")
    assert (ran.code, ran.out) == (0, plain_answer(talker, said("the fox")) + "\n")


def test_where_the_context_is_full_the_oldest_turns_are_dropped_and_it_is_said(llmkit, narrow, tmp_path):
    file, words = tmp_path / "talk.jsonl", ["the fox was good"] * 6
    flags = ("--system", "be kind", "--max-new-tokens", "6")
    ran = llmkit("chat", "-m", narrow, *flags, stdin="\n".join([*words, f"/save {file}"]))
    assert ran.code == 0
    assert "no longer reads the oldest turn" in ran.err
    kept = json.loads(file.read_text())["messages"]
    assert [message["role"] for message in kept] == ["system", *["user", "assistant"] * 6]  # the transcript has all
    tokenizer = AutoTokenizer.from_pretrained(narrow)
    turns = kept[1:-1]
    while len(tokenizer.apply_chat_template([kept[0], *turns], add_generation_prompt=True)["input_ids"]) + 6 > 64:
        turns = turns[2:]
    assert 1 < len(turns) < 11
    assert kept[-1]["content"] == plain_answer(narrow, [kept[0], *turns])


def test_a_prompt_that_is_too_long_is_a_sentence_and_the_talk_goes_on(llmkit, narrow):
    ran = llmkit("chat", "-m", narrow, *FEW, "--quiet", stdin=f"{'the fox was good ' * 40}\nthe fox\n/sav\n")
    assert (ran.code, ran.out) == (2, plain_answer(narrow, said("the fox")) + "\n")
    long, unknown, last = ran.err.splitlines()
    assert long.startswith("line 1: the prompt has ")
    assert "takes 64 in all" in long
    assert unknown.startswith("line 3: there is no command /sav (did you mean '/save'?)")
    assert last == "error: 2 of 3 turns and commands of standard input failed, as told above"


@pytest.mark.parametrize("typing", ["answer", "prompt"])
def test_ctrl_c_stops_the_answer_and_not_the_program(typed, talker, tmp_path, monkeypatch, typing):
    from llmkit.cli.shared.chat_input import Turns
    from llmkit.output.report import Report

    shown, pieces, read = Report.stream, [], Turns._read

    def stream(report, text):
        shown(report, text)
        pieces.append(text)
        if len(pieces) == 3 and typing == "answer":
            signal.raise_signal(signal.SIGINT)

    def interrupted(turns, mark):
        line = read(turns, mark)
        if line == "no":
            raise KeyboardInterrupt
        return line

    monkeypatch.setattr(Report, "stream", stream)
    monkeypatch.setattr(Turns, "_read", interrupted)
    file = tmp_path / "talk.jsonl"
    text = f"the fox\n{'' if typing == 'answer' else 'no'}\nso\n/save {file}\n/quit\nnever read\n"
    ran = typed(text, "chat", "-m", talker, "--max-new-tokens", "12")
    assert ran.code == 0, ran.err
    kept = json.loads(file.read_text())["messages"]
    whole = plain_answer(talker, said("the fox"), 12)
    assert ran.out == f"{kept[1]['content']}\n{kept[3]['content']}\n"
    assert [message["content"] for message in kept[::2]] == ["the fox", "so"]
    assert kept[3]["content"] == plain_answer(talker, kept[:3], 12)
    if typing == "answer":
        assert ran.err.count("stopped") == 1
        assert whole.startswith(kept[1]["content"])
        assert 0 < len(kept[1]["content"]) < len(whole)
    else:
        assert "/quit leaves" in ran.err
        assert kept[1]["content"] == whole


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (['{"text": "x"}'], "row 1: a conversation is"),
        (['{"messages": [{"role": "robot", "content": "x"}]}'], "row 1: turn 1 has the role 'robot'"),
        (['{"messages": [{"role": "assistant", "content": "x"}]}'], "turn 1 is the assistant's, out of order"),
        (
            ['{"messages": []}', '{"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "x"}]}'],
            "row 2: turn 2 is the user's, out of order",
        ),
        (['{"messages": [{"role": "system", "content": "x"}]}'], "no turn is the assistant's"),
        (["{"], "line 1: not JSON"),
    ],
)
def test_what_is_no_conversation_is_not_loaded(llmkit, talker, tmp_path, lines, sentence):
    file = tmp_path / "talk.jsonl"
    file.write_text("\n".join(lines))
    ran = llmkit("chat", "-m", talker, *FEW, stdin=f"/load {file}\n/save {file}\n/save {tmp_path}/x.txt\n/load\n")
    assert (ran.code, ran.out, file.read_text()) == (2, "", "\n".join(lines))
    told = ran.err.splitlines()
    assert sentence in told[0]
    assert [line.partition(": ")[2].partition(":")[0] for line in told[1:4]] == [
        "there is nothing to save",
        "there is nothing to save",
        "/load takes the name of a file",
    ]


def test_a_model_that_cannot_chat_is_refused(llmkit, llama, classifier, models_root):
    bare = llmkit("chat", "-m", llama, stdin="hi\n")
    assert (bare.code, bare.out) == (2, "")
    assert "has no chat template" in bare.error
    encoder = llmkit("chat", "-m", classifier, stdin="hi\n")
    assert (encoder.code, "text-classification" in encoder.error, "causal-lm" in encoder.error) == (2, True, True)
    deaf = tiny.llama_folder(models_root / "deaf", chat_template=DEAF)
    ran = llmkit("chat", "-m", deaf, "--system", "be kind", stdin="hi\n")
    assert (ran.code, "drops the system message" in ran.error) == (2, True)
    assert llmkit("chat", "-m", deaf, *FEW, stdin="hi\n").code == 0


def test_a_dry_run_loads_no_weights(llmkit, talker, monkeypatch):
    monkeypatch.setattr("llmkit.models.loading.load_model", None)
    ran = llmkit("chat", "-m", talker, "--dry-run", stdin="hi\n")
    assert (ran.code, ran.out, "dry run" in ran.err) == (0, "", True)
