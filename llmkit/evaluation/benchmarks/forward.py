"""One forward pass over rows of token trees, with logits only where they are read; proven on the model at start."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from transformers import PretrainedConfig, PreTrainedModel

from llmkit.evaluation.benchmarks.prefix_packing import PackedRow, ScoringRequest, pack_requests

FLOAT32_TOLERANCE = 1e-4  # of the logits' size: float32 differences between two shapes of the same computation
HALF_PRECISION_TOLERANCE = (
    0.1  # of the error that a row without a mask has: bfloat16 rounds too coarsely for a fixed bound
)
POSITIONS_PER_CHUNK = 256  # positions whose float32 copies of the logits exist at once
WINDOW_SETTINGS = ("sliding_window", "attention_chunk_size", "window_size")
LENGTH_DEPENDENT_ROPES = {"dynamic", "longrope"}


class Forward:
    """A causal model as a function of rows."""

    def __init__(self, model: PreTrainedModel, max_length: int) -> None:
        config = model.config.get_text_config()
        self.model = model
        self.vocabulary = int(config.vocab_size)
        self.hidden = int(getattr(config, "hidden_size", 0) or 512)
        self.rope_depends_on_length = _rope_depends_on_length(config)
        accepted = inspect.signature(model.forward).parameters
        self._settings = {"use_cache": False} if "use_cache" in accepted else {}
        windows = [
            window for name in WINDOW_SETTINGS if isinstance(window := getattr(config, name, None), int) and window > 0
        ]
        self.longest_tree = min([max_length, *windows])  # within the window a full mask is the model's own
        self.gathers = False
        self.gathers = self._gathers_proven()
        self.takes_trees = self._trees_proven()

    @torch.inference_mode()
    def score(
        self, batch: Sequence[PackedRow], slots: Sequence[tuple[int, int]], where: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the log-probability of each target at its slot, and whether it is the likeliest token there.

        Args:
            batch: the rows.
            slots: the row and the node of each position whose logits are wanted.
            where: (n,): the slot that each target is read at.
            targets: (n,): token ids.

        Returns:
            (n,) of float64 and (n,) of bool, on the CPU.
        """
        logits = self.logits(batch, slots)
        where, targets = where.to(logits.device), targets.to(logits.device)
        norms, best = [], []
        for chunk in torch.split(logits, POSITIONS_PER_CHUNK):
            norms.append(chunk.float().logsumexp(-1))
            best.append(chunk.argmax(-1))
        scores = logits[where, targets].float() - torch.cat(norms)[where]
        return scores.double().cpu(), (torch.cat(best)[where] == targets).cpu()

    @torch.inference_mode()
    def logits(self, batch: Sequence[PackedRow], slots: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Return the logits at the slots, (slots, vocabulary), in the model's dtype."""
        device = self.model.device
        rows, nodes = torch.tensor(list(slots), device=device).unbind(1)
        inputs = self._inputs(batch)
        if not self.gathers:
            return torch.as_tensor(self.model(**inputs).logits[rows, nodes])
        with _head_reads(self.model, rows, nodes):
            return torch.as_tensor(self.model(**inputs).logits[0])

    def _inputs(self, batch: Sequence[PackedRow]) -> dict[str, torch.Tensor | bool]:
        device = self.model.device
        width = max(len(row) for row in batch)
        inputs: dict[str, torch.Tensor | bool] = {**self._settings}
        inputs["input_ids"] = _padded([row.tokens for row in batch], width).to(device)
        if not all(row.is_chain for row in batch):
            attends = torch.stack([row.mask(width) for row in batch])[:, None].to(device)
            dtype = self.model.dtype
            inputs["attention_mask"] = torch.zeros(attends.shape, dtype=dtype, device=device).masked_fill(
                ~attends, torch.finfo(dtype).min
            )
            inputs["position_ids"] = _padded([row.positions for row in batch], width).to(device)
        return inputs

    def _gathers_proven(self) -> bool:
        """Tell whether the head can be given the positions that are read alone."""
        (row,) = pack_requests([ScoringRequest(0, _tokens(12, self.vocabulary), (0,))])
        slots = [(0, 3), (0, 11)]
        plain = self.logits([row], slots)
        self.gathers = True
        try:
            gathered = self.logits([row], slots)
        except Exception:  # what a model raises for a shape that it does not expect is its own affair
            return False
        return gathered.shape == plain.shape and _distance(gathered, plain) <= FLOAT32_TOLERANCE * _size(plain)

    def _trees_proven(self) -> bool:
        """Tell whether a tree's logits are those of its branches, each computed alone."""
        kind = getattr(self.model.config, "_attn_implementation", None)
        if kind not in {"sdpa", "eager"} or self.rope_depends_on_length or self.longest_tree < 40:
            return False
        tokens = _tokens(40, self.vocabulary)
        long = ScoringRequest(0, tokens[:32], (0,))
        short = ScoringRequest(1, tokens[:8] + tokens[32:], (0,))
        # the short branch comes last in the row: its positions are far from its places
        tree = PackedRow()
        tree.add(short, tree.add(long, [])[:8])
        (branch,) = pack_requests([short])
        (unmasked,) = pack_requests([ScoringRequest(0, tokens, (0,))])
        last = [(0, node) for node in range(32, 40)]
        plain = self.logits([branch], [(0, node) for node in range(8, 16)])
        wrong = _distance(self.logits([unmasked], last), plain)
        try:
            error = _distance(self.logits([tree], last), plain)
        except Exception:  # a forward without position ids, or that builds on a 2-D mask, says so in many ways
            return False
        if self.model.dtype == torch.float32:
            return error <= FLOAT32_TOLERANCE * _size(plain) < wrong
        return error <= HALF_PRECISION_TOLERANCE * wrong


@contextmanager
def _head_reads(model: PreTrainedModel, rows: torch.Tensor, nodes: torch.Tensor) -> Iterator[None]:
    """Let the output embeddings see the hidden states of these positions alone, as (1, slots, hidden)."""

    def select(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0][rows, nodes][None], *inputs[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


def _rope_depends_on_length(config: PretrainedConfig) -> bool:
    """Tell whether rotary angles change with the longest position of the batch: then rows must not meet."""
    settings = getattr(config, "rope_parameters", None) or {}
    kinds = [settings, *(value for value in settings.values() if isinstance(value, dict))]
    return any(kind.get("rope_type") in LENGTH_DEPENDENT_ROPES for kind in kinds)


def _padded(rows: Sequence[Sequence[int]], width: int) -> torch.Tensor:
    return torch.tensor([[*row, *([0] * (width - len(row)))] for row in rows])


def _tokens(count: int, vocabulary: int) -> tuple[int, ...]:
    return tuple(random.Random(0).choices(range(vocabulary), k=count))


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.float() - b.float()).abs().max())


def _size(logits: torch.Tensor) -> float:
    return max(1.0, float(logits.float().abs().max()))
