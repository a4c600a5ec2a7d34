"""llmkit eval --endpoint: a server writes, and the task's own metrics compare."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from conftest import write_jsonl
from stand_in_server import TIMES, Scripted, standing_in

from llmkit.inference.endpoints import client

SUPPORT = Path(__file__).parents[1] / "support"
PAIRS = [{"en": f"the fox ran home {number}", "de": f"der Fuchs lief nach Haus {number}"} for number in range(12)]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(client, "PAUSE", 0.0)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def pairs(tmp_path):
    return write_jsonl(tmp_path / "pairs.jsonl", PAIRS)


def answers_to(prompts_and_texts: dict[str, str]) -> dict[str, list[Scripted]]:
    return {
        prompt: [Scripted(body={"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}, times=TIMES)]
        for prompt, text in prompts_and_texts.items()
    }


def right(rows=PAIRS) -> dict[str, list[Scripted]]:
    return answers_to({f"Translate from English to German:\n\n{row['en']}": f" {row['de']}\n" for row in rows})


def test_translations_are_asked_in_words_and_scored_as_ever(llmkit, pairs, tmp_path):
    predicted = write_jsonl(tmp_path / "predicted.jsonl", [{"en": row["en"], "prediction": row["de"]} for row in PAIRS])
    with standing_in(right()) as server:
        ran = llmkit("eval", pairs, "--endpoint", server.url, "--json", "--resamples", 200)
        assert ran.code == 0, ran.err
        assert {asked.body["temperature"] for asked in server.posts} == {0.0}
        assert {asked.body["max_tokens"] for asked in server.posts} == {128}
    assert "asking: en, after 'Translate from English to German:\\n\\n' (--prefix says another); at most 128" in ran.err
    result = json.loads(ran.out)
    scored = json.loads(llmkit("eval", pairs, "--predictions", predicted, "--json", "--resamples", 200).out)
    assert result["metrics"] == scored["metrics"]
    assert result["metrics"]["bleu"]["value"] == pytest.approx(100)
    assert (result["model"], result["task"], result["n"]) == ("tiny", "translation", 12)


def test_summaries_and_a_prefix_of_the_users(llmkit, tmp_path):
    rows = [{"document": f"a long text {number}", "summary": f"SAY: A LONG TEXT {number}"} for number in range(5)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    with standing_in() as server:
        flags = ["--prefix", "Say: ", "--target-length", 9, "--json", "--resamples", 0]
        ran = llmkit("eval", tmp_path / "rows.jsonl", "--endpoint", server.url, *flags)
        assert ran.code == 0, ran.err
        assert server.prompts() == [f"Say: a long text {number}" for number in range(5)]
        assert {asked.body["max_tokens"] for asked in server.posts} == {9}
    assert json.loads(ran.out)["metrics"]["rougeL"]["value"] == pytest.approx(1)


def test_texts_beside_references(llmkit, tmp_path):
    rows = [{"prompt": "a", "answer": "A"}, {"prompt": "b", "answer": "x"}, {"prompt": "c", "answer": ["y", "C"]}]
    rows = [{**row, "answer": row["answer"] if isinstance(row["answer"], list) else [row["answer"]]} for row in rows]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    with standing_in() as server:
        command = ["eval", tmp_path / "rows.jsonl", "--endpoint", server.url, "--column", "reference=answer", "--json"]
        ran = llmkit(*command, "--metric", "exact_match", "--fail-under", "exact_match=0.9")
    assert ran.code == 1, ran.err
    assert json.loads(ran.out)["metrics"]["exact_match"]["value"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("rows", "flags", "sentence"),
    [
        ([{"text": "good", "label": "a"}, {"text": "bad", "label": "b"}] * 3, [], "text-classification is measured by"),
        (PAIRS, ["--batch-size", "4"], "--batch-size: that is for a model here, and --endpoint asks a server"),
        (PAIRS, ["--dtype", "float32"], "--dtype: that is for a model here"),
        (PAIRS, ["--baseline", "runs/x"], "--baseline runs/x: beside --endpoint it must be a saved result"),
        (PAIRS, ["--source", "de", "--target", "de"], ""),
    ],
)
def test_what_texts_cannot_measure_is_refused_before_anything_is_asked(llmkit, tmp_path, rows, flags, sentence):
    write_jsonl(tmp_path / "rows.jsonl", rows)
    with standing_in() as server:
        ran = llmkit("eval", tmp_path / "rows.jsonl", "--endpoint", server.url, *flags)
        assert (ran.code, server.posts) == (2, [])
    assert sentence in ran.err


def test_likelihoods_of_a_corpus_are_refused(llmkit, tmp_path):
    (tmp_path / "corpus.txt").write_text("once upon a time\n" * 20)
    with standing_in() as server:
        assert llmkit("eval", tmp_path / "corpus.txt", "--endpoint", server.url).code == 2
        assert server.asked == []


@pytest.fixture
def benchmark(tmp_path):
    """Write a benchmark of lm-eval over a local file."""
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"q": "a b", "a": "A"}, {"q": "c", "a": "C"}, {"q": "d", "a": "x"}])

    def write(**changed):
        content = {
            "task": "writing",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(rows)}, "cache_dir": str(tmp_path / "cache")},
            "output_type": "generate_until",
            "generation_kwargs": {"until": [" ", "\n"], "max_gen_toks": 7, "do_sample": False},
            "test_split": "test",
            "doc_to_text": "{{q}}",
            "doc_to_target": "{{a}}",
            "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
            "metadata": {"version": 1.0},
        } | changed
        (tmp_path / "task.yaml").write_text(yaml.safe_dump(content))
        return f"lm-eval:{tmp_path / 'task.yaml'}"

    return write


@pytest.mark.parametrize("flags", [[], ["--apply-chat-template", "--system-instruction", "Be brief."]])
def test_benchmarks_of_texts_are_put_to_the_server(llmkit, benchmark, flags):
    with standing_in() as server:
        ran = llmkit("eval", benchmark(), "--endpoint", server.url, "--json", *flags)
        assert ran.code == 0, ran.err
        bodies = [asked.body for asked in server.posts]
    result = json.loads(ran.out)
    assert result["metrics"]["exact_match"]["value"] == pytest.approx(2 / 3)
    assert (result["model"], result["task"], result["n"]) == ("tiny", "lm-eval", 3)
    assert {(body["max_tokens"], body["temperature"]) for body in bodies} == {(7, 0.0)}
    if flags:
        assert [message["role"] for message in bodies[0]["messages"]] == ["system", "user"]
        assert bodies[0]["messages"][0]["content"] == "Be brief."
    else:
        assert sorted(body["prompt"] for body in bodies) == ["a b", "c", "d"]


def test_benchmarks_of_likelihoods_are_refused_before_a_text_is_asked_for(llmkit, benchmark):
    name = benchmark(output_type="multiple_choice", doc_to_choice=["A", "C"], metric_list=[{"metric": "acc"}])
    with standing_in() as server:
        ran = llmkit("eval", name, "--endpoint", server.url)
        assert (ran.code, server.posts) == (2, [])
        assert "the task compares log-likelihoods, and --endpoint gives texts alone" in ran.err
        assert llmkit("eval", name, "--endpoint", server.url, "--batch-size", 3).code == 2
        assert llmkit("eval", name, "--endpoint", server.url, "--baseline", "runs/x").code == 2
    ran = llmkit("eval", name, "-m", "built-in", "--engine", "vllm")
    assert (ran.code, "`llmkit serve --engine vllm` in another terminal" in ran.err) == (2, True)


def test_a_fault_keeps_what_came_and_a_measurement_that_ended_is_asked_anew(llmkit, pairs):
    script = right()
    last = f"Translate from English to German:\n\n{PAIRS[-1]['en']}"
    script[last].insert(0, Scripted(403))
    with standing_in(script) as server:
        command = ["eval", pairs, "--endpoint", server.url, "--concurrency", 1, "--resamples", 0, "--json"]
        ran = llmkit(*command)
        assert (ran.code, "wants a key (403)" in ran.err) == (4, True)
        server.asked = []
        ran = llmkit(*command)
        assert ran.code == 0, ran.err
        assert "going on: 8 of 12 rows were answered before" in ran.err
        assert len(server.posts) == 4
        assert json.loads(ran.out)["metrics"]["bleu"]["value"] == pytest.approx(100)
        server.asked = []
        assert llmkit(*command).code == 0
        assert len(server.posts) == 12


def test_a_text_that_does_not_come_is_an_empty_one(llmkit, pairs):
    script = right()
    script[f"Translate from English to German:\n\n{PAIRS[3]['en']}"] = [
        Scripted(body={"choices": [{"message": {"content": None}, "finish_reason": "content_filter"}]})
    ]
    with standing_in(script) as server:
        ran = llmkit("eval", pairs, "--endpoint", server.url, "--resamples", 0, "--json")
    assert ran.code == 0, ran.err
    assert "1 of 12 answers came without a text (content_filter)" in ran.err
    assert json.loads(ran.out)["metrics"]["bleu"]["value"] < 100


def test_members_of_a_suite_are_asked_of_the_server(llmkit, pairs, tmp_path):
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"name: two\nevals:\n  - dataset: {pairs}\n    name: a\n  - dataset: {pairs}\n    name: b\n")
    with standing_in(right()) as server:
        ran = llmkit("eval", suite, "--endpoint", server.url, "--resamples", 0)
        assert ran.code == 0, ran.err
        assert len(server.posts) == 24


def test_a_vllm_of_its_own_is_asked_in_a_chat(llmkit, assistant, pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("STAND_IN_CALLS", str(tmp_path / "calls.jsonl"))
    program = f"{sys.executable} {SUPPORT / 'stand_in_vllm.py'}"
    command = ["eval", pairs, "-m", assistant, "--engine", "vllm", "--engine-command", program]
    ran = llmkit(*command, "--resamples", 0, "--json", "--limit", 3)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["model"] == str(assistant)
    assert len((tmp_path / "calls.jsonl").read_text().splitlines()) == 1
