"""Metrics of texts in eight languages, each against its named reference: sacrebleu, rouge_score, the script of MLQA."""

from __future__ import annotations

import random
import string
import unicodedata
from collections import Counter

import pytest
import rouge_score.rouge_scorer
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from resolving import metric

from llmkit import metrics
from llmkit.metrics.observations import AnswerTexts, Texts
from llmkit.metrics.texts import rouge, scripts
from llmkit.metrics.texts.rouge import Tokenizer
from llmkit.metrics.texts.scripts import script_shares, usual_tokenizer
from llmkit.metrics.texts.squad import answer_tokens

WORDS = {
    "ru": ["Мама", "мыла", "раму", "вчера", "вечером", "ёлка", "«Правда»", "3,5", "кот", "и", "объём", "—"],
    "ar": ["ذهب", "الولد", "إلى", "المدرسة", "مُعَلِّم", "كتاب", "جديد", "؟", "،", "٢٥", "في", "القاهرة"],
    "hi": ["लड़का", "स्कूल", "गया", "हिन्दी", "में", "क्षेत्र", "२५", "।", "किताब", "नहीं", "है", "दिल्ली"],
    "th": ["ฉัน", "ไป", "โรงเรียน", "น้ำ", "เมื่อ", "วาน", "นี้", "กรุงเทพ", "ที่", "๒๕", "เด็ก", " "],
    "ja": ["私は", "きのう", "学校へ", "行きました", "、", "東京", "テスト", "ラーメン", "。", "を", "食べた", "は"],
    "ko": ["나는", "어제", "학교에", "갔다", "책을", "읽었다", "서울", "그리고", "친구와", "좋은", "3.5", "날"],
    "zh": ["我", "昨天", "去", "学校", "\uff0c", "北京", "大学", "学习", "。", "的", "朋友", "电影"],
    "de": ["Der", "Bär", "läuft", "über", "die", "Straße", "größer", "und", "3,5", "Köln", "geht's", "schön."],
}
TOKENIZER = {"zh": "zh", "ja": "char", "th": "char"}  # the others: 13a
SPACELESS = ("CJK UNIFIED", "HIRAGANA", "KATAKANA", "THAI CHARACTER")


def text_of(words, language):
    return ("" if language in TOKENIZER else " ").join(words).strip()


def edited(draw, words, language):
    """Return words of which some behind the first are left out, replaced or said again elsewhere."""
    found = list(words)
    for _ in range(draw.randint(0, 3)):
        at = draw.randrange(1, len(found) + 1)
        found[at : at + 1] = draw.choice(
            [[], [draw.choice(WORDS[language])], [*found[at : at + 1], draw.choice(found)]]
        )
    return found


def cases(language):
    """Return 200 rows: a prediction, and one or two references, of three to nine words."""
    draw = random.Random(f"scripts {language}")
    rows = []
    for _ in range(200):
        words = [WORDS[language][draw.randrange(4)], *draw.choices(WORDS[language], k=draw.randint(2, 8))]
        several = [words, *([edited(draw, words, language)] if draw.random() < 0.3 else [])]
        rows.append((edited(draw, words, language), several))
    predicted = tuple(text_of(words, language) for words, _ in rows)
    return Texts(predicted, tuple(tuple(text_of(words, language) for words in several) for _, several in rows))


CASES = {language: cases(language) for language in WORDS}
EACH = pytest.mark.parametrize("language", WORDS)


def is_alone(letter):
    return unicodedata.category(letter)[0] == "L" and unicodedata.name(letter).startswith(SPACELESS)


def unicode_tokens(text):
    """Return the tokens of ROUGE, letter by letter, from the categories and names of Unicode's characters alone."""
    found, last = [], "none"
    for letter in unicodedata.normalize("NFC", text).casefold():
        if unicodedata.category(letter)[0] == "M" and last != "none":
            found[-1] += letter
        elif is_alone(letter) or unicodedata.name(letter).startswith("HANGUL SYLLABLE"):
            found, last = [*found, letter], "alone"
        elif unicodedata.category(letter)[0] in "LN":
            found, last = [*found[:-1], found[-1] + letter] if last == "word" else [*found, letter], "word"
        else:
            last = "none"
    return found


class Reference:
    def tokenize(self, text):
        return unicode_tokens(text)


def streams(seen):
    most = max(map(len, seen.references))
    return [[row[at] if at < len(row) else None for row in seen.references] for at in range(most)]


def spread(text):
    return None if text is None else " ".join(text)


