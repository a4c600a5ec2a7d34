"""What columns are called, by what they hold: whole names, and words of names, in several languages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from llmkit.data.evidence import ColumnProfile, name_words


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# whole names, the surest first
LABELS = ("label", "labels", "gold_label", "class", "target", "标签", "类别", "ラベル", "라벨", "метка")
PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("text", "text_pair"),
    ("text", "pair"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("query", "passage"),
    ("query", "document"),
    ("claim", "evidence"),
    ("anchor", "positive"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("anchor", "target"),
)

# words of names: a column that is called by one of them likely holds what they say
LABEL_WORDS = frozenset(
    _words(
        "label labels class classes category categories sentiment emotion emotions intent intents topic "
        "topics target stars star rating ratings score polarity genre tag stance toxicity spam toxic hate "
        "offensive sarcasm humor verdict outcome priority severity department language lang similarity "
        "difficulty relevance rank grade mood subject gold type etiket etichetta "
        "etykieta kategorie klasse stimmung bewertung thema étiquette "
        "etiquette categorie catégorie classe sentimiento emocion emoción categoria categoría clase "
        "etiqueta tema rótulo rotulo sentimento nota класс категория тональность оценка 标签 类别 分类 "
        "情感 情绪 意图 类型 主题 评分 星级 极性 分数 评级 カテゴリ 感情 評価 분류 감정 평점"
    )
)
WEAK_LABEL_WORDS = frozenset(
    _words(  # which name a label where nothing else is named so
        "type gold subject language lang rank grade target priority difficulty nota note"
    )
)
STRONG_LABEL_WORDS = LABEL_WORDS - WEAK_LABEL_WORDS
OTHER_WORDS = frozenset(
    _words(  # a column that is called by one of them is no label, whatever else its name says
        "id ids idx index uuid guid qid confidence probability prob reason count counts num number date "
        "time timestamp created updated url link href source author user username name timezone location "
        "coord lat lon latitude longitude file filename path page version hash key weight split fold text"
    )
)
METADATA_WORDS = frozenset(
    _words(  # beside a text, they say where it comes from
        "id ids idx index uuid guid qid url link href source author authors user username name title date "
        "time timestamp created updated year month day domain site publisher meta metadata license file "
        "filename path page version hash key language lang tokens length words chars views likes retweets "
        "count score quality rank dump warc crawl section chapter book unnamed level offset isbn doi 标题 "
        "作者 来源 日期 链接 时间 网址 编号 序号"
    )
)
TITLE_WORDS = frozenset(_words("title author authors name chapter book section meta metadata url source_url 标题 作者"))
PERSON_WORDS = frozenset(_words("author artist speaker character writer poet"))  # who can be told by a text
CORPUS_WORDS = frozenset(_words("language lang quality"))  # what crawled texts are rated and sorted by
TEXT_WORDS = _words(
    "text sentence content review comment document tweet body message utterance post article passage "
    "statement paragraph abstract description headline title question query phrase email sms claim "
    "prompt story caption summary 文本 内容 评论 句子 正文 标题 文章 问题 摘要 texte texto satz "
    "kommentar rezension contenu phrase avis commentaire comentario comentário reseña oración текст "
    "отзыв комментарий предложение 本文 文 コメント 본문 리뷰 문장"
)
PROMPT_WORDS = _words(
    "prompt instruction question query problem input user human ask request message q 问题 指令 提问 "
    "提示 输入 用户 patient customer inputs pregunta frage вопрос 質問 질문"
)
COMPLETION_WORDS = _words(
    "completion response answer output solution reply assistant bot gpt model target ai chatbot doctor targets a "
    "回答 答案 输出 回复 解答 答复 respuesta antwort ответ 回答文 답변"
)
CONTEXT_WORDS = _words("context passage paragraph article document story 上下文 材料 文章 段落")
SYSTEM_WORDS = _words("system 系统")
SUMMARY_WORDS = _words("summary highlights abstract tldr summarization résumé resumen 摘要 总结 概要")
SUMMARIZED_WORDS = _words(
    "document article dialogue text report content body source story news transcript meeting dialog "
    "conversation 正文 文章 内容 原文 文本 对话"
)
SOURCES, TARGETS = (
    ("source", "src", "source_text", "input_text", "原文"),
    ("target", "tgt", "trg", "target_text", "译文"),
)


def has_word(name: str, words: Collection[str]) -> bool:
    """Tell whether a column's name has one of the words, or is written in a script without blanks and holds it."""
    own = name_words(name)
    return any(word in words for word in own) or any(not word.isascii() and word in name for word in words)


def only_named(columns: Iterable[str], words: Collection[str]) -> tuple[str, ...]:
    """Return the column whose name has one of the words, where it is the only one: reviewText beside an id."""
    found = tuple(name for name in columns if has_word(name, words))
    return found if len(found) == 1 else ()


def first_named(columns: Iterable[ColumnProfile], words: Sequence[str]) -> ColumnProfile | None:
    """Return the column whose name has the earliest of the words, a name of one word before others."""
    ranked = sorted(ranked_by_name(columns, words), key=lambda pair: pair[0])
    return ranked[0][1] if ranked else None


def ranked_by_name(
    columns: Iterable[ColumnProfile], words: Sequence[str]
) -> list[tuple[tuple[int, int], ColumnProfile]]:
    """Return the columns whose names have one of the words, with its place among them and the length of the name."""
    found = []
    for column in columns:
        places = [place for place, word in enumerate(words) if has_word(column.name, (word,))]
        if places:
            found.append(((places[0], len(column.words_of_name)), column))
    return found


def differ_by_a_number(first: str, second: str) -> bool:
    """Tell whether two names differ by a number or a letter at an end: sent_1 and sent_2, text_a and text_b."""
    ones, others = name_words(first), name_words(second)
    if len(ones) != len(others) or ones == others:
        return False
    unlike = [(one, other) for one, other in zip(ones, others, strict=True) if one != other]
    marks = ({"1", "2"}, {"0", "1"}, {"a", "b"}, {"left", "right"}, {"first", "second"}, {"x", "y"})
    return len(unlike) == 1 and set(unlike[0]) in marks


def pair_among(columns: Sequence[ColumnProfile]) -> tuple[str, str] | None:
    """Return two texts that are compared: named as pairs are, or the same but for a number."""
    known = {column.name.lower(): column for column in columns}
    for first, second in PAIRS:
        if first in known and second in known and (second != "pair" or _is_partner(known[second])):
            return known[first].name, known[second].name
    texts = [column for column in columns if column.is_text]
    numbered = [
        (one.name, other.name)
        for place, one in enumerate(texts)
        for other in texts[place + 1 :]
        if differ_by_a_number(one.name, other.name)
    ]
    return numbered[0] if len(numbered) == 1 else None


def _is_partner(column: ColumnProfile) -> bool:
    """Tell whether a column that is called `pair` holds texts, rather than the numbers or names of pairs."""
    return column.is_text or not (column.can_be_class or column.is_identifier or column.pattern)
