"""The tokenizer of BLEU and TER: chosen by script, named by --tokenize, kept in the result, one for both sides."""

from __future__ import annotations

import importlib.util
import json

import pytest
import sacrebleu
from conftest import write_jsonl

THAI = ["ฉันไปโรงเรียนเมื่อวานนี้", "เด็กดื่มน้ำที่กรุงเทพ", "แมวนอนอยู่บนโต๊ะ"]
GUESSES = ["ฉันไปโรงเรียนวันนี้", "เด็กดื่มน้ำที่กรุงเทพ", "แมวนอนอยู่ในบ้าน"]
RUSSIAN = ["Мама мыла раму вчера.", "Кот спит на столе.", "Объём «Правды» растёт."]
REMARK = "bleu and ter: tokenizer char, as the references are Thai; --tokenize names another"


def files(folder, references, guesses, **columns):
    cells = [{name: column[row] for name, column in columns.items()} for row in range(len(references))]
    rows = [{"src": f"s{row}", "ref": text, **cells[row]} for row, text in enumerate(references)]
    data = write_jsonl(folder / "rows.jsonl", rows)
    return data, write_jsonl(
        folder / "guesses.jsonl", [{"src": f"s{row}", "prediction": text} for row, text in enumerate(guesses)]
    )


@pytest.fixture
def score(llmkit, tmp_path):
    def run(references, guesses, *flags, **columns):
        data, kept = files(tmp_path, references, guesses, **columns)
        usual = ("--predictions", kept, "--column", "reference=ref", "--column", "text=src", "--resamples", 100)
        return llmkit("eval", data, *usual, *flags)

    return run


def named(*metrics):
    return [flag for metric in metrics for flag in ("--metric", metric)]


def test_thai_is_scored_by_its_characters_and_that_is_said_once(score):
    ran = score(THAI, GUESSES, *named("bleu", "ter", "chrf", "rouge1"), "--json")
    found = ran.json["metrics"]
    by_characters = [[" ".join(text) for text in texts] for texts in (GUESSES, THAI)]
    assert found["bleu"]["value"] == pytest.approx(sacrebleu.BLEU(tokenize="char").corpus_score(GUESSES, [THAI]).score)
    edits = sacrebleu.TER().corpus_score(by_characters[0], [by_characters[1]]).score
    assert found["ter"]["value"] == pytest.approx(edits)
    assert 0 < edits < 50
    assert found["bleu"]["low"] < found["bleu"]["high"]
    assert "tok:char" in found["bleu"]["signature"]
    assert "tok:char" in found["ter"]["signature"]
    assert "tok:unicode" in found["rouge1"]["signature"]
    assert ran.err.splitlines().count(REMARK) == 1


@pytest.mark.parametrize(
    ("texts", "flags"),
    [(THAI, named("chrf", "rougeL")), (RUSSIAN, named("bleu", "ter")), (THAI, (*named("bleu"), "--tokenize", "char"))],
)
def test_nothing_is_said_of_the_usual_tokenizer_or_of_one_that_is_named_or_not_read(score, texts, flags):
    ran = score(texts, texts, *flags)
    assert ran.code == 0, ran.err
    assert "tokenizer" not in ran.err


def test_of_a_mixture_the_shares_are_said(score):
    ran = score(["a b c d", "e f g h", "漢字"], ["a b c d"] * 3, *named("bleu"))
    assert "bleu: tokenizer 13a, as the references are 80% in words with spaces and 20% Chinese" in ran.err
    ran = score(["a b", "漢字漢字"], ["a b"] * 2, *named("ter"))
    assert "ter: tokenizer zh, as the references are 67% Chinese and 33% in words with spaces" in ran.err


@pytest.mark.parametrize("name", ["13a", "intl", "zh", "char", "none"])
def test_the_named_tokenizer_is_sacrebleus_for_both_metrics(score, name):
    texts, guesses = ["Die Straße, 3-mal «größer»!", "漢字 ist alt"], ["Die Straße 3-mal «groß»!", "漢学 ist alt"]
    ran = score(texts, guesses, *named("bleu", "ter"), "--tokenize", name, "--json")
    bleu = sacrebleu.BLEU(tokenize=name, force=True)
    assert ran.json["metrics"]["bleu"]["value"] == pytest.approx(bleu.corpus_score(guesses, [texts]).score)
    assert ran.json["metrics"]["bleu"]["signature"] == str(bleu.get_signature())
    if name in {"intl", "char"}:
        pieces = [[bleu.tokenizer(text) for text in several] for several in (guesses, texts)]
        wanted = sacrebleu.TER().corpus_score(pieces[0], [pieces[1]]).score
    else:
        wanted = sacrebleu.TER(normalized=name == "zh", asian_support=name == "zh").corpus_score(guesses, [texts]).score
    assert ran.json["metrics"]["ter"]["value"] == pytest.approx(wanted)


def test_russian_and_thai_go_through_gates_and_a_baseline(score, tmp_path):
    metrics = named("rouge1", "rougeL", "exact_match", "bleu")
    for texts, other in ((RUSSIAN, "другие слова тут"), (THAI, "แมว")):
        old = tmp_path / "old.json"
        assert score(texts, [other] * 3, *metrics, "-o", old).code == 0
        flags = ("--baseline", old, "--fail-under", "rouge1=1", "--fail-under", "bleu=99", "--max-drop", "rougeL=0")
        ran = score(texts, texts, *metrics, *flags, "--json")
        assert ran.code == 0, ran.err
        assert ran.json["metrics"]["rouge1"]["value"] == ran.json["metrics"]["rougeL"]["value"] == 1
        assert ran.json["baseline"]["metrics"]["rouge1"]["difference"] > 0.5
        missed = score(texts, [other] * 3, *metrics, "--fail-under", "rouge1=0.9")
        assert missed.code == 1


