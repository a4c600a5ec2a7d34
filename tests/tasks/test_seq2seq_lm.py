from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import tiny
import torch
from conftest import write_jsonl
from datasets import Dataset
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerBase

from llmkit.errors import ModelError
from llmkit.models.tokenizer_training import train_bpe_with_sentinels
from llmkit.tasks import TASKS, TaskSettings
from llmkit.tasks.base.language_modeling import MaskingSettings
from llmkit.tasks.seq2seq_lm import SpanCollator, sentinels

TASK = TASKS["seq2seq-lm"]
SETUP = TaskSettings(columns={"text": "text"}, max_length=64)
TEXTS = tiny.corpus(400).split("\n\n")
GERMAN = "Der König ging durch den großen Wald, und die Füchse schliefen über dem Fluß. Das Mädchen hörte es nicht. "


@pytest.fixture(scope="module")
def tokenizer(t5) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(t5)


@pytest.fixture(scope="module")
def prepared(tokenizer) -> Dataset:
    return TASK.encoding.encode(Dataset.from_dict({"text": TEXTS}), tokenizer, SETUP, training=True)


def corrupted(
    tokenizer, rows: Dataset, settings: TaskSettings = SETUP, epoch: int = 0
) -> list[tuple[list[int], list[int]]]:
    collator = SpanCollator(tokenizer, settings)
    collator.epoch = epoch
    return [collator.corrupt(row["input_ids"], row["index"]) for row in rows.to_list()]


def spans_of(targets: list[int], marks: list[int]) -> list[list[int]]:
    """Return what stands after each sentinel of a target."""
    spans: list[list[int]] = []
    for token in targets[:-1]:
        if token in marks:
            spans.append([])
        else:
            spans[-1].append(token)
    return spans


@pytest.mark.parametrize("share", [0.15, 0.5, 0.9])
def test_the_spans_put_back_in_place_of_their_sentinels_are_the_text(tokenizer, prepared, share):
    marks = sentinels(tokenizer)
    pairs = corrupted(tokenizer, prepared, SETUP.with_specific(MaskingSettings, mask_share=share))
    for original, (inputs, targets) in zip(prepared["input_ids"], pairs, strict=True):
        spans = spans_of(targets, marks)
        assert inputs[-1] == targets[-1] == tokenizer.eos_token_id
        used = marks[: len(spans)]
        assert [token for token in inputs if token in marks] == [token for token in targets if token in marks] == used
        whole = [part for token in inputs[:-1] for part in (spans[marks.index(token)] if token in marks else [token])]
        assert whole == original
        assert all(spans)
        places = [place for place, token in enumerate(inputs) if token in marks]
        assert all(later - earlier > 1 for earlier, later in pairwise(places))  # text stands between


def test_fifteen_per_cent_are_corrupted_in_spans_of_three_on_average(tokenizer, prepared):
    marks = sentinels(tokenizer)
    lengths = [
        len(span)
        for epoch in range(20)
        for _, targets in corrupted(tokenizer, prepared, epoch=epoch)
        for span in spans_of(targets, marks)
    ]
    assert sum(lengths) / (20 * sum(map(len, prepared["input_ids"]))) == pytest.approx(0.15, abs=0.01)
    assert sum(lengths) / len(lengths) == pytest.approx(3, abs=0.01)
    assert {1, 2, 3, 4, 5} <= set(lengths)


def test_spans_are_a_function_of_seed_epoch_and_row(tokenizer, prepared):
    rows = prepared.select(range(8))
    first = corrupted(tokenizer, rows)
    assert first == corrupted(tokenizer, rows)
    assert first != corrupted(tokenizer, rows, epoch=1)
    assert first != corrupted(tokenizer, rows, replace(SETUP, seed=43))
    assert first[3:] == corrupted(tokenizer, prepared.select(range(3, 8)))
    twice = Dataset.from_dict({"text": [TEXTS[0]] * 6})
    same = corrupted(tokenizer, TASK.encoding.encode(twice, tokenizer, replace(SETUP, per_row=True), training=False))
    assert len({tuple(targets) for _, targets in same}) > 1


