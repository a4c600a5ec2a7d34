"""question-answering: the words of a context that answer a question, or that none does.

A long context is read in overlapping windows, and the best span of all of them is the answer: the one with the largest
sum of start and end logits. Source: Devlin et al., BERT, 2019, 4.2 and 4.3 (no answer: the first token of the window).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from llmkit import metrics
from llmkit.errors import ModelError
from llmkit.labels import Labels
from llmkit.observations import AnswerTexts, Observations, softmax
from llmkit.options import TaskFlags
from llmkit.predictions import shortened
from llmkit.tasks.base import Collator, Setup, Task, is_string
from llmkit.tasks.batches import INPUTS, pad_batch, pad_sequences

OVERLAP = 128  # tokens that two windows share, of at most 384: BERT's recipe for SQuAD
BEST = 20  # starts, and ends, of which spans are made in each window
LONGEST = 30  # tokens of an answer
ANSWERS = '{"text": [...], "answer_start": [...]}'


@dataclass(frozen=True)
class Candidate:
    """A span of a context that may be the answer, by its characters; an empty one at 0 says that there is none."""

    start: int
    end: int
    score: float  # the sum of the logits of its ends


class QuestionAnswering(Task):
    """Extractive answers; exact match and F1 the SQuAD way."""

    name = "question-answering"
    auto_class = "AutoModelForQuestionAnswering"
    heads = ("ForQuestionAnswering", "ForQuestionAnsweringSimple")
    roles = ("question", "context", "answers")
    asks = ("question", "context")
    needs = ("question", "context")
    unechoed = frozenset({"context"})
    verbs = frozenset({"finetune", "eval", "generate"})
    base_model = "distilbert/distilbert-base-uncased"
    flags = frozenset({"no_answer"})
    aside = frozenset({"labels", "in_context"})
    usual_length = 384
    scores_files = True
    incomplete = "no question, no context or no answers"
    usual: ClassVar = ("exact_match", "f1")

    def trains_on(self, config: PretrainedConfig) -> bool:
        from transformers import MODEL_FOR_QUESTION_ANSWERING_MAPPING

        return type(config) in MODEL_FOR_QUESTION_ANSWERING_MAPPING or self.opens(config)

    def wants(self) -> str:
        return f"a question, a context and answers such as {ANSWERS}"

    def fits(self, dataset: Dataset, given: dict[str, str]) -> dict[str, str] | None:
        columns = {role: given.get(role, role) for role in self.roles}
        texts = [dataset.features.get(columns[role]) for role in self.asks]
        return columns if all(map(is_string, texts)) and columns["answers"] in dataset.column_names else None

    def has_labels(self, dataset: Dataset, columns: dict[str, str]) -> bool:
        return columns["answers"] in dataset.column_names

    def learned(self, setup: Setup, train: Dataset) -> Setup:
        lacking = any(not texts for texts, _ in map(spans_given, train[setup.columns["answers"]]))
        return replace(setup, no_answer=lacking)

    def settle(
        self, setup: Setup, flags: TaskFlags, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase
    ) -> Setup:
        if not tokenizer.is_fast:
            raise ModelError(f"{self.name} needs a fast tokenizer (a tokenizer.json), which says where tokens begin")
        usual = setup.no_answer or bool(getattr(config, "no_answer", False))
        return replace(setup, no_answer=usual if flags.no_answer is None else flags.no_answer)

    def head_config(self, setup: Setup) -> dict[str, Any]:
        return {"no_answer": setup.no_answer}

    def flaw(self, rows: Dataset, columns: dict[str, str]) -> tuple[int, str] | None:
        if "answers" not in columns:
            return None
        pairs = zip(rows[columns["context"]], rows[columns["answers"]], strict=True)
        for place, (context, answers) in enumerate(pairs):
            wrong = None if answers is None else _wrong(str(context or ""), answers)
            if wrong is not None:
                return place, wrong
        return None

    def usable(self, dataset: Dataset, columns: dict[str, str]) -> list[int]:
        rows = zip(*(dataset[columns[role]] for role in self.roles), strict=True)
        return [
            row
            for row, (question, context, answers) in enumerate(rows)
            if (question or "").strip() and (context or "").strip() and answers is not None
        ]

    def prepare(self, rows: Dataset, tokenizer: PreTrainedTokenizerBase, setup: Setup, training: bool) -> Dataset:
        questions = _shortened_questions(list(map(str, rows[setup.columns["question"]])), tokenizer, setup)
        contexts = list(map(str, rows[setup.columns["context"]]))
        encoded = tokenizer(
            questions, contexts, truncation="only_second", max_length=setup.max_length,
            stride=min(OVERLAP, setup.max_length // 4), return_overflowing_tokens=True, return_offsets_mapping=True,
        )  # fmt: skip
        given = rows[setup.columns["answers"]] if "answers" in setup.columns else [None] * len(rows)
        answers = [spans_given(some) if some is not None else None for some in given]
        made: list[dict[str, Any]] = []
        for window, row in enumerate(encoded["overflow_to_sample_mapping"]):
            ids = {name: encoded[name][window] for name in INPUTS if name in encoded}
            inside = [number == 1 for number in encoded.sequence_ids(window)]
            offsets = encoded["offset_mapping"][window]
            entry = {**ids, "row": row, "length": len(inside)}
            if training:
                start, end = _positions(offsets, inside, answers[row])
                made.append({**entry, "start_positions": start, "end_positions": end})
                continue
            texts = None if answers[row] is None else answers[row][0] or [""]
            made.append({
                **entry, "in_context": [int(one) for one in inside], "offsets": [list(pair) for pair in offsets],
                "context": contexts[row], "references": texts,
            })  # fmt: skip
        return Dataset.from_list(made)

    def collator(self, tokenizer: PreTrainedTokenizerBase, setup: Setup) -> Collator:
        def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
            batch = pad_batch([{name: row[name] for name in INPUTS if name in row} for row in rows], tokenizer)
            for name in ("start_positions", "end_positions"):
                if name in rows[0]:
                    batch[name] = torch.tensor([row[name] for row in rows])
            if "in_context" in rows[0]:
                batch["in_context"] = pad_sequences([row["in_context"] for row in rows], 0)
            return batch

        return collate

    def read(self, outputs: Any, batch: dict[str, Any]) -> list[Any]:
        """Return of each window the score of "no answer", then score, first and last token of each candidate, flat."""
        starts, ends = outputs.start_logits.double().cpu().numpy(), outputs.end_logits.double().cpu().numpy()
        masks = batch["in_context"].cpu().numpy().astype(bool)
        return [
            [start[0] + end[0], *_best_spans(start, end, mask)]
            for start, end, mask in zip(starts, ends, masks, strict=True)
        ]

    def logits(self, model: PreTrainedModel, batch: dict[str, Any], place: int) -> torch.Tensor:
        """Return the logits (2, tokens) of where an answer starts and ends."""
        outputs, size = model(**self.shown(batch)), int(batch["attention_mask"][place].sum())
        return torch.stack([outputs.start_logits[place, :size], outputs.end_logits[place, :size]])

    def spell(self, choice: int, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> str:
        return f"token {choice}"

    def observe(
        self, records: Sequence[Any], prepared: Dataset, tokenizer: PreTrainedTokenizerBase, setup: Setup
    ) -> Observations:
        rows = list(dict.fromkeys(prepared["row"]))
        firsts = dict(zip(reversed(prepared["row"]), reversed(prepared.to_list()), strict=True))
        best = {row: some[0] for row, some in _candidates(records, prepared, setup).items()}
        texts = tuple(firsts[row]["context"][best[row].start : best[row].end] for row in rows)
        return AnswerTexts(texts, tuple(tuple(firsts[row]["references"]) for row in rows))

    def observe_file(self, rows: Dataset, predictions: Sequence[dict[str, Any]], setup: Setup) -> Observations:
        references = (tuple(spans_given(answers)[0] or [""]) for answers in rows[setup.columns["answers"]])
        return AnswerTexts(tuple(str(row["prediction"]) for row in predictions), tuple(references))

    def unit_rows(self, prepared: Dataset, setup: Setup) -> list[int]:
        return list(dict.fromkeys(prepared["row"]))

    def metric_names(self, labels: Labels | None) -> tuple[str, ...]:
        return metrics.names_for(AnswerTexts(("",), (("",),)))

    def usual_metrics(self, labels: Labels | None) -> tuple[str, ...]:
        return self.usual

    def headline(self, setup: Setup) -> str:
        return "f1"

    def answers(
        self, records: Sequence[Any], prepared: Dataset, rows: Dataset, tokenizer: PreTrainedTokenizerBase,
        setup: Setup, top: int | None,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Return the best answer to each row with its probability among all candidates; `top`: several of them."""
        made = []
        for row, candidates in _candidates(records, prepared, setup).items():
            context = str(rows[setup.columns["context"]][row])
            chances = softmax([one.score for one in candidates])
            found = [
                {"answer": context[one.start : one.end], "score": float(chance), "start": one.start, "end": one.end}
                for one, chance in zip(candidates, chances, strict=True)
            ]
            made.append({**found[0], **({} if top is None else {"answers": found[:top]})})
        return made

    def nothing(self, setup: Setup) -> dict[str, Any]:
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


