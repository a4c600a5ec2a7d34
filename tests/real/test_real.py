"""On real data and models, through the loopback Hub, as a user would type it. Marked `real`: see CONTRIBUTING.md."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest
import torch
from readme import commands

pytestmark = pytest.mark.real
MINILM = "sentence-transformers/all-MiniLM-L6-v2"
STORIES = "karpathy/stories260k"


@pytest.fixture(scope="session")
def mrpc(hub):
    """The result of the README's MRPC run: default settings, default seed. All its commands for Hub data are run."""
    lines = commands(hub=True)
    assert any(line.startswith("llmkit finetune glue/mrpc") and "-o runs/mrpc" in line for line in lines)
    for line in lines:
        done = subprocess.run(["bash", "-c", line], cwd=hub.folder, env=hub.env, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    return json.loads((hub.folder / "runs/mrpc/run.json").read_text())["result"]


def test_mrpc_with_the_defaults_reaches_f1_of_at_least_085(mrpc):
    assert mrpc["metrics"]["f1"]["value"] >= 0.85
    assert mrpc["n"] == 408


def test_eval_after_finetune_prints_the_same_figures(hub, mrpc):
    ran = hub("eval", "glue/mrpc", "-m", "runs/mrpc", "--json", "--no-cache")
    assert ran.code == 0, ran.err
    for key in ("metrics", "per_class", "n", "split", "rows_sha256"):
        assert ran.json[key] == mrpc[key]


def test_the_gate_catches_a_worse_model_and_passes_the_same_one_with_another_batch_size(hub, mrpc):
    base, worse = hub.folder / "base.json", "runs/mrpc-worse"
    assert hub("eval", "glue/mrpc", "-m", "runs/mrpc", "--output", base, "--no-cache").code == 0
    trained = hub("finetune", "glue/mrpc", "-m", MINILM, "-o", worse, "--max-steps", 30, "--quiet")
    assert trained.code == 0, trained.err
    gate = ("--baseline", base, "--max-drop", "f1=0.01")
    ran = hub("eval", "glue/mrpc", "-m", worse, *gate)
    assert ran.code == 1, ran.err
    assert "gate NOT met: f1 went from" in ran.err
    same = hub("eval", "glue/mrpc", "-m", "runs/mrpc", "--batch-size", 7, *gate, "--strict", "--json")
    assert same.code == 0, same.err
    assert same.json["baseline"]["flips"]["changed"] == 0
    assert same.json["metrics"]["f1"]["value"] == pytest.approx(mrpc["metrics"]["f1"]["value"], abs=1e-6)


def test_classify_agrees_with_a_plain_forward_pass_on_every_validation_row(hub, mrpc, real_hub):
    from datasets import load_dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    rows = load_dataset(str(real_hub / "datasets/nyu-mll/glue"), "mrpc", split="validation")
    rows.to_json(hub.folder / "validation.jsonl")
    ran = hub("classify", "-m", "runs/mrpc", "--input", "validation.jsonl", "--output", "labelled.jsonl")
    assert ran.code == 0, ran.err
    labelled = [json.loads(line) for line in (hub.folder / "labelled.jsonl").read_text().splitlines()]
    assert [row["sentence1"] for row in labelled] == rows["sentence1"]
    tokenizer = AutoTokenizer.from_pretrained(hub.folder / "runs/mrpc")
    model = AutoModelForSequenceClassification.from_pretrained(hub.folder / "runs/mrpc").eval()
    for row in labelled:
        with torch.inference_mode():
            logits = model(**tokenizer(row["sentence1"], row["sentence2"], return_tensors="pt")).logits[0]
        plain = torch.softmax(logits.double(), -1)
        assert row["label"] == model.config.id2label[int(plain.argmax())]
        scores = [row["scores"][model.config.id2label[i]] for i in range(2)]
        np.testing.assert_allclose(scores, plain.numpy(), atol=1e-5)


def test_an_adapter_for_mrpc_is_small_and_merges_without_a_change(hub):
    ran = hub("finetune", "glue/mrpc", "-m", MINILM, "--lora", "-o", "runs/mrpc-lora", "--max-steps", 40, "--json")
    assert ran.code == 0, ran.err
    record = json.loads((hub.folder / "runs/mrpc-lora/run.json").read_text())
    assert record["model"]["trainable"]["share"] < 0.03
    assert (hub.folder / "runs/mrpc-lora/adapter_model.safetensors").stat().st_size < 3e6
    merged = hub("merge", "runs/mrpc-lora", "-o", "runs/mrpc-merged", "--json")
    assert merged.code == 0, merged.err
    adapted, folded = (hub("eval", "glue/mrpc", "-m", f"runs/mrpc-{name}", "--json") for name in ("lora", "merged"))
    assert adapted.json["metrics"] == ran.json["metrics"]
    assert folded.json["confusion"] == adapted.json["confusion"]


def test_with_all_but_the_head_frozen_sst2_is_still_learned(hub):
    flags = ("--freeze", "all", "--train-split", "train[:5%]", "--max-steps", 200, "-o", "runs/sst2-head", "--json")
    ran = hub("finetune", "glue/sst2", "-m", MINILM, *flags)
    assert ran.code == 0, ran.err
    assert "(0.00%)" in ran.err
    assert ran.json["metrics"]["accuracy"]["value"] > 0.57  # the larger class: 0.51


@pytest.mark.parametrize(
    ("dataset", "flags", "metrics"),
    [
        ("glue/sst2", ["--train-split", "train[:10%]"], {"accuracy", "f1"}),
        ("glue/cola", [], {"matthews_correlation"}),
        ("glue/stsb", [], {"pearson", "spearman"}),
        ("glue/rte", [], {"accuracy"}),
        ("rotten_tomatoes", [], {"accuracy", "f1"}),
        ("ag_news", [], {"accuracy", "f1"}),
        ("local/chnsenticorp_htl", ["--max-length", "64"], {"accuracy", "f1"}),
        ("examples/reviews_zh.csv", [], {"accuracy", "f1"}),
    ],
)
def test_the_same_command_works_on(hub, dataset, flags, metrics):
    folder = f"runs/{dataset.replace('/', '-')}"
    # a few steps: that it runs, and that eval measures the same again
    limit = [] if dataset == "rotten_tomatoes" else ["--limit", 400]  # its rows are sorted by label
    ran = hub("finetune", dataset, "-m", MINILM, "-o", folder, "--max-steps", 12, *limit, *flags, "--json")
    assert ran.code == 0, ran.err
    assert metrics <= set(ran.json["metrics"])
    again = hub("eval", dataset, "-m", folder, *limit, "--json")
    assert again.code == 0, again.err
    assert again.json["metrics"] == ran.json["metrics"]


@pytest.mark.parametrize(
    "prompts", [["Once upon a time"], ["Once upon a time", "A dog", "Lily and Tom went to the park"]]
)
def test_greedy_generation_equals_transformers_token_for_token(hub, real_hub, prompts):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = real_hub / "models" / STORIES
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder)
    batch = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)
    made = model.generate(**batch, max_new_tokens=80, do_sample=False)
    width = batch["input_ids"].shape[1]
    ran = hub("generate", *prompts, "-m", STORIES, "--max-new-tokens", 80, "--json")
    assert ran.code == 0, ran.err
    for row, prompt, ids in zip(ran.rows, prompts, made):
        whole = tokenizer.decode(ids, skip_special_tokens=True)
        assert prompt + row["completion"] == whole
        again = tokenizer(prompt + row["completion"])["input_ids"]
        assert again[-20:] == ids[ids != tokenizer.pad_token_id].tolist()[-20:] or len(ids[width:]) < 20