def test_two_tokenizers_are_not_compared(score, llmkit, tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    assert score(THAI, GUESSES, *named("bleu", "chrf"), "-o", old).code == 0
    assert json.loads(old.read_text())["rows"]["tokenizer"] == "char"
    flags = (*named("bleu", "chrf"), "--tokenize", "13a")
    assert score(THAI, THAI, *flags, "-o", new).code == 0
    both = (f"bleu cannot be compared: {str(old)!r} is of the tokenizer char", "--tokenize char or 13a")
    for ran in (llmkit("compare", old, new), score(THAI, THAI, *flags, "--baseline", old)):
        assert ran.code == 2
        assert all(part in ran.error for part in both)
    assert llmkit("compare", old, new, "--metric", "chrf").code == 0
    assert score(THAI, THAI, *named("bleu"), "--baseline", old).code == 0
    assert score(THAI, THAI, *named("bleu"), "--tokenize", "13a", "--baseline", new).code == 0


def test_a_slice_is_read_as_the_whole_is(score):
    texts = [*THAI, "the cat sat on"]
    ran = score(texts, texts, *named("bleu"), "--slice", "kind", "--json", kind=["a", "a", "a", "b"])
    slices = ran.json["slices"]["kind"]["values"]
    assert {part["metrics"]["bleu"]["signature"] for part in slices.values()} == {
        ran.json["metrics"]["bleu"]["signature"]
    }


def test_a_tokenizer_that_nothing_reads_is_refused(score, llmkit, tmp_path):
    ran = score(THAI, GUESSES, *named("chrf"), "--tokenize", "char")
    assert (ran.code, ran.error.count("--metric bleu")) == (2, 1)
    labels = write_jsonl(tmp_path / "labels.jsonl", [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(6)])
    guesses = write_jsonl(
        tmp_path / "labelled.jsonl", [{"text": f"text {n}", "prediction": "ab"[n % 2]} for n in range(6)]
    )
    ran = llmkit("eval", labels, "--predictions", guesses, "--tokenize", "char")
    assert ran.code == 2
    assert "--tokenize char is for bleu, ter, no metrics of these rows: leave it out" in ran.error
    assert score(THAI, GUESSES, *named("bleu"), "--tokenize", "klingon").code == 2
    ran = llmkit("eval", "lm-eval:piqa", "-m", "none", "--tokenize", "char")
    assert ran.code == 2
    assert "--tokenize: lm-eval's benchmarks choose" in ran.error


@pytest.mark.parametrize(
    ("name", "module", "package"),
    [
        ("ja-mecab", "MeCab", "sacrebleu[ja]"),
        ("ko-mecab", "mecab_ko", "sacrebleu[ko]"),
        ("flores200", "sentencepiece", "sentencepiece"),
        ("spm", "sentencepiece", "sentencepiece"),
    ],
)
def test_a_package_that_is_missing_is_named(score, monkeypatch, name, module, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda wanted, *more: None if wanted == module else find(wanted))
    ran = score(THAI, GUESSES, *named("bleu"), "--tokenize", name)
    assert ran.code == 2
    assert f"--tokenize {name} needs {module}" in ran.error
    assert ran.error.rstrip().endswith(f'pip install "{package}"')


def test_a_model_of_a_tokenizer_is_read_from_where_sacrebleu_keeps_it(score, monkeypatch, tmp_path):
    import sentencepiece
    from sacrebleu.tokenizers import tokenizer_spm

    monkeypatch.setattr(tokenizer_spm, "SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    flags = (*named("bleu", "ter"), "--tokenize", "flores200", "--json")
    model = tmp_path / "models" / "flores200sacrebleuspm"
    ran = score(THAI, GUESSES, *flags)
    assert ran.code == 2
    assert f"needs the model {str(model)!r}, which sacrebleu downloads" in ran.error
    model.parent.mkdir()
    model.write_bytes(b"no model")
    ran = score(THAI, GUESSES, *flags)
    assert ran.code == 2
    assert "--tokenize flores200 cannot be opened" in ran.error
    lines, made = tmp_path / "lines.txt", tmp_path / "made"
    lines.write_text("\n".join(THAI * 5), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(lines), model_prefix=str(made), vocab_size=50, hard_vocab_limit=False, minloglevel=2
    )
    model.write_bytes(made.with_suffix(".model").read_bytes())
    ran = score(THAI, GUESSES, *flags)
    wanted = sacrebleu.BLEU(tokenize="flores200").corpus_score(GUESSES, [THAI]).score
    assert ran.json["metrics"]["bleu"]["value"] == pytest.approx(wanted)
    assert "tok:flores200" in ran.json["metrics"]["ter"]["signature"]


def test_a_model_and_the_model_that_is_its_baseline_are_read_by_one_tokenizer(llmkit, t5, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", [{"en": f"the fox {n}", "th": text} for n, text in enumerate(THAI)])
    flags = ("-m", t5, "--source", "en", "--target", "th", *named("bleu"), "--resamples", 100, "--json")
    usual = llmkit("eval", data, *flags)
    assert usual.err.splitlines().count(REMARK.replace("bleu and ter", "bleu")) == 1
    assert "tok:char" in usual.json["metrics"]["bleu"]["signature"]
    ran = llmkit("eval", data, *flags, "--tokenize", "intl", "--baseline", t5)
    assert ran.code == 0, ran.err
    assert "tok:intl" in ran.json["metrics"]["bleu"]["signature"]
    assert ran.json["baseline"]["metrics"]["bleu"]["difference"] == 0
    assert "tokenizer char" not in ran.err
