from __future__ import annotations

import json

import pytest
import tiny
from conftest import write_csv, write_jsonl
from datasets import Dataset
from plain_text import whole_characters
from rouge_score.rouge_scorer import RougeScorer
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from llmkit.tasks import TASKS

TASK = TASKS["summarization"]
ROWS = tiny.summaries(20)
SEVERAL = [
    {"source": row["document"].split(". "), "target": ["a summary of another", row["summary"]], "paper_id": str(n)}
    for n, row in enumerate(ROWS)
]
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"
CHINESE = [
    {"document": "国王很伤心。狐狸很好。", "summary": "国王伤心"},
    {"document": "河流很冷。", "summary": "河冷"},
] * 6


def written(folder, texts, prefix, **more):
    """Summarize with transformers alone, row by row."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSeq2SeqLM.from_pretrained(folder)
    made = [model.generate(**tokenizer(prefix + text, return_tensors="pt"), **more)[0] for text in texts]
    return [whole_characters(tokenizer, ids.tolist()).strip() for ids in made]


def test_a_t5_learns_remembers_and_summarizes_as_a_plain_script_does(llmkit, t5, tmp_path):
    data, run, kept = write_jsonl(tmp_path / "rows.jsonl", ROWS), tmp_path / "run", tmp_path / "kept.jsonl"
    flags = ("--max-steps", 20, "--learning-rate", "5e-3", "--target-length", 12, "--validation", data)
    ran = llmkit("finetune", data, "-m", t5, "-o", run, *flags, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["headline"] == "rougeL"
    params = json.loads((run / "config.json").read_text())["task_specific_params"]
    assert params == {"summarization": {"prefix": "summarize: ", "max_length": 12}}
    again = llmkit("eval", data, "-m", run, "--save-predictions", kept, "--json")
    assert again.json["metrics"] == ran.json["metrics"]
    plain = written(run, [row["document"] for row in ROWS], "summarize: ", max_new_tokens=12)
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [row["prediction"] for row in rows] == plain
    assert len(set(plain)) > 1
    shell = llmkit("generate", ROWS[0]["document"], "-m", run, "--max-new-tokens", 12, "--json")
    assert shell.json["completion"].strip() == plain[0]


@pytest.mark.parametrize("rows", [ROWS, SEVERAL], ids=["one summary", "sentences and several summaries"])
def test_figures_are_rouge_scores_own_and_come_again_from_a_file(llmkit, summarizer, tmp_path, rows):
    data, kept, result = write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "kept.jsonl", tmp_path / "result.json"
    ran = llmkit("eval", data, "-m", summarizer, "--save-predictions", kept, "-o", result, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["task"] == "summarization"
    guesses = [json.loads(line)["prediction"] for line in kept.read_text().splitlines()]
    references = [row["target"] if "target" in row else [row["summary"]] for row in rows]
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    scores = [scorer.score_multi(several, guess) for several, guess in zip(references, guesses, strict=True)]
    for name in ("rouge1", "rouge2", "rougeL"):
        own = sum(score[name].fmeasure for score in scores) / len(scores)
        assert ran.json["metrics"][name]["value"] == pytest.approx(own, abs=1e-4)
    scored = llmkit("eval", data, "--predictions", kept, "--json")
    assert scored.json["metrics"] == ran.json["metrics"]
    lead = [{**row, "prediction": several[-1]} for row, several in zip(rows, references, strict=True)]
    best = write_jsonl(tmp_path / "lead.jsonl", lead)
    better = llmkit("eval", data, "--predictions", best, "--baseline", result, "--fail-under", "rougeL=0.99", "--json")
    assert better.code == 0, better.err
    assert better.json["metrics"]["rouge1"]["value"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ([{"article": "a", "highlights": "b"}], {"text": "article", "target": "highlights"}),
        ([{"dialogue": "a", "summary": "b", "id": "1"}], {"text": "dialogue", "target": "summary"}),
        ([{"text": "a", "summary": "b"}], {"text": "text", "target": "summary"}),
        ([{"source": ["a"], "target": ["b"]}], {"text": "source", "target": "target"}),
        ([{"source": "a", "target": "b"}], None),
        ([{"text": "a", "label": "b"}], None),
        ([{"title": "b", "text": "a", "label": 1}], None),  # news and reviews, to be classified
    ],
)
def test_columns_are_found_by_their_usual_names(rows, columns):
    assert TASK.columns.match(Dataset.from_list(rows), {}) == columns


def test_the_batch_size_changes_neither_a_figure_nor_a_prediction(llmkit, summarizer, tmp_path):
    data, found = write_jsonl(tmp_path / "rows.jsonl", SEVERAL), []
    for size in (1, 3, 16):
        kept = tmp_path / f"{size}.jsonl"
        ran = llmkit("eval", data, "-m", summarizer, "--batch-size", size, "--save-predictions", kept, "--json")
        assert ran.json["invariance"]["changed"] == 0
        found.append((ran.json["metrics"], kept.read_text()))
    assert found[0] == found[1] == found[2]


def test_chinese_summaries_are_measured_by_characters(llmkit, t5, tmp_path):
    data, run = write_jsonl(tmp_path / "rows.jsonl", CHINESE), tmp_path / "run"
    flags = ("--max-steps", 120, "--learning-rate", "5e-3", "--target-length", 24, "--validation", data)
    ran = llmkit("finetune", data, "-m", t5, "-o", run, *flags, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["metrics"]["rougeL"]["value"] > 0.9
    assert llmkit("generate", CHINESE[0]["document"], "-m", run, "--json").json["completion"] == CHINESE[0]["summary"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"document": "a", "summary": 3}], "row 1: its summary is '3', and a text is wanted"),
        ([{"document": {"a": "b"}, "summary": "c"}], "row 1: its document is"),
    ],
)
def test_what_is_no_text_is_one_sentence_that_names_the_row(llmkit, summarizer, tmp_path, rows, said):
    columns = ("--column", "text=document", "--column", "target=summary", "--task", "summarization")
    data, run = write_jsonl(tmp_path / "rows.jsonl", rows), tmp_path / "run"
    ran = llmkit("finetune", data, "-m", summarizer, "-o", run, *columns)
    assert ran.code == 2
    assert said in ran.error
    assert not run.exists()
    bad = write_jsonl(tmp_path / "bad.jsonl", [{**row, "prediction": ["a"]} for row in ROWS])
    wrong = llmkit("eval", write_jsonl(tmp_path / "good.jsonl", ROWS), "--predictions", bad)
    assert wrong.code == 2
    assert "predictions, row 1: a text is wanted" in wrong.error


def test_flags_of_translation_are_refused(llmkit, summarizer, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    ran = llmkit("eval", data, "-m", summarizer, "--task", "summarization", "--source", "en")
    assert ran.code == 2
    assert "--source is for translation, not for summarization" in ran.error


def test_files_are_summarized_by_the_usual_column(llmkit, summarizer, tmp_path):
    source = write_csv(tmp_path / "rows.csv", [{"n": "1", **row} for row in ROWS[:3]])
    ran = llmkit("generate", "-m", summarizer, "--input", source, "--max-new-tokens", 8)
    plain = written(summarizer, [row["document"] for row in ROWS[:3]], "sum: ", max_new_tokens=8)
    assert [row["completion"].strip() for row in ran.rows] == plain


@pytest.mark.parametrize("task", ["translation", "summarization"])
def test_a_chat_model_is_told_in_words(llmkit, models_root, tmp_path, task):
    folder = models_root / "chat-of-texts"
    if not folder.exists():
        tiny.llama_folder(folder, seed=3, chat_template=TEMPLATE)
    rows, text = (tiny.translations(9), "en") if task == "translation" else (ROWS[:9], "document")
    told = {"translation": "Translate from English to German:\n\n", "summarization": "Summarize:\n\n"}[task]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    plain = []
    for row in rows:
        ids = tokenizer(f"user: {told}{row[text]}\nassistant:", add_special_tokens=False, return_tensors="pt")
        made = model.generate(**ids, max_new_tokens=6, do_sample=False)[0, ids["input_ids"].shape[1] :]
        plain.append(whole_characters(tokenizer, made.tolist()).strip())
    found = []
    for size in (1, 4):
        kept = tmp_path / f"{size}.jsonl"
        ran = llmkit(
            "eval",
            data,
            "-m",
            folder,
            "--task",
            task,
            "--target-length",
            6,
            "--batch-size",
            size,
            "--json",
            "--save-predictions",
            kept,
        )
        assert ran.code == 0, ran.err
        assert ran.json["invariance"]["changed"] == 0
        found.append([json.loads(line)["prediction"] for line in kept.read_text().splitlines()])
    assert found == [plain, plain]
    flags = ("--source", "en", "--target", "de") if task == "translation" else ()
    shell = llmkit(
        "generate", *(row[text] for row in rows), "-m", folder, "--task", task, *flags, "--json", "--max-new-tokens", 6
    )
    assert [row["completion"].strip() for row in shell.rows] == plain


def test_a_decoder_without_a_chat_template_cannot_be_asked(llmkit, llama, tmp_path):
    ran = llmkit("eval", write_jsonl(tmp_path / "rows.jsonl", ROWS), "-m", llama, "--task", "summarization")
    assert ran.code == 2
    assert "without a chat template cannot be asked" in ran.error


def test_a_long_text_is_cut_so_that_a_chat_model_has_room(llmkit, models_root, tmp_path):
    folder = tiny.llama_folder(models_root / "long-chat", chat_template=TEMPLATE)
    rows = [{"document": "the fox was good and " * 20, "summary": "the fox"}, *ROWS[:3]]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    flags = ("--task", "summarization", "--target-length", 8, "--json")
    ran = llmkit("eval", data, "-m", folder, *flags)
    assert ran.code == 0, ran.err
    assert ran.json["max_length"] == tiny.CONTEXT - 8
