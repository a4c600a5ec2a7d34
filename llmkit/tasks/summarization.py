"""summarization: a short text for a long one, measured by ROUGE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from llmkit.data.columns import is_string
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.text_to_text import PREFIXED, TextToText, lists_texts

PAIRS = (
    ("document", "summary"),
    ("article", "highlights"),
    ("article", "summary"),
    ("article", "abstract"),
    ("dialogue", "summary"),
    ("text", "summary"),
    ("report", "summary"),
    ("content", "summary"),
)
LISTS = ("source", "target")  # of sentences, and of summaries: scitldr


class Summarization(TextToText):
    """Texts and their summaries; of several summaries of a text the first is learned, and the nearest one measured."""

    name = "summarization"
    flags = frozenset({"prefix", "target_length"})
    column_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text": ("text", "document", "article", "dialogue", "source", "content")
    }
    usual = ("rougeL", "rouge1", "rouge2")

    def requirement(self) -> str:
        return "a text and its summary (document and summary, article and highlights)"

    def match(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        if "text" in given and "target" in given:
            return {role: given[role] for role in self.roles}
        kinds = dataset.features
        pairs = [pair for pair in PAIRS if all(name in kinds and _is_texts(kinds[name]) for name in pair)]
        if all(name in kinds and lists_texts(kinds[name]) for name in LISTS):
            pairs.append(LISTS)
        for pair in pairs:
            found = dict(zip(self.roles, pair, strict=True)) | given
            if len(set(found.values())) == len(found):
                return found
        return None

    def takes_list(self, role: str, feature: Any) -> bool:
        return lists_texts(feature)

    def kind(self, settings: TaskSettings) -> str:
        return self.name

    def instruction(self, settings: TaskSettings) -> str:
        return "Summarize:\n\n"

    def usual_prefix(self, settings: TaskSettings, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return "summarize: " if config.model_type in PREFIXED else ""


def _is_texts(feature: Any) -> bool:
    return is_string(feature) or lists_texts(feature)
