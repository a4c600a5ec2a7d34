"""Files as people have them: each is read as what it is, or refused with the flag that says what it is."""

from __future__ import annotations

import pytest
from found import CASES, KINDS

LANGUAGE_MODELS = {"causal-lm", "masked-lm"}
TEXT_ALONE = {"txt_lines", "txt_fasttext", "poem"}
NEEDS = {  # what finetune asks for with these models, and no other: exit 2
    "chat_tool_calls": "the chat template does not write its tools (clock)",
    "chat_tools_column_dropped": "the chat template does not write its tools (clock)",
}
MORE = {"mt_src_tgt": ("--prefix", "to German: ")}  # of finetune


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
