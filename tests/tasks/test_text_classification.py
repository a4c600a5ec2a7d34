from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from conftest import write_csv, write_jsonl
from datasets import ClassLabel, Dataset, Features, Value
from scipy import stats
from sklearn import metrics as sklearn_metrics
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from llmkit.data.labels import Labels
from llmkit.inference.prediction import classify
from llmkit.models.tokenizer_training import train_bpe
from llmkit.options import ModelOptions
from llmkit.tasks import TaskSettings
from llmkit.tasks.text_classification import TextClassification

NAMES = ["negative", "neutral", "positive"]
TEXTS = [
    "the fox was good",
    "bad",
    "the king was cruel and the river was cold and the day was bitter",
    "a sweet song",
    "the soup was warm",
    "the garden was dark and sad",
    "happy",
    "the house was fine and kind and lovely and bright",
]
PAIRS = ["the day", "the song was sad and the fox was happy", "a", "the river was warm", "x", "good", "bad day", "the"]


def decoder(folder: Path, arch: str, pad: bool, side: str = "right") -> Path:
    """Save a tiny decoder classifier of three classes, with or without a pad token."""
    tokenizer = train_bpe(tiny.SENTENCES, 300, tiny.CONTEXT)
    if not pad:
        tokenizer.pad_token = None
    tokenizer.padding_side = side
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    if arch == "llama":
        shape |= {"intermediate_size": 64, "num_key_value_heads": 2}
    else:
        shape |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    config = AutoConfig.for_model(
        arch,
        vocab_size=len(tokenizer),
        max_position_embeddings=tiny.CONTEXT,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(NAMES)),
        label2id={name: number for number, name in enumerate(NAMES)},
        **shape,
    )
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def models(models_root) -> dict[str, Path]:
    return {
        "bert": tiny.bert_folder(models_root / "bert3", labels=NAMES, seed=5),
        "llama": decoder(models_root / "llama3", "llama", pad=True),
        "llama without pad": decoder(models_root / "llama3-no-pad", "llama", pad=False),
        "gpt2": decoder(models_root / "gpt3", "gpt2", pad=True),
        "gpt2 without pad": decoder(models_root / "gpt3-no-pad", "gpt2", pad=False),
        "gpt2 that pads on the left": decoder(models_root / "gpt3-left", "gpt2", pad=True, side="left"),
        "llama that pads on the left": decoder(models_root / "llama3-left", "llama", pad=True, side="left"),
    }


