"""Models in GGUF files: opened by name or by folder, dequantized once, refused where they are damaged."""

from __future__ import annotations

import shutil

import pytest
import tiny

from llmkit.errors import extras

pytest.importorskip("gguf", reason="GGUF files are read and written by the gguf package")


TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }} {% endfor %}"


@pytest.fixture(scope="module")
def source(models_root):
    return tiny.llama_folder(models_root / "before-gguf", chat_template=TEMPLATE)


@pytest.fixture(scope="module")
def file(models_root, source):
    import gguf_models

    made = models_root / "gguf" / "tiny.gguf"
    made.parent.mkdir(exist_ok=True)
    gguf_models.write(source, made)
    return made


def test_a_file_answers_as_the_model_that_it_was_made_of(llmkit, source, file, monkeypatch, tmp_path):
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path))
    flags = ("the fox was", "--max-new-tokens", 8, "--dtype", "bfloat16")
    there = llmkit("generate", "-m", source, *flags)
    first = llmkit("generate", "-m", file, *flags)
    assert (first.code, first.out) == (0, there.out), first.err
    assert "dequantized once" in first.err
    assert "dequantized into bfloat16" in first.err
    again = llmkit("generate", "-m", file.parent, *flags)
    assert again.code == 0
    assert "dequantized once" not in again.err
    made = next((tmp_path / "gguf").glob("tiny-*/config.json"))
    assert '"max_position_embeddings": 64' in made.read_text("utf-8")
    assert (made.parent / "chat_template.jinja").read_text("utf-8") == TEMPLATE


def test_of_several_files_each_is_named(llmkit, file, tmp_path):
    for name in ("a", "b"):
        shutil.copy(file, tmp_path / f"{name}.gguf")
    ran = llmkit("generate", "the fox", "-m", tmp_path)
    assert ran.code == 2
    assert f"-m {tmp_path / 'a.gguf'}, -m {tmp_path / 'b.gguf'}" in ran.error


@pytest.mark.parametrize("share", [0.01, 0.3, 0.95])
def test_a_damaged_file_is_refused(llmkit, file, tmp_path, share):
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])
    ran = llmkit("generate", "the fox", "-m", damaged)
    assert ran.code == 2
    assert "is damaged, or of a kind that transformers does not read" in ran.error


def test_another_file_of_that_name_is_refused(llmkit, tmp_path):
    (tmp_path / "text.gguf").write_text("hello")
    ran = llmkit("generate", "the fox", "-m", tmp_path / "text.gguf")
    assert (ran.code, ran.error.partition(": ")[2]) == (2, "it does not begin with GGUF")


def test_the_package_is_asked_for_by_name(llmkit, file, monkeypatch):
    monkeypatch.setattr(extras, "is_installed", lambda module: module != "gguf")
    ran = llmkit("generate", "the fox", "-m", file)
    assert ran.code == 2
    assert "pip install 'llmkit[gguf]'" in ran.error
