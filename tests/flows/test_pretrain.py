from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import tiny
from conftest import write_jsonl
from signalling import Signalling
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

from llmkit.errors import Stopped
from llmkit.options import ArchitectureOptions, DataOptions, RunOptions, SplitOptions, TrainingOptions
from llmkit.output.report import Report
from llmkit.training.pretraining import pretrain
from llmkit.training.rows.corpus import read_corpus
from llmkit.training.rows.mixture import open_components

SMALL = ("--max-length", "32", "--vocab-size", "300", "--batch-size", "8")
TWO = ("--max-steps", "2")
NARROW = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.mark.parametrize(
    ("arch", "task", "kind", "pipeline"),
    [
        ("llama", "causal-lm", "LlamaForCausalLM", "text-generation"),
        ("gpt2", "causal-lm", "GPT2LMHeadModel", "text-generation"),
        ("bert", "masked-lm", "BertForMaskedLM", "fill-mask"),
    ],
)
def test_a_model_from_scratch_opens_in_transformers_and_works_in_the_other_commands(
    llmkit, corpus, tmp_path, arch, task, kind, pipeline
):
    run = tmp_path / "run"
    ran = llmkit("pretrain", corpus, "--arch", arch, "-o", run, *SMALL, *TWO, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["task"] == task
    config = json.loads((run / "config.json").read_text())
    assert config["architectures"] == [kind]
    assert AutoModel.from_pretrained(run).config.vocab_size == len(AutoTokenizer.from_pretrained(run)) <= 300
    assert f"pipeline_tag: {pipeline}\n" in (run / "README.md").read_text()
    assert (run / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert not list(run.rglob("training_args.bin"))
    said = ran.err.index(" parameters")
    assert said < ran.err.index("training: ")  # the size is told before it starts
    assert "validation perplexity" in ran.err

    measured = llmkit("eval", corpus, "-m", run, "--json")
    assert measured.code == 0, measured.err
    assert measured.json["task"] == task
    spoken = llmkit("generate", "the fox", "-m", run, "--max-new-tokens", "4")
    if task == "causal-lm":
        assert spoken.code == 0, spoken.err
        assert llmkit("generate", "the fox", "-m", run, "--max-new-tokens", "4").out == spoken.out
    else:
        assert spoken.code == 2
        assert task in spoken.error
        filled = llmkit("generate", "the [MASK]", "-m", run, "--top", "2", "--json")
        assert len(filled.json["fills"]) == 2


def test_the_parameters_that_are_told_are_those_of_the_model(llmkit, corpus, tmp_path):
    ran = llmkit("pretrain", corpus, "-o", tmp_path / "run", *SMALL, *TWO)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run")
    assert f"model: {sum(p.numel() for p in model.parameters()):,} parameters" in ran.err


@pytest.mark.parametrize("size", ["tiny", "mini"])
def test_size_presets_and_dry_run_write_nothing(llmkit, corpus, tmp_path, monkeypatch, size):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    ran = llmkit("pretrain", corpus, "--size", size, *SMALL, "--dry-run")
    assert ran.code == 0, ran.err
    assert f"hidden: { {'tiny': 128, 'mini': 256}[size] }" in ran.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_tokenizer_that_there_is_is_reused_as_it_is(llmkit, corpus, llama, tmp_path):
    run = tmp_path / "run"
    ran = llmkit("pretrain", corpus, "--tokenizer", llama, "-o", run, "--max-length", "32", *TWO)
    assert ran.code == 0, ran.err
    assert AutoTokenizer.from_pretrained(run).get_vocab() == AutoTokenizer.from_pretrained(llama).get_vocab()
    refused = llmkit("pretrain", corpus, "--tokenizer", llama, "--vocab-size", "300", "-o", tmp_path / "other")
    assert refused.code == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("shape.json", json.dumps({"model_type": "llama", **NARROW})),
        ("shape.yaml", "model_type: gpt2\nn_embd: 32\nn_layer: 1\nn_head: 2\n"),
    ],
)
def test_an_architecture_of_ones_own_comes_from_a_file(llmkit, corpus, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    flags = ("--model-config", tmp_path / name, *SMALL, *TWO)
    ran = llmkit("pretrain", corpus, *flags, "-o", tmp_path / "run")
    assert ran.code == 0, ran.err
    config = AutoModelForCausalLM.from_pretrained(tmp_path / "run").config
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (32, 1, 300)
    assert config.eos_token_id == AutoTokenizer.from_pretrained(tmp_path / "run").eos_token_id


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"hidden_size": 32}, ("model_type",)),
        ({"model_type": "nothing"}, ("nothing",)),
        ({"model_type": "llama", "vocab_size": 10}, ("vocab_size 10", "300")),
        ({"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 16}, ("16", "32")),
        ({"model_type": "vit"}, ("vit",)),
        (None, ("missing.json",)),
    ],
)
def test_an_architecture_that_cannot_be_built_is_refused_before_anything_is_written(
    llmkit, corpus, tmp_path, shape, words
):
    file = tmp_path / "missing.json"
    if shape is not None:
        file = tmp_path / "shape.json"
        file.write_text(json.dumps(shape))
    ran = llmkit("pretrain", corpus, "--model-config", file, "-o", tmp_path / "run", *SMALL, *TWO)
    assert ran.code == 2, ran.err
    assert all(word in ran.error for word in words)
    assert not (tmp_path / "run").exists()


