"""What a model answers: predictions as numbers, arrays that metrics read, and what a person or a JSON line sees."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from llmkit.data.columns import Row
from llmkit.data.predictions import cell_text
from llmkit.errors import DataError, shortened
from llmkit.metrics.observations import Floats, Observations
from llmkit.tasks.base.encoding import Batch, Encoding
from llmkit.tasks.base.settings import TaskSettings

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

Prediction = Sequence[float]  # what a model said of one row, as flat numbers: this is what can be stored
Answer = dict[str, Any]  # what a person or a JSON line sees of a row


class Answers(ABC):
    """From batches to answers; `encoding` tells which part of a batch the model is given."""

    continues_prompt: ClassVar[bool] = False  # whether generate continues a prompt, with `inference.generation`
    hidden_roles: ClassVar[frozenset[str]] = frozenset()  # of the input roles, those that an answer does not repeat
    scores_prediction_files: ClassVar[bool] = False  # whether a file of predictions can be scored
    has_margins: ClassVar[bool] = False  # whether the labels of a prediction have `margins`
    is_one_pass: ClassVar[bool] = False  # whether `predict` is one forward pass of the model, and nothing besides
    pools_windows: ClassVar[bool] = False  # whether the predictions of the windows of a row can be made one

    def __init__(self, task: str, encoding: Encoding) -> None:
        self.task, self.encoding = task, encoding

    def predict(self, model: PreTrainedModel, batch: Batch, settings: TaskSettings) -> list[Prediction]:
        """Ask the model about a batch: one prediction for each of its rows, flat numbers, which can be stored."""
        return self.from_outputs(model(**self.encoding.model_inputs(batch)), batch)

    def from_outputs(self, outputs: Any, batch: Batch) -> list[Prediction]:
        """Return the prediction of each row of the batch from the outputs of one forward pass."""
        raise NotImplementedError(f"{self.task} asks in `predict`")

    def margins(self, predictions: Sequence[Prediction], settings: TaskSettings) -> Floats:
        """Return how far the numbers of each prediction are from those of another label, (rows,)."""
        raise NotImplementedError(f"{self.task} has no labels that change so")

    def answer_length(self, settings: TaskSettings) -> int | None:
        """Return how many tokens an answer has at most where no flag says, or None where the task does not say."""
        return None

    def decoding_sentence(self, model: PreTrainedModel, settings: TaskSettings) -> str | None:
        """Return what is to be said of how a model that writes texts chooses their tokens, or None."""
        return None

    def logits(self, model: PreTrainedModel, batch: Batch, index: int) -> torch.Tensor:
        """Return the logits of one row of a batch: (classes,), or (tokens, classes) without the padding."""
        logits: torch.Tensor = model(**self.encoding.model_inputs(batch)).logits[index]
        return logits if logits.dim() == 1 else logits[: int(batch["attention_mask"][index].sum())]

    def class_name(self, number: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        """Return what a person calls the class with that number in `logits`."""
        return str(config.id2label.get(number, number))

    def pooled(self, windows: Sequence[Prediction], pooling: str, settings: TaskSettings) -> Prediction:
        """Return one prediction of those of all windows of a row: by the `mean` of probabilities, or their `max`."""
        raise NotImplementedError(f"{self.task} reads no windows")

    @abstractmethod
    def evaluation_arrays(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
    ) -> Observations:
        """Return what metrics are a function of, from predictions in the order of the encoded rows."""

    def arrays_from_predictions(
        self, rows: Dataset, predictions: Sequence[Row], settings: TaskSettings
    ) -> Observations:
        """Return what `evaluation_arrays` does, of any system's predictions in the order of the rows."""
        raise NotImplementedError(f"{self.task} is not scored from a file")

    def remark_on_predictions(self, rows: Dataset, predictions: Sequence[Row], settings: TaskSettings) -> str | None:
        """Return a sentence on how `arrays_from_predictions` reads them, where something else than their names says."""
        return None

    def unit_rows(self, encoded: Dataset, settings: TaskSettings) -> list[int] | None:
        """Return the row that each unit of the arrays is of, or None where units are windows over joined rows."""
        return list(dict.fromkeys(encoded["row"])) if "row" in encoded.column_names else list(range(len(encoded)))

    def one_row_per_unit(self, settings: TaskSettings) -> bool:
        """Tell whether each unit of the arrays is of one row."""
        return True

    def unit_contents(self, rows: Dataset, encoded: Dataset, settings: TaskSettings) -> list[list[object]]:
        """Return the inputs of each unit of the arrays: what two evaluations are paired by."""
        inputs = settings.inputs.values()
        contents = [list(texts) for texts in zip(*(rows[column][:] for column in inputs), strict=True)]
        return [contents[row] for row in self.unit_rows(encoded, settings) or ()]

    def counts(self, observations: Observations) -> dict[str, int]:
        """Return how much the figures rest on, the usual unit first."""
        return {"rows": len(observations)}

    def prompt(self, text: str, settings: TaskSettings) -> str:
        """Return what a model that generates is asked about a text, where it `continues_prompt`."""
        return text

    def format(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
        top: int | None,
    ) -> list[Answer]:
        """Return for each row what a person or a JSON line sees of its prediction; `top`: only the best so many."""
        raise NotImplementedError(f"{self.task} answers in a command of its own")

    def empty(self, settings: TaskSettings) -> Answer:
        """Return the answer to a row that asks nothing, as an empty text: the usual fields, all of them null."""
        raise NotImplementedError(f"{self.task} answers in a command of its own")

    def headings(self) -> list[str]:
        """Return the headings of the table that classify and generate print on a terminal."""
        return ["text", "label", "score"]

    def cells(self, row: Row, answer: Answer) -> list[str]:
        """Return the cells of one row of that table; several lines in a cell stand one below the other."""
        raise NotImplementedError(f"{self.task} answers in a command of its own")


def predicted_texts(predictions: Sequence[Row]) -> tuple[str, ...]:
    """Return the text that a file of predictions has for each row; numbers are texts as CSV writes them.

    Raises:
        DataError: one is a list or an object; its row is named.
    """
    for row in predictions:
        if isinstance(row["prediction"], list | Mapping):
            raise DataError(f"predictions, row {row['place']}: a text is wanted, not {shortened(row['prediction'])}")
    return tuple(cell_text(row["prediction"]) for row in predictions)
