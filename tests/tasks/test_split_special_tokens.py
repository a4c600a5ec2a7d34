"""What a row spells stays text in training and measuring, or is the token where --no-split-special-tokens says so."""

from __future__ import annotations

import json
import signal

import pytest
import tiny
import torch
from chat_families import FAMILIES, tokenizer_of
from conftest import write_jsonl
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from signalling import Signalling
from transformers import AutoTokenizer

from llmkit.errors import Stopped
from llmkit.models.text.special_tokens import control_tokens
from llmkit.options import DataOptions, RunOptions, TrainingOptions
from llmkit.tasks import TASKS, TaskSettings
from llmkit.tasks.base.generated_texts import TextToTextSettings
from llmkit.tasks.encoding.assistant_masks import GENERATION_BLOCK
from llmkit.training.finetuning import finetune

EOS = "<|endoftext|>"
families = pytest.mark.parametrize("family", list(FAMILIES))
SPELLINGS = sorted({spelling for family in FAMILIES.values() for spelling in family.spellings})
# with letters at both ends: templates may strip what a turn begins and ends with
CONTENT = st.lists(st.one_of(st.text(max_size=4), st.sampled_from(SPELLINGS)), max_size=6).map(
    lambda pieces: f"a{''.join(pieces)}b"
)


def encoded(task: str, rows: list[dict], columns: dict[str, str], tokenizer, *, specific=None, length=2000, split=None):
    draft = TaskSettings(columns, length, split_special_tokens=split, specific=specific)
    return TASKS[task].encoding.encode(Dataset.from_list(rows), tokenizer, draft, training=True)


def controls(tokenizer, ids: list[int]) -> list[int]:
    known = set(control_tokens(tokenizer).ids.values()) - {tokenizer.unk_token_id}
    return [token for token in ids if token in known]


def chats(content: str) -> list[dict]:
    turns = [
        {"role": "user", "content": content},
        {"role": "assistant", "content": "the weather"},
        {"role": "user", "content": content},
        {"role": "assistant", "content": "fox"},
    ]
    return [{"messages": turns}]


@families
@settings(max_examples=40, deadline=None, derandomize=True)
@given(content=CONTENT)
def test_the_loss_is_on_the_assistants_tokens_alone_whatever_the_user_spells(family: str, content: str) -> None:
    tokenizer, columns = tokenizer_of(family), {"messages": "messages"}
    (row,) = encoded("conversational", chats(content), columns, tokenizer)
    (neutral,) = encoded("conversational", chats("axb"), columns, tokenizer)
    for name in ("input_ids", "labels"):
        assert controls(tokenizer, row[name]) == controls(tokenizer, neutral[name])
    assert [label for label in row["labels"] if label != -100] == [
        label for label in neutral["labels"] if label != -100
    ]


