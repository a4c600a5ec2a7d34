from __future__ import annotations

import json

import pytest
from conftest import write_jsonl

from llmkit.data.files import read_file, read_rows
from llmkit.data.formats.squad import read_squad
from llmkit.errors import DataError

CONTEXT = "Mia moved to Oslo in May."
OSLO = {"text": "Oslo", "answer_start": 13}


def question(**more: object) -> dict[str, object]:
    return {"id": "q1", "question": "Where?", "answers": [OSLO], **more}


def article(*questions: dict[str, object], **more: object) -> dict[str, object]:
    return {"title": "Mia", "paragraphs": [{"context": CONTEXT, "qas": list(questions)}], **more}


ROW = {
    "id": "q1",
    "title": "Mia",
    "context": CONTEXT,
    "question": "Where?",
    "answers": {"text": ["Oslo"], "answer_start": [13]},
}
NO_TITLE = {name: cell for name, cell in ROW.items() if name != "title"}


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        pytest.param({"version": "1.1", "data": [article(question())]}, [ROW], id="version 1"),
        pytest.param({"data": [article(), article(question())]}, [ROW], id="an article without questions"),
        pytest.param([article(question())], [ROW], id="a list of articles"),
        pytest.param(article(question()), [ROW], id="one article"),
        pytest.param({"data": [{"context": CONTEXT, "qas": [question()]}]}, [NO_TITLE], id="flat"),
        pytest.param([{"context": CONTEXT, "qas": [question()]}], [NO_TITLE], id="a list of paragraphs"),
        pytest.param(
            [{"context": CONTEXT, "qas": [question(id=7)], "document_id": 3}],
            [{**NO_TITLE, "id": "7"}],
            id="ids that are integers",
        ),
        pytest.param(
            [{"context": CONTEXT, "qas": [{"question": "Where?", "answers": OSLO}]}],
            [{name: cell for name, cell in NO_TITLE.items() if name != "id"}],
            id="one answer without a list, no id",
        ),
        pytest.param(
            {"data": [article(question(is_impossible=True, answers=[], plausible_answers=[OSLO]))]},
            [{**ROW, "answers": {"text": [], "answer_start": []}}],
            id="version 2, no answer",
        ),
        pytest.param(
            {"data": [article({"id": "q1", "question": "Where?"})]}, [{**ROW, "answers": None}], id="no answers"
        ),
        pytest.param(
            [
                {
                    "context_id": "T1",
                    "context_text": "米娅住在奥斯陆。",
                    "title": "米娅",
                    "qas": [{"query_id": "T1_Q1", "query_text": "米娅住在哪里?", "answers": ["奥斯陆", "奥斯陆"]}],
                }
            ],
            [
                {
                    "id": "T1_Q1",
                    "title": "米娅",
                    "context": "米娅住在奥斯陆。",
                    "question": "米娅住在哪里?",
                    "answers": ["奥斯陆", "奥斯陆"],
                }
            ],
            id="CMRC 2018, texts alone",
        ),
        pytest.param(
            [
                {"header": {"dataset": "x"}},
                {
                    "context": CONTEXT,
                    "qas": [
                        {
                            "qid": "q1",
                            "question": "Where?",
                            "answers": ["Oslo"],
                            "detected_answers": [{"text": "Oslo", "char_spans": [[13, 16]], "token_spans": [[3, 3]]}],
                        }
                    ],
                },
            ],
            [NO_TITLE],
            id="MRQA's lines",
        ),
    ],
)
def test_each_shape_gives_a_row_for_a_question(value, rows, tmp_path):
    assert read_squad(value, "x.json") == rows
    path = tmp_path / "train.json"
    path.write_text(json.dumps(value), encoding="utf-8")
    assert read_file(path).to_list() == rows
    assert read_rows(path) == rows


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"data": []},
        {"data": [{"question": "Where?", "context": CONTEXT, "answers": [OSLO]}]},
        [{"text": "a", "label": "b"}],
        [{"qas": [question()]}],
        {"paragraphs": "none"},
        [["context", "qas"]],
        "context",
        None,
    ],
)
def test_other_json_is_none(value):
    assert read_squad(value, "x.json") is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"data": [article(question()), "x"]}, "x.json, data[1]: an article"),
        ({"data": [article(question()), {"title": "x"}]}, "x.json, data[1]: a text 'context'"),
        ({"data": [article(question(), {"id": "2"})]}, "data[0].paragraphs[0].qas[1]: a text 'question'"),
        ({"data": [article("x")]}, "qas[0]: a question"),
        ({"data": [article(question(answers=[3]))]}, "qas[0]: an answer"),
        ([{"context": None, "qas": []}], "[0]: a text 'context'"),
        (
            [{"context": "a", "qas": [question(detected_answers=[{"text": "a"}])]}],
            "[0].qas[0]: an answer with char_spans",
        ),
    ],
)
def test_what_a_part_lacks_is_named_by_its_place(value, reason):
    with pytest.raises(DataError) as error:
        read_squad(value, "x.json")
    assert reason in str(error.value)


def test_lines_of_paragraphs_are_read_alike(tmp_path):
    path = write_jsonl(tmp_path / "dev.jsonl", [{"context": CONTEXT, "qas": [question(), question(id="q2")]}])
    assert read_file(path)["id"][:] == ["q1", "q2"]
