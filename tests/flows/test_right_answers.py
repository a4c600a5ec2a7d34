"""Whole commands of which the right answer is known: one row each, whose value is computed beside it.

Most kinds of wrong answers have tests in the room that they belong to; these are the ones that only a command shows.
"""

from __future__ import annotations

import io
import json
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sacrebleu
import tiny
import torch
from conftest import write_jsonl
from evaluating import values
from peft_adapters import QUERY, make
from plain_text import BYTES, whole_characters
from rouge_score.rouge_scorer import RougeScorer
from test_generate import plain_generate
from test_retrieve import INSTRUCTION, wide_llama
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmkit.metrics.texts.rouge import Tokenizer

Models = Mapping[str, Path]
DEAF = tiny.CHAT.replace("for m in messages", "for m in messages if m.role != 'system'")
MUTE = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + tiny.CHAT
SPELLED = "the fox <|endoftext|>a: was"
SENTENCES = {
    "Russian": ["Кошка спит дома.", "Мама мыла раму."],
    "Arabic": ["القطة تنام في البيت", "يشرب الولد الماء"],
    "Hindi": ["बिल्ली घर में सोती है।", "लड़का पानी पीता है।"],
    "Thai": ["แมวนอนที่บ้าน", "เด็กดื่มน้ำ"],
    "Japanese": ["ねこがねています", "今日は雨です。"],
    "Korean": ["고양이가 집에서 잔다.", "소년이 물을 마신다."],
    "Chinese": ["猫在家里睡觉。", "男孩喝水。"],
    "German": ["Die Katze schläft zu Hause.", "Der Junge trinkt Wasser."],
}


@dataclass(frozen=True)
class Case:
    """A command, what stderr says, the exit code, and what is right on stdout: of models, `found` reads it."""

    command: str
    said: str = ""
    code: int = 0
    right: Callable[[Models], object] | None = None
    files: Mapping[str, object] = field(default_factory=dict)
    stdin: bytes | None = None


def spoiled(folder: Path, llama: Path) -> dict[str, Path]:
    """Copies of a Llama: one whose tokenizer ends each text, and one that writes the first byte of a smile alone."""
    ending, cutting = (shutil.copytree(llama, folder / name) for name in ("ending", "cutting"))
    file = ending / "tokenizer.json"
    parts = json.loads(file.read_text("utf-8"))
    single = parts["post_processor"]["single"]
    single.append(next(piece for piece in single if "SpecialToken" in piece))
    file.write_text(json.dumps(parts), "utf-8")
    tokenizer, file = AutoTokenizer.from_pretrained(llama), cutting / "generation_config.json"
    assert AutoTokenizer.from_pretrained(ending)("the")["input_ids"][-1] == tokenizer.eos_token_id
    lead = next(sign for sign, byte in BYTES.items() if byte == "\N{GRINNING FACE}".encode()[0])
    others = [number for token, number in tokenizer.get_vocab().items() if token != lead]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"suppress_tokens": others}))
    return {"ending": ending, "cutting": cutting}


@pytest.fixture(scope="module")
def models(tmp_path_factory, llama, assistant, encoder) -> Models:
    """The models that the commands name; made anew where a worker comes back to this file."""
    folder = tmp_path_factory.mktemp("right-answers")
    templates = {"deaf": DEAF, "mute": MUTE}
    made = {name: tiny.llama_folder(folder / name, chat_template=text) for name, text in templates.items()}
    made["wide"] = wide_llama(folder / "wide", tiny.CHAT)
    for name in ("untied", "adapter"):
        make(llama, folder / name, "Lora", {**QUERY, "modules_to_save": ["embed_tokens"] if name == "untied" else None})
    made |= {name: folder / name for name in ("untied", "adapter")}
    return {**made, **spoiled(folder, llama), "llama": llama, "assistant": assistant, "encoder": encoder}


def written(folder: Path, ids: Sequence[int], tokens: int = 8) -> str:
    """What transformers alone writes after these tokens."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    inputs = torch.tensor([ids])
    with torch.inference_mode():
        made = model.generate(inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=tokens, do_sample=False)
    return whole_characters(tokenizer, made[0][len(ids) :].tolist(), list(ids))


def answered(folder: Path, content: str, tokens: int = 8, split: bool = True) -> str:
    """What transformers answers to a turn of `tiny.CHAT`, whose text is encoded apart from the end of the turn."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turn = tokenizer(f"u:{content}", split_special_tokens=split, add_special_tokens=False)["input_ids"]
    ids = [*turn, tokenizer.eos_token_id, *tokenizer("a:", add_special_tokens=False)["input_ids"]]
    return written(folder, ids, tokens)


def scored(references: Sequence[str], guesses: Sequence[str], metrics: str, right: dict[str, object], said="") -> Case:
    """A file of predictions that is measured."""
    rows = [{"id": number, "src": f"s{number}", "ref": text} for number, text in enumerate(references)]
    guessed = [{"id": number, "prediction": text} for number, text in enumerate(guesses)]
    flags = " ".join(f"--metric {name}" for name in metrics.split())
    return Case(
        f"eval rows.jsonl --predictions guessed.jsonl --column reference=ref text=src {flags} --json",
        said,
        right=lambda models: right,
        files={"rows.jsonl": rows, "guessed.jsonl": guessed},
    )


