"""summarization: a short text for a long one, measured by ROUGE."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from llmkit.data.columns import is_string
from llmkit.data.evidence import Evidence
from llmkit.errors import listing
from llmkit.options import TaskFlags
from llmkit.tasks.base.candidates import Candidate
from llmkit.tasks.base.generated_texts import GeneratedText
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.text_to_text import PREFIXED_FAMILIES, PairColumns, TextToText, TextToTextEncoding
from llmkit.tasks.encoding.source_texts import holds_text_lists
from llmkit.tasks.matching.text_pairs import text_and_summary

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

TEXT_PAIRS = (
    ("document", "summary"),
    ("article", "highlights"),
    ("article", "summary"),
    ("article", "abstract"),
    ("dialogue", "summary"),
    ("text", "summary"),
    ("report", "summary"),
    ("content", "summary"),
)
CHAT_PREFIX = "Summarize:\n\n"  # what a chat model is asked
LIST_PAIR = ("source", "target")  # of sentences, and of summaries: scitldr


class SummaryColumns(PairColumns):
    """A text and its summary, or several: a model is trained on the first, and measured by the nearest."""

    column_names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "text": ("text", "document", "article", "dialogue", "source", "content")
    }
    takes_lists = True

    def requirement(self) -> str:
        return "a text and its summary (document and summary, article and highlights)"

    def candidates(self, evidence: Evidence, given: Mapping[str, str], flags: TaskFlags) -> list[Candidate]:
        if "text" in given and "target" in given:
            return [Candidate({role: given[role] for role in self.roles})]
        features = evidence.features
        pairs = [pair for pair in TEXT_PAIRS if all(name in features and _is_text(features[name]) for name in pair)]
        if all(name in features and holds_text_lists(features[name]) for name in LIST_PAIR):
            pairs.append(LIST_PAIR)
        for pair in pairs:
            columns = {**dict(zip(self.roles, pair, strict=True)), **given}
            if len(set(columns.values())) == len(columns):
                return [Candidate(columns, reason=f"{listing(columns.values())} are called so")]
        return text_and_summary(evidence, given)


class Summarization(TextToText):
    """Texts and their summaries."""

    name = "summarization"
    flags = frozenset({"prefix", "target_length", "split_special_tokens"})
    metrics_shown = ("rougeL", "rouge1", "rouge2")

    columns = SummaryColumns(name)
    encoding = TextToTextEncoding(name)
    answers = GeneratedText(name, encoding)

    def instruction(self, settings: TaskSettings, flags: TaskFlags) -> str:
        return CHAT_PREFIX

    def default_prefix(
        self, settings: TaskSettings, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> str:
        if not config.is_encoder_decoder:
            return CHAT_PREFIX
        return "summarize: " if config.model_type in PREFIXED_FAMILIES else ""


def _is_text(feature: object) -> bool:
    return is_string(feature) or holds_text_lists(feature)
