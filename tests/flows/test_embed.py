from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny
import torch
from conftest import write_csv, write_jsonl
from transformers import AutoModel, AutoTokenizer

import llmkit as package
from llmkit.inference.embedding import DEFAULT_MODEL

TEXTS = ["the fox was good", "the king was cruel and the river was cold and the day was sad", "a song", "狐狸很好"]


def plain(folder: Path, text: str, mode: str = "mean", normalize: bool = True) -> list[float]:
    """Return the vector of one text from transformers alone."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    network = model.get_encoder() if model.config.is_encoder_decoder else model
    with torch.inference_mode():
        hidden = network(**tokenizer(text, return_tensors="pt", truncation=True)).last_hidden_state[0]
    pooled = {"mean": hidden.mean(0), "cls": hidden[0], "lasttoken": hidden[-1], "max": hidden.amax(0)}[mode]
    return (pooled / pooled.norm() if normalize else pooled).tolist()


def with_files(encoder: Path, folder: Path, pooling: dict[str, Any], **more: Any) -> Path:
    """Return a copy of the encoder with the files that sentence-transformers writes beside a model."""
    shutil.copytree(encoder, folder)
    (folder / "1_Pooling").mkdir()
    kinds = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize", **more.pop("modules", {})}
    modules = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    for name, content in more.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("kind", ["encoder", "masked", "classifier", "llama", "t5"])
@pytest.mark.parametrize("flags", [(), ("--no-normalize",), ("--pooling", "cls")])
def test_vectors_are_those_of_a_plain_script_for_any_model(request, llmkit, kind, flags):
    model = request.getfixturevalue(kind)
    ran = llmkit("embed", *TEXTS, "-m", model, *flags)
    assert ran.code == 0, ran.err
    assert [row["text"] for row in ran.rows] == TEXTS
    mode, normalize = ("cls" if "cls" in flags else "mean"), "--no-normalize" not in flags
    for row in ran.rows:
        assert row["embedding"] == pytest.approx(plain(model, row["text"], mode, normalize), abs=2e-6)
    said = "pooling: the mean over the tokens, for the model's files name none"
    assert (said in ran.err) == ("cls" not in flags)


@pytest.mark.parametrize("kind", ["encoder", "llama"])
def test_the_batch_size_changes_no_vector(request, kind):
    model, texts = str(request.getfixturevalue(kind)), [*TEXTS, *tiny.SENTENCES[:40]]
    alone, together = (package.embed(texts, model=model, batch_size=size) for size in (1, 44))
    assert alone.dtype == np.float32
    assert alone.shape == (44, 32)
    assert np.abs(alone - together).max() < 1e-6
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(44), abs=1e-6)


@pytest.mark.parametrize(
    ("pooling", "mode"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": "lasttoken", "include_prompt": True}, "lasttoken"),
    ],
)
def test_the_models_own_files_say_how_it_pools(llmkit, encoder, tmp_path, pooling, mode):
    model = with_files(encoder, tmp_path / "own", pooling)
    ran = llmkit("embed", TEXTS[0], "a song", "-m", model)
    assert "as the model's own files say" in ran.err
    for row in ran.rows:
        assert row["embedding"] == pytest.approx(plain(encoder, row["text"], mode), abs=2e-6)
    asked = llmkit("embed", TEXTS[0], "-m", model, "--pooling", "mean").rows[0]["embedding"]
    assert asked == pytest.approx(plain(encoder, TEXTS[0], "mean"), abs=2e-6)


def test_the_models_own_files_say_how_much_and_what_it_reads(llmkit, encoder, tmp_path):
    mean = {"pooling_mode_mean_tokens": True}
    short = with_files(encoder, tmp_path / "short", mean, sentence_bert_config={"max_seq_length": 6})
    ran = llmkit("embed", "the fox was good", "the fox was good and sad and cold", "-m", short)
    assert "1 of 2 texts is longer than 6 tokens, and its rest was not read" in ran.err
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    assert len(tokenizer("the fox was good")["input_ids"]) == 6
    assert ran.rows[0]["embedding"] == pytest.approx(ran.rows[1]["embedding"], abs=2e-6)

    uses = {"prompts": {"query": "king: ", "song": "song "}, "default_prompt_name": "song"}
    prompted = with_files(encoder, tmp_path / "prompted", mean, config_sentence_transformers=uses)
    (row,) = llmkit("embed", "was good", "-m", prompted).rows
    assert row == {"text": "was good", "embedding": pytest.approx(plain(encoder, "song was good"), abs=2e-6)}


@pytest.mark.parametrize(
    ("pooling", "modules", "words"),
    [
        ({"pooling_mode_mean_sqrt_len_tokens": True}, {}, "mean_sqrt_len_tokens"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, {}, "max, mean"),
        ({"pooling_mode_mean_tokens": True}, {"Dense": "2_Dense"}, "Dense"),
        ({"pooling_mode": "mean", "include_prompt": False}, {}, "the prompt left out"),
    ],
)
def test_a_pooling_that_is_not_done_is_refused_with_a_way_out(llmkit, encoder, tmp_path, pooling, modules, words):
    model = with_files(encoder, tmp_path / "odd", pooling, modules=modules)
    ran = llmkit("embed", "x", "-m", model)
    assert ran.code == 2
    assert words in ran.error
    assert "--pooling mean" in ran.error
    assert llmkit("embed", "x", "-m", model, "--pooling", "mean").code == 0


def test_a_broken_file_of_pooling_is_named(llmkit, encoder, tmp_path):
    model = with_files(encoder, tmp_path / "broken", {})
    (model / "modules.json").write_text("{")
    ran = llmkit("embed", "x", "-m", model)
    assert (ran.code, "modules.json' is not JSON" in ran.error) == (2, True)
    (model / "modules.json").write_text("{}")
    assert "holds no list" in llmkit("embed", "x", "-m", model).error


def test_a_blank_text_has_no_vector(llmkit, encoder):
    ran = llmkit("embed", "a song", " ", "", "-m", encoder)
    assert [row["embedding"] is None for row in ran.rows] == [False, True, True]
    found = package.embed(["a song", " "], model=str(encoder))
    assert np.isnan(found).any(1).tolist() == [False, True]
    assert package.embed("", model=str(encoder)).shape == (1, 32)


def test_the_same_texts_from_arguments_standard_input_a_file_and_python(llmkit, encoder, tmp_path):
    rows = llmkit("embed", *TEXTS, "-m", encoder).rows
    assert llmkit("embed", "-m", encoder, stdin="\n".join(TEXTS) + "\n").rows == rows
    read = write_jsonl(tmp_path / "texts.jsonl", [{"id": n, "text": text} for n, text in enumerate(TEXTS)])
    assert llmkit("embed", "-i", read, "-m", encoder, "--json").rows == [{"id": n, **row} for n, row in enumerate(rows)]
    found = package.embed(TEXTS, model=str(encoder))
    assert [[float(str(x)) for x in vector] for vector in found] == [row["embedding"] for row in rows]


FILES = [{"id": "a", "text": "the fox was good", "embedding": "old"}, {"id": "b", "text": "", "embedding": "older"}]


def test_jsonl_and_parquet_keep_the_columns_and_npy_holds_the_vectors(llmkit, encoder, tmp_path):
    source = write_csv(tmp_path / "rows.csv", FILES)
    outs = [tmp_path / f"out{ending}" for ending in (".npy", ".jsonl", ".parquet")]
    for out in outs:
        ran = llmkit("embed", "-i", source, "-o", out, "-m", encoder)
        assert (ran.code, ran.out) == (0, ""), ran.err
        assert "wrote 2" in ran.err
    vectors = np.load(outs[0])
    assert (vectors.shape, vectors.dtype) == ((2, 32), np.float32)
    assert vectors[0] == pytest.approx(plain(encoder, FILES[0]["text"]), abs=2e-6)
    assert np.isnan(vectors[1]).all()
    lines = [json.loads(line) for line in outs[1].read_text().splitlines()]
    table = pq.read_table(outs[2])
    for rows in (lines, table.to_pylist()):
        assert [{key: row[key] for key in ("id", "text", "input_embedding")} for row in rows] == [
            {"id": "a", "text": "the fox was good", "input_embedding": "old"},
            {"id": "b", "text": "", "input_embedding": "older"},
        ]
        assert np.array_equal(np.float32(rows[0]["embedding"]), vectors[0])
        assert rows[1]["embedding"] is None
    assert table.schema.field("embedding").type.list_size == 32


def test_texts_from_the_shell_go_into_a_file_too(llmkit, encoder, tmp_path):
    assert llmkit("embed", *TEXTS, "-o", tmp_path / "v.npy", "-m", encoder).code == 0
    assert np.array_equal(np.load(tmp_path / "v.npy"), package.embed(TEXTS, model=str(encoder)))
    line = ("embed", "-o", tmp_path / "v.jsonl", "-m", encoder)
    assert llmkit(*line, stdin="a song\nthe fox\n").code == 0
    assert "holds 2 of 2 rows already" in llmkit(*line, stdin="a song\nthe fox\n").err
    assert "another command wrote it" in llmkit(*line, stdin="a song\nthe king\n").error


@pytest.mark.parametrize("ending", [".npy", ".jsonl", ".parquet"])
def test_a_file_of_another_command_is_replaced_only_when_told(llmkit, encoder, tmp_path, ending):
    out = tmp_path / f"v{ending}"
    out.write_text("mine")
    ran = llmkit("embed", "a song", "-o", out, "-m", encoder)
    assert (ran.code, "--overwrite" in ran.error, out.read_text()) == (2, True, "mine")
    assert llmkit("embed", "a song", "-o", out, "-m", encoder, "--overwrite").code == 0
    assert out.read_bytes() != b"mine"


def test_a_terminal_gets_a_table_and_a_dry_run_nothing(llmkit, on_terminal, encoder, tmp_path):
    ran = on_terminal("embed", "a song", "", "-m", encoder)
    first = " ".join(f"{number:.4f}" for number in plain(encoder, "a song")[:6])
    assert "embedding" in ran.out
    (line,) = (line for line in ran.out.splitlines() if "a song" in line)
    assert [cell.strip() for cell in line.split("│")[1:4]] == ["a song", "32", f"{first} …"]
    dry = llmkit("embed", *TEXTS, "-m", encoder, "-o", tmp_path / "v.npy", "--dry-run")
    assert (dry.code, dry.out, list(tmp_path.glob("v*"))) == (0, "", [])
    assert f"dry run: 4 texts for {encoder}, vectors of 32 numbers" in dry.err


def test_the_default_model_is_said(llmkit, encoder, monkeypatch):
    monkeypatch.setattr("llmkit.inference.embedding.DEFAULT_MODEL", str(encoder))
    ran = llmkit("embed", "a song")
    assert ran.code == 0
    assert f"model: {encoder}, the default; -m names another" in ran.err
    assert DEFAULT_MODEL == "sentence-transformers/all-MiniLM-L6-v2"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (("x", "--input", "{rows}"), "texts or --input"),
        (("x", "-o", "v.csv"), "must end in .npy, .jsonl or .parquet"),
        (("--input", "{rows}", "--column", "label=id"), "there is no role 'label'"),
        (("--input", "{rows}", "--column", "text=body"), "there is no column 'body'"),
        (("--input", "absent.csv"), "there is no file"),
        (("x", "--overwrite"), "--overwrite needs --output"),
        (("x", "--batch-size", "0"), "--batch-size must be at least 1"),
    ],
)
def test_wrong_use_is_one_sentence(llmkit, encoder, tmp_path, line, words):
    rows = write_csv(tmp_path / "rows.csv", FILES)
    ran = llmkit("embed", "-m", encoder, *(word.format(rows=rows) for word in line))
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.error


def test_weights_that_are_missing_are_refused_but_a_pooler_that_nothing_reads(llmkit, encoder, tmp_path):
    from safetensors.torch import load_file, save_file

    for name, code in (("pooler.dense.weight", 0), ("encoder.layer.1.output.dense.weight", 2)):
        model = shutil.copytree(encoder, tmp_path / name)
        kept = load_file(model / "model.safetensors")
        del kept[name]
        save_file(kept, model / "model.safetensors", metadata={"format": "pt"})
        ran = llmkit("embed", "x", "-m", model)
        assert ran.code == code, ran.err
    assert "lacks weights" in ran.error


def test_damaged_weights_give_no_vectors(llmkit, encoder, tmp_path):
    from safetensors.torch import load_file, save_file

    model = shutil.copytree(encoder, tmp_path / "damaged")
    kept = load_file(model / "model.safetensors")
    kept["encoder.layer.1.output.dense.bias"][3] = torch.nan
    save_file(kept, model / "model.safetensors", metadata={"format": "pt"})
    ran = llmkit("embed", "x", "-m", model)
    assert (ran.code, ran.out) == (2, "")
    assert "no finite numbers" in ran.error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
@pytest.mark.parametrize("ending", [".npy", ".parquet"])
def test_a_full_disk_is_said_to_be_full(llmkit, encoder, tmp_path, ending):
    (tmp_path / f".v{ending}.tmp").symlink_to("/dev/full")
    ran = llmkit("embed", "a fox", "-m", encoder, "-o", tmp_path / f"v{ending}")
    assert (ran.code, "no space left on the disk" in ran.error) == (12, True)
    assert not (tmp_path / f"v{ending}").exists()


def test_npy_files_are_those_of_numpy(tmp_path):
    from llmkit.inference.embedding import write_vectors

    for vectors in (np.arange(6, dtype=np.float32).reshape(2, 3), np.empty((0, 3), np.float32)):
        write_vectors(tmp_path / "v.npy", None, [vectors], vectors.shape)
        np.save(tmp_path / "numpy.npy", vectors)
        assert (tmp_path / "v.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()
