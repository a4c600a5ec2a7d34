"""The entities of a text are pieces of the user's own string, in any script and with any kind of tokenizer."""

from __future__ import annotations

import unicodedata

import pytest
import tiny
import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordPiece
from tokenizers.trainers import BpeTrainer, UnigramTrainer, WordPieceTrainer
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerFast

from llmkit.data.conversions.tagging.word_bounds import word_bounds, words_in
from llmkit.tasks.encoding.word_windows import word_windows

TEXTS = {
    "ru": "Анна Иванова живёт в Санкт-Петербурге, но Пётр — нет.",
    "ar": "وُلِدَتْ مريم في القاهرة، وتعيش في دُبَيّ.",
    "hi": "नरेन्द्र मोदी दिल्ली में रहते हैं।",
    "th": "สมชาย อยู่ที่ กรุงเทพมหานคร กับ น้ำผึ้ง",
    "ja": "山田太郎は東京タワーへ行った。",
    "ko": "김철수는 서울에서 산다.",
    "zh": "王小明住在北京市。",
    "de": "Jürgen Müller-Lüdenscheidt wohnt in Köln.",
    "emoji": "Anna \U0001f469\u200d\U0001f467 liebt \U0001f1e9\U0001f1ea Köln\U0001f44d\U0001f3fd !",
    "lines": "Anna\r\nlebt\tin\u00a0Rom\u2003und  Paris ",
    "decomposed": unicodedata.normalize("NFD", "Jürgen Müller é à Köln 김철수는 서울"),
    "compatible": "\uff21\uff4e\uff4e\uff41 \ufb01nds \u2460 in \uff76\uff85",
}
SPECIAL = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"]


def wordpiece() -> Tokenizer:
    """Lower case without accents, as BERT's."""
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(TEXTS.values(), WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL))
    return tokenizer


def unigram() -> Tokenizer:
    """With compatible characters written as one, as XLM-R's."""
    tokenizer = Tokenizer(Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = UnigramTrainer(vocab_size=300, special_tokens=SPECIAL, unk_token="[UNK]")
    tokenizer.train_from_iterator(TEXTS.values(), trainer)
    return tokenizer


def byte_level(spaced: bool) -> Tokenizer:
    """Bytes, which cut each character of other scripts into several tokens."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=270, special_tokens=SPECIAL, initial_alphabet=letters, show_progress=False)
    tokenizer.train_from_iterator(["hello anna"], trainer)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=spaced)
    return tokenizer


KINDS = {
    "wordpiece": wordpiece,
    "unigram": unigram,
    "bytes": lambda: byte_level(False),
    "roberta": lambda: byte_level(True),
}


@pytest.fixture(scope="module")
def taggers(tmp_path_factory):
    """A random tagger with each kind of tokenizer, whose tags lean to entities."""
    folders = {}
    for kind, made in KINDS.items():
        folder = tiny.bert_folder(tmp_path_factory.mktemp(kind), ["O", "B-PER", "I-PER"], "tagger", seed=1)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=made(), unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
        )
        model = AutoModelForTokenClassification.from_pretrained(folder)
        model.resize_token_embeddings(len(tokenizer))
        with torch.no_grad():
            model.classifier.weight.mul_(3)
            model.classifier.bias.copy_(torch.tensor([0.0, 0.3, 0.3]))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        folders[kind] = folder
    return folders


@pytest.mark.parametrize("kind", KINDS)
def test_entities_are_exactly_what_stands_between_their_ends(llmkit, taggers, kind):
    ran = llmkit("classify", *TEXTS.values(), "-m", taggers[kind], "--json")
    assert ran.code == 0, ran.err
    found = 0
    for text, row in zip(TEXTS.values(), ran.rows, strict=True):
        assert row["text"] == text
        bounds = word_bounds(text)
        for entity in row["entities"]:
            assert text[entity["start"] : entity["end"]] == entity["text"]
            assert entity["text"] == entity["text"].strip()
            assert entity["start"] in {start for start, _ in bounds}
            assert entity["end"] in {end for _, end in bounds}
            found += 1
    assert found > len(TEXTS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [24, 512])
def test_each_word_is_judged_by_one_token_in_any_script(kind, size):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=KINDS[kind](), unk_token="[UNK]", pad_token="[PAD]")
    for name, text in TEXTS.items():
        words = words_in(text)
        assert [text[start:end] for start, end in word_bounds(text)] == words
        windows = list(word_windows([words], tokenizer, size))
        assert {word for window in windows for word in window.words} - {-1} == set(range(len(words))), name
        for window in windows:
            firsts = [word for word in window.words if word >= 0]
            assert firsts == sorted(set(firsts)), name


def test_combining_marks_stay_with_their_letters():
    assert words_in(TEXTS["hi"])[:2] == ["नरेन्द्र", "मोदी"]
    assert words_in(TEXTS["ar"])[0] == "وُلِدَتْ"
    assert words_in(TEXTS["decomposed"])[0] == unicodedata.normalize("NFD", "Jürgen")
