"""A stand-in for the program vllm: `vllm serve MODEL --port N ...` with the routes of the stand-in server.

What it was called with goes to the file that STAND_IN_CALLS names, a line of JSON each; STAND_IN_FAILS makes it end at
once with those words, or, as "after N", after so many requests.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from stand_in_server import Asked, Scripted, StandIn, standing_in

fails = os.environ.get("STAND_IN_FAILS", "")
calls = Path(os.environ["STAND_IN_CALLS"])
words = sys.argv[1:]
with calls.open("a", encoding="utf-8") as file:
    file.write(json.dumps({"pid": os.getpid(), "words": words, "offline": os.environ.get("HF_HUB_OFFLINE")}) + "\n")
if fails and not fails.startswith("after"):
    print("INFO starting\n" + fails + "\nINFO bye", file=sys.stderr)
    sys.exit(3)


class Counting(StandIn):
    def reply(self, asked: Asked) -> Scripted:
        answered = super().reply(asked)
        if fails and len(self.posts) > int(fails.split()[1]):
            print("RuntimeError: the engine is dead", file=sys.stderr, flush=True)
            os._exit(5)
        return answered

    def usual(self, asked: Asked) -> dict[str, Any]:
        """Answer with what shows that the tokens came: their sum, in a text, a vector or the shares of classes."""
        tokens = asked.body.get("prompt", asked.body.get("input"))
        if asked.path == "/v1/completions":
            ends = ["", *(f" {place}" for place in range(1, asked.body.get("n", 1)))]
            texts = [f" {sum(tokens)}{end}" for end in ends]
            return {
                "choices": [{"index": place, "text": text, "finish_reason": "stop"} for place, text in enumerate(texts)]
            }
        if asked.path == "/v1/embeddings":
            rest = [0.0] * (config["hidden_size"] - 2)
            data = [{"index": place, "embedding": [sum(ids), len(ids), *rest]} for place, ids in enumerate(tokens)]
            return {"data": data[::-1]}
        if asked.path == "/classify":
            return {"data": [{"index": place, "probs": shares(ids)} for place, ids in enumerate(tokens)]}
        return super().usual(asked)


def shares(ids: list[int]) -> list[float]:
    first = (sum(ids) % 97 + 1) / 100
    return [first, 1 - first]


config = json.loads((Path(words[1]) / "config.json").read_text(encoding="utf-8"))
with standing_in(port=int(words[words.index("--port") + 1]), kind=Counting):
    threading.Event().wait()
