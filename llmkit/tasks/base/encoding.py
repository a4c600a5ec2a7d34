"""How rows become tokens and tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from llmkit.data.turns import Message
from llmkit.tasks.base.settings import TaskSettings

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

EncodedRow = dict[str, Any]  # the columns of a row after `encode`: token ids, labels, lengths
Batch: TypeAlias = "dict[str, torch.Tensor]"
Collator = Callable[[list[EncodedRow]], Batch]


class Encoding(ABC):
    """Rows to model inputs, encoded rows to batches; `task` is the name of the task."""

    default_max_length: ClassVar[int] = 512  # tokens per row where the model could take more: attention is quadratic
    overlong_rows: ClassVar[str | None] = None  # what becomes of a row that is too long, where it does not lose its end
    non_input_keys: ClassVar[frozenset[str]] = frozenset({"labels"})  # what a batch holds besides the model's inputs

    def __init__(self, task: str) -> None:
        self.task = task

    @abstractmethod
    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        """Turn rows into model inputs; a column `length` holds their lengths in tokens."""

    @abstractmethod
    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        """Return the function from encoded rows to a batch of tensors, shape (rows, tokens)."""

    def model_inputs(self, batch: Batch) -> Batch:
        """Return what the model is given of a batch: all but the `non_input_keys`."""
        return {name: value for name, value in batch.items() if name not in self.non_input_keys}

    def first_unencodable_row(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> tuple[int, str] | None:
        """Return the index of the first row that this tokenizer cannot spell and a phrase on why, or None."""
        return None

    def unencodable_rows(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> dict[int, str]:
        """Return the indices of rows that `encode` leaves out as the settings ask, and a phrase on each."""
        return {}

    def first_unanswerable_row(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> tuple[int, str] | None:
        """Return the index of the first row that a model cannot be asked about and a phrase on why, or None."""
        return None

    def messages_of_rows(self, rows: Dataset, settings: TaskSettings) -> Iterator[Sequence[Message]]:
        """Yield the messages of each row, where the spelling of a control token in them could be taken for one."""
        return iter(())

    def rows_without_targets(self, encoded: Dataset) -> list[int]:
        """Return the places of encoded rows of which nothing is learned or scored: it was cut off."""
        return []

    def nothing_to_score(self, encoded: Dataset, settings: TaskSettings) -> str:
        """Return a sentence on encoded rows that are all `rows_without_targets`."""
        return f"the rows hold too little text to score within {settings.max_length} tokens"

    def truncation_warning(self, encoded: Dataset) -> str | None:
        """Return a sentence on what the model does not see of encoded rows, or None."""
        return None

    def cut_roles(
        self, rows: Dataset, encoded: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> dict[int, tuple[str, ...]]:
        """Return the indices of rows of which the model does not read all, and the roles that lose tokens."""
        if "truncated" not in encoded.column_names:
            return {}
        cut = [row for row, is_cut in enumerate(encoded["truncated"][: len(rows)]) if is_cut]
        return dict.fromkeys(cut, tuple(settings.inputs)[:1])

    def text_limit(self, settings: TaskSettings) -> int:
        """Return how many tokens of a text are read: where `cut_roles` finds one, it has more."""
        return settings.max_length

    def cut_side(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> str:
        """Return the side on which a text that is too long loses tokens: left, or right."""
        return str(tokenizer.truncation_side)

    def first_unwindowed_row(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> tuple[int, str] | None:
        """Return the index of the first row that cannot be read in windows and a phrase on why, or None."""
        return None

    def encode_windows(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Dataset:
        """Turn rows that are too long into windows that overlap; the column `row` tells which row each is of."""
        raise NotImplementedError(f"{self.task} reads no windows")

    def pack(self, encoded: Dataset, settings: TaskSettings) -> Dataset:
        """Return encoded rows to train on, several in one where the settings ask for it."""
        return encoded

    def target_tokens(
        self, encoded: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> Iterable[list[int]]:
        """Return the tokens that pretraining on encoded rows learns to predict: what a unigram model counts."""
        tokens: Iterable[list[int]] = encoded["input_ids"]
        return tokens

    def train_tokenizer(self, texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerBase:
        """Train a tokenizer on texts, for a model that is pretrained from scratch."""
        raise NotImplementedError(f"{self.task} is not pretrained")

    def forced_tokens(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> dict[str, int]:
        """Return what a generation config must hold of the tokens that come first; the tokenizer is told the same."""
        return {}