def test_a_row_of_two_tokens_keeps_one_and_more_spans_than_sentinels_are_never_made(tokenizer):
    collator = SpanCollator(tokenizer, SETUP)
    marks, end = sentinels(tokenizer), tokenizer.eos_token_id
    assert collator.corrupt([300, 301], 0) == ([300, marks[0], end], [marks[0], 301, end])
    assert len(marks) == 100
    inputs, targets = collator.corrupt([300] * 4000, 0)
    assert len(spans_of(targets, marks)) == 100
    assert inputs.count(300) + targets.count(300) == 4000


def test_blocks_hold_the_whole_text_and_fit_the_encoder_with_their_end(tokenizer, prepared):
    plain = [token for text in TEXTS for token in tokenizer(text, add_special_tokens=False)["input_ids"]]
    stream = [token for ids in prepared["input_ids"] for token in ids]
    assert stream == plain[: len(stream)]
    assert len(plain) - len(stream) < 63
    assert set(prepared["length"]) == {64}
    batch = TASK.encoding.collator(tokenizer, SETUP)(prepared.to_list())
    assert batch["input_ids"].shape[1] <= 64


def test_a_batch_is_what_transformers_makes_of_its_labels(t5, tokenizer):
    texts = Dataset.from_dict({"text": [*TEXTS[:3], "the fox and the king"]})
    rows = TASK.encoding.encode(texts, tokenizer, replace(SETUP, per_row=True), training=False)
    batch = TASK.encoding.collator(tokenizer, SETUP)(rows.to_list())
    network = AutoModelForSeq2SeqLM.from_pretrained(t5)
    made, scored = network.prepare_decoder_input_ids_from_labels(batch["labels"]), batch["labels"] != -100
    assert torch.equal(made[scored], batch["decoder_input_ids"][scored])
    assert not scored.all()
    assert torch.equal(batch["attention_mask"] == 0, batch["input_ids"] == tokenizer.pad_token_id)


@pytest.mark.parametrize("batch_size", [1, 64])
@pytest.mark.parametrize("per_row", [False, True])
def test_the_figures_are_those_of_a_plain_forward_pass(llmkit, t5, tokenizer, tmp_path, per_row, batch_size):
    texts = TEXTS[:7]
    settings = replace(SETUP, per_row=per_row)
    rows = TASK.encoding.encode(Dataset.from_dict({"text": texts}), tokenizer, settings, training=False)
    batch = TASK.encoding.collator(tokenizer, settings)(rows.to_list())
    del batch["decoder_input_ids"]  # transformers makes its own
    with torch.inference_mode():
        outputs = AutoModelForSeq2SeqLM.from_pretrained(t5)(**batch)
    scored = batch["labels"] != -100
    right = outputs.logits.argmax(-1)[scored] == batch["labels"][scored]

    data = write_jsonl(tmp_path / "rows.jsonl", [{"text": text} for text in texts])
    flags = ("-m", t5, "--batch-size", batch_size, *(["--per-row"] if per_row else []))
    ran = llmkit("eval", data, *flags, "--json")
    assert ran.code == 0, ran.err
    found = {name: metric["value"] for name, metric in ran.json["metrics"].items()}
    assert found["loss"] == pytest.approx(outputs.loss.item(), rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(outputs.loss.item()), rel=1e-4)
    assert found["accuracy"] == pytest.approx(right.float().mean().item())
    assert ran.json["n"] == int(scored.sum())