@EACH
def test_rouge_equals_rouge_score_row_by_row_with_a_unicode_tokenizer(language):
    seen = CASES[language]
    kinds = ["rouge1", "rouge2", "rougeL"]
    scorer = rouge_score.rouge_scorer.RougeScorer(kinds, tokenizer=Reference())
    rows = [scorer.score_multi(list(several), text) for several, text in zip(seen.references, seen.predicted)]
    for kind in kinds:
        ours = metric(kind, seen)._row_scores(seen)
        assert ours.tolist() == [row[kind].fmeasure for row in rows], kind
        assert 0.2 < ours.mean() < 1
        assert metrics.value(kind, seen) == pytest.approx(ours.mean())


@EACH
def test_bleu_chrf_and_ter_equal_sacrebleu_row_by_row_and_as_a_whole(language):
    seen, tokenizer = CASES[language], TOKENIZER.get(language, "13a")
    by_characters = tokenizer == "char"
    edit_rate = sacrebleu.TER(normalized=tokenizer == "zh", asian_support=tokenizer == "zh")
    wanted = {
        "bleu": lambda guesses, refs: sacrebleu.BLEU(tokenize=tokenizer).corpus_score(guesses, refs).score,
        "chrf": lambda guesses, refs: sacrebleu.CHRF().corpus_score(guesses, refs).score,
        "ter": lambda guesses, refs: (
            edit_rate.corpus_score(
                [spread(text) if by_characters else text for text in guesses],
                [[spread(text) if by_characters else text for text in stream] for stream in refs],
            ).score
        ),
    }
    assert seen.tokenizer == tokenizer
    for name, score in wanted.items():
        assert metrics.value(name, seen) == pytest.approx(score(list(seen.predicted), streams(seen))), name
        assert 5 < metrics.value(name, seen) < 95
        for row in range(200):
            one = seen.take([row])
            assert metrics.value(name, one) == pytest.approx(score([one.predicted[0]], streams(one))), (name, row)


@EACH
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_texts_that_equal_their_references_are_all_right(language, form):
    references = tuple(several[:1] for several in CASES[language].references)
    seen = Texts(tuple(unicodedata.normalize(form, text) for (text,) in references), references)
    for name in ("rouge1", "rougeL", "exact_match"):
        assert metrics.value(name, seen) == 1, name
    answers = AnswerTexts(seen.predicted, seen.references)
    assert metrics.value("f1", answers) == metrics.value("exact_match", answers) == 1
    if form == "NFC":
        assert metrics.value("bleu", seen) == pytest.approx(100)
        assert metrics.value("chrf", seen) == pytest.approx(100)
        assert metrics.value("ter", seen) == 0


def mlqa_tokens(text):
    """The official mlqa_evaluation_v1.py with its mixed segmentation, here of every script without spaces."""
    found, rest = [], ""
    for letter in text.lower():
        if is_alone(letter):
            found, rest = [*found, *rest.split(), letter], ""
        elif unicodedata.category(letter) == "Mn" and found and not rest:
            found[-1] += letter
        elif letter not in string.punctuation and unicodedata.category(letter)[0] != "P":
            rest += letter
    return [*found, *rest.split()]


