"""Files as people have them: each is read as what it is, or refused with the flag that says what it is."""

from __future__ import annotations

import pytest
from found import CASES, KINDS

from llmkit import tasks
from llmkit.data import open_dataset
from llmkit.options import DataOptions
from llmkit.tasks import Evidence

LANGUAGE_MODELS = {"causal-lm", "masked-lm"}
TEXT_ALONE = {"txt_lines", "txt_fasttext", "poem"}
NEEDS = {  # what finetune asks for with these models, and no other: exit 2
    "chat_tool_calls": "the chat template does not write its tools (clock)",
    "chat_tools_column_dropped": "the chat template does not write its tools (clock)",
}
MORE = {"mt_src_tgt": ("--prefix", "to German: ")}  # of finetune


def test_the_table_has_every_kind_and_none_twice():
    in_flows = {"poem", "dpo_identical_after_cut"}  # test_files_as_found_trained.py
    assert {case.kind for case in CASES} | in_flows == set(KINDS)
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_file_is_read_as_what_it_is_or_refused_with_its_flag(llmkit, tmp_path, case):
    ran = llmkit("data", KINDS[case.kind](tmp_path), *case.flags, "--json")
    assert ran.code == (2 if case.refused else 0), ran.err
    for words in case.said:
        assert words in ran.err
    if case.refused:
        assert ran.error
        assert not ran.out
        return
    assert ran.json["task"]["name"] == case.task
    assert " ".join(f"{role}={name}" for role, name in ran.json["task"]["columns"].items()) == case.columns
    assert case.kind in TEXT_ALONE or case.task not in LANGUAGE_MODELS
    splits = ran.json["splits"]
    rows = {"train": case.rows} if isinstance(case.rows, int) else dict(case.rows)
    assert {name: split["rows"] for name, split in splits.items()} == rows
    assert next(iter(splits.values()))["labels"] == (None if case.labels is None else dict(case.labels))
    assert [finding["kind"] for finding in ran.json["findings"]] == list(case.findings)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_finetune_takes_the_file_as_data_does(llmkit, tmp_path, request, case):
    target, model = KINDS[case.kind](tmp_path), request.getfixturevalue(case.model)
    more = MORE.get(case.kind, ())
    ran = llmkit("finetune", target, *case.flags, "-m", model, "-o", tmp_path / "run", "--dry-run", *more)
    if case.refused:
        assert ran.code == 2, ran.err
        assert ran.error
    elif case.kind in NEEDS:
        assert ran.code == 2, ran.err
        assert NEEDS[case.kind] in ran.error
    else:
        assert ran.code == 0, ran.err
        assert f"task: {case.task}; columns {case.columns.split()[0]}" in ran.err
    for words in case.trained:
        assert words in ran.err
    assert not (tmp_path / "run").exists()


def spoken(turns: list[dict]) -> list[tuple]:
    """Return whose each turn is, what it says, and whether it is learned."""
    return [(turn["role"], turn["content"], turn["train"]) for turn in turns]


ASKED, SAID = ("user", "what was bad (1)", False), ("assistant", "the film", True)
ANSWERS = {"text": ["Ben"], "answer_start": [53]}
SECOND_ROWS = {  # what the second row holds where the task reads it
    "ner_doccano": {"tokens": "John Smith flew to Oslo on day 1 .", "tags": "B-PER I-PER O O B-LOC O O O O"},
    "ner_labelstudio_min": {"tokens": "John Smith flew to Oslo on day 1 .", "tags": "B-PER I-PER O O B-LOC O O O O"},
    "ner_kaggle_csv": {"tokens": "John Smith flew to Oslo on day 1 .", "tags": "B-PER I-PER O O B-LOC O O O O"},
    "ner_iob1": {"tokens": "John Smith flew to Oslo on day 1 .", "tags": "B-PER I-PER O O B-LOC O O O O"},
    "disk_ner_minus100": {"tags": [1, -100, -100]},
    "qa_squad_file": {"question": "Who or where, 1?", "answers": ANSWERS},
    "qa_flat": {"answers": ANSWERS},
    "qa_csv_repr": {"answers": ANSWERS},
    "qa_list_of_dicts": {"answers": ANSWERS},
    "mc_int1": {"choices": ["no, A", "no, B", "no, C", "no, D"], "answer": 2},
    "toxic_onehot": {"labels": [1]},
    "onehot2": {"labels": [1, 2]},
    "decimal_comma": {"label": 1.1},
    "reg_percent": {"label": 80.0},
    "pq_decimal": {"label": 0.25},
    "text_numbers": {"text": "11"},
    "text_column_leading_zeros": {"text": "00011"},
    "completion_of_numbers": {"prompt": "1*2=", "completion": 2},
    "gsm8k": {"completion": "1+1=2\n#### 2"},
    "chat_alpaca_history": {"messages": [("user", "hello", False), ("assistant", "welcome", False), ASKED, SAID]},
    "chat_sharegpt_system_col": {"messages": [("system", "you are a cook", False), ASKED, SAID]},
    "chat_weight": {"messages": [ASKED, ("assistant", "no idea", False), ("user", "and again", False), SAID]},
    "chat_content_parts": {"messages": [ASKED, SAID]},
    "chat_csv_messages": {"messages": [ASKED, SAID]},
    "chat_json_string": {"messages": [ASKED, SAID]},
    "dpo_hh": {"prompt": [("user", "what was bad (1)", True)], "rejected": [("assistant", "who knows", True)]},
    "dpo_intel": {"prompt": [("system", "be kind", True), ("user", "what was bad (1)", True)], "chosen": [SAID]},
    "dpo_answers_as_one_message": {"chosen": [SAID], "rejected": [("assistant", "who knows", True)]},
}


@pytest.mark.parametrize("kind", SECOND_ROWS)
def test_rows_are_as_the_task_reads_them(tmp_path, kind):
    source = open_dataset(str(KINDS[kind](tmp_path)))
    able = tasks.for_inspection(None, None, DataOptions())
    resolution = tasks.resolve_task(able, Evidence.of(source), {}, "data", DataOptions(), None)
    row = resolution.convert(source.any())[1]
    for role, wanted in SECOND_ROWS[kind].items():
        cell = row[resolution.columns[role]]
        if role in {"tokens", "tags"} and isinstance(wanted, str):
            cell = " ".join(cell)
        elif role in {"messages", "prompt", "chosen", "rejected"} and isinstance(wanted, list):
            cell = spoken(cell)
        assert cell == wanted
