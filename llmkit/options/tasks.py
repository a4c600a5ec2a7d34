"""The flags of particular tasks: each is read by the tasks that name it, and refused beside any other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from llmkit.errors import listing
from llmkit.options.base import Options, is_number, named_twice
from llmkit.options.flags import flag

OTHER_COMMAS = "[\uff0c\u3001\u060c]"  # Chinese, Japanese and Arabic: where there is no other
SPEAKER_ROLES = ("user", "assistant", "system", "tool")
OFFSETS = ("characters", "utf-16", "utf-8")  # what answer_start can count
SHARED_FLAGS = frozenset({"split_special_tokens"})  # fields of `TaskFlags` that do not tell one task from others
ANSWERS_FROM = ("0", "1", "letter", "text")  # how an answer can name its choice


@dataclass(frozen=True, kw_only=True)
class TaskFlags(Options):
    """What only some tasks are asked; None is the model's own, or the usual."""

    source: Annotated[
        str | None, flag(panel="Tasks", help="Translation: the language of the source, e.g. en or eng_Latn.")
    ] = None
    target: Annotated[str | None, flag(panel="Tasks", help="Translation: the language of the target, e.g. de.")] = None
    prefix: Annotated[
        str | None, flag(panel="Tasks", help="Translation, summarization: what stands before each source text.")
    ] = None
    target_length: Annotated[
        int | None, flag(panel="Tasks", help="Translation, summarization: tokens of a target at most.")
    ] = None
    threshold: Annotated[
        str | None,
        flag(panel="Tasks", help="Multi-label: the probability from which a label holds; finetune: auto tunes it."),
    ] = None
    no_answer: Annotated[
        bool | None,
        flag("--no-answer/--always-answer", panel="Tasks", help="Question answering: may the answer be that none is."),
    ] = None
    regression: Annotated[
        bool | None,
        flag("--regression/--classes", panel="Tasks", help="Text classification: labels are numbers, or classes."),
    ] = None
    offsets: Annotated[
        str | None,
        flag(
            metavar="characters|utf-16|utf-8",
            panel="Tasks",
            help="Question answering: what answer_start counts; default characters.",
        ),
    ] = None
    answers_from: Annotated[
        str | None,
        flag(
            metavar="0|1|letter|text",
            panel="Tasks",
            help="Multiple choice: how the answer names a choice: by its number from 0 or 1, its letter or its text.",
        ),
    ] = None
    label_separator: Annotated[
        str | None,
        flag(panel="Tasks", help='Multi-label: what separates the names of labels in a cell, such as "," or "|".'),
    ] = None
    labels: Annotated[
        str | None, flag(panel="Tasks", help='Zero-shot: the labels to choose from, e.g. "sport,politics".')
    ] = None
    template: Annotated[
        str | None,
        flag(
            panel="Tasks",
            help='Zero-shot: a sentence that a label completes, "This is about {}."; multiple choice: a prompt.',
        ),
    ] = None

    chat_template: Annotated[
        Path | None,
        flag(panel="Tasks", help="Conversations: a Jinja file instead of the model's own template; saved with it."),
    ] = None
    packing: Annotated[
        bool | None,
        flag("--packing/--no-packing", panel="Tasks", help="Finetune on conversations: several in one sequence."),
    ] = None
    role: Annotated[
        list[str] | None,
        flag(panel="Tasks", help="Conversations: whose turns a name is, narrator=assistant; repeatable."),
    ] = None
    merge_turns: Annotated[
        bool | None,
        flag("--merge-turns/--no-merge-turns", panel="Tasks", help="Conversations: join neighbours of one role."),
    ] = None
    skip_invalid: Annotated[
        float | None,
        flag(panel="Tasks", help="Conversations: leave out invalid rows, if they are at most this share; 0.1 usually."),
    ] = None
    split_special_tokens: Annotated[
        bool | None,
        flag(
            "--split-special-tokens/--no-split-special-tokens",
            panel="Tasks",
            help="Is <|im_end|> in a text that text, or the token? Text, except in corpora (causal-lm).",
        ),
    ] = None
    beta: Annotated[
        float | None,
        flag(panel="Tasks", help="Preferences: how closely DPO holds the model to what it was; default 0.1."),
    ] = None

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from self.at_least(1, "target_length")
        if self.beta is not None and not self.beta > 0:
            yield f"--beta must be more than 0, not {self.beta:g}"
        yield from self._conversation_problems()
        if self.threshold not in (None, "auto") and not (
            is_number(str(self.threshold)) and 0 < float(str(self.threshold)) < 1
        ):
            yield f"--threshold must lie between 0 and 1, or be auto, not {self.threshold!r}"
        if self.labels is not None and len(self.label_names) < 2:
            yield f"--labels takes two or more names with commas between them, not {self.labels!r}"
        twice = named_twice(self.label_names)
        if twice is not None:
            yield f"--labels names {twice!r} twice; each label once is wanted, in {self.labels!r}"
        for name, choices in (("offsets", OFFSETS), ("answers_from", ANSWERS_FROM)):
            value = getattr(self, name)
            if value is not None and value not in choices:
                yield f"--{name.replace('_', '-')} is one of {listing(choices)}, not {value!r}"
        if self.label_separator is not None and not self.label_separator.strip(" "):
            yield "--label-separator is what stands between the names of labels, such as ',', and cannot be blank"
        if self.template is not None and self.template.count("{}") != 1:
            yield f"--template must hold {{}} once, where a label goes, not {self.template!r}"

    @property
    def given(self) -> list[str]:
        """The names of the fields that were set."""
        return [field.name for field in fields(TaskFlags) if getattr(self, field.name) is not None]

    @property
    def speakers(self) -> dict[str, str]:
        """The roles of conversations by the names, in lower case, that the user gave them."""
        pairs = (pair.rpartition("=") for pair in self.role or ())
        return {name.strip().lower(): role for name, _, role in pairs}

    def _conversation_problems(self) -> Iterator[str]:
        yield from self.at_least(0, "skip_invalid")
        for pair in self.role or ():
            name, _, role = pair.rpartition("=")
            if not name.strip() or role not in SPEAKER_ROLES:
                yield f"--role takes name=role, the role one of {', '.join(SPEAKER_ROLES)}, not {pair!r}"

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels to choose from, in the order given."""
        labels = self.labels or ""
        pieces = labels.split(",") if "," in labels else re.split(OTHER_COMMAS, labels)
        return tuple(name for name in map(str.strip, pieces) if name)


@dataclass(frozen=True, kw_only=True)
class AskOptions(TaskFlags):
    """What classify and generate are asked beside their texts."""

    task: Annotated[str | None, flag(panel="Tasks", help="The task, where the model can do several.")] = None
    top: Annotated[int | None, flag(panel="Tasks", help="Show only the best N labels, or fills of a mask.")] = None
    windows: Annotated[
        Literal["mean", "max"] | None,
        flag(panel="Tasks", help="Read a long text in windows, and take the mean of each label's chances, or the max."),
    ] = None

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        yield from self.at_least(1, "top")
