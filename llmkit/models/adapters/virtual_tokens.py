"""Prompt tuning, p-tuning and prefix tuning: virtual tokens that stand before each text.

Sources: Lester et al., The Power of Scale for Parameter-Efficient Prompt Tuning, 2021; Li and Liang, Prefix-Tuning,
2021. Where peft lets a text's positions depend on the padding of its batch, each text has those that it has alone.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from torch import nn

from llmkit.errors import ModelError
from llmkit.models.adapters.saved import VIRTUAL_TOKEN_KINDS, SavedAdapter

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

TASK_TYPES = ("CAUSAL_LM", "SEQ_CLS", "TOKEN_CLS")


class VirtualTokens(nn.Module):
    """The virtual tokens of an adapter, which hooks on the body of a model put before what it reads."""

    def __init__(self, adapted: PeftModel, body: nn.Module, count: int, cut: bool) -> None:
        super().__init__()
        self.count, self.cut = count, cut  # whether what is computed of them is left out
        self.disable_adapters = False
        self.prompt_encoder = adapted.prompt_encoder
        self._prompts = adapted.get_prompt
        self._is_prefix = str(adapted.active_peft_config.peft_type.value) == "PREFIX_TUNING"
        self._takes_positions = "position_ids" in inspect.signature(body.forward).parameters and self._is_decoder(body)
        self._is_added = False

    @staticmethod
    def _is_decoder(body: nn.Module) -> bool:
        return is_decoder_type(str(body.config.model_type))  # type: ignore[union-attr]

    def enable_adapters(self, enabled: bool) -> None:
        """Put the virtual tokens before texts, or leave them out."""
        self.disable_adapters = not enabled

    def add(
        self, body: nn.Module, arguments: tuple[Any, ...], values: dict[str, Any]
    ) -> tuple[tuple[()], dict[str, Any]]:
        """Return the inputs of the body with the virtual tokens before them, or after a cache that holds them."""
        import torch

        names = list(inspect.signature(body.forward).parameters)
        values = dict(zip(names, arguments, strict=False)) | values
        self._is_added = False
        if self.disable_adapters:
            return (), values
        ids, embeddings, cache = (values.get(name) for name in ("input_ids", "inputs_embeds", "past_key_values"))
        read: torch.Tensor = embeddings if ids is None else ids  # type: ignore[assignment]
        rows, length = read.shape[:2]
        past = cache.get_seq_length() if cache is not None else 0
        own = max(past - self.count, 0)  # of the text, which are in the cache
        mask = values.get("attention_mask")
        if mask is None:
            mask = torch.ones((rows, own + length), dtype=torch.long, device=read.device)
        if mask.dim() != 2:
            raise ModelError("virtual tokens stand before whole rows; texts that share a row cannot have them")
        values["attention_mask"] = torch.cat([mask.new_ones((rows, self.count)), mask], dim=1)
        new = length
        if past == 0:
            new = self._put_first(body, values, rows)
        if self._takes_positions:
            positions = values["attention_mask"].long().cumsum(1) - 1
            values["position_ids"] = positions.clamp(min=0)[:, -new:]
        values.pop("cache_position", None)
        return (), values

    def _put_first(self, body: nn.Module, values: dict[str, Any], rows: int) -> int:
        """Put them before a text from its start, as a cache or as embeddings; return how many the body reads."""
        import torch

        prompts = self._prompts(rows)
        if self._is_prefix:
            values["past_key_values"] = prompts
            ids = values.get("input_ids")
            return int((ids if ids is not None else values["inputs_embeds"]).shape[1])
        ids, embeddings = values.pop("input_ids", None), values.pop("inputs_embeds", None)
        if embeddings is None:
            embeddings = body.get_input_embeddings()(ids)  # type: ignore[operator]
        types = values.get("token_type_ids")
        if types is not None:
            values["token_type_ids"] = torch.cat([types.new_zeros((rows, self.count)), types], dim=1)
        values["inputs_embeds"] = torch.cat([prompts.to(embeddings.dtype), embeddings], dim=1)
        values["input_ids"] = None
        self._is_added = self.cut
        return int(values["inputs_embeds"].shape[1])

    def leave_out(self, body: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        """Return what the body computed of the text alone."""
        if self._is_added:
            if isinstance(output, tuple):
                return (output[0][:, self.count :], *output[1:])
            output.last_hidden_state = output.last_hidden_state[:, self.count :]
        return output


def is_decoder_type(model_type: str) -> bool:
    """Tell whether models of a type read from left to right."""
    from transformers.models.auto import modeling_auto

    causal, masked = (getattr(modeling_auto, f"MODEL_FOR_{kind}_LM_MAPPING_NAMES") for kind in ("CAUSAL", "MASKED"))
    return model_type in causal and model_type not in masked


def put_virtual_tokens(model: PreTrainedModel, adapted: PeftModel, adapter: SavedAdapter, name: str) -> PreTrainedModel:
    """Return a model that reads an adapter's virtual tokens before each text, with right positions in every batch.

    Raises:
        ModelError: the model is of a kind in which they cannot stand so.
    """
    kind, decoder = VIRTUAL_TOKEN_KINDS[adapter.kind], is_decoder_type(model.config.model_type)
    body = model.base_model
    if model.config.is_encoder_decoder or adapter.task_type not in TASK_TYPES or body is model:
        raise ModelError(
            f"{name!r} is an adapter of {kind}, which is opened on decoders and classifiers, and its base is a "
            f"{type(model).__name__}"
        )
    if adapter.kind == "PREFIX_TUNING" and not decoder:
        raise ModelError(f"{name!r} is an adapter of {kind}, and its base, a {type(model).__name__}, keeps no cache")
    # the head of an encoder reads its first token, which is virtual
    cut = decoder or adapter.task_type != "SEQ_CLS"
    tokens = VirtualTokens(adapted, body, adapter.virtual_tokens, cut)
    body.add_module("virtual_tokens", tokens)
    body.register_forward_pre_hook(tokens.add, with_kwargs=True)
    body.register_forward_hook(tokens.leave_out)
    return model
