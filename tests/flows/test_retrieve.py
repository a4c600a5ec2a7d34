from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from conftest import write_jsonl

import llmkit as package
from llmkit.inference import cache
from llmkit.inference.embedding import Embedder
from llmkit.models.tokenizer_training import train_bpe

CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
PARAGRAPHS = [f"the {thing} was {word} and the {thing} was {word}" for thing in tiny.THINGS for word in tiny.GOOD[:3]]
INSTRUCTION = "Answer the question from these passages alone. If they do not hold the answer, say so."


@pytest.fixture(scope="module")
def chat(models_root) -> Path:
    """A random Llama that takes 512 tokens and has a chat template."""
    return wide_llama(models_root / "chat", CHAT)


def wide_llama(folder: Path, template: str | None) -> Path:
    tiny.llama_folder(folder, chat_template=template)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 512}))
    tokenizer = train_bpe(tiny.SENTENCES, 400, 512)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def texts(tmp_path) -> Path:
    """A folder of two texts; the encoder reads 64 tokens, so each of their paragraphs is a passage."""
    folder = tmp_path / "texts"
    folder.mkdir()
    half = len(PARAGRAPHS) // 2
    long = [" ".join([f"{paragraph}."] * 4) for paragraph in PARAGRAPHS]
    (folder / "a.txt").write_text("\n\n".join(long[:half]))
    (folder / "b.md").write_text("\n\n".join(long[half:]))
    return folder


@pytest.fixture
def ask(llmkit, texts, encoder, chat):
    """Ask the texts: `ask("question", "--json")`."""

    def run(*arguments: object, folder: object = None, model: Path | None = None, stdin: str | None = None):
        own = ("--retrieve", folder or texts, "--embedder", encoder, "-m", model or chat, "--max-new-tokens", 4)
        return llmkit("generate", *own, *arguments, stdin=stdin)

    return run


def nearest(question: str, folder: Path, encoder: Path, count: int) -> list[tuple[str, int, int, float]]:
    """Return file, start, end and cosine of the paragraphs nearest to a question, from `llmkit.embed` alone."""
    found = []
    for file in sorted(folder.iterdir()):
        text, start = file.read_text(), 0
        for paragraph in text.split("\n\n"):
            start = text.index(paragraph, start)
            one, other = package.embed([question, paragraph], model=str(encoder))
            found.append((file.name, start, start + len(paragraph), float(one @ other)))
    return sorted(found, key=lambda source: -source[3])[:count]


def test_the_nearest_passages_are_found_and_named(ask, texts, encoder):
    question = "the fox was lovely"
    ran = ask(question, "--dry-run", "--json", "--passages", 5)
    assert ran.code == 0, ran.err
    (row,) = ran.rows
    assert row["prompt"] == question
    expected = nearest(question, texts, encoder, 5)
    assert [(one["file"], one["start"], one["end"]) for one in row["sources"]] == [one[:3] for one in expected]
    assert [one["score"] for one in row["sources"]] == pytest.approx([one[3] for one in expected], abs=1e-6)
    for one in row["sources"]:
        assert one["text"] == (texts / one["file"]).read_text()[one["start"] : one["end"]]
    assert "30 passages of 2 texts, all to embed" in ran.err


def test_the_prompt_holds_the_passages_and_the_answer_its_sources(ask, llmkit, texts, chat, tmp_path):
    question = "the song was bright"
    (row,) = ask(question, "--json").rows
    assert len(row["sources"]) == 3
    blocks = [f"[{number}] {one['file']}\n{one['text']}" for number, one in enumerate(row["sources"], start=1)]
    prompt = "\n\n".join([INSTRUCTION, *blocks, f"Question: {question}"])
    plain = llmkit("generate", prompt, "-m", chat, "--max-new-tokens", 4, "--json")
    assert row == {"prompt": question, "completion": plain.json["completion"], "sources": row["sources"]}
    ran = ask(question)
    assert ran.out == row["completion"] + "\n"
    named = [line for line in ran.err.splitlines() if line.startswith("source ")]
    assert named == [
        f"source {n}: {one['file']}, characters {one['start']} to {one['end']}, score {one['score']:.3f}"
        for n, one in enumerate(row["sources"], start=1)
    ]
    bare = wide_llama(tmp_path / "bare", None)
    (row,) = ask(question, "--json", model=bare).rows
    plain = llmkit("generate", f"{prompt}\nAnswer:", "-m", bare, "--max-new-tokens", 4, "--json")
    assert row["completion"] == plain.json["completion"]


