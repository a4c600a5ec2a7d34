"""The tokens of documents are those that the tokenizer gives for each whole, however long, joined and cut into rows."""

from __future__ import annotations

import random

import numpy as np
import pytest
import tiny
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from llmkit.models.tokenizer_training import train_bpe, train_wordpiece
from llmkit.tasks.encoding import token_streams
from llmkit.tasks.encoding.token_streams import DocumentReader, block_rows, token_stream

TEXTS = [
    text.replace(". ", ".\n") for text in (tiny.corpus(60, seed=1), "", tiny.corpus(9, seed=2), " \n\n ", "1234\n56")
]


def with_mark(begins: bool) -> PreTrainedTokenizerFast:
    """Return a tokenizer with a beginning and an end around each text, and if it `begins` so, a mark before it."""
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    mark = [normalizers.Prepend("_")] if begins else []
    made.normalizer = normalizers.Sequence([*mark, normalizers.Replace(" ", "_")])
    made.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"]))
    made.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


TOKENIZERS = {
    "bytes": lambda: train_bpe(TEXTS, 400, 64),
    "words": lambda: train_wordpiece(TEXTS, 400, 64),
    "around": lambda: with_mark(begins=False),
    "a mark before": lambda: with_mark(begins=True),
}


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]()


def joined(documents, tokenizer):
    """Return the stream of lists of tokens, one number after the other."""
    eos, stream = tokenizer.eos_token_id, []
    for ids in documents:
        starts_with_eos = bool(ids) and eos == tokenizer.bos_token_id and ids[0] == eos
        if stream and eos is not None and stream[-1] != eos and not starts_with_eos:
            stream.append(eos)
        stream += ids
    return [*stream, eos] if stream and eos is not None and stream[-1] != eos else stream


@pytest.mark.parametrize("split", [False, True], ids=["tokens", "text"])
def test_a_long_document_has_the_tokens_of_the_whole(tokenizer, split, monkeypatch):
    monkeypatch.setattr(token_streams, "PIECE", 400)
    monkeypatch.setattr(token_streams, "SEARCHED", 300)
    monkeypatch.setattr(token_streams, "AROUND", 50)
    reader = DocumentReader(tokenizer, split)
    found = list(reader.read(TEXTS))
    assert [ids.tolist() for ids in found] == [tokenizer(text)["input_ids"] for text in TEXTS]
    assert [ids.dtype for ids in found] == [np.int64] * len(TEXTS)
    cut = len(list(reader._cuts(TEXTS[0])))
    assert cut > 5 or tokenizer.backend_tokenizer.normalizer is not None


def test_cuts_are_only_where_they_change_nothing(monkeypatch):
    monkeypatch.setattr(token_streams, "PIECE", 400)
    monkeypatch.setattr(token_streams, "SEARCHED", 300)
    cuts = {name: len(list(DocumentReader(make(), False)._cuts(TEXTS[0]))) for name, make in TOKENIZERS.items()}
    assert cuts["a mark before"] == 0
    assert min(cuts["bytes"], cuts["words"], cuts["around"]) > 5


def test_documents_are_joined_by_their_ends(tokenizer):
    documents = [tokenizer(text)["input_ids"] for text in TEXTS]
    stream = token_stream(iter([np.array(ids, dtype=np.int64) for ids in documents]), tokenizer)
    assert stream.tolist() == joined(documents, tokenizer)
    assert token_stream(iter([]), tokenizer).tolist() == []


@pytest.mark.parametrize("tokens", [0, 1, 2, 7, 8, 9, 8 * 25 + 3])
def test_a_stream_is_cut_into_rows(tokens, monkeypatch):
    monkeypatch.setattr(token_streams, "BLOCKS_PER_CHUNK", 10)
    stream = np.array(random.Random(0).choices(range(1000), k=tokens), dtype=np.int64)
    ids = stream.tolist()
    whole = [ids[start : start + 8] for start in range(0, tokens - 7, 8)]
    expected = whole or ([ids] if tokens > 1 else [])
    rows = block_rows(stream, 8)
    assert rows["input_ids"][:] == expected
    assert rows["length"][:] == [len(block) for block in expected]
