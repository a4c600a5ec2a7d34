"""translation: a text in another language, measured by BLEU and chrF.

Which languages: T5 is told by a prefix in English, mBART, M2M100 and NLLB by codes of their own, a Marian model has one
pair, or one source and several targets. A finetuned model remembers them in T5's own way (`task_specific_params`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from llmkit.data.columns import string_columns
from llmkit.errors import DataError, ModelError, OptionError, listing
from llmkit.options import TaskFlags
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.text_to_text import PREFIXED, TextToText, task_params
from llmkit.tasks.encoding import language_codes

TRANSLATORS = frozenset({"marian", "fsmt", "m2m_100", "mbart", "nllb-moe"})
KIND = re.compile("translation_(.+)_to_(.+)")


class Translation(TextToText):
    """Texts in two languages: columns that are named by them, or by --column."""

    name = "translation"
    flags = frozenset({"source", "target", "prefix", "target_length"})
    column_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"text": ("text", "source", "sentence", "src")}
    usual = ("bleu", "chrf")

    def is_default_for(self, config: PretrainedConfig, verb: str) -> bool:
        own = config.model_type in TRANSLATORS and not task_params(config)
        return super().is_default_for(config, verb) or (self.supports(config) and own)

    def requirement(self) -> str:
        return "texts in two languages (columns such as en and de)"

    def match(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        if "text" in given and "target" in given:
            return {role: given[role] for role in self.roles}
        named = [name for name in string_columns(dataset) if language_codes.is_language(name)]
        rest = [name for name in named if name not in given.values()]
        open_roles = [role for role in self.roles if role not in given]
        if len(rest) < len(open_roles):
            return None
        found = {**given, **dict(zip(open_roles, rest, strict=False))}
        return {role: found[role] for role in self.roles}

    def assign(
        self,
        columns: dict[str, str],
        dataset: Dataset,
        given: Mapping[str, str],
        flags: TaskFlags,
        config: PretrainedConfig | None,
    ) -> dict[str, str]:
        told = (flags.source, flags.target)
        remembered = _remembered(config) if config is not None else None
        wanted = dict(zip(self.roles, told if any(told) or not remembered else remembered, strict=True))
        named = [name for name in string_columns(dataset) if language_codes.is_language(name)]
        found = dict(given)
        for role, language in wanted.items():
            if language is None or role in found:
                continue
            own = next((name for name in named if language_codes.same(name, language)), None)
            if own is None:
                raise DataError(
                    f"no column is named for the {'source' if role == 'text' else role} language {language!r}; there "
                    f"are {listing(dataset.column_names)}: say --column {role}=NAME"
                )
            found[role] = own
        for role in self.roles:  # the other of two languages
            rest = [name for name in (*columns.values(), *named) if name not in found.values()]
            if role not in found:
                found[role] = columns[role] if columns[role] in rest else rest[0]
        return {role: found[role] for role in self.roles}

    def oriented(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        remembered = _remembered(config) or (None, None)
        columns = [settings.columns.get(role, "") for role in self.roles]
        read = [column if language_codes.is_language(column) else None for column in columns]
        source, target = (
            told or (own if own and (not seen or language_codes.same(own, seen)) else seen)
            for told, own, seen in zip((flags.source, flags.target), remembered, read, strict=True)
        )
        source, target = _as_spelled(source, target, config, tokenizer)
        if source is not None and source == target:
            raise OptionError(f"--source and --target are both {source}: two languages are wanted")
        return replace(settings, source=source, target=target)

    def kind(self, settings: TaskSettings) -> str:
        known = settings.source is not None and settings.target is not None
        return f"{self.name}_{settings.source}_to_{settings.target}" if known else self.name

    def instruction(self, settings: TaskSettings) -> str:
        if settings.source is None or settings.target is None:
            raise ModelError("a chat model is told in words what to translate: say --source and --target, or --prefix")
        source, target = (
            language_codes.named(settings.source, "--source"),
            language_codes.named(settings.target, "--target"),
        )
        return f"Translate from {source} to {target}:\n\n"

    def usual_prefix(self, settings: TaskSettings, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        if _marian_targets(tokenizer):
            return f"{settings.target} "
        if config.model_type not in PREFIXED:
            return ""
        if settings.source is None or settings.target is None:
            raise ModelError(
                f"a {config.model_type} is told by a prefix what to translate: say --source and --target, or --prefix"
            )
        source, target = (
            language_codes.named(settings.source, "--source"),
            language_codes.named(settings.target, "--target"),
        )
        return f"translate {source} to {target}: "


def _remembered(config: PretrainedConfig) -> tuple[str, str] | None:
    """Return the languages of a model that was trained for one pair of them."""
    found = [match for match in map(KIND.fullmatch, task_params(config)) if match]
    return (found[0][1], found[0][2]) if len(found) == 1 else None


def _marian_targets(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the marks, as >>fr<<, of a Marian model that writes several languages."""
    return list(getattr(tokenizer, "supported_language_codes", None) or ())


def _as_spelled(
    source: str | None, target: str | None, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> tuple[str | None, str | None]:
    """Return both languages as the model spells them.

    Raises:
        OptionError: the model does not have one.
        ModelError: it has many, and nothing says which is meant.
    """
    language_codes.require_codes(tokenizer, source, target, config.model_type)
    codes = language_codes.own_codes(tokenizer)
    if codes:
        return language_codes.spelled(source or "", codes, "--source"), language_codes.spelled(
            target or "", codes, "--target"
        )
    if config.model_type != "marian":
        return source, target
    own: tuple[Any, Any] = (getattr(tokenizer, "source_lang", None), getattr(tokenizer, "target_lang", None))
    marks = _marian_targets(tokenizer)
    if marks and target is None:
        raise ModelError(f"this Marian model writes several languages ({listing(marks, 5)}): say --target")
    for flag, given, fixed in (("--source", source, own[0]), ("--target", target, None if marks else own[1])):
        if given is not None and fixed is not None and not language_codes.same(given, fixed):
            raise OptionError(f"{flag} {given}: this Marian model translates from {own[0]} to {own[1]}")
    return source or own[0], language_codes.spelled(target or "", marks, "--target") if marks else target or own[1]
