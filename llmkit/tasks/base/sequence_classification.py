"""What the tasks share that classify a text, or a pair of texts: columns, tokens, the head of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmkit.data.columns import Row, names_of, text_of
from llmkit.data.evidence import ColumnProfile, Evidence
from llmkit.metrics.observations import Floats
from llmkit.tasks.base.answers import Answers, Prediction
from llmkit.tasks.base.columns import Columns
from llmkit.tasks.base.encoding import Batch, Encoding
from llmkit.tasks.base.names import pair_among
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import Task
from llmkit.tasks.encoding.collation import INPUTS, rows_at_limit, truncated
from llmkit.tasks.encoding.text_windows import cut_of_pair, problem_with_windows, text_windows

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import BatchEncoding, PretrainedConfig, PreTrainedTokenizerBase

TEXT_COLUMNS = ("text", "sentence", "content", "review", "comment", "document", "title", "文本", "内容", "评论")
TEXT_ROLES = ("text", "pair")

EncodedColumns = dict[str, list[Any]]  # of encoded rows: token ids, lengths, labels


class SequenceTask(Task):
    """A text, or a pair of texts, through a model with a head that gives one row of logits for all of it."""

    auto_class = "AutoModelForSequenceClassification"
    heads = ("ForSequenceClassification",)
    commands = frozenset({"finetune", "eval", "classify"})
    base_model = "distilbert/distilbert-base-uncased"

    def can_finetune(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

        has_head = any(name.endswith(self.heads) for name in config.architectures or ())
        return has_head or type(config) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING


class SequenceColumns(Columns):
    """A text, or a pair of texts, and what is right of it."""

    input_roles: ClassVar[tuple[str, ...]] = TEXT_ROLES
    required_roles = ("text",)
    column_names: ClassVar[Mapping[str, tuple[str, ...]]] = {"text": TEXT_COLUMNS, "pair": ()}

    def match_file(self, rows: Sequence[Row], given: dict[str, str]) -> dict[str, str]:
        pair = None if "text" in given else pair_among(_strings_of(rows, given))
        if pair is not None:
            return {"text": pair[0], "pair": given.get("pair", pair[1])}
        return super().match_file(rows, given)


class SequenceEncoding(Encoding):
    """The tokens of a text or two; what is too long loses its end, or is read in windows."""

    def cut_roles(
        self, rows: Dataset, encoded: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> dict[int, tuple[str, ...]]:
        cut = super().cut_roles(rows, encoded, tokenizer, settings)
        if "pair" not in settings.columns:
            return cut
        picked = rows.select(list(cut))
        pairs = zip(cut, picked[settings.columns["text"]], picked[settings.columns["pair"]], strict=True)
        limit = settings.max_length
        return {
            row: cut_of_pair(text_of(text), text_of(pair), tokenizer, limit) if text_of(pair).strip() else ("text",)
            for row, text, pair in pairs
        }

    def first_unwindowed_row(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> tuple[int, str] | None:
        if "pair" not in settings.columns:
            return None
        pairs = zip(rows[settings.columns["text"]][:], rows[settings.columns["pair"]][:], strict=True)
        for row, (text, pair) in enumerate(pairs):
            if not text_of(pair).strip():  # read alone
                continue
            problem = problem_with_windows(text_of(text), text_of(pair), tokenizer, settings.max_length)
            if problem is not None:
                return row, problem
        return None

    def encode_windows(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Dataset:
        from datasets import Dataset

        texts, pairs = rows[settings.columns["text"]][:], _pairs(rows, settings)
        encoded = []
        for row, text in enumerate(texts):
            pair = None if pairs is None or not text_of(pairs[row]).strip() else text_of(pairs[row])
            for window in text_windows(text_of(text), pair, tokenizer, settings.max_length):
                encoded.append({**window, "row": row, "length": len(window["input_ids"])})
        return Dataset.from_list(encoded)


class SequenceAnswers(Answers):
    """The logits of each row: a number for each class."""

    scores_prediction_files = True
    is_one_pass = True
    pools_windows = True

    def from_outputs(self, outputs: Any, batch: Batch) -> list[Prediction]:
        return list(outputs.logits.float().cpu().numpy())


def over_windows(values: Floats, pooling: str) -> Floats:
    """Return of each class one number (classes,) for those of all windows, (windows, classes)."""
    pooled: Floats = values.max(0) if pooling == "max" else values.mean(0)
    return pooled


def _strings_of(rows: Sequence[Row], given: Mapping[str, str]) -> list[ColumnProfile]:
    """Return what the columns of a file hold that are strings alone, but for those that have a role already."""
    from datasets import Dataset

    names = [name for name in names_of(rows) if name not in given.values()]
    cells = {name: [row.get(name) for row in rows] for name in names}
    texts = {name: column for name, column in cells.items() if {type(cell) for cell in column} <= {str, type(None)}}
    return Evidence(Dataset.from_dict(texts)).strings() if texts else []


def text_cell(row: Row) -> str:
    """Return the cell of a table that shows the text of a row and, below it, its partner."""
    return "\n".join(str(row[role]) for role in TEXT_ROLES if role in row)


def tokenize_rows(rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> EncodedColumns:
    """Return the columns of encoded rows but the labels: tokens, `length`, `truncated` where some were cut off."""
    encoded = tokenize(rows[settings.columns["text"]][:], _pairs(rows, settings), tokenizer, settings.max_length)
    columns: EncodedColumns = {name: encoded[name] for name in INPUTS if name in encoded}
    columns["length"] = [len(ids) for ids in encoded["input_ids"]]
    at_limit = rows_at_limit(columns["length"], settings.max_length)
    untruncated: list[list[int]] = []
    if at_limit:
        selected = rows.select(at_limit)
        texts, pairs = selected[settings.columns["text"]], _pairs(selected, settings)
        untruncated = tokenize(texts, pairs, tokenizer, None)["input_ids"]
    return {**columns, "truncated": truncated(len(rows), at_limit, untruncated, settings.max_length)}


def tokenize(
    texts: Sequence[object], pairs: Sequence[object] | None, tokenizer: PreTrainedTokenizerBase, max_length: int | None
) -> BatchEncoding:
    """Tokenize texts, or pairs of texts, truncated to `max_length` tokens if given; nothing is padded.

    A text whose partner is blank is read alone.
    """
    limits = {"truncation": max_length is not None, "max_length": max_length}
    firsts = [text_of(text) for text in texts]
    seconds = [""] * len(firsts) if pairs is None else [text_of(text) for text in pairs]
    alone = [not second.strip() for second in seconds]
    if tokenizer.sep_token is None or all(alone):  # a decoder's tokenizer would run the two together
        both = zip(firsts, seconds, alone, strict=True)
        return tokenizer([first if lone else f"{first}\n{second}" for first, second, lone in both], **limits)
    encoded = tokenizer(firsts, seconds, **limits)
    for row in np.flatnonzero(alone):
        for name, cells in tokenizer(firsts[row], **limits).items():
            encoded[name][row] = cells
    return encoded


def _pairs(rows: Dataset, settings: TaskSettings) -> Sequence[object] | None:
    return rows[settings.columns["pair"]][:] if "pair" in settings.columns else None