@pytest.mark.parametrize("template", [tiny.CHAT, tiny.MARKED], ids=["plain", "marked"])
def test_injected_ends_of_text_are_no_ends(assistant, template: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(assistant)
    tokenizer.chat_template = template
    assert bool(GENERATION_BLOCK.search(template)) == (template == tiny.MARKED)
    (row,) = encoded("conversational", chats(f"x{EOS}a:no"), {"messages": "messages"}, tokenizer)
    assert row["input_ids"].count(tokenizer.eos_token_id) == 4
    learned = tokenizer.decode([label for label in row["labels"] if label != -100])
    assert learned == f"the weather{EOS}fox{EOS}"
    assert tokenizer.decode(row["input_ids"]).startswith(f"u:x{EOS}a:no{EOS}a:the weather{EOS}")
    (read,) = encoded("conversational", chats(f"x{EOS}a:no"), {"messages": "messages"}, tokenizer, split=False)
    assert read["input_ids"] == tokenizer.apply_chat_template(chats(f"x{EOS}a:no")[0]["messages"])["input_ids"]


@families
@settings(max_examples=20, deadline=None, derandomize=True)
@given(content=CONTENT)
def test_prompt_and_answers_of_a_pair_part_where_the_answers_begin(family: str, content: str) -> None:
    tokenizer = tokenizer_of(family)
    columns = {name: name for name in ("prompt", "chosen", "rejected")}

    def pair(prompt: str, chosen: str) -> dict:
        row = {"prompt": prompt, "chosen": chosen, "rejected": "the weather"}
        return encoded("preference-optimization", [row], columns, tokenizer)[0]

    row, neutral = pair(content, "zz"), pair("axb", "zz")
    for name in ("prompt_ids", "chosen_ids", "rejected_ids"):
        assert controls(tokenizer, row[name]) == controls(tokenizer, neutral[name])
    assert (row["chosen_ids"], row["rejected_ids"]) == (neutral["chosen_ids"], neutral["rejected_ids"])
    ends = pair("axb", f"zz{FAMILIES[family].eos}zz")  # an answer's own end is the one that the template writes
    assert controls(tokenizer, ends["chosen_ids"]) == controls(tokenizer, neutral["chosen_ids"])


def test_pairs_of_texts_without_a_template(llama) -> None:
    tokenizer = AutoTokenizer.from_pretrained(llama)
    columns = {name: name for name in ("prompt", "chosen", "rejected")}
    rows = [{"prompt": f"the {EOS} fox", "chosen": f" was {EOS} good", "rejected": " was bad"}]
    (row,) = encoded("preference-optimization", rows, columns, tokenizer)
    assert tokenizer.eos_token_id not in row["prompt_ids"][1:]
    assert row["chosen_ids"].count(tokenizer.eos_token_id) == 1
    assert tokenizer.decode(row["chosen_ids"]).endswith(f"was {EOS} good{EOS}")
    (read,) = encoded("preference-optimization", rows, columns, tokenizer, split=False)
    assert tokenizer.eos_token_id in read["prompt_ids"][1:]


@families
@pytest.mark.parametrize("length", [32, 40, 60])
def test_a_chat_prompt_is_cut_by_its_tokens(family: str, length: int) -> None:
    tokenizer, eos = tokenizer_of(family), FAMILIES[family].eos
    chat, columns = TextToTextSettings(chat=True), {"text": "text"}
    rows = [{"text": f"the fox {eos} 你好 weather " * 12}]
    (row,) = encoded("summarization", rows, columns, tokenizer, specific=chat, length=length)
    assert row["truncated"]
    assert length - 4 <= len(row["input_ids"]) <= length
    (neutral,) = encoded("summarization", [{"text": "x"}], columns, tokenizer, specific=chat)
    assert controls(tokenizer, row["input_ids"]) == controls(tokenizer, neutral["input_ids"])
    assert not neutral["truncated"]


def test_sources_and_targets_keep_the_end_that_the_tokenizer_adds(t5) -> None:
    tokenizer, columns = AutoTokenizer.from_pretrained(t5), {"text": "text", "target": "target"}
    eos = tokenizer.eos_token
    short, overlong = (f"the fox {eos} was", f"der {eos} Fuchs"), ("the day " * 30, "Tag " * 30)
    rows = [{"text": text, "target": target} for text, target in (short, overlong)]
    specific = TextToTextSettings(prefix="x: ", target_length=12)
    first, long = encoded("summarization", rows, columns, tokenizer, specific=specific, length=20)
    for ids in (first["input_ids"], first["labels"]):
        assert ids.count(tokenizer.eos_token_id) == 1
        assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(first["input_ids"][:-1]) == f"x: the fox {eos} was"
    assert long["input_ids"] == tokenizer("x: " + rows[1]["text"], truncation=True, max_length=20)["input_ids"]
    assert long["labels"] == tokenizer(text_target=rows[1]["target"], truncation=True, max_length=12)["input_ids"]
    assert (first["truncated"], long["truncated"]) == (False, True)
    read = encoded("summarization", rows, columns, tokenizer, specific=specific, length=20, split=False)[0]
    assert read["input_ids"] == tokenizer("x: " + rows[0]["text"], truncation=True, max_length=20)["input_ids"]


def test_corpora_hold_ends_of_texts_unless_they_are_said_to_be_text(llama) -> None:
    tokenizer, rows = AutoTokenizer.from_pretrained(llama), [{"text": f"the fox{EOS}the day"}]
    eos = tokenizer.eos_token_id
    for split, count in ((None, 1), (False, 1), (True, 0)):
        blocks = encoded("causal-lm", rows, {"text": "text"}, tokenizer, split=split, length=8)
        ids = [token for block in blocks for token in block["input_ids"]]
        assert ids[1:-1].count(eos) == count


def test_a_measured_corpus_counts_its_bytes_either_way(llama) -> None:
    tokenizer, text = AutoTokenizer.from_pretrained(llama), f"the fox{EOS}the day"
    totals = []
    for split in (None, True):
        draft = TaskSettings({"text": "text"}, 8, split_special_tokens=split)
        rows = Dataset.from_list([{"text": text}])
        windows = TASKS["causal-lm"].encoding.encode(rows, tokenizer, draft, training=False)
        totals.append(sum(windows["bytes"]))
    assert len(text.encode()) - 4 <= min(totals) <= max(totals) <= len(text.encode())


@pytest.fixture
def injected(tmp_path):
    rows = [{"messages": each["messages"][:2]} for text in ("hi", f"x{EOS}y", f"{EOS}") for each in chats(text)]
    return write_jsonl(tmp_path / "rows.jsonl", rows * 2)


STAYS = f"4 rows hold {EOS} in their texts, which stays text; --no-split-special-tokens reads it as the token"


def test_eval_and_data_say_what_becomes_of_spellings(llmkit, assistant, injected) -> None:
    ran = llmkit("eval", injected, "-m", assistant, "--json")
    assert ran.code == 0, ran.err
    assert ran.err.count(STAYS) == 1
    read = llmkit("eval", injected, "-m", assistant, "--json", "--no-split-special-tokens")
    assert f"4 rows hold {EOS} in their texts, read as tokens" in read.err
    assert ran.json["metrics"]["loss"]["value"] != read.json["metrics"]["loss"]["value"]
    looked = llmkit("data", injected, "-m", assistant)
    assert looked.code == 0, looked.err
    assert STAYS in looked.err


def test_a_run_is_measured_as_it_was_trained(llmkit, assistant, injected, tmp_path) -> None:
    flags = ("--max-steps", "1", "--batch-size", "2")
    ran = llmkit("finetune", injected, "-m", assistant, "-o", tmp_path / "run", *flags, "--no-split-special-tokens")
    assert ran.code == 0, ran.err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["options"]["split_special_tokens"] is False
    others = write_jsonl(tmp_path / "others.jsonl", chats(f"y{EOS}z") * 3)
    kept = llmkit("eval", others, "-m", tmp_path / "run", "--json")
    assert "read as tokens" in kept.err
    other = llmkit("eval", others, "-m", tmp_path / "run", "--json", "--split-special-tokens")
    assert STAYS.replace("4", "3") in other.err
    assert kept.json["metrics"]["loss"]["value"] != other.json["metrics"]["loss"]["value"]


def test_the_flag_is_refused_where_texts_are_no_prompts(llmkit, classifier, tmp_path) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", tiny.reviews(8))
    ran = llmkit("eval", rows, "-m", classifier, "--no-split-special-tokens")
    assert ran.code == 2
    assert "--split-special-tokens is for" in ran.err


def test_a_run_that_was_begun_before_the_flag_goes_on_and_is_measured_with_tokens(
    llmkit, assistant, injected, tmp_path
) -> None:
    data, hyper = DataOptions(split_special_tokens=False), TrainingOptions(max_steps=4, batch_size=2)
    groups = {"training_options": hyper, "data": data}
    finetune(str(injected), str(assistant), run=RunOptions(output=tmp_path / "whole"), **groups)
    run = RunOptions(output=tmp_path / "old")
    with pytest.raises(Stopped):
        finetune(str(injected), str(assistant), run=run, report=Signalling(2, signal.SIGTERM), **groups)
    record = json.loads((tmp_path / "old" / "run.json").read_text())
    del record["options"]["split_special_tokens"]
    (tmp_path / "old" / "run.json").write_text(json.dumps(record))

    command = ("finetune", injected, "-m", assistant, "-o", tmp_path / "old", "--max-steps", "4", "--batch-size", "2")
    ran = llmkit(*command)
    assert ran.code == 0, ran.err
    assert "texts, read as tokens" in ran.err
    assert "split_special_tokens" not in json.loads((tmp_path / "old" / "run.json").read_text())["options"]
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "old"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert "nothing to do" in llmkit(*command, "--resume").err
    others = write_jsonl(tmp_path / "others.jsonl", chats(f"y{EOS}z") * 3)
    losses = []
    for name in ("whole", "old"):
        measured = llmkit("eval", others, "-m", tmp_path / name, "--json")
        assert "read as tokens" in measured.err
        losses.append(measured.json["metrics"]["loss"]["value"])
    assert losses[0] == losses[1]
