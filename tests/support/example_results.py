"""Results as the schema gives them, and the same with hostile names wherever a user's can stand."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"
SCHEMA = json.loads(
    (resources.files("llmkit") / "output" / "schemas" / "evaluation.schema.json").read_text(encoding="utf-8")
)
FAILED = SCHEMA["examples"][1]
HOSTILE = [
    "</testcase>",
    "\x00null\x1b[2J",
    "\ud800",
    "🙂",
    "新闻",
    "a|b",
    "`x`",
    "<b>bold</b><!-- ",
    "one\ntwo\r\nthree",
    "*a* _b_ __c__ ~~d~~",
    "[link](http://a.b)",
    "![](x)",
    "&amp;",
    "\\|",
    "$x^$",
    "]]>",
    "# h",
    "www.a.b",
    "\u2028",
    "\u202eabc",
    "---",
    "[/red]",
    "",
    "@someone",
    "a\tb",
    "%0A::error::x",
    "x" * 500,
]


def hostile(result: dict[str, Any], label: str) -> dict[str, Any]:
    """Put a label wherever a name or a text of the user's can stand."""
    result["confusion"] = {"labels": [label, "equivalent"], "counts": result["confusion"]["counts"]}
    result["per_class"] = {label: result["per_class"]["equivalent"]}
    result["metrics"]["f1"]["of"] = f"class {label!r}" if label.isprintable() else label
    result["gates"][1]["sentence"] = label
    result["warnings"] = [label]
    result |= {"name": label, "dataset": label, "model": label, "split": label}
    result["baseline"]["name"] = label
    result["baseline"]["flips"]["rows"] = [{"id": label, "label": label, "before": label, "after": label}]
    slices = result["slices"]["source"]
    slices["values"] = {label: slices["values"]["news"]}
    slices["gaps"]["f1"] |= {"best": label, "worst": label}
    result["slices"] = {label: slices}
    result["swap"]["terms"] = label
    result["swap"]["pairs"] = [{"terms": [label, label], "n": 1, "flipped": 1}]
    result["swap"]["rows"] = [{"id": label, "text": label, "swapped": label, "before": label, "after": label}]
    result["invariance"] |= {"changed": 1, "changed_rows": [{"id": label, "alone": label, "together": label}]}
    return result


def many_slices(result: dict[str, Any]) -> dict[str, Any]:
    part = result["slices"]["source"]["values"]["news"]
    result["slices"]["source"]["values"] = {f"新闻 {i}": part for i in range(40_000)}
    return result
