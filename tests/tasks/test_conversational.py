"""Supervised finetuning on conversations: the loss mask on the rendered text, packing, figures, and bad rows."""

from __future__ import annotations

import json
import math
import re
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pytest
import tiny
import torch
from conftest import write_jsonl
from datasets import Dataset
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from llmkit.distributed.world import ALONE
from llmkit.options import CorpusOptions, SplitOptions
from llmkit.output.report import Report
from llmkit.tasks import TASKS, TaskSettings
from llmkit.tasks.conversational import ConversationalSettings
from llmkit.tasks.encoding.packing import best_fit, collate_packs, leaks
from llmkit.training.rows import streaming
from llmkit.training.rows.rank_batches import RankStream

TASK = TASKS["conversational"]
PACKING = ConversationalSettings(packing=True)
EOS = "<|endoftext|>"
# a German and a Chinese turn, of which no token of the tiny tokenizer is a whole character
TURNS = [
    {"role": "user", "content": "Größe?"},
    {"role": "assistant", "content": "über 3"},
    {"role": "user", "content": "狐"},
    {"role": "assistant", "content": "好的"},
]
SHAPES = {
    "messages": {"messages": TURNS},
    "conversations": {
        "conversations": [
            {"from": {"user": "human", "assistant": "gpt"}[turn["role"]], "value": turn["content"]} for turn in TURNS
        ]
    },
    "prompt and completion": {"prompt": TURNS[:3], "completion": TURNS[3:]},
    "alpaca": {"instruction": "Größe?", "input": "狐", "output": "好的"},
}
LEARNED = {"prompt and completion": ["好的"], "alpaca": ["好的"]}
# what could stand in the place of the template, and what is wrong with it
DROPPING = tiny.CHAT.replace("{% for m in messages %}", "{% for m in messages if m.role != 'system' %}")
CHANGING = tiny.CHAT.replace("{{ m.content }}", "{{ m.content if loop.last else m.content.upper() }}")
LAST = tiny.CHAT.replace("{{ m.content }}", "{{ '!' if loop.last and m.role == 'assistant' }}{{ m.content }}")
REFUSING = "{{ raise_exception('no turns') }}" + tiny.CHAT


def prepared(
    rows: list[dict], folder: Path, template: str = tiny.CHAT, length: int = 64, **more
) -> tuple[Dataset, object]:
    dataset, tokenizer = Dataset.from_list(rows), AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    columns = TASK.columns.match(dataset, {})
    return TASK.encoding.encode(dataset, tokenizer, TaskSettings(columns, length, **more), training=True), tokenizer


def runs(row: dict, tokenizer) -> list[str]:
    """The texts of the tokens that are learned, side by side ones in one."""
    texts, last = [], False
    for token, label in zip(row["input_ids"], row["labels"]):
        assert label in (token, -100)
        if label != -100:
            texts = [*texts[:-1], [*texts[-1], token]] if last else [*texts, [token]]
        last = label != -100
    return [tokenizer.decode(ids) for ids in texts]