def test_an_encoder_from_a_file_learns_masked_lm_and_never_causal_lm(llmkit, corpus, tmp_path):
    (tmp_path / "bert.json").write_text(json.dumps({"model_type": "bert", **NARROW}))
    flags = ("--model-config", tmp_path / "bert.json", *SMALL, *TWO, "--json")
    asked = llmkit("pretrain", corpus, "--arch", "bert", *flags, "-o", tmp_path / "asked")
    assert asked.json["task"] == "masked-lm"
    assert AutoModelForMaskedLM.from_pretrained(tmp_path / "asked").config.hidden_size == 32
    plain = llmkit("pretrain", corpus, *flags, "-o", tmp_path / "plain")  # it sees to the right: no next-token loss
    assert plain.code == 2 or plain.json["task"] == "masked-lm"


def test_going_on_with_a_model_keeps_its_tokenizer_and_lowers_its_loss(llmkit, corpus, llama, tmp_path):
    run = tmp_path / "run"
    before = llmkit("eval", corpus, "-m", llama, "--json").json["metrics"]["loss"]["value"]
    ran = llmkit("pretrain", corpus, "-m", llama, "-o", run, "--max-steps", "20", "--learning-rate", "0.01", "--json")
    assert ran.code == 0, ran.err
    assert AutoTokenizer.from_pretrained(run).get_vocab() == AutoTokenizer.from_pretrained(llama).get_vocab()
    assert AutoModelForCausalLM.from_pretrained(run).config.hidden_size == 32
    assert llmkit("eval", corpus, "-m", run, "--json").json["metrics"]["loss"]["value"] < before - 0.5
    refused = llmkit("pretrain", corpus, "-m", llama, "--vocab-size", "300", "-o", tmp_path / "other")
    assert refused.code == 2
    assert "-m goes on with a model" in refused.error


def test_a_masked_model_goes_on_with_masked_lm(llmkit, corpus, masked, tmp_path):
    ran = llmkit("pretrain", corpus, "-m", masked, "-o", tmp_path / "run", *TWO, "--json")
    assert ran.json["task"] == "masked-lm"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--arch", "bert", "--task", "causal-lm"), ("--arch bert", "llama, gpt2")),
        (("--task", "text-classification"), ("text-classification", "causal-lm, masked-lm")),
        (("--task", "causal-ml"), ("causal-lm",)),
        (("--metric", "f1"), ("f1", "perplexity")),
    ],
)
def test_what_does_not_go_together_is_refused(llmkit, corpus, tmp_path, more, words):
    ran = llmkit("pretrain", corpus, "-o", tmp_path / "run", *SMALL, *more)
    assert ran.code == 2
    assert all(word in ran.error for word in words)
    assert not (tmp_path / "run").exists()


def test_whole_word_masking_and_the_mask_share_reach_the_training(llmkit, corpus, tmp_path):
    made = {}
    for name, more in {"plain": (), "whole": ("--whole-word-masking",), "share": ("--mask-share", "0.4")}.items():
        flags = (
            "--arch",
            "bert",
            "-o",
            tmp_path / name,
            *SMALL,
            *TWO,
            "--set",
            "eval_steps=2",
            "--set",
            "save_steps=2",
        )
        ran = llmkit("pretrain", corpus, *flags, *more, "--json")
        assert ran.code == 0, ran.err
        made[name] = (tmp_path / name / "model.safetensors").read_bytes()
        assert ran.json["n"] > 0
    assert len(set(made.values())) == 3


def _corpus(references: list[Path], **splits: str):
    names = [str(reference) for reference in references]
    data, parts, report = DataOptions(), SplitOptions(**splits), Report()
    return read_corpus(open_components(names, data, parts, report)[0], data, parts, 42, report)


def test_whole_documents_are_held_out_of_many(tmp_path):
    documents = [f"document {number} of the corpus" for number in range(100)]
    file = write_jsonl(tmp_path / "docs.jsonl", [{"text": text} for text in documents])
    rows = _corpus([file]).rows
    train, held_out = list(rows.train["text"]), list(rows.validation["text"])
    assert len(held_out) == 5
    assert sorted(train + held_out) == sorted(documents)
    assert list(_corpus([file]).rows.validation["text"]) == held_out


