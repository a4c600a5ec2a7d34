"""Languages as people name them (de) and as models spell them (deu_Latn, de_DE)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from llmkit.errors import ModelError, OptionError, did_you_mean, listing

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

# ISO 639-1, the three letters that NLLB has for it, English name
_TABLE = """
af afr Afrikaans;am amh Amharic;ar arb Arabic;az azj Azerbaijani;be bel Belarusian;bg bul Bulgarian;bn ben Bengali
bs bos Bosnian;ca cat Catalan;cs ces Czech;cy cym Welsh;da dan Danish;de deu German;el ell Greek;en eng English
eo epo Esperanto;es spa Spanish;et est Estonian;eu eus Basque;fa pes Persian;fi fin Finnish;fr fra French;ga gle Irish
gl glg Galician;gu guj Gujarati;ha hau Hausa;he heb Hebrew;hi hin Hindi;hr hrv Croatian;hu hun Hungarian
hy hye Armenian;id ind Indonesian;ig ibo Igbo;is isl Icelandic;it ita Italian;ja jpn Japanese;jv jav Javanese
ka kat Georgian;kk kaz Kazakh;km khm Khmer;kn kan Kannada;ko kor Korean;ky kir Kyrgyz;lb ltz Luxembourgish;lo lao Lao
lt lit Lithuanian;lv lvs Latvian;mg plt Malagasy;mi mri Maori;mk mkd Macedonian;ml mal Malayalam;mn khk Mongolian
mr mar Marathi;ms zsm Malay;mt mlt Maltese;my mya Burmese;ne npi Nepali;nl nld Dutch;no nob Norwegian;pa pan Punjabi
pl pol Polish;ps pbt Pashto;pt por Portuguese;ro ron Romanian;ru rus Russian;si sin Sinhala;sk slk Slovak;sl slv Slovene
so som Somali;sq als Albanian;sr srp Serbian;su sun Sundanese;sv swe Swedish;sw swh Swahili;ta tam Tamil;te tel Telugu
tg tgk Tajik;th tha Thai;tl tgl Tagalog;tr tur Turkish;uk ukr Ukrainian;ur urd Urdu;uz uzn Uzbek;vi vie Vietnamese
xh xho Xhosa;yi ydd Yiddish;yo yor Yoruba;zh zho Chinese;zu zul Zulu
"""
# what people call columns in their own language
_OTHER_NAMES = """
en englisch anglais inglés ingles inglês inglese английский 英文 英语 英語 영어 ingilizce;de deutsch allemand alemán
de alemão tedesco немецкий 德文 德语 ドイツ語 독일어 almanca;fr französisch français francais francés francês francese
fr французский 法文 法语 フランス語 프랑스어;es spanisch espagnol español espanol espanhol spagnolo испанский 西班牙语
it italienisch italien italiano итальянский;pt portugiesisch portugais portugués português;ru russisch russe ruso
ru русский 俄文 俄语 러시아어
zh chinesisch chinois chino китайский 中文 汉语 漢語 中国語 중국어 mandarin
tr türkçe turkce
ja japanisch japonais japonés японский 日文 日语 日本語 일본어
ko koreanisch coréen 韩文 韩语 韓国語 한국어;ar arabe العربية
nl niederländisch nederlands;pl polnisch polski;hi हिन्दी;uk українська;vi 越南语;he hebräisch
"""
_NEUTRAL_WORDS = "text texts sentence sentences word words phrase source target src tgt segment line string"
_NEUTRAL = frozenset(_NEUTRAL_WORDS.split())
_NO_CODES = frozenset({"id", "is", "no", "it", "so", "am", "my", "to"})  # where they are words beside others
_ROWS = [row.split() for row in _TABLE.replace("\n", ";").split(";") if row]
ENGLISH_NAMES = {two: name for two, _, name in _ROWS}
_OF_NAMES = {name.lower(): two for two, name in ENGLISH_NAMES.items()}
_OF_NAMES |= {name: row[0] for row in map(str.split, _OTHER_NAMES.replace("\n", ";").split(";")) for name in row[1:]}
_TWO_LETTERS = {three: two for two, three, _ in _ROWS}
_CODE = re.compile("[a-z]{2,3}(?:[-_][A-Z]?[A-Za-z]{1,3})?")  # de, deu, de_DE, de-DE, deu_Latn
_MODEL_CODE = re.compile("[a-z]{2}_[A-Z]{2}|[a-z]{3}_[A-Z][a-z]{3}")  # as mBART and NLLB spell them


def language_of(code: str) -> str:
    """Return the two letters of a language, or its code without region and script where it has none."""
    letters = re.split("[-_]", code.strip("_<>"))[0].lower()
    return _OF_NAMES.get(letters) or _TWO_LETTERS.get(letters, letters)


def is_language(name: str) -> bool:
    """Tell whether a name, as of a column, is a language: its code, or in English. `id` is none: it numbers rows."""
    return code_of(name) is not None


def code_of(name: str) -> str | None:
    """Return the code of a language that a column is called by, as it is written; of names of languages two letters.

    `text_en` and `English sentence` are called by it too.
    """
    if name != "id" and _CODE.fullmatch(name) is not None and language_of(name) in ENGLISH_NAMES:
        return name
    if name.lower() in _OF_NAMES:
        return _OF_NAMES[name.lower()]
    words = re.findall(r"[^\W_]+", name.lower())
    others = [word for word in words if word not in _NEUTRAL]
    if len(others) != 1 or others[0] in _NO_CODES:
        return None
    code = language_of(others[0])
    return code if code in ENGLISH_NAMES and (len(words) > 1 or others[0] in _OF_NAMES) else None


def is_whole_name(name: str) -> bool:
    """Tell whether a name is that of a language alone."""
    return name.lower() in _OF_NAMES or _CODE.fullmatch(name) is not None


def are_same(first: str, second: str) -> bool:
    """Tell whether two codes are of the same language."""
    return first == second or language_of(code_of(first) or first) == language_of(code_of(second) or second)


def codes_of(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Return the languages of a multilingual model as its tokenizer spells them; none where it has no such codes."""
    if not hasattr(tokenizer, "src_lang"):
        return []
    codes = getattr(tokenizer, "lang_code_to_id", None)
    return list(codes or (token for token in tokenizer.all_special_tokens if _MODEL_CODE.fullmatch(token)))


