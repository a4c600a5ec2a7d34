"""Sampling in which each row draws from a generator of its own, so that no row depends on the others of its batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

# the fields of a generation config that sampling reads, in the order in which transformers applies them
WARPERS = {  # and the classes there
    "temperature": "TemperatureLogitsWarper",
    "top_h": "TopHLogitsWarper",
    "top_k": "TopKLogitsWarper",
    "top_p": "TopPLogitsWarper",
    "min_p": "MinPLogitsWarper",
    "typical_p": "TypicalLogitsWarper",
    "epsilon_cutoff": "EpsilonLogitsWarper",
    "eta_cutoff": "EtaLogitsWarper",
}
# the value of each that changes nothing; None is another
NEUTRAL = {"temperature": 1, "top_k": 0, "top_p": 1, "typical_p": 1, "epsilon_cutoff": 0, "eta_cutoff": 0}


def warpers(config: GenerationConfig) -> LogitsProcessorList:
    """Return what transformers does to the scores before it samples by a config."""
    from transformers.generation import logits_process

    values = {name: getattr(config, name, None) for name in WARPERS}
    wanted = {name: value for name, value in values.items() if value is not None and value != NEUTRAL.get(name)}
    if "top_k" in wanted:
        wanted["top_k"] = int(wanted["top_k"])
    made = [getattr(logits_process, WARPERS[name])(value) for name, value in wanted.items()]
    return logits_process.LogitsProcessorList(made)


def row_seed(*numbers: int) -> int:
    """Return a seed that depends on all of the numbers and on nothing else."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class RowSampler:
    """Draws the next token of each row, (rows, vocabulary), and leaves it alone to be chosen; `seeds`: one per row.

    It is the last of the processors of a greedy search; a class of its own, as transformers takes anything to call for
    one, and its import takes seconds.
    """

    def __init__(self, config: GenerationConfig, seeds: Sequence[int]) -> None:
        import torch

        self.warpers = warpers(config)
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def keep(self, places: Sequence[int]) -> None:
        """Go on with some of the rows."""
        self.generators = [self.generators[place] for place in places]

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """Return scores of which all but those of the drawn tokens are -inf."""
        import torch

        precision = torch.float32 if scores.device.type == "mps" else torch.float64
        probabilities = self.warpers(input_ids, scores).to(precision).softmax(-1)
        draws = [torch.rand(1, generator=generator, dtype=torch.float64) for generator in self.generators]
        cumulative = probabilities.cumsum(-1)
        thresholds = torch.stack(draws).to(scores.device, precision) * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, thresholds, right=True).clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens, 0.0)  # type: ignore[return-value]  # torch's types
