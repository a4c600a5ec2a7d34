"""question-answering: the words of a context that answer a question, or that none does.

A long context is read in overlapping windows, and the best span of all of them is the answer: the one with the largest
sum of start and end logits. Source: Devlin et al., BERT, 2019, 4.2 and 4.3 (no answer: the first token of the window).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmkit import metrics
from llmkit.data.columns import Row, concatenated, dataset_of_rows, text_of
from llmkit.data.evidence import Evidence
from llmkit.data.labels import Labels
from llmkit.errors import ModelError, OptionError
from llmkit.metrics.observations import AnswerTexts, Observations, softmax
from llmkit.options import TaskFlags
from llmkit.tasks.base.answers import Answer, Answers, Prediction, predicted_texts
from llmkit.tasks.base.candidates import Candidate
from llmkit.tasks.base.columns import Columns
from llmkit.tasks.base.encoding import Batch, Collator, EncodedRow, Encoding
from llmkit.tasks.base.settings import TaskSettings
from llmkit.tasks.base.task import Task
from llmkit.tasks.encoding.collation import INPUTS, pad_batch, pad_sequences
from llmkit.tasks.encoding.context_windows import best_spans, candidates_of, cut_questions, question_limit, windows_of
from llmkit.tasks.encoding.squad_answers import SQUAD_FORMAT, problem_with_answers, raw_answers, reference_answers
from llmkit.tasks.matching.questions import answer_candidates, with_answers_read

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
    from transformers.modeling_outputs import QuestionAnsweringModelOutput

ROWS_PER_SLICE = 1000  # that are tokenized at a time: the offsets of their tokens take far more memory than the tokens
MIN_WINDOW = 16  # tokens that hold a question and a piece of its context


@dataclass(frozen=True)
class QuestionAnsweringSettings:
    """What a run settles of its answers."""

    no_answer: bool = False  # whether "no answer" is an answer


class QuestionColumns(Columns):
    """A question, its context, and answers as SQuAD has them or in two columns."""

    roles = ("question", "context", "answers", "answer_start")
    input_roles = ("question", "context")
    required_roles = ("question", "context")
    unusable_reason = "no question, no context or no answers"

    def requirement(self) -> str:
        return f"a question, a context and answers such as {SQUAD_FORMAT}, or an answer and its answer_start"

    def candidates(self, evidence: Evidence, given: Mapping[str, str], flags: TaskFlags) -> list[Candidate]:
        return answer_candidates(evidence, given)

    def refine(
        self, candidate: Candidate, evidence: Evidence, flags: TaskFlags, config: PretrainedConfig | None
    ) -> Candidate:
        return with_answers_read(candidate, evidence, flags.offsets)

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        column = columns["answers"]
        return column in dataset.column_names and any(answers is not None for answers in dataset[column][:])

    def first_invalid_row(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        if "answers" not in columns:
            return None
        pairs = zip(rows[columns["context"]][:], raw_answers(rows, columns), strict=True)
        for place, (context, answers) in enumerate(pairs):
            problem = None if answers is None else problem_with_answers(text_of(context), answers)
            if problem is not None:
                return place, problem
        return None

    def usable_rows(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        texts = (dataset[columns[role]][:] for role in self.input_roles)
        rows = zip(*texts, raw_answers(dataset, columns), strict=True)
        return [
            row
            for row, (question, context, answers) in enumerate(rows)
            if text_of(question).strip() and text_of(context).strip() and answers is not None
        ]


class WindowEncoding(Encoding):
    """Windows of a question and a piece of its context; those to train on have the positions of an answer."""

    non_input_keys = frozenset({"labels", "in_context"})
    default_max_length = 384
    overlong_rows = "read in windows that overlap"

    def encode(
        self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
    ) -> Dataset:
        starts = range(0, len(rows), ROWS_PER_SLICE)
        slices = [range(start, min(start + ROWS_PER_SLICE, len(rows))) for start in starts]
        return concatenated([_encode_slice(rows, places, tokenizer, settings, training) for places in slices])

    def cut_roles(
        self, rows: Dataset, encoded: Dataset, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings
    ) -> dict[int, tuple[str, ...]]:
        questions = [text_of(text) for text in rows[settings.columns["question"]][:]]
        return dict.fromkeys(cut_questions(questions, tokenizer, settings.max_length), ("question",))

    def text_limit(self, settings: TaskSettings) -> int:
        return question_limit(settings.max_length)

    def collator(self, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings) -> Collator:
        import torch

        def collate(rows: list[EncodedRow]) -> Batch:
            """Return inputs and `in_context` (rows, tokens), or the positions of the answers (rows,)."""
            batch = pad_batch([{name: row[name] for name in INPUTS if name in row} for row in rows], tokenizer)
            for name in ("start_positions", "end_positions"):
                if name in rows[0]:
                    batch[name] = torch.tensor([row[name] for row in rows])
            if "in_context" in rows[0]:
                batch["in_context"] = pad_sequences([row["in_context"] for row in rows], 0)
            return batch

        return collate


class ExtractedAnswers(Answers):
    """Spans of the context, of which the best of all windows is the answer."""

    hidden_roles = frozenset({"context"})
    scores_prediction_files = True

    def from_outputs(self, outputs: QuestionAnsweringModelOutput, batch: Batch) -> list[Prediction]:
        """Return of each window the score of "no answer", then score, first and last token of each candidate, flat."""
        starts, ends = outputs.start_logits.double().cpu().numpy(), outputs.end_logits.double().cpu().numpy()
        masks = batch["in_context"].cpu().numpy().astype(bool)
        return [
            [start[0] + end[0], *best_spans(start, end, mask)]
            for start, end, mask in zip(starts, ends, masks, strict=True)
        ]

    def logits(self, model: PreTrainedModel, batch: Batch, index: int) -> torch.Tensor:
        """Return the logits (2, tokens) of where an answer starts and ends."""
        import torch

        outputs = model(**self.encoding.model_inputs(batch))
        size = int(batch["attention_mask"][index].sum())
        return torch.stack([outputs.start_logits[index, :size], outputs.end_logits[index, :size]])

    def class_name(self, number: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return f"token {number}"

    def evaluation_arrays(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
    ) -> Observations:
        candidates = candidates_of(predictions, encoded, settings.of(QuestionAnsweringSettings).no_answer)
        window_of = dict(zip(encoded["row"], range(len(encoded)), strict=True))  # any of a row has its context
        windows = encoded.select([window_of[row] for row in candidates])
        pairs = zip(candidates.values(), windows["context"], strict=True)
        texts = tuple(context[spans[0].start : spans[0].end] for spans, context in pairs)
        return AnswerTexts(texts, tuple(map(tuple, windows["references"])))

    def arrays_from_predictions(
        self, rows: Dataset, predictions: Sequence[Row], settings: TaskSettings
    ) -> Observations:
        references = tuple(answers.references for answers in reference_answers(rows, settings.columns))
        return AnswerTexts(predicted_texts(predictions), references)

    def format(
        self,
        predictions: Sequence[Prediction],
        encoded: Dataset,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: TaskSettings,
        top: int | None,
    ) -> list[Answer]:
        """Return the best answer to each row with its probability among all candidates; `top`: several of them."""
        answers, contexts = [], list(map(str, rows[settings.columns["context"]][:]))
        candidates = candidates_of(predictions, encoded, settings.of(QuestionAnsweringSettings).no_answer)
        for row, spans in candidates.items():
            probabilities = softmax([span.score for span in spans])
            ranked: list[Answer] = [
                {
                    "answer": contexts[row][span.start : span.end],
                    "score": float(probability),
                    "start": span.start,
                    "end": span.end,
                }
                for span, probability in zip(spans, probabilities, strict=True)
            ]
            answers.append({**ranked[0], **({} if top is None else {"answers": ranked[:top]})})
        return answers

    def empty(self, settings: TaskSettings) -> Answer:
        return dict.fromkeys(("answer", "score", "start", "end"))

    def headings(self) -> list[str]:
        return ["question", "answer", "score", "start", "end"]

    def cells(self, row: Row, answer: Answer) -> list[str]:
        if answer["score"] is None:
            return [text_of(row["question"]), "", "", "", ""]
        ranked = answer.get("answers") or [answer]
        columns = [[candidate[key] for candidate in ranked] for key in ("answer", "score", "start", "end")]
        columns[0] = [text or "(no answer)" for text in columns[0]]
        columns[1] = [f"{score:.4f}" for score in columns[1]]
        return [str(row["question"]), *("\n".join(map(str, column)) for column in columns)]


class QuestionAnswering(Task):
    """Extractive answers; exact match and F1 the SQuAD way."""

    name = "question-answering"
    auto_class = "AutoModelForQuestionAnswering"
    heads = ("ForQuestionAnswering", "ForQuestionAnsweringSimple")
    base_model = "distilbert/distilbert-base-uncased"
    commands = frozenset({"finetune", "eval", "generate"})
    flags = frozenset({"no_answer", "offsets"})

    columns = QuestionColumns(name)
    encoding = WindowEncoding(name)
    answers = ExtractedAnswers(name, encoding)

    def can_finetune(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_QUESTION_ANSWERING_MAPPING

        return type(config) in MODEL_FOR_QUESTION_ANSWERING_MAPPING or self.supports(config)

    def with_training_statistics(self, settings: TaskSettings, train: Dataset) -> TaskSettings:
        return settings.with_specific(QuestionAnsweringSettings, no_answer=_count_unanswerable(train, settings) > 0)

    def remark(self, rows: Dataset, settings: TaskSettings) -> str | None:
        count = _count_unanswerable(rows, settings)
        may_give_none = settings.of(QuestionAnsweringSettings).no_answer
        how = "may give none" if may_give_none else "always gives one (--no-answer: it may give none)"
        return f"{count} of {len(rows)} questions have no answer, and the model {how}" if count else None

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
        if settings.max_length < MIN_WINDOW:
            raise OptionError(
                f"--max-length {settings.max_length} is too short for a question with a piece of its "
                f"context; at least {MIN_WINDOW} tokens are wanted"
            )
        default = settings.of(QuestionAnsweringSettings).no_answer or bool(getattr(config, "no_answer", False))
        no_answer = default if flags.no_answer is None else flags.no_answer
        return settings.with_specific(QuestionAnsweringSettings, no_answer=no_answer)

    def head_config(self, settings: TaskSettings) -> dict[str, object]:
        return {"no_answer": settings.of(QuestionAnsweringSettings).no_answer}

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return metrics.names_for(AnswerTexts(("",), (("",),)))

    def default_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return ("exact_match", "f1")

    def headline_metric(self, settings: TaskSettings) -> str:
        return "f1"


def _count_unanswerable(rows: Dataset, settings: TaskSettings) -> int:
    return sum(not answers.texts for answers in reference_answers(rows, settings.columns))


def _encode_slice(
    rows: Dataset, places: range, tokenizer: PreTrainedTokenizerBase, settings: TaskSettings, training: bool
) -> Dataset:
    """Return the windows of the rows at some places."""
    picked = rows.select(places)
    questions, contexts = (list(map(str, picked[settings.columns[role]])) for role in ("question", "context"))
    answers = reference_answers(picked, settings.columns) if "answers" in settings.columns else None
    encoded: list[EncodedRow] = []
    for window in windows_of(questions, contexts, tokenizer, settings.max_length):
        entry: EncodedRow = {**window.inputs, "row": places[window.row], "length": len(window.in_context)}
        if training and answers is not None:
            start, end = window.positions(answers[window.row])
            encoded.append({**entry, "start_positions": start, "end_positions": end})
            continue
        entry |= {"in_context": list(map(int, window.in_context)), "starts": window.starts, "ends": window.ends}
        if answers is not None:
            entry |= {"context": contexts[window.row], "references": list(answers[window.row].references)}
        encoded.append(entry)
    return dataset_of_rows(encoded)
