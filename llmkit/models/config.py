"""Facts that a model's config holds."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmkit.errors import ModelError, did_you_mean, listing, shortened

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

DECODER_HEADS = ("ForCausalLM", "LMHeadModel")  # how the names of architectures with a next-token head end
CLASSIFIERS = ("ForSequenceClassification", "ForTokenClassification")
MULTI_LABEL = "multi_label_classification"
MAX_OUTPUTS_SHOWN = 12
T5_FAMILIES = frozenset({"t5", "mt5", "umt5", "longt5", "switch_transformers"})


def context_length(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many tokens the model can take at once."""
    limits = [tokenizer.model_max_length]
    for key in ("max_position_embeddings", "n_positions"):
        positions = getattr(config, key, None)
        if isinstance(positions, int) and positions > 0:
            # RoBERTa and its kin keep the positions up to the padding id for padding
            offset = (config.pad_token_id or 0) + 1 if "roberta" in config.model_type else 0
            limits.append(positions - offset)
    return int(min(min(limits), 1_000_000))


def with_config_values(config: PretrainedConfig, config_values: Mapping[str, object]) -> PretrainedConfig:
    """Return a copy of a config with these values in it."""
    changed = copy.deepcopy(config)
    for key, value in config_values.items():
        setattr(changed, key, value)
    return changed


def is_decoder(config: PretrainedConfig) -> bool:
    """Tell whether a model with this config continues text: it has a next-token head, and no encoder."""
    return any(name.endswith(DECODER_HEADS) for name in config.architectures or ()) and not config.is_encoder_decoder


def is_regression(config: PretrainedConfig) -> bool:
    """Tell whether a classifier's one output is a number."""
    is_single = config.num_labels == 1 and config.problem_type != MULTI_LABEL
    return is_single or bool(config.problem_type == "regression")


def output_names(config: PretrainedConfig) -> tuple[str, ...]:
    """Return the names of a classifier's outputs in their order; none of a regression.

    Raises:
        ModelError: not every output has a name of its own, or the config contradicts itself.
    """
    if is_regression(config):
        if config.num_labels > 1:
            raise ModelError(
                f"the model's config.json has {config.num_labels} outputs and the problem_type regression, which has "
                "one: correct problem_type or id2label there"
            )
        return ()
    names = {number: config.id2label[number] for number in sorted(config.id2label)}
    if list(names) != list(range(len(names))) or not all(map(_is_name, names.values())):
        pairs = listing((f"{number}: {name!r}" for number, name in names.items()), MAX_OUTPUTS_SHOWN)
        raise ModelError(
            f"the model's config.json names its outputs {pairs} in id2label; a name for each of 0 to "
            f"{len(names) - 1} is wanted: correct it there"
        )
    _require_distinct([str(name).strip() for name in names.values()])
    _require_same_numbers(config)
    return tuple(map(str, names.values()))


def _is_name(name: object) -> bool:
    return isinstance(name, str | int | float) and bool(str(name).strip())


def _require_distinct(names: Sequence[str]) -> None:
    """Refuse outputs of one name, of which an answer by name would lose all but one; blanks around it tell nothing."""
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        outputs = [
            f"{name!r} is the name of {listing(str(number) for number, other in enumerate(names) if other == name)}"
            for name in repeated
        ]
        raise ModelError(
            f"the model's config.json gives outputs one name in id2label ({listing(outputs, MAX_OUTPUTS_SHOWN)}), and "
            "their scores could not be told apart; a name of its own for each is wanted: correct it there"
        )


def _require_same_numbers(config: PretrainedConfig) -> None:
    """Refuse a label2id in which a name of id2label has another number; other names are a leftover of a base model."""
    label2id = config.label2id if isinstance(config.label2id, Mapping) else {}
    for number, name in sorted(config.id2label.items()):
        other = label2id.get(str(name), number)
        if str(other) != str(number):
            raise ModelError(
                f"the model's config.json contradicts itself: output {number} is {name!r} by id2label, and {name!r} is "
                f"{other} by label2id; correct the one that is wrong there"
            )


def outputs_problem(values: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the outputs that a config.json names, as it was written; None where nothing is."""
    id2label, number = values.get("id2label"), values.get("num_labels")
    if not id2label:
        return None
    if not isinstance(id2label, Mapping) or not all(re.fullmatch(r"-?[0-9]+", key) for key in id2label):
        return (
            f'its id2label is {shortened(id2label)}, and {{"0": "a name", "1": "another"}} is wanted: correct it there'
        )
    is_classifier = any(str(name).endswith(CLASSIFIERS) for name in values.get("architectures") or ())
    if is_classifier and isinstance(number, int) and number != len(id2label):
        return f"it names {len(id2label)} outputs in id2label and has num_labels {number}: correct one of them there"
    return None


def unknown_type(values: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the type of a model that transformers does not know; None where it does."""
    kind = values.get("model_type")
    if not isinstance(kind, str) or "auto_map" in values:
        return None
    from transformers import __version__
    from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES

    if kind in CONFIG_MAPPING_NAMES:
        return None
    return (
        f"its model_type is {kind!r}{did_you_mean(kind, CONFIG_MAPPING_NAMES)}, which transformers {__version__} does "
        "not know; a newer one may"
    )
