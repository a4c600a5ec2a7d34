"""Rows that leave a batch leave the others their tokens."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from llmkit.models.text import searching
from llmkit.models.text.ends import AnswerEnds
from llmkit.models.text.fused_decoder import fuse_decoder
from llmkit.models.text.sampling import RowSampler
from llmkit.models.text.searching import RowsLeave, search

ROWS, NEW = 12, 24
ENDS = tuple(range(4, 9))  # so that rows end at different times


@pytest.fixture(scope="module", params=["llama", "llama-fused", "qwen2", "gpt2"])
def model(request):
    torch.manual_seed(5)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    if request.param != "gpt2":
        sizes |= {"intermediate_size": 48, "num_key_value_heads": 2}
    config = AutoConfig.for_model(request.param.partition("-")[0], vocab_size=64, pad_token_id=0, **sizes)
    made = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for weights in made.parameters():
        weights.data *= 3  # so that the tokens differ from one another
    if request.param == "llama-fused":
        assert fuse_decoder(made)
    return made


def inputs():
    torch.manual_seed(1)
    ids, mask = torch.randint(10, 64, (ROWS, 9)), torch.ones(ROWS, 9, dtype=torch.long)
    for row in range(ROWS):
        ids[row, : row % 5], mask[row, : row % 5] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


def searched(model, drawn, may_leave):
    settings = GenerationConfig(max_new_tokens=NEW, do_sample=False, eos_token_id=list(ENDS), pad_token_id=0)
    sampler = RowSampler(GenerationConfig(temperature=1.5), range(ROWS)) if drawn else None
    with torch.inference_mode():
        found = search(model, inputs(), settings, sampler, None, may_leave)
    return [AnswerEnds(ENDS).cut(row) for row in found]


@pytest.mark.parametrize("drawn", [False, True])
def test_the_answers_are_the_same(model, drawn, monkeypatch):
    whole = searched(model, drawn, may_leave=False)
    sizes = []
    generate = model.generate
    monkeypatch.setattr(model, "generate", lambda **named: sizes.append(len(named["input_ids"])) or generate(**named))
    assert searched(model, drawn, may_leave=True) == whole
    assert len({len(row) for row in whole}) > 1 or not drawn
    assert sizes[0] == ROWS
    assert sizes == sorted(set(sizes), reverse=True)
    assert len(sizes) > 1 or not drawn


def test_prompts_of_like_length_are_read_together(model, monkeypatch):
    monkeypatch.setattr(searching, "PROMPTS_READ", 3)
    together, widths = searched(model, drawn=False, may_leave=True), []
    read = searching._cache_of
    monkeypatch.setattr(
        searching, "_cache_of", lambda of, few: widths.append(tuple(few["input_ids"].shape)) or read(of, few)
    )
    assert searched(model, drawn=False, may_leave=True) == together
    assert widths == [(3, 5), (3, 6), (3, 7), (3, 8)]
    monkeypatch.setattr(searching, "PADDED", 9)
    assert searched(model, drawn=False, may_leave=True) == together


def test_rows_that_stopped_before_stay_ended():
    class Stops:
        ended = (True, False, False, False)

    leave = RowsLeave([7], Stops())
    assert not leave(torch.tensor([[1], [7], [2], [3]])[:, :1], None).all() or leave.ended == [True, True, False, False]
    leave(torch.tensor([[0], [0], [2], [3]]), None)
    assert leave.ended == [True, True, False, False]