def test_a_terminal_streams_the_answer_and_names_the_sources(on_terminal, ask, texts, encoder, chat):
    (row,) = ask("a song", "--json").rows
    line = ("generate", "a song", "--retrieve", texts, "--embedder", encoder, "-m", chat, "--max-new-tokens", 4)
    ran = on_terminal(*line)
    assert ran.out.rstrip("\n") == row["completion"].rstrip("\n")
    assert ran.err.count("\nsource ") == 3
    shown = on_terminal(*line, "--dry-run")
    assert "passage" in shown.out
    assert "dry run: 3 of 3 passages fit the 512 tokens" in shown.err


def test_questions_of_a_file_get_an_answer_and_sources_each(ask, tmp_path):
    questions = ["the fox was good", "a garden", "the king"]
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": n, "prompt": text} for n, text in enumerate(questions)])
    out = tmp_path / "out.jsonl"
    assert ask("--input", source, "-o", out, "--batch-size", 1).code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    alone = [{"id": n, **ask(text, "--json").json} for n, text in enumerate(questions)]
    for row, expected in zip(rows, alone, strict=True):
        assert (row["id"], row["prompt"], row["completion"]) == tuple(
            expected[name] for name in ("id", "prompt", "completion")
        )
        assert [one["text"] for one in row["sources"]] == [one["text"] for one in expected["sources"]]
    assert "holds 3 of 3 rows already" in ask("--input", source, "-o", out, "--batch-size", 1).err
    assert "another command wrote it" in ask("--input", source, "-o", out, "--passages", 2).error


def test_only_what_changed_is_embedded_again(ask, texts, monkeypatch):
    embedded: list[str] = []
    vectors = Embedder.vectors

    def counted(self, texts, *rest, **more):
        embedded.extend(texts)
        return vectors(self, texts, *rest, **more)

    monkeypatch.setattr(Embedder, "vectors", counted)
    first = ask("a song", "--dry-run", "--json")
    assert len(embedded) == 31
    embedded.clear()
    again = ask("a song", "--dry-run", "--json")
    assert embedded == ["a song"]
    assert again.out == first.out
    assert "all cached" in again.err

    text = (texts / "a.txt").read_text()
    changed = text.replace(text.split("\n\n")[2], "the day was cruel and the day was sad and the day was bitter. " * 3)
    (texts / "a.txt").write_text(changed)
    (texts / "b.md").rename(texts / "c.md")
    embedded.clear()
    ran = ask("a song", "--dry-run", "--json")
    assert len(embedded) == 2
    assert "cruel" in embedded[0]
    assert "1 of them to embed" in ran.err


def test_what_was_embedded_in_another_way_is_not_taken(ask, texts, encoder, chat, llmkit, tmp_path):
    ask("a song", "--dry-run")
    other = tiny.bert_folder(tmp_path / "other", kind="encoder", seed=5)
    line = ("generate", "a song", "--retrieve", texts, "-m", chat, "--dry-run", "--json")
    assert "all to embed" in llmkit(*line, "--embedder", other).err
    pooled = shutil.copytree(encoder, tmp_path / "pooled")
    (pooled / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 62}))
    assert "all to embed" in llmkit(*line, "--embedder", pooled).err
    copied = shutil.copytree(encoder, tmp_path / "copied")  # the same files in another place are the same model
    assert "all cached" in llmkit(*line, "--embedder", copied).err
    assert [entry.about["task"] for entry in cache.entries()] == ["embeddings"] * 3


