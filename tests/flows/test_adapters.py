"""LoRA adapters and frozen weights, judged by what is on disk and on stdout, and by peft itself."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import tiny
import torch
from conftest import write_jsonl
from peft import PeftModel
from safetensors.torch import load_file
from signalling import Signalling
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from llmkit.errors import Stopped
from llmkit.options import AdapterOptions, RunOptions, TrainingOptions
from llmkit.training.finetuning import finetune

SHORT = ("--max-steps", "3", "--batch-size", "8", "--json")


@pytest.fixture
def texts(tmp_path) -> Path:
    """Rows of text without labels."""
    return write_jsonl(tmp_path / "texts.jsonl", [{"text": line} for line in tiny.corpus(160).split("\n\n")])


@pytest.fixture
def base(classifier, tmp_path) -> Path:
    """A classifier that a test may spoil."""
    return Path(shutil.copytree(classifier, tmp_path / "base"))


@pytest.fixture
def adapter(llmkit, reviews, base, tmp_path) -> Path:
    """An adapter of that classifier."""
    ran = llmkit("finetune", reviews, "-m", base, "-o", tmp_path / "adapter", "--lora", *SHORT)
    assert ran.code == 0, ran.err
    return tmp_path / "adapter"


def values(result: dict) -> dict[str, float]:
    return {name: metric["value"] for name, metric in result["metrics"].items()}


def run_record(run: Path) -> dict:
    return json.loads((run / "run.json").read_text())


def changed(before: Path, after: Path) -> set[str]:
    """The names of the tensors that two models do not share."""
    first, second = (load_file(folder / "model.safetensors") for folder in (before, after))
    return {name for name in {*first, *second} if name not in first or not torch.equal(first[name], second[name])}


def test_the_folder_holds_the_adapter_alone_and_the_base_is_left_as_it_was(llmkit, reviews, classifier, tmp_path):
    run, before = tmp_path / "run", (classifier / "model.safetensors").read_bytes()
    ran = llmkit("finetune", reviews, "-m", classifier, "-o", run, "--lora", "--lora-rank", "2", *SHORT)
    assert ran.code == 0, ran.err
    assert [file.name for file in run.glob("*.safetensors")] == ["adapter_model.safetensors"]
    saved = load_file(run / "adapter_model.safetensors")
    others = {name for name in saved if "lora_" not in name}
    assert others == {"base_model.model.classifier.weight", "base_model.model.classifier.bias"}
    assert (run / "adapter_model.safetensors").stat().st_size < (classifier / "model.safetensors").stat().st_size / 4
    assert (classifier / "model.safetensors").read_bytes() == before
    config = json.loads((run / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(classifier)
    assert config["target_modules"] == ["dense", "key", "query", "value"]
    assert (config["r"], config["lora_alpha"], config["modules_to_save"]) == (2, 4.0, ["classifier"])
    assert (run / "README.md").read_text().startswith("---\nlibrary_name: peft\n")
    for checkpoint in (run / "checkpoints").iterdir():
        assert (checkpoint / "adapter_model.safetensors").is_file()
        assert not (checkpoint / "model.safetensors").exists()


def test_the_share_that_is_trained_is_said_and_recorded(llmkit, reviews, classifier, tmp_path):
    run = tmp_path / "run"
    ran = llmkit("finetune", reviews, "-m", classifier, "-o", run, "--lora", "--lora-rank", "2", *SHORT)
    trained = sum(weights.numel() for weights in load_file(run / "adapter_model.safetensors").values())
    head = 2 * 32 + 2
    whole = sum(weights.numel() for weights in load_file(classifier / "model.safetensors").values()) + trained - head
    assert f"trainable: {trained:,} of {whole:,} parameters ({trained / whole:.2%})" in ran.err
    assert ran.err.index("trainable:") < ran.err.index("step 1/3")
    planned = llmkit("finetune", reviews, "-m", classifier, "--lora", "--lora-rank", "2", "--dry-run")
    assert f"trainable: {trained:,} of {whole:,} parameters ({trained / whole:.2%})" in planned.err
    share = run_record(run)["model"]["trainable"]
    assert share == {"parameters": trained, "of": whole, "share": trained / whole}
    assert run_record(run)["model"]["adapter"] is True
    whole_run = llmkit("finetune", reviews, "-m", classifier, "-o", tmp_path / "whole", *SHORT)
    assert "trainable:" not in whole_run.err


def test_it_learns_at_a_higher_rate_than_all_weights_would(llmkit, reviews, classifier, tmp_path):
    flags = ("finetune", reviews, "-m", classifier, *SHORT)
    rates = []
    for name, more in (("whole", ()), ("lora", ("--lora",)), ("head", ("--freeze", "all"))):
        llmkit(*flags, "-o", tmp_path / name, *more)
        rates.append(run_record(tmp_path / name)["recipe"]["learning_rate"])
    assert rates == [5e-4, pytest.approx(10 * 5e-4), 1e-2]  # a tiny model's, ten times that, and the most there is
    ran = llmkit("finetune", reviews, "-m", classifier, "-o", tmp_path / "run", "--lora", "--epochs", "12", "--json")
    assert ran.json["metrics"]["f1"]["value"] > 0.95


def test_classify_gives_the_probabilities_of_a_plain_script_with_peft(llmkit, adapter, base):
    rows = [row["text"] for row in tiny.reviews(8, seed=5)]
    told = llmkit("classify", "-m", adapter, *rows).rows
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    model = PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained(base), str(adapter)).eval()
    with torch.no_grad():
        expected = model(**tokenizer(rows, padding=True, return_tensors="pt")).logits.softmax(-1)
    for row, scores in zip(told, expected.tolist(), strict=True):
        assert row["scores"] == {
            "negative": pytest.approx(scores[0], abs=1e-6),
            "positive": pytest.approx(scores[1], abs=1e-6),
        }
    plain = llmkit("classify", "-m", base, *rows).rows
    assert [row["scores"] for row in plain] != [row["scores"] for row in told]


def test_eval_right_after_gives_the_very_figures_and_knows_the_base_from_another(llmkit, reviews, base, tmp_path):
    run = tmp_path / "run"
    trained = llmkit("finetune", reviews, "-m", base, "-o", run, "--lora", *SHORT)
    measured = llmkit("eval", reviews, "-m", run, "--json")
    assert values(measured.json) == values(trained.json)
    assert llmkit("eval", reviews, "-m", run, "--json").json["cached"]
    plain = llmkit("eval", reviews, "-m", base, "--json").json
    assert plain["fingerprints"]["model"] != measured.json["fingerprints"]["model"]


def test_a_head_that_the_base_lacks_is_trained_in_full(llmkit, reviews, encoder, tmp_path):
    run = tmp_path / "run"
    ran = llmkit("finetune", reviews, "-m", encoder, "-o", run, "--lora", *SHORT)
    assert ran.code == 0, ran.err
    assert "base_model.model.classifier.weight" in load_file(run / "adapter_model.safetensors")
    assert llmkit("classify", "-m", run, "the film was good").rows[0]["label"] in {"negative", "positive"}
    assert values(llmkit("eval", reviews, "-m", run, "--json").json) == values(ran.json)


def test_an_adapter_of_a_language_model_generates_and_has_vectors(llmkit, texts, llama, tmp_path):
    run = tmp_path / "run"
    ran = llmkit("finetune", texts, "-m", llama, "-o", run, "--lora", "--learning-rate", "0.05", *SHORT)
    assert ran.code == 0, ran.err
    saved = load_file(run / "adapter_model.safetensors")
    assert all("lora_" in name for name in saved)  # the head is the embeddings: no copy of them
    asked = ("generate", "the fox", "--max-new-tokens", "8")
    answers = [llmkit(*asked, "-m", model).out for model in (run, llama)]
    assert answers[0] != answers[1]
    vectors = [llmkit("embed", "-m", model, "the fox").rows[0]["embedding"] for model in (run, llama)]
    assert len(vectors[0]) == len(vectors[1]) == 32
    assert vectors[0] != vectors[1]


@pytest.mark.parametrize(
    ("less", "file"),
    [(AdapterOptions(lora=True), "adapter_model.safetensors"), (AdapterOptions(freeze="1"), "model.safetensors")],
)
def test_a_stopped_run_goes_on_to_the_weights_of_an_uninterrupted_one(reviews, classifier, tmp_path, less, file):
    hyper = TrainingOptions(max_steps=21, batch_size=8)  # into the third epoch
    call = {"dataset": str(reviews), "model": str(classifier), "training_options": hyper, "adapter": less}
    finetune(**call, run=RunOptions(output=tmp_path / "straight"))
    run = RunOptions(output=tmp_path / "run")
    for step in (2, 9):  # before anything was measured, and after
        with pytest.raises(Stopped, match=f"saved at step {step}: the same command goes on"):
            finetune(**call, run=run, report=Signalling(step, signal.SIGINT))
    finetune(**call, run=run)
    made = [(tmp_path / name / file).read_bytes() for name in ("run", "straight")]
    assert made[0] == made[1]
    configs = [sorted((tmp_path / name).glob("adapter_config.json")) for name in ("run", "straight")]
    assert [path.read_text() for path in configs[0]] == [path.read_text() for path in configs[1]]


def test_the_same_seed_twice_gives_the_same_adapter_and_another_seed_another(llmkit, reviews, classifier, tmp_path):
    made = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run = tmp_path / name
        assert llmkit("finetune", reviews, "-m", classifier, "-o", run, "--lora", *SHORT, "--seed", seed).code == 0
        made.append((run / "adapter_model.safetensors").read_bytes())
    assert made[0] == made[1] != made[2]


def test_a_checkpoint_of_the_run_opens_as_an_adapter_too(llmkit, adapter):
    (last,) = (adapter / "checkpoints").glob("checkpoint-3")
    told = [llmkit("classify", "-m", folder, "the film was good").rows for folder in (adapter, last)]
    assert told[0] == told[1]


def test_a_run_of_other_weights_in_the_same_folder_leaves_no_adapter_behind(llmkit, reviews, base, adapter):
    refused = llmkit("finetune", reviews, "-m", base, "-o", adapter, *SHORT, "--resume")
    assert refused.code == 2
    assert "other options (lora)" in refused.error
    assert llmkit("finetune", reviews, "-m", base, "-o", adapter, *SHORT, "--overwrite").code == 0
    assert not list(adapter.glob("adapter_*"))
    assert llmkit("classify", "-m", adapter, "good").code == 0


def test_targets_that_are_named_are_adapted_and_no_others(llmkit, reviews, classifier, tmp_path):
    run = tmp_path / "run"
    named = ("--lora-targets", "query,value", "--lora-targets", "intermediate.dense", "--lora-alpha", "3")
    ran = llmkit("finetune", reviews, "-m", classifier, "-o", run, "--lora", *named, *SHORT)
    assert ran.code == 0, ran.err
    adapted = {name.split(".lora_")[0] for name in load_file(run / "adapter_model.safetensors") if ".lora_" in name}
    assert {name.removeprefix("base_model.model.bert.encoder.layer.")[2:] for name in adapted} == {
        "attention.self.query",
        "attention.self.value",
        "intermediate.dense",
    }
    assert json.loads((run / "adapter_config.json").read_text())["lora_alpha"] == 3.0


def test_freeze_all_changes_the_head_alone(llmkit, reviews, classifier, tmp_path):
    run = tmp_path / "run"
    ran = llmkit("finetune", reviews, "-m", classifier, "-o", run, "--freeze", "all", *SHORT)
    assert ran.code == 0, ran.err
    assert changed(classifier, run) == {"classifier.weight", "classifier.bias"}
    assert "trainable: 66 of 24,802 parameters (0.27%)" in ran.err
    planned = llmkit("finetune", reviews, "-m", classifier, "-o", tmp_path / "b", "--freeze", "all", "--dry-run")
    assert "trainable: 66 of 24,802 parameters (0.27%)" in planned.err
    assert values(llmkit("eval", reviews, "-m", run, "--json").json) == values(ran.json)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_freeze_a_number_keeps_the_embeddings_and_so_many_layers(llmkit, reviews, classifier, tmp_path, layers):
    run = tmp_path / "run"
    assert llmkit("finetune", reviews, "-m", classifier, "-o", run, "--freeze", layers, *SHORT).code == 0
    kept = ("bert.embeddings.", *(f"bert.encoder.layer.{number}." for number in range(layers)))
    every = set(load_file(classifier / "model.safetensors"))
    untouched = every - changed(classifier, run)
    assert {name for name in every if name.startswith(kept)} <= untouched
    assert not any(name.endswith("weight") and not name.startswith(kept) for name in untouched)


def test_freeze_counts_the_layers_of_an_encoder_before_those_of_a_decoder(llmkit, texts, t5, tmp_path):
    run = tmp_path / "run"
    ran = llmkit("finetune", texts, "-m", t5, "-o", run, "--freeze", "3", "--learning-rate", "0.01", *SHORT)
    assert ran.code == 0, ran.err
    moved = changed(t5, run)
    assert moved
    assert not [name for name in moved if name.startswith(("shared", "encoder.block.", "decoder.block.0."))]


def test_an_adapter_that_another_program_made_opens_on_its_base(llmkit, llama, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(llama), config)
    model.save_pretrained(tmp_path / "foreign")  # no tokenizer, no config.json
    ran = llmkit("generate", "the fox", "-m", tmp_path / "foreign", "--max-new-tokens", "6")
    assert ran.code == 0, ran.err
    ids = AutoTokenizer.from_pretrained(llama)("the fox", return_tensors="pt")
    made = model.eval().generate(**ids, max_new_tokens=6, do_sample=False)[0]
    expected = AutoTokenizer.from_pretrained(llama).decode(made, skip_special_tokens=True)
    assert "the fox" + ran.out.removesuffix("\n") == expected


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--lora", "--lora-rank", "0"), ("--lora-rank", "at least 1")),
        (("--lora", "--lora-alpha", "-1"), ("--lora-alpha", "more than 0")),
        (("--lora-rank", "4"), ("--lora-rank", "needs --lora")),
        (("--lora", "--freeze", "all"), ("--lora", "--freeze", "exclude each other")),
        (("--lora", "--lora-targets", "qery"), ("--lora-targets", "'qery'", "did you mean 'query'")),
        (("--lora", "--lora-targets", "LayerNorm"), ("--lora-targets", "no linear module")),
        (("--lora", "--lora-targets", "classifier"), ("--lora-targets", "head")),
        (("--lora", "--lora-targets", "query,"), ("--lora-targets", "commas")),
        (("--freeze", "3"), ("--freeze 3", "2 layers")),
        (("--freeze", "half"), ("--freeze", "'half'")),
        (("--qlora", "--device", "cpu"), ("--qlora", "GPU", "--lora")),
    ],
)
def test_a_wrong_flag_is_one_sentence_before_anything_is_trained(llmkit, reviews, classifier, tmp_path, flags, words):
    ran = llmkit("finetune", reviews, "-m", classifier, "-o", tmp_path / "run", *flags, "--dry-run")
    assert ran.code == 2
    assert all(word in ran.error for word in words), ran.error
    assert not (tmp_path / "run").exists()


def test_freeze_all_of_a_model_without_a_head_is_refused(llmkit, texts, llama, t5, tmp_path):
    for model in (llama, t5):
        ran = llmkit("finetune", texts, "-m", model, "-o", tmp_path / "run", "--freeze", "all", "--dry-run")
        assert ran.code == 2
        assert "--freeze all" in ran.error


def test_without_peft_the_extra_is_named(llmkit, reviews, base, adapter, tmp_path, monkeypatch):
    from importlib.util import find_spec

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "peft" else find_spec(name))
    trained = llmkit("finetune", reviews, "-m", base, "-o", tmp_path / "run", "--lora")
    opened = llmkit("classify", "-m", adapter, "good")
    for ran, what in ((trained, "--lora"), (opened, "adapter")):
        assert ran.code == 2
        assert what in ran.error
        assert "pip install 'llmkit[adapters]'" in ran.error


def test_an_adapter_is_not_trained_further_before_it_is_merged(llmkit, reviews, corpus, adapter, tmp_path):
    for line in (("finetune", reviews, "--lora"), ("finetune", reviews), ("pretrain", corpus)):
        ran = llmkit(*line, "-m", adapter, "-o", tmp_path / "run")
        assert ran.code == 2
        assert "llmkit merge" in ran.error


def test_a_base_that_is_gone_is_named_with_the_file_that_names_it(llmkit, adapter, base):
    base.rename(base.with_name("elsewhere"))
    ran = llmkit("classify", "-m", adapter, "good")
    assert ran.code == 2
    assert str(base) in ran.error
    assert "adapter_config.json" in ran.error
    asked = llmkit("merge", adapter, "-m", base.with_name("elsewhere"), "-o", base.with_name("merged"))
    assert asked.code == 0, asked.err


def test_a_base_that_was_trained_since_is_no_base_for_the_adapter(llmkit, reviews, adapter, base, tmp_path):
    assert llmkit("finetune", reviews, "-m", base, "-o", tmp_path / "on", *SHORT).code == 0
    shutil.copy(tmp_path / "on" / "model.safetensors", base / "model.safetensors")
    ran = llmkit("classify", "-m", adapter, "good")
    assert ran.code == 2
    assert "made on other weights" in ran.error


def test_a_base_of_other_shapes_is_named_even_where_the_adapter_does_not_say_what_it_was_made_on(
    llmkit, adapter, tmp_path
):
    config = json.loads((adapter / "config.json").read_text())
    del config["llmkit_base"]
    (adapter / "config.json").write_text(json.dumps(config))
    wider = tiny.bert_folder(tmp_path / "wider", hidden=64)
    deeper = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(deeper | {"base_model_name_or_path": str(wider)}))
    ran = llmkit("classify", "-m", adapter, "good")
    assert ran.code == 2, ran.err
    assert "does not fit its base" in ran.error


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "adapter_config.json").write_text("{"), ("adapter_config.json",)),
        (lambda folder: (folder / "adapter_config.json").write_text('{"peft_type": "IA3"}'), ("adapter_config.json",)),
        (lambda folder: _describe(folder, peft_type="XLORA"), ("XLORA", "not opened")),
        (lambda folder: _describe(folder, base_model_name_or_path=None), ("base",)),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), ("holds no weights",)),
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"\0" * 40), ("truncated",)),
        (lambda folder: _describe(folder, target_modules=["query"]), ("does not fit",)),
    ],
)
def test_a_broken_adapter_is_one_sentence(llmkit, adapter, spoil, words):
    spoil(adapter)
    ran = llmkit("classify", "-m", adapter, "good")
    assert ran.code == 2, ran.err
    assert all(word in ran.error for word in words), ran.error


def _describe(folder: Path, **values) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
