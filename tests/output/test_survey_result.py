from __future__ import annotations

import json
from importlib import resources

import pytest

from llmkit.output import survey_result as types

SCHEMA = json.loads(
    (resources.files("llmkit") / "output" / "schemas" / "survey.schema.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize(
    ("kind", "described"),
    [
        (types.SurveyResult, SCHEMA),
        (types.TaskResult, SCHEMA["properties"]["task"]),
        (types.NearResult, SCHEMA["properties"]["near"]["anyOf"][1]),
        (types.ColumnResult, SCHEMA["$defs"]["column"]),
        (types.SplitResult, SCHEMA["$defs"]["split"]),
        (types.LengthsResult, SCHEMA["$defs"]["lengths"]),
        (types.Histogram, SCHEMA["$defs"]["lengths"]["properties"]["histogram"]),
        (types.FindingResult, SCHEMA["$defs"]["finding"]),
        (types.RowResult, SCHEMA["$defs"]["shown"]),
        (types.PieceResult, SCHEMA["$defs"]["piece"]),
    ],
)
def test_the_types_of_a_survey_have_the_fields_of_its_schema(kind, described):
    assert list(kind.__annotations__) == list(described["properties"]) == described["required"]