def test_of_few_documents_the_ends_are_held_out(corpus):
    rows = _corpus([corpus]).rows
    whole, start, end = corpus.read_text(), rows.train["text"][0], rows.validation["text"][0]
    assert whole.startswith(start)
    assert whole.endswith(end)
    assert 0 <= len(whole) - len(start) - len(end) <= 2
    assert 0 < len(end) < 0.1 * len(whole)


def test_several_sources_of_several_kinds_are_one_corpus(llmkit, corpus, tmp_path):
    folder = tmp_path / "books"
    folder.mkdir()
    (folder / "one.txt").write_text(tiny.corpus(40, seed=1))
    (folder / "two.md").write_text("a note, not a text")
    (folder / "deep").mkdir()
    (folder / "deep" / "three.txt").write_text(tiny.corpus(40, seed=2))
    lines = write_jsonl(tmp_path / "more.jsonl", [{"id": n, "text": f"line {n} of more"} for n in range(30)])
    rows = _corpus([corpus, folder, lines]).rows
    whole = "\n".join(rows.train["text"])
    assert len(rows.train) == 1 + 2 + 28
    assert "a note" not in whole
    ran = llmkit("pretrain", corpus, folder, lines, "-o", tmp_path / "run", *SMALL, *TWO)
    assert ran.code == 0, ran.err
    data = json.loads((tmp_path / "run" / "run.json").read_text())["data"]
    assert (data["train_rows"], data["validation_rows"]) == (31, 5)
    for source in (corpus, folder, lines):
        assert str(source) in data["reference"]


def test_a_validation_file_in_the_folder_is_what_is_measured_on(llmkit, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.txt").write_text(tiny.corpus(120))
    (folder / "validation.txt").write_text(tiny.corpus(20, seed=3))
    rows = _corpus([folder]).rows
    assert list(rows.train["text"]) == [(folder / "train.txt").read_text()]
    assert list(rows.validation["text"]) == [(folder / "validation.txt").read_text()]
    run = tmp_path / "run"
    trained = llmkit("pretrain", folder, "-o", run, *SMALL, *TWO, "--json")
    measured = llmkit("eval", folder, "-m", run, "--json")
    assert measured.json["metrics"] == trained.json["metrics"]


def test_too_little_text_is_exit_5(llmkit, tmp_path):
    (tmp_path / "short.txt").write_text("x")
    ran = llmkit("pretrain", tmp_path / "short.txt", "-o", tmp_path / "run")
    assert ran.code == 5, ran.err
    assert not (tmp_path / "run").exists()


def test_the_loss_falls_below_a_unigram_model_within_a_hundred_steps(llmkit, corpus, tmp_path):
    shape = {"model_type": "llama", **NARROW, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
    (tmp_path / "shape.json").write_text(json.dumps({**shape, "tie_word_embeddings": True}))
    flags = ("--model-config", tmp_path / "shape.json", *SMALL, "--max-steps", "100", "--json")
    ran = llmkit("pretrain", corpus, *flags, "-o", tmp_path / "run", "--learning-rate", "5e-3")
    assert ran.code == 0, ran.err
    unigram = float(ran.err.rpartition("smoothed unigram model of this tokenizer: loss ")[2].split()[0])
    assert ran.json["metrics"]["loss"]["value"] < unigram - 1.0
    assert 3 < unigram < 6


@pytest.mark.parametrize("arch", ["gpt2", "bert", "t5"])
def test_a_stopped_pretraining_goes_on_to_the_same_weights(corpus, tmp_path, arch):
    def run(folder: str, report: Report | None = None):
        return pretrain(
            str(corpus),
            architecture=ArchitectureOptions(arch=arch, vocab_size=300, whole_word_masking=arch == "bert"),
            data=DataOptions(max_length=128),
            training_options=TrainingOptions(max_steps=10, batch_size=8),
            run=RunOptions(output=tmp_path / folder),
            report=report,
        )

    straight = run("straight")
    for step in (3, 9):  # in the first epoch, and in the second
        with pytest.raises(Stopped, match=f"saved at step {step}:"):
            run("stopped", Signalling(step, signal.SIGTERM))
    found, wanted = (trained.evaluation.as_dict(rows=True) for trained in (run("stopped"), straight))
    assert {name: found[name] for name in ("metrics", "counts", "rows")} == {
        name: wanted[name] for name in ("metrics", "counts", "rows")
    }
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("straight", "stopped"))
    assert first == second


@pytest.mark.parametrize("arch", ["llama", "bert", "t5"])
def test_the_same_command_twice_trains_the_same_tokenizer_and_weights(llmkit, corpus, tmp_path, arch):
    for name in ("first", "second"):
        assert llmkit("pretrain", corpus, "--arch", arch, "-o", tmp_path / name, *SMALL, *TWO).code == 0
    for file in ("tokenizer.json", "model.safetensors"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