def model_code(code: str, codes: Sequence[str], flag: str) -> str:
    """Return the language as a model spells it: de is deu_Latn, or de_DE.

    Raises:
        OptionError: the model does not have it, or has it in several scripts; `flag` names who asked.
    """
    if code in codes:
        return code
    variant = _variant(code)  # a region or a script that is another than the model's is not waved through
    near = [name for name in codes if are_same(name, code) and not (variant and len(variant) == len(_variant(name)))]
    if len(near) == 1:
        return near[0]
    if near:
        raise OptionError(f"{flag} {code}: the model has several of that language, {listing(near)}; name one of them")
    hint = did_you_mean(code, codes)
    raise OptionError(f"{flag} {code}: the model does not have that language{hint}; it has {listing(codes)}")


def _variant(code: str) -> str:
    """Return the region (DE) or the script (Latn) of a code, empty where it has none."""
    return "".join(re.split("[-_]", code.strip("_<>"))[1:])


def forced_tokens(tokenizer: PreTrainedTokenizerBase, source: str | None, target: str | None) -> dict[str, int]:
    """Return what a generation config must hold so that a multilingual model writes the target language.

    It is empty for other models. The tokenizer learns here what it reads, and what `text_target` is written in. Where a
    target ends with its language, as in the training of mbart-large-cc25, the decoder starts from the language; where
    it begins with it (mBART-50, M2M100, NLLB), the language comes after the usual start.
    """
    if source is None or target is None or target not in codes_of(tokenizer):
        return {}
    tokenizer.src_lang, tokenizer.tgt_lang = source, target
    to_id: Callable[[str], int] = getattr(tokenizer, "get_lang_id", tokenizer.convert_tokens_to_ids)
    token = int(to_id(target))
    last = tokenizer(text_target="")["input_ids"][-1]
    return {"decoder_start_token_id" if last == token else "forced_bos_token_id": token}


def force_tokens(config: GenerationConfig, forced: Mapping[str, int]) -> None:
    """Have a model begin what it writes with the forced tokens, if there are any, and with no other."""
    if forced:
        config.update(**{"forced_bos_token_id": None, **forced})


def english_name(code: str, flag: str) -> str:
    """Return the English name of a language.

    Raises:
        OptionError: it is not known; the nearest code is suggested.
    """
    language = language_of(code)
    if language not in ENGLISH_NAMES:
        hint = did_you_mean(code, ENGLISH_NAMES)
        raise OptionError(f"{flag} {code}: no language is known by that code{hint}, as en or de")
    return ENGLISH_NAMES[language]


def require_codes(tokenizer: PreTrainedTokenizerBase, source: str | None, target: str | None, model: str) -> None:
    """Refuse to guess what a multilingual model translates; `model` is its type.

    Raises:
        ModelError: naming the flags.
    """
    codes = codes_of(tokenizer)
    if codes and (source is None or target is None):
        raise ModelError(
            f"a {model} translates between many languages ({listing(codes, 5)}): say --source and --target"
        )
