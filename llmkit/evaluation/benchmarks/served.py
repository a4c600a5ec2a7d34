"""lm-eval's tasks of texts that are written, put to a server; those of likelihoods are refused."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from lm_eval.api.model import LM

from llmkit import runs
from llmkit.data.turns import Message
from llmkit.errors import OptionError
from llmkit.evaluation.benchmarks.harness import BenchmarkOptions, run_on
from llmkit.evaluation.benchmarks.harness_errors import quiet
from llmkit.evaluation.benchmarks.results import BenchmarkResult, FailedBenchmark
from llmkit.evaluation.comparison import looks_saved
from llmkit.inference.endpoints.bodies import TextRequests
from llmkit.inference.endpoints.client import Client
from llmkit.inference.endpoints.generating import ServerTexts, require_no_model_flags
from llmkit.options import EvalRequest, GenerationOptions
from llmkit.output.documents import JsonObject
from llmkit.output.report import Report
from llmkit.output.result import Provenance

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

USUAL_LENGTH = 256  # of an answer where a task does not say; lm-eval's own
MOST_STOPS = 4  # that OpenAI's API takes; the others are looked for here


class EndpointLM(LM):
    """A server as lm-eval asks it: prompts as they are, or chats where the chat template is asked for."""

    def __init__(self, texts: ServerTexts, report: Report) -> None:
        super().__init__()
        self.texts, self.report, self.computed = texts, report, 0

    @property
    def tokenizer_name(self) -> str:
        """What tells its prompts from those of others."""
        return self.texts.requests.model

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return nothing: the server has the template."""
        return None

    def apply_chat_template(self, chat_history: list[Message], add_generation_prompt: bool = True) -> str:
        """Return the messages as one text, which `generate_until` reads again.

        Raises:
            OptionError: the task begins the answer itself, which the API has no place for.
        """
        if not add_generation_prompt:
            raise OptionError("the task begins the answer of the chat; leave --apply-chat-template out")
        return json.dumps(chat_history)

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = True) -> list[str]:
        """Return the text that goes on from each context."""
        written: list[str] = []
        size = self.texts.client.concurrency * MOST_STOPS
        with self.report.progress("writing", len(requests)) as advance:
            for start in range(0, len(requests), size):
                part = requests[start : start + size]
                bodies = [self._body(*request.args) for request in part]
                names = [f"document {start + number + 1}" for number in range(len(part))]
                for request, (text,) in zip(part, self.texts.texts_of(bodies, names), strict=True):
                    written.append(_until(text or "", request.args[1].get("until")))
                advance(len(part))
        self.computed += len(requests)
        return written

    def loglikelihood(self, requests: list[Instance]) -> NoReturn:
        """Refuse what a server is not asked for.

        Raises:
            OptionError: always.
        """
        raise OptionError("the task compares log-likelihoods, and --endpoint gives texts alone: measure a model by -m")

    def loglikelihood_rolling(self, requests: list[Instance]) -> NoReturn:
        """Refuse what a server is not asked for.

        Raises:
            OptionError: always.
        """
        self.loglikelihood(requests)

    def _body(self, context: str, asked: JsonObject) -> JsonObject:
        samples = bool(asked.get("do_sample"))
        decoding = GenerationOptions(
            chat=self.texts.requests.chat,
            temperature=(asked.get("temperature") or None) if samples else None,
            stop=_stops(asked.get("until"))[:MOST_STOPS] or None,
        )
        length = int(asked.get("max_gen_toks") or USUAL_LENGTH)
        requests = TextRequests(self.texts.requests.model, decoding.chat is True, length, decoding)
        body = requests.body(context, 0)
        return {**body, "messages": json.loads(context)} if requests.chat else body


def run_served(
    names: Sequence[str], request: EvalRequest, options: BenchmarkOptions, report: Report
) -> tuple[str, list[BenchmarkResult | FailedBenchmark], Provenance]:
    """Return the name of the model that the server runs, the figures of each task or why it has none, and their basis.

    Raises:
        HubError: the server cannot be reached.
        OptionError: a flag for a model in this process.
    """
    started = time.monotonic()
    decoding = GenerationOptions(chat=options.apply_chat_template)
    texts = ServerTexts.find(Client.of(request.endpoint, report), request.model.model, decoding, USUAL_LENGTH, report)
    with quiet(report):
        lm = EndpointLM(texts, report)
    results = run_on(lm, names, options, report)
    provenance: Provenance = {
        "device": texts.client.url,
        "versions": runs.versions("lm_eval"),
        "seconds": round((time.monotonic() - started) / max(1, len(results)), 2),
    }
    return texts.requests.model, results, provenance


def refuse_flags(request: EvalRequest) -> None:
    """Refuse what has no meaning for a server.

    Raises:
        OptionError: naming the flags.
    """
    if request.endpoint.endpoint is None:
        raise OptionError(
            "lm-eval's benchmarks are not put to an --engine: `llmkit serve --engine vllm` in another terminal, and "
            "--endpoint here, does"
        )
    require_no_model_flags(request.model)
    baseline = request.gates.baseline
    if request.evaluation.batch_size is not None:
        raise OptionError("--batch-size: that is for a model here, and --endpoint asks a server; leave it out")
    if baseline and not looks_saved(baseline):
        raise OptionError(f"--baseline {baseline}: beside --endpoint it must be a saved result (a .json file)")


def _stops(until: object) -> list[str]:
    texts = until if isinstance(until, list) else [until]
    return [text for text in texts if isinstance(text, str) and text]


def _until(text: str, until: object) -> str:
    """Return a text up to the first of the texts that end it."""
    places = [place for stop in _stops(until) if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text