def kana() -> Case:
    """BLEU and TER of Japanese without a Chinese character, where one word differs."""
    texts, guesses = ["わたしはみずをのみます", "ねこがねています"], ["わたしはおちゃをのみます", "ねこがねています"]
    spaced = [[" ".join(text) for text in several] for several in (guesses, texts)]
    bleu = sacrebleu.BLEU(tokenize="char").corpus_score(guesses, [texts]).score
    ter = sacrebleu.TER().corpus_score(spaced[0], [spaced[1]]).score
    assert 50 < bleu < 100
    right = {"bleu": pytest.approx(bleu), "ter": pytest.approx(ter)}
    return scored(texts, guesses, "bleu ter", right, "tokenizer char, as the references are Japanese")


def shortened(texts: Sequence[str]) -> Case:
    """ROUGE of texts without their ends."""
    guesses = [text[: len(text) * 3 // 4] for text in texts]
    scorer = RougeScorer(["rouge1", "rougeL"], tokenizer=Tokenizer())
    scores = [scorer.score(text, guess) for text, guess in zip(texts, guesses, strict=True)]
    means = {name: sum(score[name].fmeasure for score in scores) / len(scores) for name in ("rouge1", "rougeL")}
    assert all(0.2 < mean < 1 for mean in means.values())
    return scored(texts, guesses, "rouge1 rougeL", {name: pytest.approx(mean) for name, mean in means.items()})


def equal(texts: Sequence[str]) -> Case:
    """All figures of texts that are their references."""
    hundred = pytest.approx(100)
    right = {"rouge1": 1, "rougeL": 1, "exact_match": 1, "ter": 0, "bleu": hundred, "chrf": hundred}
    return scored(texts, texts, " ".join(right), right)


def passage(models: Models) -> str:
    prompt = "\n\n".join([INSTRUCTION, f"[1] notes.txt\n{SPELLED}", "Question: who was?"])
    return answered(models["wide"], prompt, 4)


FEW = "--max-new-tokens 8 --json"
PROMPTS = {"p.jsonl": [{"prompt": SPELLED}, {"prompt": "hi"}]}
KEPT = "which stays text; --no-split-special-tokens"
CASES = {
    "bleu of kana": kana(),
    **{f"rouge of {language}": shortened(texts) for language, texts in SENTENCES.items()},
    **{f"all right in {language}": equal(texts) for language, texts in SENTENCES.items()},
    "cut character": Case("generate fox -m {cutting} --max-new-tokens 1 --json", right=lambda models: [""]),
    "cut characters": Case(
        f"generate fox -m {{cutting}} {FEW}", right=lambda models: [plain_generate(models["cutting"], "fox", 8)]
    ),
    "tokenizer that ends a text": Case(
        f"generate 'the fox' 'a king was' -m {{ending}} {FEW}",
        right=lambda models: [plain_generate(models["llama"], text, 8) for text in ("the fox", "a king was")],
    ),
    "dropped system": Case(f"generate hi -m {{deaf}} --system 'Be brief' {FEW}", "drops the system message", 2),
    "refused system": Case(f"generate hi -m {{mute}} --system 'Be brief' {FEW}", "system message", 2),
    "end of a turn in a file": Case(
        f"generate -i p.jsonl -m {{assistant}} {FEW}",
        KEPT,
        right=lambda models: [answered(models["assistant"], text) for text in (SPELLED, "hi")],
        files=PROMPTS,
    ),
    "end of a turn that is meant": Case(
        f"generate -i p.jsonl -m {{assistant}} --no-split-special-tokens {FEW}",
        right=lambda models: [answered(models["assistant"], text, split=False) for text in (SPELLED, "hi")],
        files=PROMPTS,
    ),
    "end of a turn in a passage": Case(
        "generate 'who was?' --retrieve notes.txt --embedder {encoder} -m {wide} --max-new-tokens 4 --json",
        right=lambda models: [passage(models)],
        files={"notes.txt": SPELLED},
    ),
    "chat in the C locale": Case(
        "chat -m {assistant} --max-new-tokens 3 --json",
        "line 1 of standard input is not utf-8",
        2,
        stdin=b"caf\xe9\nhello\n",
    ),
    "merge of untied weights": Case("merge {untied} -o merged --json", right=lambda models: 1.0),
    "push of a merged model": Case("push {merged} me/x --dry-run --json", right=lambda models: True),
}


def found(verb: str, out: str) -> object:
    """What stdout holds: figures by their names, the texts that were written, an agreement, or a model to upload."""
    if verb == "generate":
        return [json.loads(line)["completion"] for line in out.splitlines()]
    document = json.loads(out)
    if verb == "push":
        return {"model.safetensors", "README.md"} <= {one["path"] for one in document["uploaded"]}
    return values(document) if verb == "eval" else document["agreement"]


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings:UserWarning")  # of peft, when the models are made
@pytest.mark.parametrize("name", CASES)
def test_the_answer_is_the_right_one(llmkit, models, tmp_path, monkeypatch, recwarn, name):
    case = CASES[name]
    monkeypatch.chdir(tmp_path)
    for file, content in case.files.items():
        if isinstance(content, str):
            (tmp_path / file).write_text(content, "utf-8")
        else:
            write_jsonl(tmp_path / file, content)
    if case.stdin is not None:
        stream = io.TextIOWrapper(io.BytesIO(case.stdin), encoding="ascii", errors="surrogateescape")
        monkeypatch.setattr("sys.stdin", stream)
    if "{merged}" in case.command:
        assert llmkit("merge", models["adapter"], "-o", tmp_path / "merged").code == 0
    ran = llmkit(*shlex.split(case.command.format(**models, merged=tmp_path / "merged")))
    assert ran.code == case.code, ran.err
    assert case.said in (ran.error if case.code else ran.err)
    if case.right is None:
        assert ran.out == ""
    else:
        assert found(case.command.split()[0], ran.out) == case.right(models)
    assert [str(one.message) for one in recwarn if "peft" in one.filename] == []
