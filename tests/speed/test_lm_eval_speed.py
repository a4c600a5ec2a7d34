"""lm-eval's model class against ours, on the same requests, side by side, as a ratio. `make bench-parts` prints it."""

from __future__ import annotations

import logging
import random

import pytest
import torch
from test_speed import side_by_side

pytestmark = pytest.mark.benchmark

VOCABULARY = 49152
TOKENIZED = tuple[tuple[str, str], list[int], list[int]]


def requests(documents: int, context: tuple[int, int], answers: int, answer: tuple[int, int]) -> list[TOKENIZED]:
    """Return random requests: of each document a context, and some answers to it, of so many tokens."""
    dice = random.Random(0)

    def tokens(least: int, most: int) -> list[int]:
        return [dice.randrange(VOCABULARY) for _ in range(dice.randint(least, most))]

    contexts = [tokens(*context) for _ in range(documents)]
    return [(("", ""), known, tokens(*answer)) for known in contexts for _ in range(answers)]


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def pair(request, llama):
    """Our model class and lm-eval's around a random Llama with a real vocabulary: a third of SmolLM2-135M's layers."""
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from llmkit.evaluation.benchmarks.language_model import PrefixSharingLM

    logging.getLogger("lm_eval").setLevel(logging.CRITICAL)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "llama",
        vocab_size=VOCABULARY,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=10,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    model = AutoModelForCausalLM.from_config(config).to(getattr(torch, request.param)).eval()
    tokenizer = AutoTokenizer.from_pretrained(llama)
    return (
        PrefixSharingLM(model, tokenizer, max_length=2048),
        HFLM(model, tokenizer=tokenizer, batch_size=8),
        request.param,
    )


@pytest.mark.parametrize(
    ("what", "shape"),
    [
        (
            "multiple choice, four answers as in ARC",
            {"documents": 24, "context": (20, 50), "answers": 4, "answer": (1, 8)},
        ),
        (
            "multiple choice, five examples before",
            {"documents": 6, "context": (180, 240), "answers": 4, "answer": (1, 8)},
        ),
        ("two long answers as in PIQA", {"documents": 24, "context": (8, 20), "answers": 2, "answer": (15, 35)}),
        ("one word as in LAMBADA", {"documents": 32, "context": (60, 120), "answers": 1, "answer": (1, 3)}),
    ],
)
def test_scoring_against_lm_evals_own_model(pair, what, shape):
    ours, theirs, dtype = pair
    asked = requests(**shape)
    found: dict[str, list[tuple[float, bool]]] = {}

    def frugal() -> None:
        ours.answers.done.clear()
        found["ours"] = ours._loglikelihood_tokens(asked)

    def plain() -> None:
        found["theirs"] = theirs._loglikelihood_tokens(asked, disable_tqdm=True)

    side_by_side(f"{what} in {dtype}, {len(asked)} requests, against HFLM in batches of 8", frugal, plain, rounds=3)
    if dtype == "float32":
        expected = [likelihood for likelihood, _ in found["theirs"]]
        assert [likelihood for likelihood, _ in found["ours"]] == pytest.approx(expected, rel=1e-5, abs=1e-4)
