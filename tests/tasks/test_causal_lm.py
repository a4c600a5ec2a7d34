from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import tiny
import torch
from conftest import write_jsonl
from datasets import Dataset
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from llmkit.tasks import TASKS, TaskSettings
from llmkit.tasks.causal_lm import windows

TASK = TASKS["causal-lm"]
SHORT = "the fox was good and the king was bad."
LONG = tiny.corpus(24)
BLANKS = ["the fox was good.", "", "the king was cruel and the day was dark.", "   ", "a song", ""]


@pytest.fixture(scope="session")
def plainest(models_root) -> Path:
    """A Llama whose tokenizer adds no special token: nothing predicts the first token."""
    folder = tiny.llama_folder(models_root / "plainest", seed=6)
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(tiny.SENTENCES, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=tiny.CONTEXT).save_pretrained(folder)
    return folder


@pytest.fixture(params=["llama", "plainest"])
def model(request) -> Path:
    return request.getfixturevalue(request.param)


def opened(folder: Path):
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def plain_losses(folder: Path, text: str) -> list[float]:
    """Return the nats of each token of a short text but the first, from transformers alone."""
    network, tokenizer = opened(folder)
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert ids.shape[1] <= tiny.CONTEXT
    with torch.inference_mode():
        chances = network(ids).logits.double().log_softmax(-1)
    return [-chances[0, place - 1, ids[0, place]].item() for place in range(1, ids.shape[1])]


def recipe_loss(folder: Path, text: str, size: int, stride: int) -> float:
    """Return the nats per token of transformers' documented sliding window, each window weighted by what it scores.

    https://huggingface.co/docs/transformers/perplexity
    """
    network, tokenizer = opened(folder)
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    total, tokens, done = 0.0, 0, 0
    for begin in range(0, ids.shape[1], stride):
        end = min(begin + size, ids.shape[1])
        inputs = ids[:, begin:end]
        targets = inputs.clone()
        targets[:, : -(end - done)] = -100
        scored = int((targets[:, 1:] != -100).sum())
        with torch.inference_mode():
            total += network(inputs, labels=targets).loss.item() * scored
        tokens, done = tokens + scored, end
        if end == ids.shape[1]:
            break
    assert tokens == ids.shape[1] - 1
    return total / tokens


def evaluated(llmkit, tmp_path: Path, model: Path, rows: list[str], *more: object) -> dict:
    data = write_jsonl(tmp_path / "rows.jsonl", [{"text": row} for row in rows])
    ran = llmkit("eval", data, "-m", model, *more, "--json")
    assert ran.code == 0, ran.err
    return ran.json


def values(result: dict) -> dict[str, float]:
    return {name: metric["value"] for name, metric in result["metrics"].items()}


@pytest.mark.parametrize("stride", [None, 1, 2, 3, 5, 8, 100])
@pytest.mark.parametrize("size", [2, 3, 4, 7, 8, 16])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9, 15, 16, 17, 50])
def test_windows_score_each_token_but_the_first_exactly_once(length, size, stride):
    ids = [100 + place for place in range(length)]
    scored: list[int] = []
    for window, labels in windows(ids, size, stride):
        assert 1 <= len(window) == len(labels) <= size
        assert all(label in (-100, token) for token, label in zip(window, labels))
        place = window[0] - 100
        assert window == ids[place : place + len(window)]
        scored += [label for label in labels[1:] if label != -100]  # a model shifts: nothing predicts the first
    assert scored == ids[1:]