def plain_logits(folder: Path, texts: list[str], pairs: list[str] | None = None) -> np.ndarray:
    """Return the logits of transformers alone, one row at a time, so that nothing is padded."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    rows = []
    for row, text in enumerate(texts):
        if pairs is None:
            inputs = tokenizer(text, return_tensors="pt")
        elif tokenizer.sep_token is None:
            inputs = tokenizer(f"{text}\n{pairs[row]}", return_tensors="pt")
        else:
            inputs = tokenizer(text, pairs[row], return_tensors="pt")
        with torch.inference_mode():
            rows.append(model(**inputs).logits[0].numpy())
    return np.stack(rows)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize("pairs", [None, PAIRS], ids=["single", "pair"])
@pytest.mark.parametrize(
    "kind",
    [
        "bert",
        "llama",
        "llama without pad",
        "gpt2",
        "gpt2 without pad",
        "gpt2 that pads on the left",
        "llama that pads on the left",
    ],
)
def test_probabilities_are_those_of_a_plain_forward_pass(models, kind, pairs, batch_size):
    chances = torch.tensor(plain_logits(models[kind], TEXTS, pairs)).softmax(-1).numpy()
    answers = classify(TEXTS, str(models[kind]), pairs, batch_size=batch_size)
    assert [answer["label"] for answer in answers] == [NAMES[place] for place in chances.argmax(-1)]
    found = [[answer["scores"][name] for name in NAMES] for answer in answers]
    np.testing.assert_allclose(found, chances, atol=2e-6)


def labelled(texts: list[str], labels: list, pairs: list[str] | None = None) -> list[dict]:
    seconds = [{"pair": pair} for pair in pairs] if pairs else [{} for _ in texts]
    return [{"text": t, **p, "label": label} for t, p, label in zip(texts, seconds, labels, strict=True)]


@pytest.mark.parametrize("batch_size", [1, 16])
@pytest.mark.parametrize("kind", ["bert", "llama without pad"])
def test_metrics_are_scikit_learns_on_a_plain_forward_pass(llmkit, models, tmp_path, kind, batch_size):
    truth = [0, 1, 2, 2, 0, 1, 1, 2]
    data = write_jsonl(tmp_path / "rows.jsonl", labelled(TEXTS, [NAMES[number] for number in truth]))
    guess = plain_logits(models[kind], TEXTS).argmax(-1)
    found = llmkit("eval", data, "-m", models[kind], "--batch-size", batch_size, "--json").json
    values = {name: metric["value"] for name, metric in found["metrics"].items()}
    assert values["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(truth, guess))
    assert values["f1"] == pytest.approx(sklearn_metrics.f1_score(truth, guess, average="macro"))
    assert values["matthews_correlation"] == pytest.approx(sklearn_metrics.matthews_corrcoef(truth, guess))
    assert found["metrics"]["f1"]["of"] == "macro"
    assert {name: row["support"] for name, row in found["per_class"].items()} == dict(zip(NAMES, (2, 3, 3)))


def test_the_datasets_labels_are_matched_by_name_and_not_by_position(llmkit, models, tmp_path):
    guesses = plain_logits(models["bert"], TEXTS).argmax(-1)
    rows = labelled(TEXTS, [NAMES[guess].upper() for guess in guesses])
    found = llmkit("eval", write_jsonl(tmp_path / "rows.jsonl", rows), "-m", models["bert"], "--json").json
    assert found["metrics"]["accuracy"]["value"] == 1.0

    order = ["positive", "negative", "neutral"]  # the dataset declares another order
    features = Features({"text": Value("string"), "label": ClassLabel(names=order)})
    declared = Dataset.from_list(labelled(TEXTS, [order.index(NAMES[guess]) for guess in guesses]), features=features)
    declared.save_to_disk(tmp_path / "declared")
    found = llmkit("eval", tmp_path / "declared", "-m", models["bert"], "--split", "train", "--json").json
    assert found["metrics"]["accuracy"]["value"] == 1.0

    strange = write_jsonl(tmp_path / "strange.jsonl", labelled(TEXTS[:2], ["negative", "superb"]))
    refused = llmkit("eval", strange, "-m", models["bert"])
    assert refused.code == 2
    assert all(f"'{name}'" in refused.error for name in (*NAMES, "superb"))


@pytest.mark.parametrize(
    ("benchmark", "headline"),
    [
        ("glue/mrpc", "f1"),
        ("glue/qqp", "f1"),
        ("glue/cola", "matthews_correlation"),
        ("glue/sst2", "accuracy"),
        ("glue/rte", "accuracy"),
        ("glue/qnli", "accuracy"),
        ("glue/mnli", "accuracy"),
        ("glue/wnli", "accuracy"),
        ("ag_news", "f1"),
        (None, "f1"),
    ],
)
def test_the_headline_is_the_benchmarks_own(benchmark, headline):
    task, labels = TextClassification(), Labels(("no", "yes"))
    settings = TaskSettings(
        columns={"text": "text", "label": "label"}, max_length=8, labels=labels, benchmark=benchmark
    )
    assert task.headline_metric(settings) == headline
    assert headline in task.metric_names(labels)


def test_the_headline_of_a_regression_is_pearson():
    settings = TaskSettings(columns={}, max_length=8, labels=Labels(()), benchmark="glue/stsb")
    assert TextClassification().headline_metric(settings) == "pearson"
    assert {"pearson", "spearman"} <= set(TextClassification().metric_names(Labels(())))


def test_a_folder_laid_out_as_glue_is_measured_by_its_own_metric(llmkit, classifier, tmp_path):
    card = "---\nconfigs:\n- config_name: cola\n  data_files:\n  - split: train\n    path: cola/train.csv\n---\n"
    write_csv(tmp_path / "glue" / "cola" / "train.csv", tiny.reviews(40))
    (tmp_path / "glue" / "README.md").write_text(card)
    flags = ("-m", classifier, "-o", tmp_path / "run", "--max-steps", "2", "--json")
    ran = llmkit("finetune", f"{tmp_path / 'glue'}:cola", *flags)
    assert ran.code == 0, ran.err
    assert ran.json["headline"] == "matthews_correlation"
    assert ran.json["training"]["best_by"] == "matthews_correlation"


@pytest.mark.parametrize("flags", [(), ("--positive", "negative"), ("--positive", "positive")])
def test_f1_is_of_the_positive_class_and_says_which(llmkit, classifier, tmp_path, flags):
    truth = [0, 0, 0, 1, 1, 0, 1, 0]
    names = ["negative", "positive"]
    data = write_jsonl(tmp_path / "rows.jsonl", labelled(TEXTS, [names[number] for number in truth]))
    guess = plain_logits(classifier, TEXTS).argmax(-1)
    found = llmkit("eval", data, "-m", classifier, *flags, "--json").json["metrics"]
    which = flags[1] if flags else "positive"
    score = {"pos_label": names.index(which), "zero_division": 0}
    for name in ("f1", "precision", "recall"):
        assert found[name]["of"] == f"class '{which}'"
        assert found[name]["value"] == getattr(sklearn_metrics, f"{name}_score")(truth, guess, **score)


def test_a_positive_class_that_there_is_not_is_refused(llmkit, classifier, masked, reviews):
    ran = llmkit("eval", reviews, "-m", classifier, "--positive", "positiv")
    assert ran.code == 2
    assert "did you mean 'positive'" in ran.error
    assert llmkit("eval", reviews, "-m", masked, "--positive", "positive").code == 2


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["10", "2", "1"], ["1", "2", "10"]),
        ([2, 10, 1], ["1", "2", "10"]),
        ([1, -1, 0], ["-1", "0", "1"]),
        ([True, False], ["false", "true"]),
        (["b", "a", "c"], ["a", "b", "c"]),
        (["item 12", "item 9"], ["item 9", "item 12"]),
    ],
)
def test_labels_of_any_kind_get_names_in_natural_order(llmkit, classifier, tmp_path, values, names):
    rows = [{"text": f"the {tiny.THINGS[n % 10]} number {n}", "label": values[n % len(values)]} for n in range(40)]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    run = tmp_path / "run"
    ran = llmkit("finetune", data, "-m", classifier, "-o", run, "--max-steps", "1", "--json")
    assert ran.code == 0, ran.err
    config = json.loads((run / "config.json").read_text())
    assert [config["id2label"][str(number)] for number in range(len(names))] == names
    assert set(llmkit("classify", "the fox", "-m", run).rows[0]["scores"]) == set(names)
    assert llmkit("eval", data, "-m", run, "--json").json["metrics"] == ran.json["metrics"]


def test_declared_class_names_keep_their_declared_order(llmkit, classifier, tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["zebra", "ant"])})
    rows = [{"text": f"number {n}", "label": n % 2} for n in range(20)]
    Dataset.from_list(rows, features=features).save_to_disk(tmp_path / "data")
    llmkit("finetune", tmp_path / "data", "-m", classifier, "-o", tmp_path / "run", "--max-steps", "1")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["id2label"] == {"0": "zebra", "1": "ant"}


def test_floats_make_a_regression_measured_by_correlation(llmkit, classifier, tmp_path):
    rows = [
        {"text": f"the {t} was {w}", "score": 4.0 * (w in tiny.GOOD) + 0.25}
        for t in tiny.THINGS
        for w in (*tiny.GOOD[:3], *tiny.BAD[:3])
    ]
    data, run = write_csv(tmp_path / "rows.csv", rows), tmp_path / "run"
    ran = llmkit("finetune", data, "-m", classifier, "-o", run, "--epochs", "12", "--learning-rate", "3e-3", "--json")
    assert ran.code == 0, ran.err
    assert "a number (regression)" in ran.err
    assert ran.json["per_class"] is None
    assert ran.json["metrics"]["pearson"]["value"] > 0.9
    config = json.loads((run / "config.json").read_text())
    assert config["problem_type"] == "regression"
    texts, truth = [row["text"] for row in rows], [row["score"] for row in rows]
    guess = plain_logits(run, texts)[:, 0].astype(float)
    found = llmkit("eval", data, "-m", run, "--split", "train", "--json").json["metrics"]
    assert found["pearson"]["value"] == pytest.approx(stats.pearsonr(guess, truth)[0], abs=1e-6)
    assert found["spearman"]["value"] == pytest.approx(stats.spearmanr(guess, truth)[0], abs=1e-3)
    assert found["mse"]["value"] == pytest.approx(np.mean((guess - truth) ** 2), rel=1e-4)
    answers = llmkit("classify", *texts[:3], "-m", run).rows
    assert [answer["score"] for answer in answers] == pytest.approx(guess[:3].tolist(), abs=1e-5)


def test_numbers_and_classes_are_not_mixed_up(llmkit, classifier, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", [{"text": "a", "label": 0.5}, {"text": "b", "label": 1.5}])
    ran = llmkit("eval", data, "-m", classifier)
    assert ran.code == 2
    assert "numbers" in ran.error
    assert "classes" in ran.error


def test_pairs_are_found_by_their_names_and_trained_as_pairs(llmkit, classifier, tmp_path):
    rows = [{"sentence1": a, "sentence2": b, "label": n % 2} for n, (a, b) in enumerate(zip(TEXTS * 4, PAIRS * 4))]
    data, run = write_csv(tmp_path / "rows.csv", rows), tmp_path / "run"
    ran = llmkit("finetune", data, "-m", classifier, "-o", run, "--max-steps", "2")
    assert "text=sentence1, pair=sentence2, label=label" in ran.err
    task = TextClassification()
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    columns = {"text": "sentence1", "pair": "sentence2", "label": "label"}
    settings = TaskSettings(columns=columns, max_length=64, labels=Labels(("0", "1")))
    prepared = task.encoding.encode(Dataset.from_list(rows), tokenizer, settings, training=True)
    for row, made in zip(rows, prepared):
        plain = tokenizer(row["sentence1"], row["sentence2"])
        assert made["input_ids"] == plain["input_ids"]
        assert made["token_type_ids"] == plain["token_type_ids"]
        assert made["labels"] == row["label"]


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"review": "a", "label": "x"}, {"text": "review", "label": "label"}),
        ({"id": "1", "body": "a longer text", "stars": 3}, {"text": "body", "label": "stars"}),
        ({"premise": "a", "hypothesis": "b", "label": 1}, {"text": "premise", "pair": "hypothesis", "label": "label"}),
        ({"question": "a", "sentence": "b", "label": 1}, {"text": "question", "pair": "sentence", "label": "label"}),
        ({"text": "a", "title": "a long title", "label": True}, {"text": "text", "label": "label"}),
        ({"text": "a", "note": "b"}, None),
        ({"number": 1, "label": 2}, None),
    ],
)
def test_columns_are_told_by_their_names(columns, found):
    assert TextClassification().columns.match(Dataset.from_list([columns]), {}) == found


@pytest.mark.parametrize("pairs", [None, PAIRS], ids=["single", "pair"])
def test_long_rows_are_truncated_as_the_tokenizer_does(models, pairs):
    tokenizer = AutoTokenizer.from_pretrained(models["bert"])
    columns = {"text": "text", "label": "label"} | ({"pair": "pair"} if pairs else {})
    settings = TaskSettings(columns=columns, max_length=9, labels=Labels(("0", "1")))
    rows = Dataset.from_list(labelled(TEXTS, ["0"] * 8, pairs))
    prepared = TextClassification().encoding.encode(rows, tokenizer, settings, training=False)
    plain = tokenizer(TEXTS, pairs, truncation=True, max_length=9)
    assert list(prepared["input_ids"]) == plain["input_ids"]
    assert max(prepared["length"]) == 9
    assert all(ids[-1] == tokenizer.sep_token_id for ids in prepared["input_ids"])


def test_rows_without_text_or_label_are_not_usable():
    rows = [("a", "x"), ("", "x"), (None, "x"), ("  ", "y"), ("b", None), ("c", " "), ("d", "y")]
    dataset = Dataset.from_list([{"text": text, "label": label} for text, label in rows])
    assert TextClassification().columns.usable_rows(dataset, {"text": "text", "label": "label"}) == [0, 6]
    numbers = Dataset.from_dict({"text": ["a", "b", "c"], "label": [0.5, None, float("nan")]})
    assert TextClassification().columns.usable_rows(numbers, {"text": "text", "label": "label"}) == [0]


def test_hidden_test_labels_are_no_labels():
    task, columns = TextClassification(), {"text": "text", "label": "label"}
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    for labels, expected in (([-1, -1], False), ([0, 1], True)):
        rows = Dataset.from_dict({"text": ["a", "b"], "label": labels}, features=features)
        assert task.columns.has_labels(rows, columns) is expected
    for hidden in ([-1, -1], [-1.0, -1.0], [None, None]):
        assert not task.columns.has_labels(Dataset.from_dict({"text": ["a", "b"], "label": hidden}), columns)
    assert not task.columns.has_labels(Dataset.from_dict({"text": ["a"]}), columns)


@pytest.mark.parametrize("kind", ["llama", "no pad"])
def test_a_decoder_is_finetuned_into_a_classifier_that_answers_like_transformers(
    llmkit, llama, reviews, tmp_path, kind
):
    start = llama if kind == "llama" else tiny.llama_folder(tmp_path / "no_pad", pad=False)
    run = tmp_path / "run"
    ran = llmkit("finetune", reviews, "-m", start, "-o", run, "--max-steps", "4", "--json")
    assert ran.code == 0, ran.err
    assert json.loads((run / "config.json").read_text())["architectures"] == ["LlamaForSequenceClassification"]
    chances = torch.tensor(plain_logits(run, TEXTS)).softmax(-1).numpy()
    for batch_size in (1, 16):
        answers = classify(TEXTS, ModelOptions(model=str(run)), batch_size=batch_size)
        found = [[answer["scores"][name] for name in ("negative", "positive")] for answer in answers]
        np.testing.assert_allclose(found, chances, atol=2e-6)
