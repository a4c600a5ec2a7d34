"""What multiple-choice and zero-shot classification share: a model compares the alternatives of each row.

An encoder reads every alternative beside the text and scores it with its head. A decoder reads it after a prompt, and
its score is the log-likelihood of its tokens (Brown et al., Language Models are Few-Shot Learners, 2020, 2.4).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from llmkit.models.config import is_decoder
from llmkit.tasks.base.answers import Answers, Prediction
from llmkit.tasks.base.encoding import Batch, Collator, EncodedRow, Encoding
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import Task
from llmkit.tasks.encoding.collation import token_losses

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

TOKEN_COLUMNS = ("input_ids", "token_type_ids")
TOKENS_PER_FORWARD = 4096  # of a decoder: its logits over a vocabulary of 50,000 take 0.8 GB in float32


@dataclass(frozen=True)
class AlternativesSettings:
    """What a task with alternatives settles beside the shared settings."""

    likelihood: bool = False  # whether a decoder compares them by the likelihood of their tokens
    template: str = ""  # of the prompt, or of the sentence that an alternative completes


class AlternativesEncoding(Encoding):
    """Rows that hold a list of token ids for each of their alternatives."""

    non_input_keys = frozenset({"labels", "is_real", "first"})

    def cut_side(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> str:
        decoder = settings.of(AlternativesSettings).likelihood  # which must read what the alternative follows
        return "left" if decoder else super().cut_side(tokenizer, settings)

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        return lambda rows: pad_alternatives(rows, tokenizer.pad_token_id or 0)


class AlternativesAnswers(Answers):
    """A score for each alternative of a row."""

    @abstractmethod
    def head_scores(self, model: PreTrainedModel, inputs: Batch) -> torch.Tensor:
        """Return an encoder's scores (rows, alternatives) of inputs of shape (rows, alternatives, tokens)."""

    def scores(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        """Return the score of each alternative, (rows, alternatives) in float32: -inf where a row has no more."""
        import torch

        if "first" in batch:
            scores = continuation_scores(model, batch)
        else:
            scores = self.head_scores(model, self.encoding.model_inputs(batch))
        return scores.float().masked_fill(~batch["is_real"], -torch.inf)

    def predict(self, model: PreTrainedModel, batch: Batch, settings: TaskSettings) -> list[Prediction]:
        scores, is_real = self.scores(model, batch).cpu(), batch["is_real"].cpu()
        return [row_scores[mask].tolist() for row_scores, mask in zip(scores, is_real, strict=True)]

    def logits(self, model: PreTrainedModel, batch: Batch, index: int) -> torch.Tensor:
        """Return the scores of the alternatives of one row of a batch: (alternatives,)."""
        return self.scores(model, batch)[index][batch["is_real"][index]]

    def class_name(self, number: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return f"alternative {number}"


class AlternativesTask(Task):
    """A task whose rows hold alternatives, one of which is right."""

    answers: ClassVar[AlternativesAnswers]
    eval_batch_size = 4  # rows of several alternatives each: a decoder's logits are large

    def auto_class_for(self, config: PretrainedConfig) -> str:
        return "AutoModelForCausalLM" if is_decoder(config) else self.auto_class

    def loss(self, model: PreTrainedModel, batch: Batch) -> torch.Tensor:
        import torch

        return torch.nn.functional.cross_entropy(self.answers.scores(model, batch), batch["labels"])


def pad_alternatives(rows: list[EncodedRow], pad_id: int) -> Batch:
    """Return tensors of shape (rows, alternatives, tokens); `is_real` (rows, alternatives) tells which are padding.

    An alternative that is padding keeps one token, so that no attention is over nothing.
    """
    import torch

    alternatives = max(len(row["input_ids"]) for row in rows)
    longest = max(len(ids) for row in rows for ids in row["input_ids"])
    batch: Batch = {}
    for name in TOKEN_COLUMNS:
        if name in rows[0]:
            padded = torch.full((len(rows), alternatives, longest), pad_id if name == "input_ids" else 0)
            for index, row in enumerate(rows):
                for number, ids in enumerate(row[name]):
                    padded[index, number, : len(ids)] = torch.tensor(ids)
            batch[name] = padded
    sizes = torch.ones((len(rows), alternatives), dtype=torch.int64)
    for index, row in enumerate(rows):
        sizes[index, : len(row["input_ids"])] = torch.tensor([len(ids) for ids in row["input_ids"]])
    batch["attention_mask"] = (torch.arange(longest) < sizes[..., None]).long()
    counts = torch.tensor([len(row["input_ids"]) for row in rows])
    batch["is_real"] = torch.arange(alternatives) < counts[:, None]
    if "first" in rows[0]:
        firsts = [list(row["first"]) + [longest] * (alternatives - len(row["first"])) for row in rows]
        batch["first"] = torch.tensor(firsts)
    if "labels" in rows[0]:
        batch["labels"] = torch.tensor([row["labels"] for row in rows])
    return batch


def flatten_alternatives(inputs: Batch) -> Batch:
    """Return inputs (rows, alternatives, tokens) as (rows * alternatives, tokens)."""
    return {name: value.reshape(-1, value.shape[-1]) for name, value in inputs.items()}


def continuation_scores(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Return the log-likelihood in nats of each alternative's tokens from `first` on, (rows, alternatives)."""
    import torch

    ids, mask, first = batch["input_ids"], batch["attention_mask"], batch["first"]
    inputs = flatten_alternatives({"input_ids": ids, "attention_mask": mask})
    positions = torch.arange(1, ids.shape[-1], device=ids.device)
    is_scored = (positions >= first.reshape(-1, 1)) & inputs["attention_mask"][:, 1:].bool()
    losses = torch.zeros(is_scored.shape, dtype=torch.float64, device=ids.device)
    size = max(1, TOKENS_PER_FORWARD // ids.shape[-1])
    for start in range(0, len(is_scored), size):
        part = slice(start, start + size)
        part_inputs, part_scored = {name: value[part] for name, value in inputs.items()}, is_scored[part]
        logits = model(**part_inputs).logits[:, :-1][part_scored]
        losses[part][part_scored] = token_losses(logits, part_inputs["input_ids"][:, 1:][part_scored]).double()
    return -losses.sum(-1).reshape(ids.shape[:2]).float()


def encode_continuations(
    contexts: Sequence[str], continuations: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[list[list[int]], list[int], bool]:
    """Return the tokens of each context with its continuation, where that begins, and whether any was too long.

    A text that is too long loses its start. White space between the two belongs to the continuation, and the two are
    tokenized as one text, as lm-evaluation-harness does it. An empty context is the token that begins or ends texts.
    """
    context_ids = _tokenize_open([context.rstrip() for context in contexts], tokenizer)
    texts = [context + continuation for context, continuation in zip(contexts, continuations, strict=True)]
    boundary = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    encoded, firsts, truncated = [], [], False
    for before, ids in zip(context_ids, _tokenize_open(texts, tokenizer), strict=True):
        if not before and boundary is not None:
            before, ids = [boundary], [boundary, *ids]
        cut = max(0, len(ids) - max_length)
        truncated = truncated or cut > 0
        encoded.append(ids[cut:])
        firsts.append(max(1, len(before) - cut))  # nothing predicts the first token
    return encoded, firsts, truncated


def _tokenize_open(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Return the tokens of texts that something can follow: without the end-of-text that some tokenizers add."""
    encoded: list[list[int]] = tokenizer(texts)["input_ids"] if texts else []
    adds_end = tokenizer("a")["input_ids"][-1:] == [tokenizer.eos_token_id]
    return [ids[:-1] for ids in encoded] if adds_end else encoded
