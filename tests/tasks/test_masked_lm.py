from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from conftest import write_jsonl
from datasets import Dataset
from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer, PreTrainedTokenizerBase, pipeline

from llmkit.errors import ModelError
from llmkit.models.tokenizer_training import train_wordpiece
from llmkit.tasks import TASKS, TaskSettings
from llmkit.tasks.base.language_modeling import MaskingSettings
from llmkit.tasks.masked_lm import MaskingCollator

TASK = TASKS["masked-lm"]
SETUP = TaskSettings(columns={"text": "text"}, max_length=64)
TEXTS = tiny.corpus(400).split("\n\n")
RARE = "unbelievable foxes quickly overgrown the gardens of kingdoms and songbooks"


@pytest.fixture(scope="module")
def tokenizer(masked) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(masked)


@pytest.fixture(scope="module")
def prepared(tokenizer) -> Dataset:
    return TASK.encoding.encode(Dataset.from_dict({"text": TEXTS}), tokenizer, SETUP, training=True)


def masked_batch(tokenizer, rows: Dataset, settings: TaskSettings = SETUP, epoch: int = 0) -> dict[str, torch.Tensor]:
    collator = TASK.encoding.collator(tokenizer, settings)
    collator.epoch = epoch
    return collator(rows.to_list())


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_masks_are_a_function_of_seed_epoch_and_row(tokenizer, prepared):
    rows = prepared.select(range(8))
    first = masked_batch(tokenizer, rows)
    assert same(first, masked_batch(tokenizer, rows))
    assert not same(first, masked_batch(tokenizer, rows, epoch=1))
    assert not same(first, masked_batch(tokenizer, rows, replace(SETUP, seed=43)))
    assert same(masked_batch(tokenizer, rows, epoch=3), masked_batch(tokenizer, rows, epoch=3))


def test_a_rows_mask_does_not_depend_on_its_batch(tokenizer, prepared):
    whole = masked_batch(tokenizer, prepared.select(range(8)))
    for number in range(8):
        alone = masked_batch(tokenizer, prepared.select([number]))
        assert torch.equal(alone["input_ids"][0], whole["input_ids"][number])
        assert torch.equal(alone["labels"][0], whole["labels"][number])


def test_two_rows_of_equal_text_are_masked_differently(tokenizer):
    rows = Dataset.from_dict({"text": [TEXTS[0]] * 6})
    prepared = TASK.encoding.encode(rows, tokenizer, replace(SETUP, per_row=True), training=False)
    labels = masked_batch(tokenizer, prepared)["labels"].tolist()
    assert len({tuple(row) for row in labels}) > 1


@pytest.mark.parametrize("share", [0.15, 0.4])
@pytest.mark.parametrize("whole_words", [False, True])
def test_the_share_is_masked_in_eighty_ten_ten(tokenizer, prepared, share, whole_words):
    settings = SETUP.with_specific(MaskingSettings, mask_share=share, whole_words=whole_words)
    original = torch.tensor(prepared["input_ids"][:])
    usable = torch.tensor(prepared["words"][:]) >= 0
    chosen = masks = kept = 0
    for epoch in range(40):
        batch = masked_batch(tokenizer, prepared, settings, epoch)
        picked = batch["labels"] != -100
        assert torch.equal(batch["labels"][picked], original[picked])
        assert torch.equal(batch["input_ids"][~picked], original[~picked])
        chosen += int(picked.sum())
        masks += int((batch["input_ids"][picked] == tokenizer.mask_token_id).sum())
        kept += int((batch["input_ids"][picked] == original[picked]).sum())
    assert chosen / (40 * int(usable.sum())) == pytest.approx(share, abs=0.01 if not whole_words else 0.02)
    spread = 5 * math.sqrt(0.25 / chosen)  # five standard deviations
    vocabulary = len(tokenizer)
    assert masks / chosen == pytest.approx(0.8 + 0.1 / vocabulary, abs=spread)
    assert kept / chosen == pytest.approx(0.1 + 0.1 / vocabulary, abs=spread)


def test_every_position_is_masked_sooner_or_later(tokenizer, prepared):
    rows = prepared.select([0])
    labels = torch.stack([masked_batch(tokenizer, rows, epoch=epoch)["labels"][0] for epoch in range(100)])
    usable = torch.tensor(rows["words"][0]) >= 0
    assert torch.equal((labels != -100).any(0), usable)


def test_special_tokens_and_padding_are_never_masked(tokenizer):
    rows = Dataset.from_dict({"text": [*TEXTS[:6], "a", "the fox"]})
    prepared = TASK.encoding.encode(rows, tokenizer, replace(SETUP, per_row=True), training=False)
    special = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.pad_token_id}
    for epoch in range(50):
        batch = masked_batch(tokenizer, prepared, SETUP.with_specific(MaskingSettings, mask_share=0.5), epoch)
        picked = batch["labels"] != -100
        assert not special & set(batch["labels"][picked].tolist())
        assert not (picked & (batch["attention_mask"] == 0)).any()
        assert picked.any(1).all()  # a row without a mask would teach nothing