def spans_given(answers: Any) -> tuple[list[str], list[int]]:
    """Return the texts and the starts of the answers of a row; a single one need not stand in a list."""
    if answers is None:
        return [], []
    texts, starts = answers["text"], answers["answer_start"]
    return ([texts], [starts]) if isinstance(texts, str) else (list(texts or ()), list(starts or ()))


def _wrong(context: str, answers: Any) -> str | None:
    """Return what is wrong with the answers of a row, or None."""
    if not isinstance(answers, dict) or not {"text", "answer_start"} <= set(answers):
        return f"its answers are {shortened(answers)}, and {ANSWERS} is wanted"
    texts, starts = spans_given(answers)
    if len(texts) != len(starts):
        return f"{len(texts)} answers and {len(starts)} of their starts"
    for text, start in zip(texts, starts, strict=True):
        if text is None or start is None:
            return "an answer or its start is null"
        if context[start : start + len(text)] == text and start >= 0:
            continue
        places = [place for place in range(len(context)) if context.startswith(text, place)]
        if not places:
            return f"the answer {shortened(text)} is not in its context"
        near = min(places, key=lambda place: abs(place - start))
        return f"the answer {shortened(text)} starts at {near}, not at answer_start {start}"
    return None


def _shortened_questions(questions: list[str], tokenizer: PreTrainedTokenizerBase, setup: Setup) -> list[str]:
    """Return the questions, cut where they would leave less than half of a window to the context."""
    encoded = tokenizer(questions, add_special_tokens=False, return_offsets_mapping=True)
    most = setup.max_length // 2 - 3
    pairs = zip(questions, encoded["offset_mapping"], strict=True)
    return [text if len(offsets) <= most else text[: offsets[most - 1][1]] for text, offsets in pairs]