def test_a_model_from_scratch_opens_and_generates_in_transformers(llmkit, tmp_path):
    english, german = tmp_path / "en.txt", tmp_path / "de.txt"
    english.write_text(tiny.corpus(400))
    german.write_text("\n\n".join([GERMAN * 3] * 30))
    run = tmp_path / "run"
    steps = ("--max-length", "48", "--vocab-size", "600", "--max-steps", "3", "--batch-size", "8")
    ran = llmkit("pretrain", english, german, "--arch", "t5", *steps, "-o", run, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["task"] == "seq2seq-lm"
    config = AutoConfig.from_pretrained(run)
    assert (config.model_type, config.dense_act_fn, config.dropout_rate) == ("t5", "gelu_new", 0.0)
    assert config.num_layers == config.num_decoder_layers == 4
    tokenizer = AutoTokenizer.from_pretrained(run)
    assert tokenizer.model_max_length == config.n_positions == 48
    assert config.vocab_size == len(tokenizer) <= 600
    assert tokenizer.convert_ids_to_tokens(tokenizer("Füchse")["input_ids"])[-1] == "</s>"
    assert len(tokenizer(GERMAN)["input_ids"]) < len(GERMAN) / 3  # German is in its vocabulary

    network = AutoModelForSeq2SeqLM.from_pretrained(run)
    settings = network.generation_config
    assert settings.decoder_start_token_id == settings.pad_token_id == tokenizer.pad_token_id
    assert settings.eos_token_id == tokenizer.eos_token_id
    made = network.generate(**tokenizer(["the fox"], return_tensors="pt"), max_new_tokens=5)
    assert made[0, 0] == tokenizer.pad_token_id
    assert "pipeline_tag: text2text-generation\n" in (run / "README.md").read_text()

    went_on = llmkit("pretrain", german, "-m", run, *steps[4:], "-o", tmp_path / "more", "--json")
    assert went_on.code == 0, went_on.err
    assert went_on.json["task"] == "seq2seq-lm"


@pytest.mark.parametrize("text", [GERMAN, "从前有一个国王他有三个女儿。", "a  b\n\n\tc ", "🦊 naïve <extra_id_7> end"])
def test_every_text_goes_through_the_tokenizer_unchanged(tokenizer, tmp_path, text):
    tokenizer.save_pretrained(tmp_path)
    for each in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        ids = each(text)["input_ids"]
        assert each.decode(ids[:-1]) == text
        assert ids[-1] == each.eos_token_id
    assert "<extra_id_7>" not in tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True)


@pytest.mark.parametrize("lack", ["<extra_id_0>", "eos_token", "pad_token"])
def test_a_tokenizer_without_sentinels_or_an_end_is_refused(llmkit, llama, lack, tmp_path):
    tokenizer = train_bpe_with_sentinels(TEXTS, 500, 64)
    if lack == "<extra_id_0>":
        tokenizer = AutoTokenizer.from_pretrained(llama)
    else:
        setattr(tokenizer, lack, None)
    with pytest.raises(ModelError, match="the tokenizer lacks <extra_id_0>"):
        TASK.encoding.collator(tokenizer, SETUP)


def test_an_encoder_decoder_without_sentinels_is_one_sentence(llmkit, llama, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", [{"text": text} for text in TEXTS])
    tokenizer = AutoTokenizer.from_pretrained(llama)
    config = AutoConfig.for_model(
        "bart",
        vocab_size=len(tokenizer),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=64,
    )
    AutoModelForSeq2SeqLM.from_config(config).save_pretrained(tmp_path / "bart")
    tokenizer.save_pretrained(tmp_path / "bart")
    for verb in ("pretrain", "eval", "finetune"):
        output = () if verb == "eval" else ("-o", tmp_path / "run")
        ran = llmkit(verb, data, "-m", tmp_path / "bart", "--task", "seq2seq-lm", *output)
        assert ran.code == 2
        assert "lacks <extra_id_0>" in ran.error
        assert not (tmp_path / "run").exists()


def test_the_unigram_baseline_counts_targets_with_their_sentinels(tokenizer, prepared):
    learned = list(TASK.encoding.target_tokens(prepared, tokenizer, SETUP))
    assert learned == [targets for _, targets in corrupted(tokenizer, prepared)]
    scored = TASK.encoding.collator(tokenizer, SETUP)(prepared.to_list())["labels"]
    assert sorted(scored[scored != -100].tolist()) == sorted(token for targets in learned for token in targets)