def test_a_dataset_with_titles_names_them(ask, tmp_path):
    rows = [{"title": f"Tale {n}", "text": paragraph} for n, paragraph in enumerate(PARAGRAPHS)]
    data = write_jsonl(tmp_path / "tales.jsonl", rows)
    ran = ask(PARAGRAPHS[7], "--json", folder=data)
    best = ran.json["sources"][0]
    assert best == {
        "file": str(data),
        "row": 8,
        "title": "Tale 7",
        "start": 0,
        "end": len(PARAGRAPHS[7]),
        "score": pytest.approx(1.0),
        "text": PARAGRAPHS[7],
    }
    assert f"source 1: Tale 7 ({data}, row 8), characters 0 to" in ran.err


def test_as_many_passages_as_fit_are_used_and_said(ask):
    fit = ask("a song", "--passages", 20, "--json")
    assert fit.code == 0, fit.err
    assert 3 < len(fit.json["sources"]) < 20
    assert f"the prompt: {len(fit.json['sources'])} of 20 passages fit the 512 tokens" in fit.err
    assert len(ask("a song", "--passages", 99, "--dry-run", "--json").json["sources"]) == 30


def test_an_answer_for_which_little_room_is_left_is_warned_of(ask):
    ran = ask("a song", "--passages", 1, "--max-new-tokens", 500)
    assert ran.code == 0
    assert "the prompt, with its passages, leaves room for" in ran.err


def test_a_model_that_not_even_one_passage_fits_is_refused(ask, llama):
    ran = ask("a song", model=llama)
    assert ran.code == 2
    assert "with the nearest passage" in ran.error
    assert "takes 64; -m names a model that takes more" in ran.error
    assert "passages fit" not in ran.err
    assert ask("a song", "--dry-run", "--json", model=llama).code == 0


def test_prompts_for_questions_and_passages_are_those_of_the_embedder(llmkit, texts, encoder, chat, tmp_path):
    own = shutil.copytree(encoder, tmp_path / "own")
    prompts = {"prompts": {"query": "the king ", "document": "river: "}}
    (own / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    line = ("--retrieve", texts, "--embedder", own, "-m", chat, "--dry-run", "--json")
    source = llmkit("generate", "was good", *line).json["sources"][0]
    question, passage = package.embed(["the king was good", f"river: {source['text']}"], model=str(encoder))
    assert source["score"] == pytest.approx(float(question @ passage), abs=1e-6)
    assert not np.allclose(question, package.embed("was good", model=str(encoder))[0])


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (("q", "--retrieve", "./absent"), 2, "no such folder or file"),
        (("q", "--retrieve", ""), 2, "--retrieve must not be empty"),
        (("q", "--retrieve", "{empty}"), 5, "there is no text in it"),
        (("q", "--retrieve", "{texts}", "--passages", "0"), 2, "--passages must be at least 1"),
        (("q", "--retrieve", "{texts}", "--embedder", "./absent"), 2, "there is no model folder './absent'"),
        (("q", "--passages", "2", "--embedder", "x"), 2, "--passages is for --retrieve"),
        (("fox " * 90, "--retrieve", "{texts}"), 2, "the prompt has more tokens than"),
        ((" ", "--retrieve", "{texts}"), 2, "the prompt is empty"),
        (("q", "--retrieve", "{texts}", "-m", "{translator}"), 2, "translation takes none"),
        (("the [MASK]", "--retrieve", "{texts}", "-m", "{masked}"), 2, "masked-lm takes none"),
    ],
)
def test_wrong_use_is_one_sentence(llmkit, texts, encoder, chat, masked, translator, tmp_path, line, code, words):
    (tmp_path / "empty").mkdir()
    places = {"texts": texts, "masked": masked, "translator": translator, "empty": tmp_path / "empty"}
    line = [word.format(**places) for word in line]
    more = [] if "--embedder" in line else ["--embedder", encoder]
    ran = llmkit("generate", *line, *more, *([] if "-m" in line else ["-m", chat]))
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.error
