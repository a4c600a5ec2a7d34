from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
from jsonschema import Draft202012Validator

SCHEMA = json.loads(
    (resources.files("llmkit") / "output" / "schemas" / "evaluation.schema.json").read_text(encoding="utf-8")
)
RESULT, FAILED, SUITE = SCHEMA["examples"]


def valid(document: Any) -> bool:
    return bool(Draft202012Validator(SCHEMA).is_valid(document))


def changed(document: dict[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """Return a copy with one value replaced, or with the key taken away when the value is `...`."""
    document = copy.deepcopy(document)
    inner: Any = document
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return document


def objects(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every part of the schema that describes an object with named fields."""
    if isinstance(schema, dict):
        if "properties" in schema:
            yield path, schema
        for key, part in schema.items():
            yield from objects(part, f"{path}/{key}") if key != "examples" else ()
    elif isinstance(schema, list):
        for number, part in enumerate(schema):
            yield from objects(part, f"{path}/{number}")


def test_it_is_a_schema_of_the_2020_12_draft():
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("example", [RESULT, FAILED, SUITE], ids=["result", "failed", "suite"])
def test_its_examples_are_valid(example):
    Draft202012Validator(SCHEMA).validate(example)


@pytest.mark.parametrize(("path", "part"), [pytest.param(*one, id=one[0]) for one in objects(SCHEMA)])
def test_every_object_is_closed_and_every_field_described(path, part):
    assert part["additionalProperties"] is False
    assert part["description"]
    assert set(part["required"]) <= set(part["properties"])
    for name, field in part["properties"].items():
        assert len(field.get("description", "")) > 8, f"{path}: {name}"


def test_every_part_is_used():
    text = json.dumps(SCHEMA)
    assert [name for name in SCHEMA["$defs"] if f'"#/$defs/{name}"' not in text] == []


@pytest.mark.parametrize("field", sorted(set(RESULT) - {"stride"}))
def test_a_result_without_one_of_its_fields_is_refused(field):
    assert not valid(changed(RESULT, (field,), ...))


@pytest.mark.parametrize("field", sorted(set(FAILED)))
def test_a_failed_run_without_one_of_its_fields_is_refused(field):
    assert not valid(changed(FAILED, (field,), ...))


@pytest.mark.parametrize("field", sorted(set(SUITE)))
def test_a_suite_without_one_of_its_fields_is_refused(field):
    assert not valid(changed(SUITE, (field,), ...))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), 2),
        (("status",), "error"),
        (("exit_code",), 2),
        (("more",), 1),
        (("n",), 0),
        (("metrics",), {}),
        (("metrics", "f1", "value"), "0.9"),
        (("metrics", "f1", "interval"), "guess"),
        (("metrics", "f1", "more"), 1),
        (("metrics", "f1", "n"), ...),
        (("per_class", "equivalent", "intervals", "f1"), [0.1]),
        (("per_class", "equivalent", "intervals", "f1"), [0.1, 0.2, 0.3]),
        (("confusion", "counts", 0, 0), 1.5),
        (("calibration", "bins", 0, "count"), None),
        (("gates", 0, "kind"), "at-least"),
        (("gates", 0, "sentence"), ...),
        (("baseline", "metrics", "f1", "p"), ...),
        (("baseline", "flips", "rows"), [{"id": "1", "label": "a", "before": "a", "after": "b"}] * 51),
        (("slices", "source", "values", "news", "n"), ...),
        (("slices", "source", "gaps", "f1", "best"), 3),
        (("swap", "pairs", 0, "terms"), ["he"]),
        (("invariance", "changed_rows"), [{"id": "1"}]),
        (("rows_sha256",), "0f4a"),
        (("columns", "text"), None),
        (("seconds",), -1),
        (("rows",), {"label": ["a"]}),
        (("rows",), {"id": [1]}),
    ],
    ids=str,
)
def test_a_result_of_another_form_is_refused(path, value):
    assert not valid(changed(RESULT, path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metrics", "f1", "value"), None),
        (("metrics", "f1", "of"), ...),
        (("per_class", "equivalent", "intervals"), ...),
        (("per_class", "equivalent", "intervals"), {"precision": None, "recall": None, "f1": None}),
        (("baseline", "flips"), None),
        (("slices", "source", "gaps", "f1"), {"gap": None, "low": None, "high": None, "best": None, "worst": None}),
        (("fingerprints", "dataset"), "0f"),
        (("versions", "sacrebleu"), "2.5"),
        (("columns",), {}),
        (("invariance", "changed_rows"), [{"id": "7", "alone": "a", "together": "b"}]),
        (("rows",), {"id": ["0"], "label": ["a"], "prediction": ["b"], "scores": [{"a": 0.4, "b": 0.6}]}),
        (("rows",), {"id": ["0"], "label": ["a"], "prediction": ["b"], "scores": [[0.4, 0.6]]}),
        (("rows",), {"id": ["0"], "label": [1.5], "prediction": [1.25], "scores": None}),
        (("rows",), {"id": ["0"], "label": [["one", "two"]], "prediction": ["three"], "scores": None}),
        (("rows",), {"id": ["0"], "values": {"acc": [1.0], "acc_norm": [0.0]}}),
    ],
    ids=str,
)
def test_what_a_result_may_leave_open_is_accepted(path, value):
    Draft202012Validator(SCHEMA).validate(changed(RESULT, path, value))


def test_a_suite_holds_results_and_failed_runs_but_no_suite():
    assert valid({**SUITE, "results": [RESULT, FAILED]})
    assert not valid({**SUITE, "results": [SUITE]})
    assert not valid({**SUITE, "results": [{**FAILED, "status": "ok"}]})
