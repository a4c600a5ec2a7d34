"""Chat templates of several families, each with a tiny tokenizer of the kind that such models have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "the quick brown fox jumps over the lazy dog <|im_end|> <s> </s> [INST] [/INST] user assistant system tool",
    "<start_of_turn> <end_of_turn> start of turn end of turn header_id eot_id Привет мир 你好 世界 สวัสดี ñ é",
    '{"name": "weather", "arguments": {"city": "Rome"}} answer in English. what is the weather today?',
] * 4


@dataclass(frozen=True)
class Family:
    """A template, its control tokens, those of them that only open or close a tool call, and how text is cut."""

    template: str
    special: tuple[str, ...]
    added: tuple[str, ...]  # control tokens that are not special
    build: Callable[[tuple[str, ...]], Tokenizer]
    bos: str | None = None
    eos: str = "</s>"
    rstrip: bool = False
    has_system: bool = True
    lossless: bool = False  # decoding gives back the text, byte by byte

    @property
    def spellings(self) -> tuple[str, ...]:
        return (*self.special, *self.added)


def byte_level(specials: tuple[str, ...], ignore_merges: bool = False) -> Tokenizer:
    """Cut as GPT-2, Qwen and Llama 3 do."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder, tokenizer.post_processor = decoders.ByteLevel(), processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def _sentencepiece_bpe(specials: tuple[str, ...], signs: Iterable[str]) -> Tokenizer:
    """Return a BPE with byte fallback, whose vocabulary holds the special tokens, and merges that lead to them."""
    pieces = ["<unk>", *(each for each in specials if each != "<unk>"), *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [sign for sign in signs if sign not in pieces]
    merges: list[tuple[str, str]] = []
    for word in ("▁the", "▁user", "</s>", "<s>", "[INST]", "weather", "▁▁"):
        for end in range(2, len(word) + 1):
            if word[:end] not in pieces[len(specials) + 1 :] and word[:end] not in pieces:
                pieces.append(word[:end])
            pair = (word[: end - 1], word[end - 1])
            if pair not in merges:
                merges.append(pair)
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))


SIGNS = [chr(number) for number in range(33, 127)] + list("▁Приветмр你好世界é\n")


def metaspace(specials: tuple[str, ...]) -> Tokenizer:
    """Cut as newer Mistral tokenizers do: a space before the first piece alone."""
    tokenizer = _sentencepiece_bpe(specials, SIGNS)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def legacy(specials: tuple[str, ...]) -> Tokenizer:
    """Cut as Llama 2 and Phi 3 do: a space before each piece."""
    tokenizer = _sentencepiece_bpe(specials, SIGNS)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def gemma_bpe(specials: tuple[str, ...]) -> Tokenizer:
    """Cut as Gemma does: no space is put anywhere."""
    tokenizer = _sentencepiece_bpe(specials, SIGNS)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def unigram(specials: tuple[str, ...]) -> Tokenizer:
    """Cut as T5 and XLM-R do: full-width signs are normalized, and the vocabulary holds the special tokens."""
    pieces = [("<unk>", 0.0), *((each, 0.0) for each in specials if each != "<unk>")]
    pieces += [(sign, -8.0 - number / 100) for number, sign in enumerate(SIGNS)]
    pieces += [(word, -4.0 - number / 10) for number, word in enumerate(("▁the", "▁user", "weather", "▁Rome"))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    return tokenizer


CHATML = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>{{ c | tojson }}</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}{{ eos_token }}"
    "{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)

FAMILIES = {
    "chatml": Family(
        CHATML,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        ("<tool_call>", "</tool_call>"),
        byte_level,
        eos="<|im_end|>",
        lossless=True,
    ),
    "llama3": Family(
        LLAMA3,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        (),
        lambda specials: byte_level(specials, ignore_merges=True),
        bos="<|begin_of_text|>",
        eos="<|eot_id|>",
        lossless=True,
    ),
    "gemma": Family(
        GEMMA,
        ("<unk>", "<bos>", "<eos>"),
        ("<start_of_turn>", "<end_of_turn>"),
        gemma_bpe,
        bos="<bos>",
        eos="<eos>",
        has_system=False,
    ),
    "mistral": Family(MISTRAL, ("<unk>", "<s>", "</s>", "[INST]", "[/INST]"), (), metaspace, bos="<s>"),
    "phi3": Family(
        PHI3,
        ("<unk>", "<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|tool|>"),
        (),
        legacy,
        bos="<s>",
        rstrip=True,
    ),
    "zephyr": Family(ZEPHYR, ("<unk>", "<s>", "</s>"), (), unigram, bos="<s>"),
}


@cache
def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a family, the same at each call: who changes it takes a copy."""
    family = FAMILIES[name]
    backend = family.build(family.special)
    backend.add_special_tokens(
        [
            AddedToken(each, special=True, normalized=False, rstrip=family.rstrip and each[1] == "|")
            for each in family.special
        ]
    )
    backend.add_tokens([AddedToken(each, special=False, normalized=name == "gemma") for each in family.added])
    named = {"bos_token": family.bos, "eos_token": family.eos, "pad_token": family.eos}
    if "<unk>" in family.special:
        named["unk_token"] = "<unk>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **{k: v for k, v in named.items() if v})
    tokenizer.chat_template, tokenizer.name_or_path = family.template, f"tiny-{name}"
    return tokenizer