@EACH
def test_answers_are_scored_as_the_script_of_mlqa_scores_them(language):
    seen = CASES[language]
    answers = AnswerTexts(seen.predicted, seen.references)
    exact, f1 = [], []
    for text, several in zip(seen.predicted, seen.references):
        guess, golds = mlqa_tokens(text), [mlqa_tokens(gold) for gold in several]
        exact.append(max(guess == gold for gold in golds))
        shared = [(sum((Counter(gold) & Counter(guess)).values()), gold) for gold in golds]
        f1.append(max(2 * same / (len(gold) + len(guess)) for same, gold in shared))
    assert metrics.value("exact_match", answers) == pytest.approx(sum(exact) / 200)
    assert metrics.value("f1", answers) == pytest.approx(sum(f1) / 200)
    assert 0.2 < metrics.value("f1", answers) < 1


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("naïve Café 3x", ["naïve", "café", "3x"]),
        ("nai\u0308ve", ["naïve"]),
        ("Straße, STRASSE", ["strasse", "strasse"]),
        ("don't a_b", ["don", "t", "a", "b"]),
        ("हिन्दी में क्षेत्र २५।", ["हिन्दी", "में", "क्षेत्र", "२५"]),
        ("مُعَلِّم؟ نعم،", ["مُعَلِّم", "نعم"]),
        ("کتب\u200cی", ["کتبی"]),
        ("\u200fنعم\u200e", ["نعم"]),
        ("น้ำใจ ๒๕", ["น้", "ำ", "ใ", "จ", "๒๕"]),
        ("ສະບາຍ", ["ສ", "ະ", "ບ", "າ", "ຍ"]),
        ("ខ្មែរ", ["ខ្", "មែ", "រ"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("日本語のテスト・々ー", [*"日本語のテスト々ー"]),
        ("か\u3099", ["が"]),
        ("葛\U000e0100城", ["葛", "城"]),
        ("학교에 갔다", [*"학교에갔다"]),
        (unicodedata.normalize("NFD", "학교"), ["학", "교"]),
        ("Python3で書く", ["python3", "で", "書", "く"]),
        ("\u0301", []),
        ("", []),
    ],
)
def test_the_tokens_of_rouge(text, wanted):
    assert Tokenizer().tokenize(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The “Café”, 3\u20134", ["“café”", "3\u20134"]),  # as SQuAD's script
        ("THE the\u0301", ["thé"]),
        ("«Москва» — столица", ["москва", "столица"]),
        ("ما هذا؟ نعم،", ["ما", "هذا", "نعم"]),
        ("भारत।", ["भारत"]),
        ("กรุงเทพฯ (ไทย)", ["ก", "รุ", "ง", "เ", "ท", "พ", "ฯ", "ไ", "ท", "ย"]),
        ("東京、2020年\uff01", ["東", "京", "2020", "年"]),
        ("1990。", ["1990"]),
        ("한국어, 말", ["한국어", "말"]),
        ("\u200eنعم", ["نعم"]),
    ],
)
def test_the_tokens_of_an_answer(text, wanted):
    assert answer_tokens(text) == wanted


@pytest.mark.parametrize(
    ("texts", "wanted"),
    [
        (["Der Bär schläft im Wald.", "Das Zeichen 漢 ist alt."], "13a"),
        (["我用 PyTorch Lightning 训练模型", "3.14"], "zh"),
        (["我喜欢の这个牌子的东西", "他们都很好吃的样子"], "zh"),
        (["東京特許許可局へ行く"], "char"),
        (["カタカナ"], "char"),
        (["น้ำ and water"], "13a"),
        (["ฉันไปโรงเรียน", "to school"], "char"),
        (["ສະບາຍດີ"], "char"),
        (["ខ្មែរ"], "char"),
        (["မြန်မာ"], "char"),
        (["བོད་སྐད"], "char"),
        (["학교에 갔다"], "13a"),
        (["3.5", "!"], "13a"),
        ([], "13a"),
    ],
)
def test_the_tokenizer_is_that_of_the_script_of_most(texts, wanted):
    assert usual_tokenizer(texts) == wanted


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(categories=["L", "M", "N", "P", "Z"]), max_size=12))
def test_a_text_between_spaces_has_the_words_of_any_text(text):
    if rouge.CHARACTER.search(text) is None:
        assert rouge._word().findall(text) == rouge._token().findall(text)
        assert scripts._word_between_spaces().findall(text) == scripts._word().findall(text)


def test_words_and_spaceless_letters_are_the_units_of_a_script():
    assert script_shares(["a b c", "漢字", "หิน"]) == {"spaced": 3 / 7, "Chinese": 2 / 7, "Thai": 2 / 7}
    assert script_shares(["हिन्दी में", "漢字"]) == {"spaced": 0.5, "Chinese": 0.5}
    assert script_shares(["1 2 - 3"]) == {}


def test_one_row_does_not_change_how_others_are_scored():
    german = [("Der Bär läuft schnell.", ("Der Bär läuft langsam.",))] * 9
    odd = ("Das Zeichen 漢.", ("Das Zeichen 字.",))
    with_it, without = (Texts(*map(tuple, zip(*rows))) for rows in ([*german, odd], german))
    part = with_it.take(range(9))
    for name in ("bleu", "ter", "chrf", "rouge1"):
        assert metrics.value(name, part) == metrics.value(name, without), name
        assert metric(name, part).signature(part) == metric(name, without).signature(without)


def test_a_part_of_the_rows_is_read_as_the_whole_is():
    seen = CASES["th"]
    mixed = Texts((*seen.predicted, "a b c d"), (*seen.references, ("a b c e",)))
    assert mixed.take([200]).tokenizer == mixed.tokenizer == "char"
    assert type(mixed).from_columns(mixed.take([200]).to_columns()).tokenizer == "char"
