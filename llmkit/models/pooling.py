"""How a model's hidden states become one vector for each text: as its sentence-transformers files say, or the mean.

Source: Reimers and Gurevych, Sentence-BERT, 2019; the files `modules.json`, `1_Pooling/config.json`,
`sentence_bert_config.json` and `config_sentence_transformers.json` of the sentence-transformers library.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import ModelError, listing

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

OWN = "own"  # the pooling that the model's files name
MODES = {
    "cls": "the first token",
    "lasttoken": "the last token",
    "max": "the maximum over the tokens",
    "mean": "the mean over the tokens",
}
OLD_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
KNOWN_MODULES = {"Transformer", "Pooling", "Normalize"}  # the modules of a pipeline that are done here


@dataclass(frozen=True)
class Pooling:
    """What a model's texts are given as, and what becomes of its hidden states."""

    mode: str = "mean"
    max_length: int | None = None  # tokens of a text that are read; None: the model's context
    lower: bool = False  # whether texts are put into small letters first
    prompts: tuple[tuple[str, str], ...] = ()  # what stands before a text, by the name of its use
    usual_prompt: str = ""
    declared: bool = False  # whether the model's files name the mode

    @property
    def description(self) -> str:
        """A phrase for the user."""
        why = "as the model's own files say" if self.declared else "for the model's files name none"
        return f"{MODES[self.mode]}, {why}"

    def with_prompt(self, text: str, *uses: str) -> str:
        """Return a text as the model is given it: after the prompt of the first of `uses` that it has, or the usual."""
        prompts = dict(self.prompts)
        prompt = next((prompts[use] for use in uses if use in prompts), self.usual_prompt)
        return f"{prompt}{text}".lower() if self.lower else f"{prompt}{text}"


def read_pooling(folder: Path, mode: str = OWN) -> Pooling:
    """Read how the model in a folder pools; `mode` other than own takes that in place of what its files name.

    Raises:
        ModelError: a file is broken, or names what is not done here.
    """
    modules = {str(module["type"]).split(".")[-1]: module for module in _json(folder / "modules.json", [])}
    texts = _json(folder / "sentence_bert_config.json", {})
    uses = _json(folder / "config_sentence_transformers.json", {})
    declared = mode == OWN and "Pooling" in modules
    if declared:
        unknown = [name for name in modules if name not in KNOWN_MODULES]
        if unknown:
            raise ModelError(
                f"{str(folder)!r} pools with {listing(unknown)}, which llmkit does not; add --pooling mean"
            )
        mode = _own_mode(folder / str(modules["Pooling"]["path"]) / "config.json")
    prompts = {str(name): str(prompt) for name, prompt in (uses.get("prompts") or {}).items()}
    return Pooling(
        mode="mean" if mode == OWN else mode,
        max_length=texts.get("max_seq_length"),
        lower=bool(texts.get("do_lower_case")),
        prompts=tuple(sorted(prompts.items())),
        usual_prompt=prompts.get(str(uses.get("default_prompt_name")), ""),
        declared=declared,
    )


def _own_mode(file: Path) -> str:
    """Return the mode that a config of the Pooling module names, in its older or its newer spelling."""
    if not file.is_file():
        raise ModelError(f"there is no {str(file)!r}, which would name the model's pooling; add --pooling mean")
    config = _json(file, {})
    named = config.get("pooling_mode") or [mode for key, mode in OLD_MODES.items() if config.get(key)]
    modes = [named] if isinstance(named, str) else list(named)
    if len(modes) != 1 or modes[0] not in MODES or config.get("include_prompt") is False:
        way = listing(modes) if config.get("include_prompt", True) else "the prompt left out"
        raise ModelError(f"{str(file)!r} pools with {way}; llmkit does {listing(MODES)}: add --pooling mean")
    return str(modes[0])


def _json(file: Path, default: Any) -> Any:
    if not file.is_file():
        return default
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{str(file)!r} is not JSON: {error}") from None
    if not isinstance(value, type(default)):
        raise ModelError(f"{str(file)!r} holds no {'list' if isinstance(default, list) else 'object'}")
    return value


def pooled(model: PreTrainedModel, batch: dict[str, torch.Tensor], mode: str) -> torch.Tensor:
    """Return one vector for each row of a batch that is padded on the right: (rows, dimension), in float32.

    The hidden states are those of the last layer, of the encoder where there is one beside a decoder.
    """
    import torch

    network = model.get_encoder() if model.config.is_encoder_decoder else model
    hidden: torch.Tensor = network(**batch).last_hidden_state.float()
    mask: torch.Tensor = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
    if mode == "cls":
        return hidden[:, 0]
    if mode == "lasttoken":
        last = batch["attention_mask"].sum(1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last]
    if mode == "max":
        return hidden.masked_fill(mask == 0, -torch.inf).amax(1)
    return (hidden * mask).sum(1) / mask.sum(1)