def _positions(
    offsets: Sequence[tuple[int, int]], inside: Sequence[bool], answers: tuple[list[str], list[int]] | None
) -> tuple[int, int]:
    """Return the first and the last token of the first answer; the window's first token where it is not wholly here."""
    if not answers or not answers[0]:
        return 0, 0
    begin, finish = answers[1][0], answers[1][0] + len(answers[0][0])
    tokens = [token for token, here in enumerate(inside) if here and offsets[token][0] < offsets[token][1]]
    covered = [token for token in tokens if offsets[token][1] > begin and offsets[token][0] < finish]
    if not covered or offsets[tokens[0]][0] > begin or offsets[tokens[-1]][1] < finish:
        return 0, 0
    return covered[0], covered[-1]


def _best_spans(start: Any, end: Any, mask: Any) -> list[float]:
    """Return score, first and last token of the best spans of one window, flat, the best first."""
    places = np.flatnonzero(mask)
    firsts = places[np.argsort(-start[places], kind="stable")[:BEST]]
    lasts = places[np.argsort(-end[places], kind="stable")[:BEST]]
    pairs = [(first, last) for first in firsts for last in lasts if first <= last < first + LONGEST]
    ranked = sorted(((start[first] + end[last], first, last) for first, last in pairs), key=lambda some: -some[0])
    return [float(number) for some in ranked[:BEST] for number in some]


def _candidates(records: Sequence[Any], prepared: Dataset, setup: Setup) -> dict[int, list[Candidate]]:
    """Return the candidates of each row over all its windows, the best first; at least one."""
    scores: dict[int, dict[tuple[int, int], float]] = {}
    nulls: dict[int, float] = {}
    for record, row, offsets in zip(records, prepared["row"], prepared["offsets"], strict=True):
        found = scores.setdefault(row, {})
        nulls[row] = min(nulls.get(row, np.inf), record[0])
        for score, first, last in np.asarray(record[1:]).reshape(-1, 3):
            span = (offsets[int(first)][0], offsets[int(last)][1])
            found[span] = max(found.get(span, -np.inf), float(score))
    made = {}
    for row, found in scores.items():
        if setup.no_answer or not found:
            found[0, 0] = nulls[row]
        ranked = sorted(found.items(), key=lambda item: -item[1])[:BEST]
        made[row] = [Candidate(start, end, score) for (start, end), score in ranked]
    return made
