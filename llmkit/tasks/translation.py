"""translation: a text in another language, measured by BLEU and chrF.

Which languages: T5 takes a prefix in English, mBART, M2M100 and NLLB take codes of their own, and a Marian model has
one pair, or one source and several targets. A finetuned model remembers them in T5's own way (`task_specific_params`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from llmkit.data.columns import string_columns
from llmkit.data.evidence import Evidence
from llmkit.errors import DataError, ModelError, OptionError, listing
from llmkit.options import TaskFlags
from llmkit.tasks.base.candidates import Candidate, Confidence
from llmkit.tasks.base.generated_texts import GeneratedText, TextToTextSettings
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.text_to_text import PREFIXED_FAMILIES, PairColumns, TextToText, TextToTextEncoding, task_params
from llmkit.tasks.encoding import language_codes
from llmkit.tasks.matching.text_pairs import source_and_target

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

TRANSLATION_FAMILIES = frozenset({"marian", "fsmt", "m2m_100", "mbart", "nllb-moe"})
PARAMS_KEY = re.compile("translation_(.+)_to_(.+)")


class TranslationColumns(PairColumns):
    """Columns that are named by their languages, or by --column."""

    column_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"text": ("text", "source", "sentence", "src")}

    def requirement(self) -> str:
        return "texts in two languages (columns such as en and de)"

    def candidates(self, evidence: Evidence, given: Mapping[str, str], flags: TaskFlags) -> list[Candidate]:
        if "text" in given and "target" in given:
            return [Candidate({role: given[role] for role in self.roles})]
        free = [name for name in _language_columns(evidence.rows) if name not in given.values()]
        open_roles = [role for role in self.roles if role not in given]
        languages = {language_codes.language_of(language_codes.code_of(name) or name) for name in free}
        if len(free) < len(open_roles) or len(languages) < len(open_roles):
            return source_and_target(evidence, given)
        columns = {**given, **dict(zip(open_roles, free, strict=False))}
        reason = f"{listing(free)} are languages"
        are_whole = all(language_codes.is_whole_name(name) for name in free)
        confidence = Confidence.CERTAIN if are_whole else Confidence.LIKELY
        return [Candidate({role: columns[role] for role in self.roles}, confidence, reason)]

    def assign(
        self,
        columns: dict[str, str],
        dataset: Dataset,
        given: Mapping[str, str],
        flags: TaskFlags,
        config: PretrainedConfig | None,
    ) -> dict[str, str]:
        requested = (flags.source, flags.target)
        trained = _languages_of(config) if config is not None else None
        languages = requested if any(requested) or not trained else trained
        names, assigned = _language_columns(dataset), dict(given)
        for role, language in zip(self.roles, languages, strict=True):
            if language is None or role in assigned:
                continue
            column = next((name for name in names if language_codes.are_same(name, language)), None)
            if column is None:
                raise DataError(
                    f"no column is named for the {'source' if role == 'text' else role} language {language!r}; there "
                    f"are {listing(dataset.column_names)}: say --column {role}=NAME"
                )
            assigned[role] = column
        for role in self.roles:  # where but one language is asked for
            free = [name for name in (*columns.values(), *names) if name not in assigned.values()]
            if role not in assigned:
                assigned[role] = columns[role] if columns[role] in free else free[0]
        return {role: assigned[role] for role in self.roles}


class Translation(TextToText):
    """Texts in two languages."""

    name = "translation"
    flags = frozenset({"source", "target", "prefix", "target_length", "split_special_tokens"})
    metrics_shown = ("bleu", "chrf")

    columns = TranslationColumns(name)
    encoding = TextToTextEncoding(name)
    answers = GeneratedText(name, encoding)

    def is_default_for(self, config: PretrainedConfig, command: str) -> bool:
        translator = config.model_type in TRANSLATION_FAMILIES and not task_params(config)
        return super().is_default_for(config, command) or (translator and self.supports(config))

    def with_languages(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        names = [settings.columns.get(role, "") for role in self.columns.roles]
        of_columns = [language_codes.code_of(name) for name in names]
        of_model = _languages_of(config) or (None, None)
        source, target = (
            flag or (trained if trained and (not column or language_codes.are_same(trained, column)) else column)
            for flag, trained, column in zip((flags.source, flags.target), of_model, of_columns, strict=True)
        )
        source, target = _in_model_codes(source, target, config, tokenizer)
        if source is not None and source == target:
            raise OptionError(f"--source and --target are both {source}: two languages are wanted")
        return settings.with_specific(TextToTextSettings, source=source, target=target)

    def instruction(self, settings: TaskSettings, flags: TaskFlags) -> str:
        of_columns = [language_codes.code_of(settings.columns.get(role, "")) for role in self.columns.roles]
        source, target = flags.source or of_columns[0], flags.target or of_columns[1]
        if source is not None and source == target:
            raise OptionError(f"--source and --target are both {source}: two languages are wanted")
        return _chat_prefix(settings.with_specific(TextToTextSettings, source=source, target=target))

    def default_prefix(
        self, settings: TaskSettings, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> str:
        if not config.is_encoder_decoder:
            return _chat_prefix(settings)
        if _marian_targets(tokenizer):
            return f"{settings.of(TextToTextSettings).target} "
        if config.model_type not in PREFIXED_FAMILIES:
            return ""
        source, target = _english_names(settings, f"a {config.model_type} is told by a prefix")
        return f"translate {source} to {target}: "


def _chat_prefix(settings: TaskSettings) -> str:
    """Return what a chat model is asked before each text."""
    source, target = _english_names(settings, "a chat model is told in words")
    return f"Translate from {source} to {target}:\n\n"


def _language_columns(dataset: Dataset) -> list[str]:
    """Return the columns of strings that are named by a language."""
    return [name for name in string_columns(dataset) if language_codes.is_language(name)]


def _languages_of(config: PretrainedConfig) -> tuple[str, str] | None:
    """Return the languages of a model that was trained for one pair of them."""
    keys = [key for key in map(PARAMS_KEY.fullmatch, task_params(config)) if key]
    return (keys[0][1], keys[0][2]) if len(keys) == 1 else None


def _english_names(settings: TaskSettings, how: str) -> tuple[str, str]:
    """Return both languages in English; `how` begins the error's sentence: how a model learns what to translate.

    Raises:
        ModelError: nothing says which languages.
        OptionError: one of them is not known.
    """
    languages = settings.of(TextToTextSettings)
    if languages.source is None or languages.target is None:
        raise ModelError(f"{how} what to translate: say --source and --target, or --prefix")
    source = language_codes.english_name(languages.source, "--source")
    return source, language_codes.english_name(languages.target, "--target")


def _marian_targets(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the marks, as >>fr<<, of a Marian model that writes several languages."""
    return list(getattr(tokenizer, "supported_language_codes", None) or ())


