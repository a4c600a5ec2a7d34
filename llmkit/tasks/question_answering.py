"""question-answering: the words of a context that answer a question, or that none does.

A long context is read in overlapping windows, and the best span of all of them is the answer: the one with the largest
sum of start and end logits. Source: Devlin et al., BERT, 2019, 4.2 and 4.3 (no answer: the first token of the window).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from datasets import Dataset, concatenate_datasets
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit import metrics
from llmkit.data.columns import Row, is_string
from llmkit.data.labels import Labels
from llmkit.data.predictions import cell_text
from llmkit.errors import ModelError, OptionError
from llmkit.metrics.observations import AnswerTexts, Observations, softmax
from llmkit.options import TaskFlags
from llmkit.tasks.base.encoding import Collator
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import WholeTask
from llmkit.tasks.encoding.collation import INPUTS, pad_batch, pad_sequences
from llmkit.tasks.encoding.context_windows import best_spans, candidates_of, windows_of
from llmkit.tasks.encoding.squad_answers import ANSWERS, fault_of, given_answers, raw_answers

SLICE = (
    1000  # rows that are tokenized at a time: what a tokenizer says of its tokens takes far more memory than they do
)
LEAST = 16  # tokens of a window that holds a question and a piece of its context


class QuestionAnswering(WholeTask):
    """Extractive answers; exact match and F1 the SQuAD way."""

    name = "question-answering"
    auto_class = "AutoModelForQuestionAnswering"
    heads = ("ForQuestionAnswering", "ForQuestionAnsweringSimple")
    roles = ("question", "context", "answers", "answer_start")
    input_roles = ("question", "context")
    required_roles = ("question", "context")
    hidden_roles = frozenset({"context"})
    commands = frozenset({"finetune", "eval", "generate"})
    base_model = "distilbert/distilbert-base-uncased"
    flags = frozenset({"no_answer"})
    non_input_keys = frozenset({"labels", "in_context"})
    default_max_length = 384
    scores_prediction_files = True
    unusable_reason = "no question, no context or no answers"
    overlong_rows = "read in windows that overlap"
    usual: ClassVar = ("exact_match", "f1")

    def can_finetune(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_QUESTION_ANSWERING_MAPPING

        return type(config) in MODEL_FOR_QUESTION_ANSWERING_MAPPING or self.supports(config)

    def requirement(self) -> str:
        return f"a question, a context and answers such as {ANSWERS}, or an answer and its answer_start"

    def match(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        texts = {role: given.get(role, role) for role in self.input_roles}
        if not all(is_string(dataset.features.get(column)) for column in texts.values()):
            return None
        start = given.get("answer_start", "answer_start")
        names = ("answers", "answer") if start in dataset.column_names else ("answers",)
        answers = given.get("answers") or next((name for name in names if name in dataset.column_names), None)
        if answers is None:
            return None
        flat = start in dataset.column_names and not isinstance(dataset.features.get(answers), dict)
        return {**texts, "answers": answers, **({"answer_start": start} if flat else {})}

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        column = columns["answers"]
        return column in dataset.column_names and any(answers is not None for answers in dataset[column][:])

    def with_training_statistics(self, settings: TaskSettings, train: Dataset) -> TaskSettings:
        return replace(settings, no_answer=self._unanswered(train, settings) > 0)

    def remark(self, rows: Dataset, settings: TaskSettings) -> str | None:
        lacking = self._unanswered(rows, settings)
        how = "may give none" if settings.no_answer else "always gives one (--no-answer: it may give none)"
        return f"{lacking} of {len(rows)} questions have no answer, and the model {how}" if lacking else None

    @staticmethod
    def _unanswered(rows: Dataset, settings: TaskSettings) -> int:
        return sum(not given.texts for given in given_answers(rows, settings.columns))

    def resolve_settings(
        self, settings: TaskSettings, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> TaskSettings:
        if not tokenizer.is_fast:
            raise ModelError(f"{self.name} needs a fast tokenizer (a tokenizer.json), which says where tokens begin")
        if tokenizer.cls_token_id is None or tokenizer("a")["input_ids"][0] != tokenizer.cls_token_id:
            raise ModelError(
                f"{self.name} needs a tokenizer that puts a token such as [CLS] before question and "
                f"context; take an encoder, as {self.base_model} is one"
            )
        if settings.max_length < LEAST:
            raise OptionError(
                f"--max-length {settings.max_length} is too short for a question with a piece of its "
                f"context; at least {LEAST} tokens are wanted"
            )
        usual = settings.no_answer or bool(getattr(config, "no_answer", False))
        return replace(settings, no_answer=usual if flags.no_answer is None else flags.no_answer)

    def head_config(self, settings: TaskSettings) -> dict[str, Any]:
        return {"no_answer": settings.no_answer}

    def first_invalid_row(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        if "answers" not in columns:
            return None
        pairs = zip(rows[columns["context"]][:], raw_answers(rows, columns), strict=True)
        for place, (context, answers) in enumerate(pairs):
            fault = None if answers is None else fault_of(str(context or ""), answers)
            if fault is not None:
                return place, fault
        return None

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        texts = (dataset[columns[role]][:] for role in self.input_roles)
        rows = zip(*texts, raw_answers(dataset, columns), strict=True)
        return [
            row
            for row, (question, context, answers) in enumerate(rows)
            if (question or "").strip() and (context or "").strip() and answers is not None
        ]

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        slices = [range(first, min(first + SLICE, len(rows))) for first in range(0, len(rows), SLICE)]
        return concatenate_datasets([self._prepared(rows, some, tokenizer, settings, training) for some in slices])

    @staticmethod
    def _prepared(
        rows: Dataset, some: range, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        picked = rows.select(some)
        questions, contexts = (list(map(str, picked[settings.columns[role]])) for role in ("question", "context"))
        given = given_answers(picked, settings.columns) if "answers" in settings.columns else None
        made: list[dict[str, Any]] = []
        for window in windows_of(questions, contexts, tokenizer, settings.max_length):
            entry = {**window.inputs, "row": some[window.row], "length": len(window.inside)}
            if training and given is not None:
                start, end = window.positions(given[window.row])
                made.append({**entry, "start_positions": start, "end_positions": end})
                continue
            entry |= {"in_context": list(map(int, window.inside)), "starts": window.starts, "ends": window.ends}
            if given is not None:
                entry |= {"context": contexts[window.row], "references": list(given[window.row].references)}
            made.append(entry)
        return Dataset.from_list(made)

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
            batch = pad_batch([{name: row[name] for name in INPUTS if name in row} for row in rows], tokenizer)
            for name in ("start_positions", "end_positions"):
                if name in rows[0]:
                    batch[name] = torch.tensor([row[name] for row in rows])
            if "in_context" in rows[0]:
                batch["in_context"] = pad_sequences([row["in_context"] for row in rows], 0)
            return batch

        return collate

    def records(self, outputs: Any, batch: dict[str, Any]) -> list[Any]:
        """Return of each window the score of "no answer", then score, first and last token of each candidate, flat."""
        starts, ends = outputs.start_logits.double().cpu().numpy(), outputs.end_logits.double().cpu().numpy()
        masks = batch["in_context"].cpu().numpy().astype(bool)
        return [
            [start[0] + end[0], *best_spans(start, end, mask)]
            for start, end, mask in zip(starts, ends, masks, strict=True)
        ]

    def logits(self, model: PreTrainedModel, batch: dict[str, Any], place: int) -> torch.Tensor:
        """Return the logits (2, tokens) of where an answer starts and ends."""
        outputs, size = model(**self.model_inputs(batch)), int(batch["attention_mask"][place].sum())
        return torch.stack([outputs.start_logits[place, :size], outputs.end_logits[place, :size]])

    def class_name(self, choice: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return f"token {choice}"

    def evaluation_arrays(
        self, records: Sequence[Any], prepared: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> Observations:
        best = {row: found[0] for row, found in candidates_of(records, prepared, settings.no_answer).items()}
        of_row = dict(zip(prepared["row"], range(len(prepared)), strict=True))
        firsts = prepared.select([of_row[row] for row in best])
        texts = zip(best.values(), firsts["context"], strict=True)
        found = tuple(context[one.start : one.end] for one, context in texts)
        return AnswerTexts(found, tuple(map(tuple, firsts["references"])))

    def arrays_from_predictions(
        self, rows: Dataset, predictions: Sequence[Row], settings: TaskSettings
    ) -> Observations:
        references = tuple(given.references for given in given_answers(rows, settings.columns))
        return AnswerTexts(tuple(cell_text(row["prediction"]) for row in predictions), references)

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return metrics.names_for(AnswerTexts(("",), (("",),)))

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return self.usual

    def headline_metric(self, settings: TaskSettings) -> str:
        return "f1"

    def format(
        self,
        records: Sequence[Any],
        prepared: Dataset,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
        top: int | None,
    ) -> list[dict[str, Any]]:
        """Return the best answer to each row with its probability among all candidates; `top`: several of them."""
        made = []
        contexts = list(map(str, rows[settings.columns["context"]][:]))
        for row, candidates in candidates_of(records, prepared, settings.no_answer).items():
            context = contexts[row]
            chances = softmax([one.score for one in candidates])
            found = [
                {"answer": context[one.start : one.end], "score": float(chance), "start": one.start, "end": one.end}
                for one, chance in zip(candidates, chances, strict=True)
            ]
            made.append({**found[0], **({} if top is None else {"answers": found[:top]})})
        return made

    def empty(self, settings: TaskSettings) -> dict[str, Any]:
        return dict.fromkeys(("answer", "score", "start", "end"))

    def headings(self) -> list[str]:
        return ["question", "answer", "score", "start", "end"]

    def cells(self, row: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
        if answer["score"] is None:
            return [str(row["question"] or ""), "", "", "", ""]
        found = answer.get("answers") or [answer]
        columns = [[one[key] for one in found] for key in ("answer", "score", "start", "end")]
        columns[0] = [text or "(no answer)" for text in columns[0]]
        columns[1] = [f"{score:.4f}" for score in columns[1]]
        return [str(row["question"]), *("\n".join(map(str, column)) for column in columns)]
