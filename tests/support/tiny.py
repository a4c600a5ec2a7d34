"""Tiny models and data made on the spot: a few thousand random weights, real tokenizers, no network."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from llmkit.models.tokenizer_training import train_bpe, train_bpe_with_sentinels, train_wordpiece

GOOD = ("good", "lovely", "bright", "happy", "warm", "kind", "fine", "sweet")
BAD = ("bad", "awful", "dark", "sad", "cold", "cruel", "poor", "bitter")
THINGS = ("film", "book", "soup", "house", "song", "garden", "river", "fox", "king", "day")
SENTENCES = [
    f"the {thing} was {word} and the {other} was {word}"
    for thing in THINGS
    for word in GOOD + BAD
    for other in THINGS[:3]
]
CONTEXT = 64
HEADS = {
    "classifier": transformers.AutoModelForSequenceClassification,
    "tagger": transformers.AutoModelForTokenClassification,
    "reader": transformers.AutoModelForQuestionAnswering,
    "chooser": transformers.AutoModelForMultipleChoice,
    "masked": transformers.AutoModelForMaskedLM,
    "encoder": transformers.AutoModel,
}


def reviews(rows: int, seed: int = 0) -> list[dict[str, str]]:
    """Return separable rows: a text of good or of bad words, labelled positive or negative."""
    dice = random.Random(seed)
    made = []
    for row in range(rows):
        words, label = (GOOD, "positive") if row % 2 else (BAD, "negative")
        text = f"the {dice.choice(THINGS)} was {dice.choice(words)} and {dice.choice(words)}"
        made.append({"text": text, "label": label})
    return made


NAMES = {"PER": ("Anna", "Tom Brown"), "LOC": ("Rome", "New Delhi")}


def entities(rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return sentences of words with IOB2 tags of people and places."""
    dice = random.Random(seed)
    made = []
    for _ in range(rows):
        words, tags = ["the", dice.choice(THINGS), "of"], ["O", "O", "O"]
        for kind in ("PER", "LOC"):
            name = dice.choice(NAMES[kind]).split()
            words += [*name, dice.choice(("saw", "was"))]
            tags += [f"B-{kind}", *[f"I-{kind}"] * (len(name) - 1), "O"]
        made.append({"tokens": words, "ner_tags": tags})
    return made


TOPICS = {"art": ("film", "book", "song"), "home": ("house", "garden", "soup"), "nature": ("river", "fox", "day")}


