from __future__ import annotations

import copy

import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertForTokenClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from llmkit.models.text.first_token import keep_first_token

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 50}
DISTILBERT = DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=32, vocab_size=50, num_labels=3)
READS_FIRST = [
    BertForSequenceClassification(BertConfig(**SIZES, num_labels=3)),
    RobertaForSequenceClassification(RobertaConfig(**SIZES, num_labels=3)),
    DistilBertForSequenceClassification(DISTILBERT),
]
READS_OTHERS = [
    BertForTokenClassification(BertConfig(**SIZES, num_labels=3)),
    LlamaForSequenceClassification(LlamaConfig(**SIZES, num_labels=3, pad_token_id=0)),
]


def logits(model) -> torch.Tensor:
    ids = torch.randint(3, 50, (4, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[1] * 7, [1] * 7, [1] * 5 + [0] * 2, [1] * 3 + [0] * 4])
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=mask).logits


@pytest.mark.parametrize("model", READS_FIRST, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_last_layer_goes_on_with_the_first_token_where_the_head_reads_no_other(model, dtype):
    model = copy.deepcopy(model).to(dtype).eval()
    seen: list[int] = []
    last = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module.in_features == 32][
        -1
    ]
    last.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    whole = logits(model)
    assert keep_first_token(model)
    seen.clear()
    tolerance = 2e-2 if dtype is torch.bfloat16 else 1e-6
    torch.testing.assert_close(logits(model).float(), whole.float(), atol=tolerance, rtol=0)
    assert seen == [1]


@pytest.mark.parametrize("model", READS_OTHERS, ids=lambda model: type(model).__name__)
def test_a_head_that_reads_other_tokens_is_left_alone(model):
    model = model.eval()
    whole = logits(model)
    assert not keep_first_token(model)
    assert torch.equal(logits(model), whole)