def _in_model_codes(
    source: str | None, target: str | None, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> tuple[str | None, str | None]:
    """Return both languages as the model spells them.

    Raises:
        OptionError: the model does not have one.
        ModelError: it has many, and nothing says which one is asked for.
    """
    language_codes.require_codes(tokenizer, source, target, config.model_type)
    codes = language_codes.codes_of(tokenizer)
    if codes:
        source = language_codes.model_code(source or "", codes, "--source")
        return source, language_codes.model_code(target or "", codes, "--target")
    return _marian_languages(source, target, tokenizer) if config.model_type == "marian" else (source, target)


def _marian_languages(
    source: str | None, target: str | None, tokenizer: PreTrainedTokenizerBase
) -> tuple[str | None, str | None]:
    """Return the languages of a Marian model, the target as it is marked where there are several.

    Raises:
        OptionError: the model has another language.
        ModelError: it writes several, and nothing says which one is asked for.
    """
    fixed: tuple[str | None, str | None]
    fixed = getattr(tokenizer, "source_lang", None), getattr(tokenizer, "target_lang", None)
    marks = _marian_targets(tokenizer)
    if marks and target is None:
        raise ModelError(f"this Marian model writes several languages ({listing(marks, 5)}): say --target")
    pairs = (("--source", source, fixed[0]), ("--target", target, None if marks else fixed[1]))
    for flag, requested, language in pairs:
        if requested is not None and language is not None and not language_codes.are_same(requested, language):
            raise OptionError(f"{flag} {requested}: this Marian model translates from {fixed[0]} to {fixed[1]}")
    if marks:
        return source or fixed[0], language_codes.model_code(target or "", marks, "--target")
    return source or fixed[0], target or fixed[1]