def topics(rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return texts with the topics that they speak of: up to three, and of each fourth row none."""
    dice = random.Random(seed)
    made = []
    for row in range(rows):
        held = [topic for topic in TOPICS if row % 4 and dice.random() < 0.5]
        things = [dice.choice(TOPICS[topic]) for topic in held] or ["king"]
        text = " and ".join(f"the {thing} was {dice.choice(GOOD + BAD)}" for thing in dice.sample(things, len(things)))
        made.append({"text": text, "labels": held})
    return made


def questions(rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return questions of which the answer is a word of the context, with ids."""
    dice = random.Random(seed)
    made = []
    for row in range(rows):
        things, words = dice.sample(THINGS, 2), dice.sample(GOOD + BAD, 2)
        context = f"the {things[0]} was {words[0]} and the {things[1]} was {words[1]}"
        asked = dice.randrange(2)
        answers = {"text": [words[asked]], "answer_start": [context.index(f"was {words[asked]}") + 4]}
        made.append({"id": f"q{row}", "question": f"the {things[asked]} was", "context": context, "answers": answers})
    return made


def choices(rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return questions with four choices, of which the one of a good word is right."""
    dice = random.Random(seed)
    made = []
    for _ in range(rows):
        several = [dice.choice(GOOD), *dice.sample(BAD, 3)]
        dice.shuffle(several)
        answer = next(number for number, word in enumerate(several) if word in GOOD)
        made.append({"question": f"the {dice.choice(THINGS)} was", "choices": several, "answer": answer})
    return made


def likenesses(rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return pairs of texts with a number: 5 for twice the same, less where they share fewer words."""
    dice = random.Random(seed)
    made = []
    for _ in range(rows):
        first, second = (f"the {dice.choice(THINGS)} was {dice.choice(GOOD + BAD)}" for _ in range(2))
        align_columns = len(set(first.split()) & set(second.split()))
        made.append({"sentence1": first, "sentence2": second, "score": 5.0 * align_columns / 4})
    return made


# a chat template whose every turn ends in the end-of-text token
CHAT = (
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)
MARKED = (  # the same, which says itself what the assistant writes
    "{% for m in messages %}{% if m.role == 'assistant' %}a:{% generation %}{{ m.content }}{{ eos_token }}"
    "{% endgeneration %}{% else %}{{ m.role[0] }}:{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}a:{% endif %}"
)


def conversations(rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return conversations in which the assistant says what kind of word the user's is; in some of them twice."""
    made = []
    for number, row in enumerate(reviews(rows, seed)):
        word = row["text"].split()[-1]
        asked = [{"role": "user", "content": word}, {"role": "assistant", "content": row["label"]}]
        made.append({"messages": asked * (1 + number % 4 // 3)})
    return made


def preferences(rows: int, seed: int = 0) -> list[dict[str, str]]:
    """Return prompts with two answers, of which the one with a good word is preferred."""
    dice = random.Random(seed)
    return [
        {
            "prompt": f"the {dice.choice(THINGS)} was",
            "chosen": f" {dice.choice(GOOD)}",
            "rejected": f" {dice.choice(BAD)}",
        }
        for _ in range(rows)
    ]


GERMAN = {
    "the": "der",
    "was": "war",
    "and": "und",
    "film": "Film",
    "book": "Buch",
    "soup": "Suppe",
    "house": "Haus",
    "song": "Lied",
    "garden": "Garten",
    "river": "Fluss",
    "fox": "Fuchs",
    "king": "König",
    "day": "Tag",
    "good": "gut",
    "lovely": "lieblich",
    "bright": "hell",
    "happy": "froh",
    "warm": "warm",
    "kind": "nett",
    "fine": "fein",
    "sweet": "süß",
    "bad": "schlecht",
    "awful": "furchtbar",
    "dark": "dunkel",
    "sad": "traurig",
    "cold": "kalt",
    "cruel": "grausam",
    "poor": "arm",
    "bitter": "bitter",
}


def translations(rows: int, seed: int = 0) -> list[dict[str, str]]:
    """Return English sentences and their German, word for word."""
    english = [row["text"] for row in reviews(rows, seed)]
    return [{"en": text, "de": " ".join(GERMAN[word] for word in text.split())} for text in english]


def summaries(rows: int, seed: int = 0) -> list[dict[str, str]]:
    """Return documents of two or more sentences, and the first of them."""
    dice = random.Random(seed)
    made = []
    for number in range(rows):
        sentences = [dice.choice(SENTENCES) for _ in range(2 + number % 3 // 2)]
        made.append({"document": ". ".join(sentences), "summary": sentences[0]})
    return made


def corpus(sentences: int, seed: int = 0) -> str:
    """Return a text of simple sentences in paragraphs."""
    dice = random.Random(seed)
    lines = [". ".join(dice.choice(SENTENCES) for _ in range(4)) + "." for _ in range(sentences // 4 + 1)]
    return "\n\n".join(lines)


def bert_folder(
    folder: Path, labels: list[str] | None = None, kind: str = "classifier", seed: int = 0, hidden: int = 32
) -> Path:
    """Save a tiny BERT: a `classifier` or `tagger` (of `labels`; a single label makes a regression), or another."""
    tokenizer = train_wordpiece(SENTENCES, 300, CONTEXT)
    names = labels or ["negative", "positive"]
    config = AutoConfig.for_model(
        "bert",
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=CONTEXT,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
        problem_type="regression" if len(names) == 1 else None,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.1,
    )
    return _save(HEADS[kind], config, tokenizer, folder, seed)


def llama_folder(folder: Path, seed: int = 0, chat_template: str | None = None, pad: bool = True) -> Path:
    """Save a tiny Llama with a byte-level tokenizer, with a chat template or without a pad token on request."""
    tokenizer = train_bpe(SENTENCES, 400, CONTEXT)
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    config = AutoConfig.for_model(
        "llama",
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id if pad else None,
    )
    if not pad:
        tokenizer.pad_token = None
    return _save(AutoModelForCausalLM, config, tokenizer, folder, seed)


def t5_folder(folder: Path, seed: int = 0, params: dict[str, Any] | None = None) -> Path:
    """Save a tiny T5 with a byte-level tokenizer that has sentinels; `params`: its config's task_specific_params."""
    tokenizer = train_bpe_with_sentinels([*SENTENCES, *GERMAN.values()], 500, CONTEXT)
    config = AutoConfig.for_model(
        "t5",
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=16,
        d_ff=64,
        num_layers=2,
        num_heads=2,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
        n_positions=CONTEXT,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
        task_specific_params=params,
    )
    return _save(AutoModelForSeq2SeqLM, config, tokenizer, folder, seed)


def _save(auto, config, tokenizer, folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    model = auto.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
