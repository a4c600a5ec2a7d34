"""The types of the result in Python and the JSON schema of its files say the same."""

from __future__ import annotations

import json
import types
import typing
from importlib import resources

import pytest

from llmkit.output import result, result_parts

SCHEMA = json.loads(
    (resources.files("llmkit") / "output" / "schemas" / "evaluation.schema.json").read_text(encoding="utf-8")
)
DOCUMENTS = {
    "result": result.EvaluationResult,
    "failed": result.FailedResult,
    "suite": result.SuiteResult,
    "training": result.TrainingSummary,
    "throughput": result.ThroughputRecord,
    "seeds": result.SeedsResult,
    "spread": result.MetricSpread,
    "search": result.SearchResult,
    "trial": result.TrialResult,
    "figure": result_parts.MetricResult,
    "class": result_parts.ClassResult,
    "confusion": result_parts.ConfusionMatrix,
    "bin": result_parts.CalibrationBin,
    "calibration": result_parts.Calibration,
    "gate": result_parts.GateResult,
    "paired": result_parts.PairedMetric,
    "flips": result_parts.Flips,
    "baseline": result_parts.BaselineResult,
    "slice": result_parts.SliceResult,
    "gap": result_parts.Gap,
    "breakdown": result_parts.ColumnSlices,
    "swap": result_parts.SwapResult,
    "invariance": result_parts.Invariance,
    "rows": result_parts.ResultRows,
}
SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
KEY_VALUE = {dict, typing.get_origin(typing.Mapping[str, str])}


def parts(hint):
    """Return the alternatives of a type."""
    hint = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.NotRequired else hint
    return typing.get_args(hint) if typing.get_origin(hint) in {typing.Union, types.UnionType} else (hint,)


def resolved(schema):
    return SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def alternatives(schema):
    """Return the alternatives of a part of the schema, each of one type."""
    schema = resolved(schema)
    if "anyOf" in schema or "oneOf" in schema:
        return [one for part in schema.get("anyOf", schema.get("oneOf")) for one in alternatives(part)]
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": kind} for kind in schema["type"]]
    return [schema]


def agree(hint, schema, where):
    """Fail where a type and a part of the schema allow different values."""
    hints, schemas = parts(hint), alternatives(schema)
    literals = {value for one in hints if typing.get_origin(one) is typing.Literal for value in typing.get_args(one)}
    constants = {value for part in schemas for value in part.get("enum", [part.get("const")])} - {None}
    if literals:
        assert literals == constants, where
        assert (type(None) in hints) == any(None in part.get("enum", ()) for part in schemas), where
    elif constants:  # the schema knows which numbers or words there are, the type only that they are some
        assert {type(value) for value in constants} == set(hints), where
    else:
        assert sorted(map(kind_of, hints)) == sorted(part["type"] for part in schemas), where
        for kind in set(map(kind_of, hints)):
            pairs = zip([one for one in hints if kind_of(one) == kind], [p for p in schemas if p["type"] == kind])
            for one, part in pairs:
                contents_agree(one, part, where)


def contents_agree(hint, schema, where):
    arguments = typing.get_args(hint)
    if typing.is_typeddict(hint):
        fields_agree(hint, schema, where)
    elif typing.get_origin(hint) is list and "prefixItems" in schema:  # an interval
        for part in schema["prefixItems"]:
            agree(arguments[0], part, f"{where}[]")
    elif typing.get_origin(hint) is list:
        agree(arguments[0], schema["items"], f"{where}[]")
    elif typing.get_origin(hint) in KEY_VALUE and arguments[1] is not typing.Any and schema.get("additionalProperties"):
        agree(arguments[1], schema["additionalProperties"], f"{where}{{}}")


def kind_of(hint):
    if typing.is_typeddict(hint) or typing.get_origin(hint) in KEY_VALUE:
        return "object"
    return "array" if typing.get_origin(hint) is list else SCALARS[hint]


def fields_agree(document, schema, where):
    hints = typing.get_type_hints(document)
    assert set(hints) == set(schema["properties"]), where
    assert document.__required_keys__ == set(schema.get("required", ())), where
    for name, hint in hints.items():
        agree(hint, schema["properties"][name], f"{where}.{name}")


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_the_type_of_a_document_has_the_keys_and_the_values_of_its_schema(name):
    definition = SCHEMA["$defs"][name]
    fields_agree(DOCUMENTS[name], definition, name)


def test_every_object_of_the_schema_has_a_type():
    objects = {name for name, part in SCHEMA["$defs"].items() if "properties" in part}
    assert objects == set(DOCUMENTS)


def test_what_an_evaluation_is_made_of_are_fields_of_its_result():
    hints = typing.get_type_hints(result.EvaluationResult)
    for part in (result.Provenance, result.Breakdown, result.ModelOrigin):
        for name, hint in typing.get_type_hints(part).items():
            assert hints[name] == hint, name
