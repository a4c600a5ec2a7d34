"""Train a tokenizer: byte-level BPE for models that generate, WordPiece for masked ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers import models as tokenizer_models

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

END_OF_TEXT = "<|endoftext|>"
SENTINEL = "<extra_id_{}>"
SENTINELS = 100


def train_bpe(texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerBase:
    """Return a byte-level BPE tokenizer: any text round-trips, and each text starts with the end-of-text token.

    Source: Radford et al. (2019), GPT-2, section 2.2.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer = _byte_level(texts, vocabulary, [END_OF_TEXT, "<|pad|>"])
    number = tokenizer.token_to_id(END_OF_TEXT)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END_OF_TEXT} $A", pair=f"{END_OF_TEXT} $A {END_OF_TEXT} $B", special_tokens=[(END_OF_TEXT, number)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token="<|pad|>",
        model_max_length=context,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )


def train_bpe_with_sentinels(texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerBase:
    """Return a byte-level BPE tokenizer as T5 wants one: each text ends in </s>, and <extra_id_0> to 99 mark spans.

    Source: Raffel et al. (2020), T5, section 3.1.4; T5's own tokenizer is no byte-level one and loses line breaks.
    """
    from transformers import PreTrainedTokenizerFast

    marks = [SENTINEL.format(number) for number in range(SENTINELS)]
    tokenizer = _byte_level(texts, vocabulary, ["<pad>", "</s>", *marks])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens=marks,
        model_max_length=context,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def _byte_level(texts: Iterable[str], vocabulary: int, special: list[str]) -> Tokenizer:
    """Learn a byte-level BPE whose first tokens are the special ones."""
    tokenizer = Tokenizer(tokenizer_models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=special,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def train_wordpiece(texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerBase:
    """Return an uncased WordPiece tokenizer as BERT's: Chinese characters stand alone, text sits in [CLS] ... [SEP].

    Source: Devlin et al. (2019), BERT.
    """
    from transformers import PreTrainedTokenizerFast

    special = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    tokenizer = Tokenizer(tokenizer_models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    pieces = _wordpieces(texts, tokenizer, vocabulary - len(special))
    names_of_ids = [*special.values(), *pieces]
    tokenizer.model = tokenizer_models.WordPiece({name: i for i, name in enumerate(names_of_ids)}, unk_token="[UNK]")
    tokenizer.add_special_tokens(list(special.values()))
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    names = {f"{role}_token": token for role, token in special.items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        **names,
    )


def _wordpieces(texts: Iterable[str], tokenizer: Tokenizer, count: int) -> list[str]:
    """Return `count` word pieces, `##` before those that go on with a word; the same ones each time.

    The library's own WordPieceTrainer numbers and chooses them in the order of a randomly seeded hash map. Here BPE,
    which is deterministic, learns on words that start with a mark.
    """
    mark = "\u2581"
    learner = Tokenizer(tokenizer_models.BPE())
    learner.normalizer = tokenizer.normalizer
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [tokenizer.pre_tokenizer, pre_tokenizers.Metaspace(mark, prepend_scheme="always")]
    )
    learner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=count, show_progress=False))
    vocabulary = sorted(learner.get_vocab().items(), key=lambda item: item[1])
    letters = [piece for piece, _ in vocabulary if len(piece) == 1 and piece != mark]
    longer = [piece.removeprefix(mark) if piece.startswith(mark) else f"##{piece}" for piece, _ in vocabulary]
    pieces = dict.fromkeys([*letters, *(f"##{letter}" for letter in letters), *longer])
    pieces.pop("", None)
    return list(pieces)[:count]
