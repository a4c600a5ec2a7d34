"""What can be wanted of a file: the rows of the corpus's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

CLASSES, MULTI, TAGS = "text-classification", "multi-label-classification", "token-classification"
QUESTIONS, CHOICES, CHAT, PAIRS = "question-answering", "multiple-choice", "conversational", "preference-optimization"
TEXT_TO_TEXT = {"translation", "summarization"}
PLAIN = {"negative": 12, "positive": 12}
ENTITIES = {"B-LOC": 12, "B-PER": 12, "I-LOC": 8, "I-PER": 6, "O": 108}
IOB2 = "labels: B-LOC, B-PER, I-LOC, I-PER, O"


@dataclass(frozen=True)
class Case:
    """What `llmkit data` and `finetune --dry-run` should give for files of a kind."""

    kind: str
    flags: Sequence[str] = ()
    task: str | None = None  # None: refused
    columns: str = ""  # as in "text=text label=label"
    rows: int | Mapping[str, int] = 24  # those of train, or of each split
    labels: Mapping[str, int] | None = None  # how many rows, or words, of train have each
    said: Sequence[str] = ()  # on stderr, by data
    trained: Sequence[str] = ()  # on stderr, by finetune --dry-run
    findings: Sequence[str] = ()
    refused: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "refused", self.task is None)

    @property
    def name(self) -> str:
        return " ".join((self.kind, *self.flags))

    @property
    def model(self) -> str:
        """The fixture of the model that finetune takes."""
        if self.task in {CHAT, PAIRS, "causal-lm"} or self.kind.startswith(("chat_", "dpo_")):
            return "assistant"
        return "t5" if self.task in TEXT_TO_TEXT else "encoder"


def classes(kind: str, labels: Mapping[str, int] = PLAIN, columns: str = "text=text label=label", **more) -> Case:
    return Case(kind, task=CLASSES, columns=columns, labels=labels, **more)


def numbers(kind: str, said: str, column: str = "score", **more) -> Case:
    """Expect labels that are numbers."""
    columns = f"text=text label={column}"
    return Case(kind, (), CLASSES, columns, said=(said,), trained=("labels: a number (regression)",), **more)


def entities(kind: str, said: str, columns: str = "tokens=tokens tags=ner_tags") -> Case:
    return Case(kind, (), TAGS, columns, rows=18, labels=ENTITIES, said=(said,), trained=(said, IOB2))


def chat(kind: str, columns: str = "messages=messages", *said: str, **more) -> Case:
    return Case(kind, task=CHAT, columns=columns, said=said, **{"rows": 20, **more})


def pairs(kind: str, columns: str = "prompt=prompt chosen=chosen rejected=rejected", *said: str, **more) -> Case:
    return Case(kind, task=PAIRS, columns=columns, rows=20, said=said, **more)


def refused(kind: str, *said: str, flags: Sequence[str] = ()) -> Case:
    return Case(kind, flags, said=said)
