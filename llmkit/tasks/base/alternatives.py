"""What multiple-choice and zero-shot classification share: a model compares the alternatives of each row.

An encoder reads every alternative beside the text and scores it with its head. A decoder reads it after a prompt, and
its score is the log-likelihood of its tokens (Brown et al., Language Models are Few-Shot Learners, 2020, 2.4).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit.metrics.observations import Floats, softmax
from llmkit.models.config import is_decoder
from llmkit.tasks.base.encoding import Collator
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import WholeTask
from llmkit.tasks.encoding.collation import token_losses

ENCODED = ("input_ids", "token_type_ids")
AT_ONCE = 4096  # tokens in one forward pass of a decoder: its logits over a vocabulary of 50,000 take 0.8 GB in float32


class AlternativesTask(WholeTask):
    """A task whose rows hold alternatives; prepared rows hold a list of token ids for each of them."""

    eval_batch_size = 4  # rows of several alternatives each: a decoder's logits are large
    non_input_keys = frozenset({"labels", "is_real", "first"})

    def auto_class_for(self, config: PretrainedConfig) -> str:
        return "AutoModelForCausalLM" if is_decoder(config) else self.auto_class

    @abstractmethod
    def head_scores(self, model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return an encoder's scores (rows, alternatives) of inputs of shape (rows, alternatives, tokens)."""

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        return lambda rows: stacked(rows, tokenizer.pad_token_id or 0)

    def scores(self, model: PreTrainedModel, batch: dict[str, Any]) -> torch.Tensor:
        """Return the score of each alternative, (rows, alternatives) in float32: -inf where a row has no more."""
        found = (
            continuation_scores(model, batch) if "first" in batch else self.head_scores(model, self.model_inputs(batch))
        )
        return found.float().masked_fill(~batch["is_real"], -torch.inf)

    def predict(self, model: PreTrainedModel, batch: dict[str, Any], settings: TaskSettings) -> list[Any]:
        scores, real = self.scores(model, batch).cpu(), batch["is_real"].cpu()
        return [some[mask].tolist() for some, mask in zip(scores, real, strict=True)]

    def logits(self, model: PreTrainedModel, batch: dict[str, Any], place: int) -> torch.Tensor:
        return self.scores(model, batch)[place][batch["is_real"][place]]

    def loss(self, model: PreTrainedModel, batch: dict[str, Any]) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.scores(model, batch), batch["labels"])

    def class_name(self, choice: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return f"alternative {choice}"


def stacked(rows: list[dict[str, Any]], pad: int) -> dict[str, Any]:
    """Return tensors of shape (rows, alternatives, tokens); `is_real` (rows, alternatives) tells which are padding.

    An alternative that is padding keeps one token, so that no attention is over nothing.
    """
    most = max(len(row["input_ids"]) for row in rows)
    longest = max(len(ids) for row in rows for ids in row["input_ids"])
    batch: dict[str, Any] = {}
    for name in ENCODED:
        if name in rows[0]:
            filled = torch.full((len(rows), most, longest), pad if name == "input_ids" else 0)
            for place, row in enumerate(rows):
                for number, ids in enumerate(row[name]):
                    filled[place, number, : len(ids)] = torch.tensor(ids)
            batch[name] = filled
    sizes = torch.ones((len(rows), most), dtype=torch.int64)
    for place, row in enumerate(rows):
        sizes[place, : len(row["input_ids"])] = torch.tensor([len(ids) for ids in row["input_ids"]])
    batch["attention_mask"] = (torch.arange(longest) < sizes[..., None]).long()
    counts = torch.tensor([len(row["input_ids"]) for row in rows])
    batch["is_real"] = torch.arange(most) < counts[:, None]
    if "first" in rows[0]:
        firsts = [list(row["first"]) + [longest] * (most - len(row["first"])) for row in rows]
        batch["first"] = torch.tensor(firsts)
    if "labels" in rows[0]:
        batch["labels"] = torch.tensor([row["labels"] for row in rows])
    return batch


def flat(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return inputs (rows, alternatives, tokens) as (rows * alternatives, tokens)."""
    return {name: value.reshape(-1, value.shape[-1]) for name, value in inputs.items()}


def continuation_scores(model: PreTrainedModel, batch: dict[str, Any]) -> torch.Tensor:
    """Return the log-likelihood in nats of each alternative's tokens from `first` on, (rows, alternatives)."""
    ids, mask, first = batch["input_ids"], batch["attention_mask"], batch["first"]
    inputs = flat({"input_ids": ids, "attention_mask": mask})
    places = torch.arange(1, ids.shape[-1], device=ids.device)
    scored = (places >= first.reshape(-1, 1)) & inputs["attention_mask"][:, 1:].bool()
    losses = torch.zeros(scored.shape, dtype=torch.float64, device=ids.device)
    size = max(1, AT_ONCE // ids.shape[-1])
    for start in range(0, len(scored), size):
        part = slice(start, start + size)
        shown, wanted = {name: value[part] for name, value in inputs.items()}, scored[part]
        logits = model(**shown).logits[:, :-1][wanted]
        losses[part][wanted] = token_losses(logits, shown["input_ids"][:, 1:][wanted]).double()
    return -losses.sum(-1).reshape(ids.shape[:2]).float()


def encode_continuations(
    contexts: Sequence[str], continuations: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[list[list[int]], list[int]]:
    """Return the tokens of each context with its continuation, and where the continuation begins.

    A text that is too long loses its start. White space between the two belongs to the continuation, and the two are
    tokenized as one text, as lm-evaluation-harness does it. An empty context is the token that begins or ends texts.
    """
    before = _opened([context.rstrip() for context in contexts], tokenizer)
    whole = _opened([context + rest for context, rest in zip(contexts, continuations, strict=True)], tokenizer)
    edge = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    ids, firsts = [], []
    for start, full in zip(before, whole, strict=True):
        if not start and edge is not None:
            start, full = [edge], [edge, *full]
        cut = max(0, len(full) - max_length)
        ids.append(full[cut:])
        firsts.append(max(1, len(start) - cut))  # nothing predicts the first token
    return ids, firsts


def _opened(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Return the tokens of texts that something can follow: without the end-of-text that some tokenizers add."""
    made: list[list[int]] = tokenizer(texts)["input_ids"] if texts else []
    closes = tokenizer("a")["input_ids"][-1:] == [tokenizer.eos_token_id]
    return [ids[:-1] for ids in made] if closes else made


def chances(record: Sequence[float] | Floats) -> Floats:
    """Return the softmax of the scores of a row's alternatives."""
    return softmax(np.asarray(record, dtype=np.float64))
