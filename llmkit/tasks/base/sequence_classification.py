"""What the tasks share that classify a whole text, or a pair of texts: columns, tokens, the head of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from llmkit.data.columns import longest_text, string_columns, usual_among
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import WholeTask
from llmkit.tasks.encoding.collation import INPUTS, truncated

PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("text", "text_pair"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("query", "passage"),
)
TEXTS = ("text", "sentence", "content", "review", "comment", "document", "title", "文本", "内容", "评论")


class SequenceTask(WholeTask):
    """A text, or a pair of texts, through a model with a head that gives one row of logits for all of it."""

    auto_class = "AutoModelForSequenceClassification"
    heads = ("ForSequenceClassification",)
    input_roles = ("text", "pair")
    required_roles = ("text",)
    column_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"text": TEXTS, "pair": ()}
    commands = frozenset({"finetune", "eval", "classify"})
    base_model = "distilbert/distilbert-base-uncased"
    scores_prediction_files = True

    def can_finetune(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

        made = any(name.endswith(self.heads) for name in config.architectures or ())
        return made or type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    def records(self, outputs: Any, batch: dict[str, Any]) -> list[Any]:
        return list(outputs.logits.float().cpu().numpy())

    def match_file(self, rows: Sequence[Mapping[str, Any]], given: dict[str, str]) -> dict[str, str]:
        pair = next((pair for pair in PAIRS if set(pair) <= set(rows[0])), None)
        if pair is not None and "text" not in given:
            return {"text": pair[0], "pair": given.get("pair", pair[1])}
        return super().match_file(rows, given)


def text_columns(dataset: Dataset, given: dict[str, str], label: str) -> dict[str, str]:
    """Return the columns of the text and, if there is one, of its partner; none where there is no text."""
    if "text" in given:
        return {role: given[role] for role in ("text", "pair") if role in given}
    names = [name for name in string_columns(dataset) if name != label]
    pair = next((pair for pair in PAIRS if set(pair) <= set(names)), None)
    if pair:
        return {"text": pair[0], "pair": given.get("pair", pair[1])}
    text = next(iter(usual_among(names, TEXTS)), None) or (longest_text(dataset, names) if names else None)
    texts = {"text": text} if text else {}
    return texts | ({"pair": given["pair"]} if texts and "pair" in given else {})


def model_inputs(rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> dict[str, list[Any]]:
    """Return the columns of prepared rows, labels aside: tokens, `length`, and `truncated` where some were cut off."""
    encoded = encode(rows[settings.columns["text"]][:], _pair(rows, settings), tokenizer, settings.max_length)
    columns: dict[str, list[Any]] = {name: encoded[name] for name in INPUTS if name in encoded}
    columns["length"] = [len(ids) for ids in encoded["input_ids"]]

    def whole(places: list[int]) -> Sequence[Any]:
        some = rows.select(places)
        ids: Sequence[Any] = encode(some[settings.columns["text"]], _pair(some, settings), tokenizer, None)["input_ids"]
        return ids

    return {**columns, "truncated": truncated(columns["length"], settings.max_length, whole)}


def encode(
    texts: Sequence[Any], pairs: Sequence[Any] | None, tokenizer: PreTrainedTokenizerBase, max_length: int | None
) -> Any:
    """Tokenize texts, or pairs of texts, truncated to `max_length` tokens if given; nothing is padded."""
    limits: dict[str, Any] = {"truncation": max_length is not None, "max_length": max_length}
    firsts = [str(text if text is not None else "") for text in texts]
    if pairs is None:
        return tokenizer(firsts, **limits)
    seconds = [str(text if text is not None else "") for text in pairs]
    if tokenizer.sep_token is None:  # a decoder's tokenizer would run the two together
        joined = [f"{first}\n{second}" for first, second in zip(firsts, seconds, strict=True)]
        return tokenizer(joined, **limits)
    return tokenizer(firsts, seconds, **limits)


def _pair(rows: Dataset, settings: TaskSettings) -> Sequence[Any] | None:
    return rows[settings.columns["pair"]][:] if "pair" in settings.columns else None
