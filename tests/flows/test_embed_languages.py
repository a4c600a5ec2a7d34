from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from conftest import write_jsonl
from transformers import AutoModel, AutoTokenizer

import llmkit as package

TEXTS = {
    "ru": "Лиса перебежала дорогу возле реки.",
    "ar": "عبر الثعلب الطريق بجانب النهر.",
    "hi": "लोमड़ी ने नदी के पास सड़क पार की।",
    "th": "สุนัขจิ้งจอกข้ามถนนใกล้แม่น้ำ",
    "ja": "キツネは川のそばの道を渡った。",
    "ko": "여우가 강가의 길을 건넜다.",
    "zh": "狐狸在河边穿过了马路。",
    "de": "Der Fuchs überquerte die Straße am Fluß.",
    "emoji": "🦊 👩‍👩‍👧 🇩🇪",
    "nfd": unicodedata.normalize("NFD", "überquerte die Straße é"),
}


def by_transformers(folder: Path, text: str, max_length: int | None = None) -> np.ndarray:
    """Return the mean of the hidden states of one text, scaled to length 1, from transformers alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(text, return_tensors="pt", truncation=max_length is not None, max_length=max_length)
    with torch.inference_mode():
        hidden = model(**inputs).last_hidden_state[0]
    vector = hidden.mean(0)
    return (vector / vector.norm()).numpy()


KINDS = pytest.mark.parametrize("kind", ["encoder", "llama"])


@KINDS
@pytest.mark.parametrize("language", TEXTS)
def test_the_vector_is_that_of_transformers_in_every_script(request, kind, language):
    folder = request.getfixturevalue(kind)
    found = package.embed(TEXTS[language], model=str(folder))[0]
    assert found == pytest.approx(by_transformers(folder, TEXTS[language], tiny.CONTEXT), abs=2e-6)


@KINDS
def test_a_batch_of_all_scripts_gives_the_vectors_of_each_alone(request, llmkit, kind, tmp_path):
    folder = request.getfixturevalue(kind)
    together = package.embed(list(TEXTS.values()), model=str(folder), batch_size=16)
    alone = np.stack([package.embed(text, model=str(folder), batch_size=1)[0] for text in TEXTS.values()])
    assert np.abs(together - alone).max() < 2e-6
    data = write_jsonl(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS.values()])
    assert llmkit("embed", "-i", data, "-m", folder, "-o", tmp_path / "v.npy", "--batch-size", "3").code == 0
    assert np.abs(np.load(tmp_path / "v.npy") - together).max() < 2e-6


@pytest.mark.parametrize("language", ["ru", "th", "zh"])
def test_a_long_text_of_any_script_is_cut_where_transformers_cuts_it_and_counted(llmkit, llama, language):
    text = TEXTS[language] * 20
    ran = llmkit("embed", text, "a", "-m", llama)
    assert "warning: 1 of 2 texts is longer than 64 tokens, and its rest was not read" in ran.err
    assert ran.rows[0]["embedding"] == pytest.approx(by_transformers(llama, text, 64).tolist(), abs=2e-6)


def test_composed_and_decomposed_letters_are_embedded_as_they_are_written(llama):
    composed = unicodedata.normalize("NFC", TEXTS["nfd"])
    for text in (composed, TEXTS["nfd"]):
        assert package.embed(text, model=str(llama))[0] == pytest.approx(by_transformers(llama, text), abs=2e-6)