@pytest.mark.parametrize("template", [tiny.CHAT, tiny.MARKED], ids=["plain", "marked"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_loss_is_on_what_the_assistant_writes_and_the_end_of_its_turn(assistant, shape, template):
    rows, tokenizer = prepared([SHAPES[shape]], assistant, template)
    learned = LEARNED.get(shape, ["über 3", "好的"])
    assert runs(rows[0], tokenizer) == [text + EOS for text in learned]
    whole = tokenizer.decode(rows[0]["input_ids"])
    assert whole == ("u:Größe?\n狐" if shape == "alpaca" else f"u:Größe?{EOS}a:über 3{EOS}u:狐") + f"{EOS}a:好的{EOS}"


def test_the_mask_of_a_marked_template_is_the_librarys_own(assistant):
    rows, tokenizer = prepared([SHAPES["messages"]], assistant, tiny.MARKED)
    theirs = tokenizer.apply_chat_template(TURNS, return_dict=True, return_assistant_tokens_mask=True)
    assert rows[0]["input_ids"] == theirs["input_ids"]
    assert [int(label != -100) for label in rows[0]["labels"]] == theirs["assistant_masks"]


def test_an_end_of_text_behind_the_last_turn_alone_is_learned_there_alone(assistant):
    phi = tiny.CHAT.replace("{{ eos_token }}", ".").replace("{% endif %}", "{% else %}{{ eos_token }}{% endif %}")
    rows, tokenizer = prepared([SHAPES["messages"]], assistant, phi)
    assert runs(rows[0], tokenizer) == ["über 3.", f"好的.{EOS}"]


@pytest.mark.parametrize("family", ["llama3", "gemma3", "cohere", "phi3"])
def test_what_the_prefixes_tell_is_what_trl_marks(assistant, family):
    found = find_spec("trl")
    if found is None or found.origin is None:
        pytest.skip("trl is not installed")
    templates, learned = Path(found.origin).parent / "chat_templates", []
    for name in (f"{family}.jinja", f"{family}_training.jinja"):
        rows, _ = prepared([SHAPES["messages"]], assistant, (templates / name).read_text(), length=512)
        learned.append((rows[0]["input_ids"], rows[0]["labels"]))
    assert learned[0] == learned[1]
    assert rows[0]["target_tokens"] > 0


def test_a_mark_that_ends_before_the_end_of_the_turn_is_taken_to_it(assistant):
    short = tiny.MARKED.replace("{{ eos_token }}{% endgeneration %}", "{% endgeneration %}{{ eos_token }}")
    rows, tokenizer = prepared([SHAPES["messages"]], assistant, short)
    assert runs(rows[0], tokenizer) == [f"über 3{EOS}", f"好的{EOS}"]


def test_figures_are_those_of_a_plain_script(llmkit, assistant, tmp_path):
    rows = tiny.conversations(12)
    ran = llmkit("eval", write_jsonl(tmp_path / "rows.jsonl", rows), "-m", assistant, "--json")
    assert ran.code == 0, ran.err
    tokenizer, model = AutoTokenizer.from_pretrained(assistant), AutoModelForCausalLM.from_pretrained(assistant)
    total, count = 0.0, 0
    for row in rows:
        ids = tokenizer.apply_chat_template(row["messages"], return_dict=True, return_tensors="pt")["input_ids"]
        ends = [place for place, token in enumerate(ids[0].tolist()) if token == tokenizer.eos_token_id]
        heads = [len(tokenizer(f"{EOS}a:", add_special_tokens=False)["input_ids"]) - 1] * len(ends)
        answered = [range(ends[turn - 1] + heads[turn] + 1, ends[turn] + 1) for turn in range(1, len(ends), 2)]
        with torch.no_grad():
            scores = model(ids).logits[0].log_softmax(-1)
        for places in answered:
            total -= sum(float(scores[place - 1, ids[0, place]]) for place in places)
            count += len(places)
    assert ran.json["n"] == count
    assert ran.json["metrics"]["loss"]["value"] == pytest.approx(total / count, rel=1e-5)
    assert ran.json["metrics"]["perplexity"]["value"] == pytest.approx(float(torch.tensor(total / count).exp()))


def test_packed_rows_have_the_logits_and_the_loss_that_they_have_alone(assistant):
    rows, tokenizer = prepared(tiny.conversations(9, seed=1), assistant, specific=PACKING)
    model = AutoModelForCausalLM.from_pretrained(assistant).eval()
    settings = TaskSettings({}, 64, specific=PACKING)
    packs = TASK.encoding.pack(rows, settings)
    assert len(packs) < len(rows)
    assert max(packs["length"]) <= 64
    assert sum(packs["length"]) == sum(rows["length"])
    batch, seen = collate_packs(packs.to_list()), []
    assert (batch["labels"] != -100).sum() == sum(rows["target_tokens"])
    with torch.no_grad():
        packed = model(**batch)
        for number, pack in enumerate(packs.to_list()):
            starts = [place for place, position in enumerate(pack["position_ids"]) if position == 0]
            for start, end in zip(starts, [*starts[1:], len(pack["input_ids"])]):
                alone = model(input_ids=torch.tensor([pack["input_ids"][start:end]])).logits[0]
                torch.testing.assert_close(packed.logits[number, start:end], alone, rtol=0, atol=1e-5)
                seen.append(pack["input_ids"][start:end])
        padded = model(**TASK.encoding.collator(tokenizer, settings)(rows.to_list()))
    assert sorted(seen) == sorted(rows["input_ids"])
    assert float(packed.loss) == pytest.approx(float(padded.loss), abs=1e-5)
    assert sum(packs["rows"]) == len(rows)
    assert best_fit([3, 9, 4, 6, 1], 10) == [[1, 4], [3, 2], [0]]


def test_a_family_in_which_packed_rows_see_one_another_is_refused(llmkit, assistant, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(assistant)
    config = AutoConfig.for_model(
        "bloom",
        vocab_size=len(tokenizer),
        hidden_size=32,
        n_layer=2,
        n_head=2,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "bloom")
    tokenizer.save_pretrained(tmp_path / "bloom")
    data = write_jsonl(tmp_path / "rows.jsonl", tiny.conversations(12))
    ran = llmkit("finetune", data, "-m", tmp_path / "bloom", "--packing", "--max-steps", "1", "-o", tmp_path / "run")
    assert ran.code == 2
    assert "--packing: in a bloom the conversations of one sequence would see one another" in ran.error
    assert not leaks(AutoModelForCausalLM.from_pretrained(assistant))


def test_what_is_trained_writes_answers_and_keeps_the_template_that_was_given(llmkit, llama, tmp_path):
    template, run = tmp_path / "chat.jinja", tmp_path / "run"
    template.write_text(tiny.CHAT)
    train, held = (
        write_jsonl(
            tmp_path / f"{seed}.jsonl", [{"messages": row["messages"][:2]} for row in tiny.conversations(64, seed)]
        )
        for seed in (1, 2)
    )
    flags = ("--chat-template", template, "--json")
    before = llmkit("eval", held, "-m", llama, *flags)
    trained = llmkit(
        "finetune",
        train,
        "-m",
        llama,
        "--validation",
        held,
        "-o",
        run,
        "--packing",
        "--epochs",
        "4",
        "--learning-rate",
        "0.01",
        "--batch-size",
        "4",
        *flags,
    )
    assert trained.code == 0, trained.err
    steps = json.loads((run / "run.json").read_text())["training"]["steps"]
    packed = re.search(r"packing: 64 rows in (\d+) sequences of 64", trained.err)
    assert steps == 4 * math.ceil(int(packed[1]) / 4)
    assert "task: conversational; columns messages=messages" in trained.err
    assert trained.json["metrics"]["loss"]["value"] < before.json["metrics"]["loss"]["value"] / 2
    assert AutoTokenizer.from_pretrained(run).chat_template == tiny.CHAT
    answers = llmkit("generate", "-m", run, "sweet", "cruel", "--max-new-tokens", "8")
    assert answers.out.split("\n")[::2] == ["positive", "negative", ""] or answers.out.split() == [
        "positive",
        "negative",
    ]


def test_rows_of_which_nothing_is_left_to_learn_are_named_and_refused_when_many(llmkit, assistant, tmp_path):
    rows = [{"prompt": row["messages"][0]["content"], "completion": "kind"} for row in tiny.conversations(60)]
    for number in (7, 21):
        rows[number - 1]["prompt"] = "the good river was cold and the " * 6
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    flags = ("-m", assistant, "--max-length", "32", "-o", tmp_path / "run", "--dry-run", "--validation", data)
    ran = llmkit("finetune", data, *flags)
    assert ran.code == 0, ran.err
    assert "2 of 60 training rows have nothing to learn within 32 tokens (rows 7, 21), left out" in ran.err
    cut = llmkit("finetune", data, *flags[:-2])  # the rows that are left after a cut keep their numbers
    named = {int(number) for line in cut.err.splitlines() if "to learn" in line for number in numbers(line)}
    assert named == {7, 21}
    for number in range(40, 48):
        rows[number]["prompt"] = rows[6]["prompt"]
    many = llmkit("finetune", write_jsonl(tmp_path / "many.jsonl", rows), *flags[:-2])
    assert many.code == 2
    assert "more than 10%: take more with --max-length" in many.error
    measured = llmkit("eval", data, "-m", assistant, "--max-length", "32", "--json")
    assert "2 of 60 conversations are cut off before the assistant writes" in measured.err


def test_streamed_conversations_are_packed_and_those_without_an_answer_left_out(assistant, tmp_path):
    rows = [{"messages": row["messages"][:2]} for row in tiny.conversations(20)]
    rows[9]["messages"] = chat("u" + "the good river was cold and the " * 8, "akind")["messages"]
    file = str(write_jsonl(tmp_path / "rows.jsonl", rows))
    opened = streaming.open_stream(file, SplitOptions(streaming=True), CorpusOptions(), Report())
    settings = TaskSettings({"messages": "messages"}, 64, specific=PACKING)
    stream = streaming.stream_of(opened, TASK, AutoTokenizer.from_pretrained(assistant), settings)
    packs, seen = chain.from_iterable(RankStream(stream.in_batches_of(1), 1, ALONE)), 0
    while seen < 20 - opened.skip - 1:  # an epoch: one of its rows has nothing to learn
        pack = next(packs)
        starts = [place for place, position in enumerate(pack["position_ids"]) if position == 0]
        for start, end in zip(starts, [*starts[1:], len(pack["labels"])]):
            assert any(label != -100 for label in pack["labels"][start:end])
        seen += pack["rows"]
    assert pack["rows"] > 1


def numbers(line: str) -> list[str]:
    return line[line.index("(") + 1 : line.index(")")].removeprefix("rows ").removeprefix("row ").split(", ")


def test_data_shows_the_mask_and_the_roles_that_may_be_blank(llmkit, assistant, tmp_path):
    rows = [{"instruction": "Größe?", "input": "", "output": "好"}, {"instruction": "ja", "input": "b", "output": " "}]
    ran = llmkit("data", write_jsonl(tmp_path / "rows.jsonl", rows), "-m", assistant, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["task"]["name"] == "conversational"
    assert ran.json["task"]["columns"] == {"prompt": "instruction", "completion": "output", "input": "input"}
    (shown,) = ran.json["shown"]
    pieces = [(piece["kind"], piece["text"]) for piece in shown["texts"]["text"]]
    assert pieces == [("unlearned", f"u:Größe?{EOS}a:"), ("learned", f"好{EOS}")]
    assert [(finding["kind"], finding["first"]) for finding in ran.json["findings"]] == [("empty", [2])]
    blank = write_jsonl(tmp_path / "blank.jsonl", [chat("uja", "a ")])
    unusable = llmkit("data", blank, "-m", assistant, "--json")
    assert [(finding["kind"], finding["first"]) for finding in unusable.json["findings"]] == [("unusable", [1])]
    packed = llmkit("data", tmp_path / "rows.jsonl", "-m", assistant, "--packing", "--json")
    assert len(packed.json["shown"]) == 1


def chat(*turns: str) -> dict:
    roles = {"s": "system", "u": "user", "a": "assistant", "n": "narrator"}
    return {"messages": [{"role": roles[turn[0]], "content": turn[1:]} for turn in turns]}


GOOD = [chat("uja", "anein")] * 3


@pytest.mark.parametrize("verb", ["finetune", "eval", "data"])
@pytest.mark.parametrize(
    ("rows", "template", "wrong"),
    [
        ([*GOOD, chat("uja")], tiny.CHAT, "row 4: no turn is the assistant's"),
        ([*GOOD, chat("uja", "uja", "anein")], tiny.CHAT, "row 4: turn 2 is the user's, out of order"),
        ([*GOOD, chat("uja", "nnein")], tiny.CHAT, "row 4: turn 2 has the role 'narrator'"),
        ([*GOOD, chat("sgut", "uja", "anein")], DROPPING, "row 4: the chat template drops or changes turn 1, the"),
        ([chat("uja", "anein", "uja", "anein")] * 3, CHANGING, "row 1: the chat template spells what is before turn 2"),
        ([*GOOD, chat("uja", "anein", "uja", "anein")], LAST, "row 4: the chat template spells turn 2 otherwise"),
        (GOOD, REFUSING, "row 1: the chat template refuses it: no turns"),
        (GOOD, "{% for %}", "--chat-template"),
    ],
    ids=["no answer", "order", "role", "dropped", "changed", "prefix", "refused", "broken"],
)
def test_bad_rows_and_templates_are_one_sentence(llmkit, assistant, tmp_path, verb, rows, template, wrong):
    (tmp_path / "chat.jinja").write_text(template)
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    more = ("-o", tmp_path / "run") if verb == "finetune" else ()
    ran = llmkit(verb, data, "-m", assistant, "--chat-template", tmp_path / "chat.jinja", *more)
    assert ran.code == 2, ran.err
    assert wrong in ran.error
    assert ran.out == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("verb", "flags", "wrong"),
    [
        ("finetune", (), "has no chat template: give one with --chat-template FILE"),
        ("eval", (), "has no chat template: give one with --chat-template FILE"),
        ("finetune", ("--chat-template", "none.jinja"), "--chat-template 'none.jinja' cannot be read: No such file"),
        ("eval", ("--packing", "--chat-template", "CHAT"), "--packing is for finetune"),
        ("finetune", ("--task", "causal-lm", "--packing"), "--packing is for conversational"),
        ("finetune", ("--column", "prompt=messages"), "fit no task"),
    ],
)
def test_what_is_missing_is_asked_for_by_its_flag(llmkit, llama, tmp_path, monkeypatch, verb, flags, wrong):
    monkeypatch.chdir(tmp_path)
    Path("CHAT").write_text(tiny.CHAT)
    ran = llmkit(verb, write_jsonl(tmp_path / "rows.jsonl", GOOD), "-m", llama, *flags)
    assert ran.code == 2, ran.err
    assert wrong in ran.error


@pytest.mark.parametrize(
    ("row", "given", "columns"),
    [
        ({"q": "ja", "a": "nein"}, {"prompt": "q", "completion": "a"}, {"prompt": "q", "completion": "a"}),
        ({"talk": GOOD[0]["messages"]}, {"messages": "talk"}, {"messages": "talk"}),
        ({"prompt": "ja", "a": "nein", "input": "x"}, {"completion": "a"}, {"prompt": "prompt", "completion": "a"}),
        ({"instruction": "ja", "a": "nein"}, {"completion": "a"}, {"prompt": "instruction", "completion": "a"}),
        ({"text": "ja", "label": "nein"}, {}, None),
        ({"messages": ["ja"]}, {}, None),
    ],
)
def test_columns_are_found_by_their_names_or_given_by_their_roles(row, given, columns):
    assert TASK.columns.match(Dataset.from_list([row]), given) == columns


def test_without_a_model_the_default_is_a_chat_model(llmkit, tmp_path):
    ran = llmkit("finetune", write_jsonl(tmp_path / "rows.jsonl", GOOD), "--dry-run")
    assert "model: HuggingFaceTB/SmolLM2-135M-Instruct, the default for conversational" in ran.err