def test_perplexity_of_wikitext_equals_a_plain_sliding_window(hub, real_hub):
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ran = hub("eval", "wikitext/wikitext-2-raw-v1", "-m", STORIES, "--limit", 60, "--stride", 256, "--json")
    assert ran.code == 0, ran.err
    rows = load_dataset(str(real_hub / "datasets/Salesforce/wikitext"), "wikitext-2-raw-v1", split="test[:60]")
    tokenizer = AutoTokenizer.from_pretrained(real_hub / "models" / STORIES)
    model = AutoModelForCausalLM.from_pretrained(real_hub / "models" / STORIES).eval()
    ids = tokenizer("\n\n".join(rows["text"]), return_tensors="pt")["input_ids"]
    total, count, done = 0.0, 0, 0
    for begin in range(0, ids.shape[1], 256):
        end = min(begin + 512, ids.shape[1])
        targets = ids[:, begin:end].clone()
        targets[:, : -(end - done)] = -100
        scored = int((targets[:, 1:] != -100).sum())
        with torch.inference_mode():
            total += model(ids[:, begin:end], labels=targets).loss.item() * scored
        count, done = count + scored, end
        if end == ids.shape[1]:
            break
    assert ran.json["counts"]["tokens"] == count
    assert ran.json["metrics"]["loss"]["value"] == pytest.approx(total / count, rel=1e-5)