def test_whole_word_masking_masks_all_pieces_of_a_word_or_none(tokenizer):
    rows = Dataset.from_dict({"text": [f"{RARE} {text}" for text in TEXTS[:20]]})
    prepared = TASK.encoding.encode(rows, tokenizer, SETUP, training=True)
    torn = {True: 0, False: 0}
    for whole_words in (True, False):
        settings = SETUP.with_specific(MaskingSettings, whole_words=whole_words)
        for epoch in range(20):
            picked = (masked_batch(tokenizer, prepared, settings, epoch)["labels"] != -100).numpy()
            for row, words in zip(picked, prepared["words"]):
                numbers = np.array(words)
                torn[whole_words] += sum(len(set(row[numbers == word])) > 1 for word in set(words) - {-1})
    assert torn[True] == 0
    assert torn[False] > 0


def test_the_words_of_a_row_are_those_of_the_tokenizer(tokenizer):
    prepared = TASK.encoding.encode(Dataset.from_dict({"text": [RARE]}), tokenizer, SETUP, training=True)
    plain = tokenizer(RARE)
    assert prepared["input_ids"][0] == plain["input_ids"]
    numbers = [-1 if word is None else word for word in plain.word_ids()]
    assert prepared["words"][0] == numbers
    assert len(set(numbers)) < len(numbers) - 1


