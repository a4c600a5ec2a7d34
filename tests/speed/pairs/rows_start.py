"""Rows of one prompt and of no prompt: start, errors, decoding, fewer bits, two processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pairs.inputs import BUILTIN, STORY, Inputs
from pairs.quality import plain_text, same_text
from pairs.ways import Output, Row, Way, llmkit, peer, plain

ONCE = "Once upon a time"


def help_ways(inputs: Inputs) -> list[Way]:
    theirs = (str(Path(sys.executable).parent / "transformers"), "--help")
    return [llmkit("--help"), Way("transformers --help", theirs)]


def folder_error(inputs: Inputs) -> list[Way]:
    def without_weights(folder: Path) -> None:
        folder.mkdir()
        (folder / "config.json").write_text((BUILTIN / "config.json").read_text())
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).write_bytes((BUILTIN / name).read_bytes())

    folder = inputs.made("without-weights", without_weights)
    ours = llmkit("generate", "-m", folder, ONCE, fails=True)
    return [ours, plain("script", "generate.py", folder, ONCE, 1, fails=True)]


def flag_error(inputs: Inputs) -> list[Way]:
    ours = llmkit("generate", "-m", inputs.decoder, ONCE, "--max-new-tokens", 0, fails=True)
    return [ours, plain("script", "generate.py", inputs.decoder, ONCE, 0, fails=True)]


def builtin(inputs: Inputs) -> list[Way]:
    script = plain("script", "generate.py", BUILTIN, ONCE, 60)
    return [
        llmkit("generate", ONCE, "--max-new-tokens", 60),
        script,
        Way("import torch", (sys.executable, "-c", "import torch"), kind="floor"),
    ]


def first_token(inputs: Inputs) -> list[Way]:
    ours = llmkit("generate", "-m", inputs.decoder, STORY, "--max-new-tokens", 1)
    return [ours, plain("script", "generate.py", inputs.decoder, STORY, 1)]


def tokens_a_second(inputs: Inputs) -> Callable[[Output], float]:
    """Return how a rate is read from an answer that is streamed: its tokens by the time from the first to the last."""
    return lambda output: (inputs.count(plain_text(output)) - 1) / output.written_in


def answer(inputs: Inputs, *flags: str, name: str = "llmkit") -> Way:
    command = ("generate", "-m", inputs.decoder, STORY, "--max-new-tokens", inputs.tokens, "--quiet", *flags)
    return llmkit(*command, name=name, terminal=True, rate=tokens_a_second(inputs))


def script(inputs: Inputs, name: str = "generate") -> Way:
    given = (inputs.decoder, STORY, inputs.tokens)
    return plain(name, "generate.py", *given, terminal=True, rate=tokens_a_second(inputs))


def decode(inputs: Inputs) -> list[Way]:
    folder = os.environ.get("LLMKIT_BENCH_CT2", "")
    given = ("generate_ctranslate2.py", folder, inputs.decoder, STORY, inputs.tokens)
    way = plain("CTranslate2", *given, terminal=True, rate=tokens_a_second(inputs))
    other = peer("ctranslate2", "ctranslate2", way, "" if folder else "$LLMKIT_BENCH_CT2 names no model")
    return [answer(inputs), script(inputs), other]


def fewer_bits(bits: str) -> Callable[[Inputs], list[Way]]:
    def ways(inputs: Inputs) -> list[Way]:
        found = [answer(inputs, "--quantize", bits), script(inputs, "bfloat16 generate")]
        if bits == "int4":
            file = os.environ.get("LLMKIT_BENCH_GGUF", "")
            given = ("generate_llama_cpp.py", file, STORY, inputs.tokens)
            way = plain("llama.cpp", *given, terminal=True, rate=tokens_a_second(inputs))
            found.append(
                peer("llama-cpp-python", "llama_cpp", way, "" if file else "$LLMKIT_BENCH_GGUF names no model")
            )
        return found

    return ways


def perplexities(bits: str) -> Callable[[Inputs], str]:
    """Return a judge of what fewer bits cost: the perplexity of the weights as they are, and of those."""

    def judge(inputs: Inputs) -> str:
        found = [inputs.perplexity(inputs.decoder, inputs.wikitext, *flags) for flags in ((), ("--quantize", bits))]
        return f"perplexity {found[0]:.2f}, {bits} {found[1]:.2f} ({found[1] / found[0] - 1:+.1%})"

    return judge


def at_once(inputs: Inputs) -> list[Way]:
    both = {"copies": 2, "rate": None}
    return [replace(way, **both) for way in decode(inputs)[:2]]


ROWS = [
    Row("help", "`--help`", help_ways, seconds=3),
    Row("error-folder", "a folder without weights, refused", folder_error, seconds=7),
    Row("error-flag", "a flag out of its limits, refused", flag_error, seconds=8),
    Row("builtin", "built-in model, 60 tokens", builtin, seconds=12, quality=same_text),
    Row("first-token", "shell to first token, {decoder}", first_token, seconds=10, quality=same_text),
    Row("decode", "128 tokens, {decoder}", decode, seconds=20, quality=same_text, unit="tokens/s"),
    Row("int8", "128 tokens, int8, {decoder}", fewer_bits("int8"), 20, once=perplexities("int8"), unit="tokens/s"),
    Row("int4", "128 tokens, int4, {decoder}", fewer_bits("int4"), 20, once=perplexities("int4"), unit="tokens/s"),
    Row("two-processes", "128 tokens twice at once, {decoder}", at_once, seconds=40, quality=same_text),
]
