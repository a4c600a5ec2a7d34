"""What of a model is trained: its head, its layers, all of it; and how much of it that is."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit.errors import OptionError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel

COPIED_MODULE = ".original_module."  # what peft keeps of a module that it trains a copy of
ADAPTER_PREFIX = "lora_"  # begins the names of an adapter's own weights


@dataclass(frozen=True)
class Share:
    """How many of a model's weights are trained."""

    trained: int
    total: int

    @property
    def description(self) -> str:
        """A phrase for the user."""
        return f"trainable: {self.trained:,} of {self.total:,} parameters ({self.trained / self.total:.2%})"

    def as_dict(self) -> dict[str, float]:
        """Return what run.json holds of it."""
        return {"parameters": self.trained, "of": self.total, "share": self.trained / self.total}


def share(model: nn.Module) -> Share:
    """Return how many weights are trained, of how many, an adapter's own among them."""
    counted = [(name, weights) for name, weights in model.named_parameters() if COPIED_MODULE not in f".{name}"]
    trained = sum(_size(weights) for _, weights in counted if weights.requires_grad)
    return Share(trained, sum(_size(weights) for _, weights in counted))


def base_size(model: nn.Module) -> int:
    """Return the number of a model's weights without those of an adapter; tied ones once."""
    named = model.named_parameters()
    return sum(
        _size(weights) for name, weights in named if ADAPTER_PREFIX not in name and COPIED_MODULE not in f".{name}"
    )


def _size(weights: nn.Parameter) -> int:
    return weights.numel() * (2 if type(weights).__name__ == "Params4bit" else 1)  # two of 4 bits are in each byte


def skeleton(config: PretrainedConfig, network: str, trust_remote_code: bool) -> PreTrainedModel:
    """Return a model without weights: its modules and shapes are known before anything is downloaded."""
    import torch
    import transformers

    with torch.device("meta"):
        model: PreTrainedModel = getattr(transformers, network).from_config(config, trust_remote_code=trust_remote_code)
    return model


def freeze(model: PreTrainedModel, layers: int | None, new: Collection[str] = ()) -> None:
    """Freeze the embeddings and the first `layers`; None: all but the head, and the weights that are `new`.

    The layers of an encoder come before those of a decoder.

    Raises:
        OptionError: the model has no head of its own, or fewer layers.
    """
    kind = type(model).__name__
    if layers is None:
        kept = {*head_weights(model), *new}
        if not kept:
            raise OptionError(f"--freeze all: {kind} has no head of its own, so that nothing would be trained")
        frozen = {name for name, _ in model.named_parameters()} - kept
    else:
        stacked = _stacked_layers(model)
        if layers > len(stacked):
            raise OptionError(f"--freeze {layers}: {kind} has {len(stacked)} layers")
        prefixes = tuple(f"{module}." for module in (*_embeddings(model, stacked), *stacked[:layers]))
        frozen = {name for name, _ in model.named_parameters() if name.startswith(prefixes)}
    for name, weights in model.named_parameters():
        weights.requires_grad = name not in frozen


def head_weights(model: PreTrainedModel) -> list[str]:
    """Return the names of the weights that are outside the body and not tied to one of its own."""
    prefix = f"{model.base_model_prefix}."
    names = [name for name, _ in model.named_parameters()]
    if hasattr(model, model.base_model_prefix):
        return [name for name in names if not name.startswith(prefix)]
    outputs = {id(weights) for weights in _outputs(model).parameters()}  # T5 and its kin name no body
    inputs = {id(weights) for weights in model.get_input_embeddings().parameters()}
    return [name for name, weights in model.named_parameters() if id(weights) in outputs - inputs]


def head_modules(model: PreTrainedModel) -> list[str]:
    """Return the modules beside the body that hold weights, but for one of token logits: its weights are many."""
    if not hasattr(model, model.base_model_prefix):
        return []
    token_logits = _token_logit_modules(model)
    return [
        name
        for name, module in model.named_children()
        if name != model.base_model_prefix
        and any(True for _ in module.parameters())
        and not any(id(inner) in token_logits for inner in module.modules())
    ]


def linear_modules(model: PreTrainedModel) -> list[str]:
    """Return the names of the linear modules of a model, but for its heads and the logits of tokens."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    heads, token_logits = head_modules(model), _token_logit_modules(model)
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and id(module) not in token_logits and not is_within(name, heads)
    ]


def unquantized_modules(model: PreTrainedModel) -> list[str]:
    """Return the modules that are not put into 4 bits: the heads, and the logits of tokens."""
    token_logits = _token_logit_modules(model)
    names = (name for name, module in model.named_modules() if name and id(module) in token_logits)
    return [*head_modules(model), *names]


def _outputs(model: PreTrainedModel) -> nn.Module:
    from torch import nn

    outputs = model.get_output_embeddings()
    return outputs if isinstance(outputs, nn.Module) else nn.ModuleList()


def _token_logit_modules(model: PreTrainedModel) -> set[int]:
    """Return the identities of the modules that compute the logits of tokens."""
    return {id(module) for module in _outputs(model).modules()}


def is_within(name: str, modules: Collection[str]) -> bool:
    """Tell whether a module is one of some modules, or inside one of them."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def stacks(model: PreTrainedModel) -> list[tuple[str, nn.ModuleList]]:
    """Return the outermost lists of alike modules, with their names: the layers of an encoder, of a decoder."""
    from torch import nn

    lists = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    outer = [
        (name, module) for name, module in lists if not any(name.startswith(f"{outside}.") for outside, _ in lists)
    ]
    return [(name, module) for name, module in outer if len({type(layer) for layer in module}) == 1]


def _stacked_layers(model: PreTrainedModel) -> list[str]:
    """Return the names of the layers, in order: the members with weights of the outermost lists of alike modules."""
    return [
        f"{name}.{number}"
        for name, module in stacks(model)
        for number, layer in enumerate(module)
        if any(True for _ in layer.parameters())
    ]


def _embeddings(model: PreTrainedModel, layers: Collection[str]) -> Iterator[str]:
    """Yield the modules that stand before the layers: embeddings, and what holds nothing but them and their norm."""
    from torch import nn

    for name, module in model.named_modules():
        parent = name.rpartition(".")[0]
        if isinstance(module, nn.Embedding) and not is_within(name, layers):
            holds_more = not parent or any(layer.startswith(f"{parent}.") for layer in layers)
            yield name if holds_more else parent
