"""Open an adapter through peft, on its base or folded into it: what does not fit is named."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, cast

from llmkit.errors import ModelError, brief, listing
from llmkit.models.adapters.bases import fit_embeddings
from llmkit.models.adapters.saved import PREFIX, VIRTUAL_TOKEN_KINDS, read_adapter, saved_shapes

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

MISSHAPEN = re.compile(r"size mismatch for (\S+): .*?torch\.Size\(\[([\d, ]*)\]\).*?torch\.Size\(\[([\d, ]*)\]\)", re.S)


def open_adapter(
    model: PreTrainedModel, folder: Path, name: str, merged: bool, missing: Collection[str], tokens: int
) -> PreTrainedModel:
    """Return a base with the adapter in `folder` on it, or folded into it.

    `missing` are weights that the base lacks, `tokens` those of the tokenizer, for which there must be embeddings.

    Raises:
        ModelError: it was made for a model of other modules or shapes, or cannot be folded.
    """
    from peft import PeftConfig, PeftModel, get_peft_model_state_dict

    base, adapter, shapes = type(model).__name__, read_adapter(folder, name), saved_shapes(folder)
    fit_embeddings(model, adapter, shapes, tokens, name)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"peft\.tuners\.")  # while it answers
    try:
        with warnings.catch_warnings(action="ignore"):  # what does not fit is looked for below
            config = PeftConfig.from_pretrained(str(folder))
            if getattr(config, "progressbar", False):  # which some kinds draw while they are opened
                config.progressbar = False
            adapted = PeftModel.from_pretrained(model, str(folder), config=config, torch_device="cpu")
            needed, possible = (
                set(get_peft_model_state_dict(adapted, save_embedding_layers=whole)) for whole in (False, True)
            )
    except Exception as error:  # what peft raises depends on the kind
        raise ModelError(f"the adapter {name!r} does not fit its base, a {base}: {_reason(error)}") from error
    bare = {PREFIX.sub("", key, count=1) for key in shapes}
    lacking = sorted((needed - set(shapes)) | (set(shapes) - possible) | (set(missing) - bare))
    if lacking:
        raise ModelError(
            f"the adapter {name!r} does not fit its base, a {base}: one of them lacks {listing(lacking, 3)}"
        )
    if adapter.kind in VIRTUAL_TOKEN_KINDS:
        from llmkit.models.adapters.virtual_tokens import put_virtual_tokens

        return put_virtual_tokens(model, adapted, adapter, name)
    if not merged:
        return cast("PreTrainedModel", adapted.get_base_model())
    _untie(model)
    return _folded(adapted, adapter.kind, name)


def _folded(adapted: torch.nn.Module, kind: str, name: str) -> PreTrainedModel:
    try:
        with warnings.catch_warnings(action="ignore"):  # that weights are not shared any more, which merge says
            model = cast("PreTrainedModel", adapted.merge_and_unload(safe_merge=True))  # type: ignore[operator]
            return _without_copies(model)
    except Exception as error:  # what peft raises depends on the kind
        raise ModelError(
            f"the adapter {name!r} is of the kind {kind}, which cannot be merged into this base ({brief(error)}): "
            f"-m {name} opens it as it is"
        ) from error


def _without_copies(model: PreTrainedModel) -> PreTrainedModel:
    """Put the copies of modules that were trained in the place of the modules: some kinds leave that undone."""
    from peft.utils.other import AuxiliaryTrainingWrapper

    wrapped = [(name, module) for name, module in model.named_modules() if isinstance(module, AuxiliaryTrainingWrapper)]
    for name, module in wrapped:
        parent, _, last = name.rpartition(".")
        unwrapped = module.unload_and_optionally_merge_module(merge=True, safe_merge=True, adapter_names=None)
        setattr(model.get_submodule(parent), last, unwrapped)
    return model


def _reason(error: Exception) -> str:
    """Return what a library says of an adapter that does not fit, in a phrase."""
    found = MISSHAPEN.search(str(error))
    if found is not None:
        there, wanted = (sizes.replace(", ", " x ") for sizes in found.group(2, 3))
        return f"{found[1]} is {there} in the adapter and {wanted} on the base"
    return f"the adapter lacks {error}" if isinstance(error, KeyError) else brief(error)


def _untie(model: PreTrainedModel) -> None:
    """Give a head that shares its weights with the embeddings its own, where an adapter changes one of the two."""
    import torch
    from peft.tuners.tuners_utils import BaseTunerLayer

    ends = [model.get_input_embeddings(), model.get_output_embeddings()]
    adapted = [end.get_base_layer() if isinstance(end, BaseTunerLayer) else end for end in ends]
    if adapted != ends and None not in ends and adapted[0].weight is adapted[1].weight:
        adapted[1].weight = torch.nn.Parameter(adapted[1].weight.detach().clone(), requires_grad=False)
        model.config.tie_word_embeddings = False
