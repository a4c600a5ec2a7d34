"""Measure a model that a server runs: it writes a text for each row, which the task's own metrics compare."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from llmkit import runs
from llmkit.data import fingerprint, open_dataset
from llmkit.data.columns import Row, column_for, text_of
from llmkit.data.predictions import row_ids
from llmkit.errors import OptionError, Stopped, listing
from llmkit.evaluation.comparison import looks_saved, read_saved
from llmkit.evaluation.plan import check_slices
from llmkit.evaluation.prediction_scoring import ScoredRows, assess_rows, scored_rows
from llmkit.evaluation.result import Evaluation, Subject
from llmkit.inference.answer_cache import AnswerCache
from llmkit.inference.endpoints.generating import NEW_TOKENS, ServerTexts
from llmkit.inference.endpoints.opening import chat_texts
from llmkit.options import EvalRequest, GenerationOptions
from llmkit.output.documents import JsonObject
from llmkit.output.report import Report, to_json
from llmkit.runs.interrupts import StopRequest
from llmkit.tasks.base.generated_texts import TextToTextSettings
from llmkit.tasks.base.text_to_text import TextToText
from llmkit.tasks.encoding.source_texts import joined_text

REQUESTS_BETWEEN_SAVES = 4  # of each that waits: texts that a stop can lose
USUAL_PROMPTS = ("prompt", "text", "question", "input", "instruction")
ROUND = "round"  # how often all of it was measured: texts of a round that ended are not used again


def evaluate_server(
    request: EvalRequest, report: Report, dry_run: bool = False, name: str | None = None
) -> Evaluation | None:
    """Return the figures of what a server writes for the rows of a dataset; None after a dry run.

    Raises:
        OptionError: a flag, or a task, that needs more than the texts that a server writes.
        DataError, EmptyError, ModelError: the rows, or the model, are not what is wanted.
        HubError: the server fails.
        Stopped: a signal came; the same call goes on.
    """
    started = time.monotonic()
    _refuse_flags(request)
    baseline = request.gates.baseline
    saved = read_saved(baseline) if baseline else None
    source = open_dataset(request.dataset, request.data, report=report)
    scored = scored_rows(request, source, report)
    check_slices(scored.rows, scored.metric_request)
    prompts, column, max_tokens = _prompts(request, scored, report)
    if dry_run:
        return None
    decoding = GenerationOptions(chat=True)
    with chat_texts(request.model, request.endpoint, decoding, max_tokens, report) as texts:
        written = _written(prompts, [number + 1 for number in scored.numbers], texts, request, report)
        texts.say_ends()
        model, url = texts.requests.model, texts.client.url
    predictions: list[Row] = [
        {"prediction": text.strip(), "place": number + 1} for text, number in zip(written, scored.numbers, strict=True)
    ]
    subject = Subject(
        name=name or request.dataset,
        task=scored.task_name,
        dataset=request.dataset,
        split=scored.split,
        model=model,
        headline=scored.headline,
        observations=scored.observations(predictions),
        ids=row_ids([scored.rows[column][:]]),
        counts={"rows": len(prompts)},
        rows=scored.rows,
        texts=[joined_text(cell) for cell in scored.rows[column]],
        provenance={
            "columns": scored.settings.columns,
            "dropped": scored.dropped,
            "rows_sha256": fingerprint(scored.rows),
            "dataset_commit": source.commit,
            "device": url if request.endpoint.endpoint is not None else "vllm",
            "versions": runs.versions(),
            "seconds": round(time.monotonic() - started, 2),
        },
    )
    return assess_rows(subject, scored, request, saved, report)


def _refuse_flags(request: EvalRequest) -> None:
    evaluation, baseline = request.evaluation, request.gates.baseline
    given = {
        "--predictions": evaluation.predictions,
        "--label-map": evaluation.label_map,
        "--swap": evaluation.swap,
        "--stride": evaluation.stride,
        "--per-row": evaluation.per_row,
        "--check-invariance": evaluation.check_invariance,
        "--batch-size": evaluation.batch_size,
        "--max-length": request.data.max_length,
    }
    flags = [flag for flag, value in given.items() if value] + evaluation.benchmark_flags
    server = "--engine vllm" if request.endpoint.endpoint is None else "--endpoint"
    if flags:
        raise OptionError(f"{listing(flags)}: that is for a model here, and {server} asks a server; leave it out")
    if baseline and not looks_saved(baseline):
        raise OptionError(f"--baseline {baseline}: beside {server} it must be a saved result (a .json file)")


def _prompts(request: EvalRequest, scored: ScoredRows, report: Report) -> tuple[list[str], str, int]:
    """Return what the server is asked for each row, the column that it comes from, and the tokens of an answer.

    Raises:
        OptionError: the task is answered by more than a text.
        ModelError: what is to be asked cannot be told.
    """
    flags, task = request.data, scored.task
    if task is None:
        names = [name for name in scored.rows.column_names if name != scored.settings.columns.get("reference")]
        first = [{name: row[name] for name in names} for row in scored.rows.select(range(min(100, len(scored.rows))))]
        column, prefix = column_for(first, "text", dict(scored.settings.columns), USUAL_PROMPTS), flags.prefix or ""
        length = flags.target_length or NEW_TOKENS
    elif isinstance(task, TextToText):
        settings = task.asked_in_words(scored.settings, flags).of(TextToTextSettings)
        column, prefix, length = scored.settings.columns["text"], settings.prefix, settings.target_length
    else:
        raise OptionError(
            f"{task.name} is measured by scores of classes, positions or likelihoods, and a server writes texts alone: "
            "it can measure translation, summarization, and texts beside references (--column reference=NAME)"
        )
    how = f"after {prefix!r} (--prefix says another)" if prefix else "as it is (--prefix puts a text before it)"
    report.say(f"asking: {column}, {how}; at most {length} tokens an answer")
    return [prefix + joined_text(cell) for cell in scored.rows[column]], column, length


def _written(
    prompts: Sequence[str], rows: Sequence[int], texts: ServerTexts, request: EvalRequest, report: Report
) -> list[str]:
    """Return what the server writes; a text that does not come is an empty one.

    Raises:
        HubError: the server fails; what came before is kept for the same command.
        Stopped: a signal came.
    """
    bodies = [texts.requests.body(prompt, 0) for prompt in prompts]
    with _kept(bodies, texts, request, report) as answers:
        known, turn = answers.notes, str(answers.notes.get(ROUND, 0))
        keys = [f"text {turn} {hashlib.sha256(to_json(body).encode()).hexdigest()[:32]}" for body in bodies]
        waiting = {key: place for place, key in enumerate(keys) if key not in known}
        if len(waiting) < len(set(keys)):
            report.say(f"going on: {len(prompts) - len(waiting)} of {len(prompts)} rows were answered before")
        places, size = list(waiting.values()), texts.client.concurrency * REQUESTS_BETWEEN_SAVES
        with report.progress("asking", len(places)) as advance, StopRequest(report) as stop_request:
            for start in range(0, len(places), size):
                part = places[start : start + size]
                names = [f"row {rows[place]}" for place in part]
                for place, (text,) in zip(part, texts.texts_of([bodies[place] for place in part], names), strict=True):
                    answers.note(keys[place], text)
                advance(len(part))
                if stop_request.asked and start + size < len(places):
                    raise Stopped(
                        f"stopped after {len(prompts) - len(places) + start + size} of {len(prompts)} rows: the same "
                        "command goes on from there"
                    )
        found = [text_of(known[key]) for key in keys]
        answers.note(ROUND, int(turn) + 1)
    return found


@contextmanager
def _kept(
    bodies: Sequence[JsonObject], texts: ServerTexts, request: EvalRequest, report: Report
) -> Iterator[AnswerCache]:
    """Open what a stopped measurement of the same left; of one that ended nothing is used, for servers change."""
    digest = hashlib.sha256(to_json(list(bodies)).encode()).hexdigest()
    server = request.endpoint.endpoint or "vllm"
    parts = {"task": "endpoint", "server": server, "model": texts.requests.model, "requests": digest}
    about = {"dataset": request.dataset, "split": "", "model": texts.requests.model, "task": "endpoint"}
    answers = AnswerCache.open(parts, about, report) if request.evaluation.cache else AnswerCache()
    try:
        yield answers
    finally:
        answers.close()
