"""What is assessed of each kind of observations: a result that the schema allows and every view can show."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from llmkit import metrics
from llmkit.evaluation.assessing import MAX_CLASSES, assess
from llmkit.evaluation.comparison import ComparisonSide
from llmkit.evaluation.result import MetricRequest, Subject
from llmkit.evaluation.result_rows import ObservedUnits
from llmkit.metrics.observations import AnswerTexts, ChoiceIds, LabelSets, Spans
from llmkit.options import GateOptions
from llmkit.output import junit, markdown, plots, terminal
from llmkit.output.report import Report, to_json

SCHEMA = json.loads(
    (resources.files("llmkit") / "output" / "schemas" / "evaluation.schema.json").read_text(encoding="utf-8")
)
EXAMPLE = SCHEMA["examples"][0]
HELD = np.array([[True, False], [True, True], [False, False], [False, True]])
KINDS = {
    "spans": Spans(
        (("B-x", "I-x"), ("O",), ("B-y", "O"), ("B-x",)), (("B-x", "O"), ("O",), ("B-y", "O"), ("B-x",)), ("x", "y")
    ),
    "labels": LabelSets(HELD, np.roll(HELD, 1, 1), ("x", "y"), np.full((4, 2), 0.5)),
    "choices": ChoiceIds(np.array([0, 1, 2, 0]), np.array([0, 2, 2, 0]), np.array([1, 1, 2, 0])),
    "answers": AnswerTexts(("a", "", "the b", "c"), (("a",), ("",), ("b",), ("d", "e"))),
}
IDS = ("r0", "r1", "r2", "r3")


def assessed(kind, seen=None, baseline=False):
    seen = KINDS[kind] if seen is None else seen
    names = [name for name in metrics.names_for(seen) if name not in {"bleu", "chrf", "ter"}]
    subject = Subject(
        name="d",
        task="a-task",
        dataset="d",
        split="test",
        model="m",
        headline=names[0],
        observations=seen,
        ids=IDS,
        counts={"rows": len(seen)},
        provenance={
            key: EXAMPLE[key]
            for key in (
                "predictions",
                "invariance",
                "cached",
                "warnings",
                "columns",
                "dropped",
                "rows_sha256",
                "max_length",
                "batch_size",
                "dtype",
                "device",
                "fingerprints",
                "model_commit",
                "dataset_commit",
                "seconds",
                "versions",
            )
        }
        | {"predictions": None},
    )
    turned = seen.take([1, 0, 3, 2])
    before = ComparisonSide("old.json", "m", "a-task", "d", ObservedUnits(turned, (IDS[1], IDS[0], IDS[3], IDS[2])))
    return assess(subject, MetricRequest(metrics=tuple(names), resamples=50), before if baseline else None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_of_each_kind_is_of_the_schema_and_shown_by_every_view(tmp_path, capsys, kind):
    result = json.loads(to_json(assessed(kind, baseline=True).as_dict(rows=True)))
    Draft202012Validator(SCHEMA).validate(result)
    terminal.show_results([result], Report())
    shown = capsys.readouterr().out
    page = markdown.render([result])
    junit.write_junit(tmp_path / "report.xml", [result])
    drawn = {path.name for path in plots.draw_results(tmp_path / "plots", result)}
    assert drawn == {"metrics.png"}  # nothing else that a picture could be of
    by_class = kind in {"spans", "labels"}
    assert ("support" in shown, "2 classes" in page) == (by_class, by_class)
    assert set(result["per_class"] or ()) == ({"x", "y"} if by_class else set())
    assert (result["confusion"], result["calibration"]) == (None, None)
    assert all(name in shown for name in result["metrics"])


def test_more_labels_than_a_table_takes_have_none():
    width = MAX_CLASSES + 1
    many = LabelSets(np.ones((4, width), bool), np.ones((4, width), bool), tuple(map(str, range(width))))
    assert assessed("labels", many).as_dict()["per_class"] is None


def test_gates_hold_for_figures_of_spans():
    seen = KINDS["spans"]
    subject = Subject(
        name="d",
        task="a-task",
        dataset="d",
        split="test",
        model="m",
        headline="f1",
        observations=seen,
        ids=IDS,
        counts={"rows": 4},
    )
    gates = GateOptions(fail_under=("f1=0.9",))
    evaluation = assess(subject, MetricRequest(metrics=("f1",), resamples=0, gates=gates))
    assert [gate.met for gate in evaluation.gates] == [False]
    assert evaluation.figures["f1"].value == pytest.approx(2 / 3)
