"""The base of an adapter: the weights that it was made on, in 4 bits or not, and the embeddings that it had then."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, NotRequired, TypedDict

from llmkit.errors import ModelError
from llmkit.errors.extras import is_installed
from llmkit.models.adapters.saved import SavedAdapter, saved_rows

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import BitsAndBytesConfig, PretrainedConfig, PreTrainedModel

BASE_KEY = "llmkit_base"  # in the config.json of an adapter: what it was made on

# what an adapter remembers of the model that it is made on
AdapterBase = TypedDict(
    "AdapterBase",
    {
        "name": str,
        "revision": str | None,
        "commit": NotRequired[str | None],
        "sketch": NotRequired[str],  # the fingerprint of its weights
        "whole": NotRequired[list[str] | None],  # the modules that are not in 4 bits; None: none is
    },
)


def require_same_base(config: PretrainedConfig, weight_fingerprint: str, name: str, base: str) -> None:
    """Refuse a base of other weights than those that the adapter was made on, where it says which.

    Raises:
        ModelError: naming both.
    """
    note = getattr(config, BASE_KEY, None) or {}
    if note.get("sketch") in (None, weight_fingerprint):
        return
    commit = note.get("commit")
    remedy = f"its commit was {commit}: --revision names one" if commit else "train it again on this one"
    raise ModelError(f"the adapter {name!r} was made on other weights than those of {base!r} now; {remedy}")


def unquantized_base_modules(config: PretrainedConfig, device: torch.device) -> list[str] | None:
    """Return which modules of an adapter's base are not in 4 bits; None: none is, or none can be here."""
    note = getattr(config, BASE_KEY, None) or {}
    can_quantize = device.type == "cuda" and is_installed("bitsandbytes")
    return note.get("whole") if can_quantize else None


def four_bits(unquantized: Collection[str]) -> BitsAndBytesConfig:
    """Return how transformers loads a base in 4-bit NormalFloat, all but the modules that are not quantized."""
    import torch
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=list(unquantized),
    )


def fit_embeddings(
    model: PreTrainedModel, adapter: SavedAdapter, shapes: Mapping[str, tuple[int, ...]], tokens: int, name: str
) -> None:
    """Give a base as many embeddings as the adapter was trained with; their weights are the adapter's.

    Raises:
        ModelError: there are more tokens than rows, or the adapter does not hold the rows that are new.
    """
    from torch import nn

    inputs, outputs = model.get_input_embeddings(), model.get_output_embeddings()
    there = len(inputs.weight)
    trained = _trained_tokens(adapter)
    own = saved_rows(shapes, _name_of(inputs, model))
    known = range(there, tokens)
    rows = own or (tokens if known and trained.issuperset(known) else there)
    if tokens > rows:
        raise ModelError(
            f"the tokenizer of the adapter {name!r} has {tokens} tokens, its base embeddings for {there}, and the "
            "adapter holds none for the others: save it again with save_embedding_layers=True"
        )
    if rows == there:
        return
    if isinstance(outputs, nn.Module) and saved_rows(shapes, _name_of(outputs, model)) != rows:
        tied = outputs.weight is inputs.weight
        shared = tied and (
            adapter.values.get("ensure_weight_tying") or own is None or not _is_copied(inputs, model, adapter)
        )
        if not shared:
            raise ModelError(
                f"the adapter {name!r} holds embeddings of {rows} tokens, its base of {there}, and neither holds "
                "the head's rows for the others: save it again with save_embedding_layers=True"
            )
    model.resize_token_embeddings(rows, mean_resizing=False)


def _name_of(module: nn.Module, model: PreTrainedModel) -> str:
    return next((name for name, candidate in model.named_modules() if candidate is module), "")


def _is_copied(module: nn.Module, model: PreTrainedModel, adapter: SavedAdapter) -> bool:
    """Tell whether an adapter trained a copy of a module, beside the module itself."""
    copied, last = adapter.values.get("modules_to_save"), _name_of(module, model).rpartition(".")[2]
    return isinstance(copied, list) and any(str(name).rpartition(".")[2] == last for name in copied)


def _trained_tokens(adapter: SavedAdapter) -> set[int]:
    """Return the tokens of which an adapter holds the embeddings, one by one."""
    indices = adapter.values.get("trainable_token_indices") or adapter.values.get("token_indices")
    lists = list(indices.values()) if isinstance(indices, dict) else [indices]
    sets = [set[int](one) for one in lists if isinstance(one, list)]
    return set.intersection(*sets) if sets else set()