@pytest.mark.parametrize(("size", "stride"), [(8, 3), (16, 8), (16, None)])
def test_a_window_starts_a_stride_after_the_one_before(size, stride):
    starts = [window[0] for window, _ in windows(list(range(50)), size, stride)]
    assert {later - earlier for earlier, later in pairwise(starts)} == {stride or size // 2}


def test_perplexity_of_a_short_text_is_that_of_a_plain_forward_pass(llmkit, model, tmp_path):
    losses = plain_losses(model, SHORT)
    found = evaluated(llmkit, tmp_path, model, [SHORT])
    assert values(found)["loss"] == pytest.approx(math.fsum(losses) / len(losses), rel=1e-6)
    assert values(found)["perplexity"] == pytest.approx(math.exp(math.fsum(losses) / len(losses)), rel=1e-5)
    assert found["n"] == found["counts"]["tokens"] == len(losses)


@pytest.mark.parametrize(("size", "stride"), [(64, 32), (64, 16), (32, 31), (16, 5)])
def test_perplexity_of_a_long_text_is_the_documented_sliding_window(llmkit, model, tmp_path, size, stride):
    found = evaluated(llmkit, tmp_path, model, [LONG], "--stride", stride, "--max-length", size)
    assert values(found)["loss"] == pytest.approx(recipe_loss(model, LONG, size, stride), rel=1e-6)
    assert (found["stride"], found["max_length"]) == (stride, size)


def test_a_smaller_stride_changes_the_figure_and_not_the_count(llmkit, llama, tmp_path):
    found = [evaluated(llmkit, tmp_path, llama, [LONG], "--stride", stride) for stride in (8, 63)]
    assert found[0]["n"] == found[1]["n"]
    assert values(found[0])["loss"] != values(found[1])["loss"]


def test_rows_are_joined_with_a_blank_line_blank_rows_too(llmkit, llama, tmp_path):
    losses = plain_losses(llama, "\n\n".join(BLANKS))
    found = evaluated(llmkit, tmp_path, llama, BLANKS)
    assert found["n"] == len(losses)
    assert values(found)["loss"] == pytest.approx(math.fsum(losses) / len(losses), rel=1e-6)


def test_per_row_scores_each_row_alone_and_leaves_out_blank_ones(llmkit, model, tmp_path):
    losses = [loss for row in BLANKS if row.strip() for loss in plain_losses(model, row)]
    found = evaluated(llmkit, tmp_path, model, BLANKS, "--per-row")
    assert found["n"] == len(losses)
    assert found["dropped"] == 3
    assert values(found)["loss"] == pytest.approx(math.fsum(losses) / len(losses), rel=1e-6)


@pytest.mark.parametrize("text", [SHORT, "Füchse: 狐狸! the fox was good"])
def test_bits_per_byte_counts_the_bytes_that_the_scored_tokens_cover(llmkit, model, tmp_path, text):
    tokenizer = AutoTokenizer.from_pretrained(model)
    first = tokenizer(text)["input_ids"][0]
    unscored = 0 if first in tokenizer.all_special_ids else len(tokenizer.decode([first]).encode())
    found = evaluated(llmkit, tmp_path, model, [text])
    assert found["counts"]["bytes"] == len(text.encode()) - unscored
    bits = math.fsum(plain_losses(model, text)) / math.log(2)
    assert values(found)["bits_per_byte"] == pytest.approx(bits / (len(text.encode()) - unscored), rel=1e-6)


def test_bits_per_byte_of_a_character_cut_in_tokens_counts_the_bytes_of_the_first_token(llmkit, plainest, tmp_path):
    text = "狐狸 was good"  # byte-level: the first token is one byte of three
    assert len(AutoTokenizer.from_pretrained(plainest)("狐")["input_ids"]) == 3
    assert evaluated(llmkit, tmp_path, plainest, [text])["counts"]["bytes"] == len(text.encode()) - 1


@pytest.mark.parametrize("offsets", [True, False])
def test_each_window_has_the_bytes_of_the_tokens_that_it_scores(plainest, monkeypatch, offsets):
    text = LONG + " Füchse: 狐狸!  "
    tokenizer = AutoTokenizer.from_pretrained(plainest)
    if not offsets:  # a tokenizer that cannot tell where its tokens stand
        monkeypatch.setattr(type(tokenizer), "is_fast", False)
    settings = TaskSettings(columns={"text": "text"}, max_length=16, stride=5)
    rows = TASK.encoding.encode(Dataset.from_dict({"text": [text]}), tokenizer, settings, training=False).to_list()
    assert len(rows) > 20
    first = len(tokenizer.decode(rows[0]["input_ids"][:1]).encode())
    assert sum(row["bytes"] for row in rows) == len(text.encode()) - first
    scored = [[token for token in row["labels"] if token != -100] for row in rows]
    decoded = [len(tokenizer.decode(tokens).encode()) for tokens in scored]
    decoded[0] -= first
    near = 0 if offsets else 16
    assert all(abs(row["bytes"] - size) <= near for row, size in zip(rows[:10], decoded))


def test_the_interval_of_bits_per_byte_is_of_the_order_of_that_of_the_loss(llmkit, model, tmp_path):
    found = evaluated(llmkit, tmp_path, model, [LONG] * 4)["metrics"]
    loss, bits = found["loss"], found["bits_per_byte"]
    assert bits["low"] < bits["value"] < bits["high"]
    widths = [(figure["high"] - figure["low"]) / figure["value"] for figure in (loss, bits)]
    assert widths[0] < widths[1] < 5 * widths[0]  # the bytes of a token vary too


def test_the_batch_size_changes_no_figure(llmkit, model, tmp_path):
    rows = LONG.split("\n\n")
    for more in ((), ("--per-row",)):
        first, *others = (
            values(evaluated(llmkit, tmp_path, model, rows, *more, "--batch-size", n)) for n in (1, 3, 32)
        )
        for other in others:
            assert other == pytest.approx(first, rel=1e-6)


def test_a_window_longer_than_the_model_takes_is_refused(llmkit, llama, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", [{"text": SHORT}])
    ran = llmkit("eval", data, "-m", llama, "--max-length", "65")
    assert ran.code == 2
    assert "64" in ran.error


@pytest.mark.parametrize("folder", ["llama", "plainest", "eos at the end"])
def test_training_blocks_are_full_and_documents_end_in_eos(request, models_root, folder):
    if folder == "eos at the end":
        tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue("llama"))
        tokenizer.add_special_tokens({"eos_token": "<|stop|>"})
    else:
        tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue(folder))
    documents = LONG.split("\n\n")
    rows = Dataset.from_dict({"text": documents})
    prepared = TASK.encoding.encode(
        rows, tokenizer, TaskSettings(columns={"text": "text"}, max_length=16), training=True
    )
    assert set(prepared["length"]) == {16}
    stream = [token for block in prepared["input_ids"] for token in block]
    assert tokenizer.pad_token_id is None or tokenizer.pad_token_id not in stream

    bare = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in documents]
    start = [] if folder == "plainest" else [tokenizer.bos_token_id]
    end = [] if folder != "eos at the end" else [tokenizer.eos_token_id]
    whole = [token for ids in bare for token in (*start, *ids, *end)]
    if folder == "llama":
        whole.append(tokenizer.eos_token_id)  # its beginning of a text is the end of the one before
    assert stream == whole[: len(stream)]
    assert len(whole) - len(stream) < 16
    batch = TASK.encoding.collator(tokenizer, TaskSettings(columns={}, max_length=16))(
        prepared.select(range(3)).to_list()
    )
    assert batch["attention_mask"].all()
    assert torch.equal(batch["labels"], batch["input_ids"])


def test_a_text_shorter_than_a_block_is_one_short_block(llama):
    tokenizer = AutoTokenizer.from_pretrained(llama)
    rows = Dataset.from_dict({"text": ["the fox"]})
    prepared = TASK.encoding.encode(
        rows, tokenizer, TaskSettings(columns={"text": "text"}, max_length=64), training=True
    )
    eos = tokenizer.eos_token_id
    assert list(prepared["input_ids"]) == [[*tokenizer("the fox")["input_ids"], eos]]


def test_windows_of_unlike_length_are_padded_on_the_right_and_not_scored_there():
    rows = [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [8]}]
    batch = TASK.encoding.collator(None, TaskSettings(columns={}, max_length=8))(rows)
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [8, -100, -100]]


@pytest.mark.parametrize(
    ("columns", "found"),
    [({"text": "a", "title": "much longer"}, "text"), ({"id": "1", "body": "much longer"}, "body"), ({"n": 1}, None)],
)
def test_of_several_columns_text_is_taken_or_the_longest(columns, found):
    assert TASK.columns.match(Dataset.from_list([columns]), {}) == (found and {"text": found})