def test_blocks_are_full_and_framed_by_the_special_tokens(tokenizer, prepared):
    assert set(prepared["length"]) == {64}
    assert {ids[0] for ids in prepared["input_ids"]} == {tokenizer.cls_token_id}
    assert {ids[-1] for ids in prepared["input_ids"]} == {tokenizer.sep_token_id}
    stream = [token for ids in prepared["input_ids"] for token in ids[1:-1]]
    plain = [token for text in TEXTS for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
    assert stream == plain[: len(stream)]
    assert len(plain) - len(stream) < 62
    assert list(prepared["index"]) == list(range(len(prepared)))


def plain_figures(folder: Path, batch: dict[str, torch.Tensor]) -> tuple[float, float, int]:
    """Return loss, accuracy and the number of masked tokens from transformers alone."""
    network = AutoModelForMaskedLM.from_pretrained(folder)
    with torch.inference_mode():
        outputs = network(**batch)
    picked = batch["labels"] != -100
    right = outputs.logits.argmax(-1)[picked] == batch["labels"][picked]
    return outputs.loss.item(), right.float().mean().item(), int(picked.sum())


@pytest.mark.parametrize("batch_size", [1, 5, 64])
@pytest.mark.parametrize("per_row", [False, True])
def test_the_figures_are_those_of_a_plain_forward_pass_on_the_same_masks(llmkit, masked, tmp_path, per_row, batch_size):
    texts = TEXTS[:7]
    tokenizer = AutoTokenizer.from_pretrained(masked)
    settings = replace(SETUP, per_row=per_row)
    rows = TASK.encoding.encode(Dataset.from_dict({"text": texts}), tokenizer, settings, training=False)
    loss, accuracy, count = plain_figures(masked, masked_batch(tokenizer, rows, settings))
    data = write_jsonl(tmp_path / "rows.jsonl", [{"text": text} for text in texts])
    flags = ("-m", masked, "--batch-size", batch_size, *(["--per-row"] if per_row else []))
    ran = llmkit("eval", data, *flags, "--json")
    assert ran.code == 0, ran.err
    found = {name: metric["value"] for name, metric in ran.json["metrics"].items()}
    assert found["loss"] == pytest.approx(loss, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(loss), rel=1e-4)
    assert found["accuracy"] == pytest.approx(accuracy)
    assert ran.json["n"] == count


def test_the_seed_of_eval_chooses_the_masks(llmkit, masked, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", [{"text": text} for text in TEXTS[:5]])
    losses = [
        llmkit("eval", data, "-m", masked, "--seed", seed, "--json").json["metrics"]["loss"]["value"]
        for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_a_tokenizer_without_a_mask_token_is_refused(llama):
    with pytest.raises(ModelError, match="mask token"):
        MaskingCollator(AutoTokenizer.from_pretrained(llama), SETUP)


def test_what_masked_lm_does_not_have_is_refused(llmkit, masked, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", [{"text": text} for text in TEXTS[:5]])
    for flags in (("--stride", "8"), ("--positive", "x"), ("--fail-under", "f1=0.5")):
        ran = llmkit("eval", data, "-m", masked, *flags)
        assert ran.code == 2
        assert flags[0] in ran.error


def fills_of(llmkit, model, *arguments) -> list[dict]:
    ran = llmkit("generate", "-m", model, *arguments, "--json")
    assert ran.code == 0, ran.err
    return ran.rows


def chinese_folder(folder: Path) -> Path:
    """Save a tiny BERT with a Chinese vocabulary."""
    texts = ["国王有三个女儿", "狐狸在河边睡觉", "国王去了森林"]
    tokenizer = train_wordpiece(texts, 60, 32)
    config = AutoConfig.for_model(
        "bert",
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    torch.manual_seed(0)
    AutoModelForMaskedLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("top", [1, 5, 12])
def test_the_fills_of_a_mask_are_those_of_the_transformers_pipeline(llmkit, masked, top, tmp_path):
    cases = {
        masked: "The fox was [MASK] and the king sad.",
        chinese_folder(tmp_path / "zh"): "国王去了[MASK]林有三个女儿",
    }
    for model, text in cases.items():
        (row,) = fills_of(llmkit, model, text, "--top", top)
        wanted = pipeline("fill-mask", model=str(model), device="cpu")(text, top_k=top)
        assert row["text"] == text
        assert [fill["token"] for fill in row["fills"]] == [fill["token_str"] for fill in wanted]
        assert [fill["score"] for fill in row["fills"]] == pytest.approx([fill["score"] for fill in wanted], rel=1e-5)
        assert {fill["mask"] for fill in row["fills"]} == {1}
        assert len(row["fills"]) == top


def test_chinese_is_filled_without_spaces(llmkit, tmp_path):
    (row,) = fills_of(llmkit, chinese_folder(tmp_path / "zh"), "国王去了[MASK]林", "--top", "60")
    filled = {fill["token"]: fill["text"] for fill in row["fills"]}
    assert filled["森"] == "国王去了森林"
    assert filled["##森"] == "国王去了森林"


def test_several_masks_are_filled_each_for_itself(llmkit, masked):
    text = "The  [MASK] was [MASK], and THE king was sad."
    (row,) = fills_of(llmkit, masked, text, "--top", "3")
    wanted = pipeline("fill-mask", model=str(masked), device="cpu")(text, top_k=3)
    found = [[fill for fill in row["fills"] if fill["mask"] == mask] for mask in (1, 2)]
    for fills, theirs in zip(found, wanted, strict=True):
        assert [fill["token"] for fill in fills] == [their["token_str"] for their in theirs]
        assert [fill["score"] for fill in fills] == pytest.approx([their["score"] for their in theirs], rel=1e-5)
    first, second = (next(fill for fill in fills if fill["token"].isalpha()) for fills in found)
    assert first["text"] == f"The  {first['token']} was [MASK], and THE king was sad."
    assert second["text"] == f"The  [MASK] was {second['token']}, and THE king was sad."


def test_a_piece_of_a_word_is_joined_to_it(llmkit, masked, tokenizer):
    (row,) = fills_of(llmkit, masked, "Two garden [MASK] here", "--top", len(tokenizer))
    filled = {fill["token"]: fill["text"] for fill in row["fills"]}
    assert filled["##s"] == "Two gardens here"
    assert filled["fox"] == "Two garden fox here"
    assert sum(fill["score"] for fill in row["fills"]) == pytest.approx(1)


def test_fills_of_a_file_do_not_depend_on_the_batch_and_five_are_usual(llmkit, masked, tmp_path):
    rows = [{"id": n, "text": f"{text[: 20 * n]} [MASK] was sad."} for n, text in enumerate(TEXTS[:6])]
    data = write_jsonl(tmp_path / "rows.jsonl", [*rows, {"id": 6, "text": ""}])
    found = []
    for size in (1, 4):
        output = tmp_path / f"{size}.jsonl"
        ran = llmkit("generate", "--input", data, "--output", output, "-m", masked, "--batch-size", size)
        assert ran.code == 0, ran.err
        found.append([json.loads(line) for line in output.read_text().splitlines()])
    assert [row["id"] for row in found[0]] == list(range(7))
    assert found[0][6]["fills"] is None
    for one, other in zip(*(rows[:6] for rows in found), strict=True):
        assert [fill["token"] for fill in one["fills"]] == [fill["token"] for fill in other["fills"]]
        assert len(one["fills"]) == 5
        assert one["fills"][0]["score"] == pytest.approx(other["fills"][0]["score"], rel=1e-5)


def test_fills_are_a_table_on_a_terminal(on_terminal, masked):
    ran = on_terminal("generate", "the fox was [MASK]", "-m", masked, "--top", "2")
    assert ran.code == 0, ran.err
    assert all(word in ran.out for word in ("the fox was [MASK]", "mask", "fill", "score"))


def test_what_cannot_be_filled_is_one_sentence(llmkit, masked, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", [{"text": "the [MASK]"}, {"text": ""}, {"text": "the fox <mask>"}])
    refused = llmkit("generate", "--input", data, "-m", masked)
    assert refused.code == 2
    assert "row 3: the text has no [MASK]" in refused.error
    refused = llmkit("generate", "the [MASK] " * 60, "-m", masked)
    assert refused.code == 2
    assert "122 tokens and the model takes 64" in refused.error
    refused = llmkit("generate", "the [MASK]", "-m", masked, "--temperature", "0.7", "-n", "2")
    assert refused.code == 2
    assert "--temperature" in refused.error
    assert "--num-return-sequences" in refused.error
    assert llmkit("generate", "the [MASK]", "-m", masked, "--top", "0").code == 2
