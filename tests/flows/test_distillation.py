"""Distillation, judged by plain torch scripts, by the weights on disk, and by what is refused."""

from __future__ import annotations

import copy
import json
import signal
from pathlib import Path

import pytest
import tiny
import torch
import transformers
from conftest import write_csv, write_jsonl
from safetensors.torch import load_file, save_file
from signalling import Signalling
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from llmkit.errors import ModelError, OptionError, Stopped
from llmkit.options import AdapterOptions, DistillingOptions, ModelOptions, RunOptions, TrainingOptions
from llmkit.output.report import Report
from llmkit.tasks import TASKS
from llmkit.training.distillation import cut_student, evenly, find_teacher, open_teacher
from llmkit.training.finetuning import finetune
from llmkit.training.loop.distillation_loss import distillation_loss

PLAIN = (  # plain gradient descent on all rows at once: what a few lines of torch can repeat
    "--max-steps",
    3,
    "--batch-size",
    64,
    "--learning-rate",
    0.1,
    "--set",
    "optim=sgd",
    "--set",
    "max_grad_norm=0",
    "--weight-decay",
    0,
    "--warmup",
    0,
    "--set",
    "lr_scheduler_type=constant",
    "--metric",
    "loss",
    "--dtype",
    "float32",
    "--json",
)
STEPS = 3


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("teachers")


def deep(folder: Path, family: str, like: Path, auto=None, **more) -> Path:
    """Save a random model of five layers with the tokenizer of another."""
    tokenizer = AutoTokenizer.from_pretrained(like)
    sizes = {"vocab_size": len(tokenizer), "num_hidden_layers": 5, "num_attention_heads": 2, "hidden_size": 16}
    inner = {"intermediate_size": 32, "max_position_embeddings": 64, "pad_token_id": tokenizer.pad_token_id}
    if family == "distilbert":
        inner |= {"hidden_dim": 32, "dropout": 0.0, "attention_dropout": 0.0, "seq_classif_dropout": 0.0}
    if family in ("bert", "albert"):
        inner |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "embedding_size": 16}
    auto = auto or (AutoModelForCausalLM if family == "llama" else AutoModelForSequenceClassification)
    if auto is AutoModelForSequenceClassification:
        inner |= {"id2label": {0: "negative", 1: "positive"}, "label2id": {"negative": 0, "positive": 1}}
    config = AutoConfig.for_model(family, **{**sizes, **inner, **more})
    torch.manual_seed(5)
    model = auto.from_config(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():  # none is what a new model begins with
            weights.normal_(0, 5 if "token_type" in name else 0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def teacher(folders, classifier) -> Path:
    """A random BERT of five layers that tells negative from positive."""
    return deep(folders / "bert", "bert", classifier)


@pytest.fixture
def texts(tmp_path) -> Path:
    return write_jsonl(tmp_path / "texts.jsonl", [{"text": line} for line in tiny.corpus(160).split("\n\n")])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def softened(student: torch.Tensor, teacher: torch.Tensor, heat: float) -> torch.Tensor:
    """The mean of T^2 KL(teacher || student), as it is written in the paper."""
    theirs, ours = (torch.softmax(logits / heat, -1) for logits in (teacher, student))
    return heat**2 * (theirs * (theirs.log() - ours.log())).sum(-1).mean()


def turned(student, teacher, pairs, mask: torch.Tensor) -> torch.Tensor:
    """The mean of 1 - the cosine of the states of each real token after layers that stand for each other."""
    apart = []
    for ours, theirs in pairs:
        for row, length in enumerate(mask.sum(-1).tolist()):
            one, other = student[ours][row, :length], teacher[theirs][row, :length]
            apart += [1 - (a @ b) / (a.norm() * b.norm()) for a, b in zip(one, other)]
    return torch.stack(apart).mean()


def descend(
    student, teacher, inputs, labels, heat: float, mix: float, shift: bool = False, states=0.0, pairs=()
) -> list[float]:
    """Train by plain gradient descent, and return the losses."""
    losses = []
    for _ in range(STEPS):
        with torch.no_grad():
            whole = teacher.eval()(**inputs[0], output_hidden_states=True)
        answer = student(**inputs[1], output_hidden_states=True)
        told, logits = whole.logits, answer.logits
        if shift:
            told, logits = (each[:, :-1].flatten(0, 1) for each in (told, logits))
        own = functional.cross_entropy(logits, labels)
        apart = softened(logits, told, heat)
        if states:
            mask = inputs[0].get("attention_mask", torch.ones_like(inputs[0]["input_ids"]))
            apart = apart + states * turned(answer.hidden_states, whole.hidden_states, pairs, mask)
        loss = mix * apart + (1 - mix) * own
        student.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in student.parameters():
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad
        losses.append(loss.item())
    return losses


def logged(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_a_classifier_learns_what_plain_torch_teaches_it_token_types_included(llmkit, folders, classifier, tmp_path):
    """The teacher, a BERT, reads token types of a pair, which the student, a DistilBERT, does not."""
    teacher = deep(folders / "pairs", "bert", classifier, num_hidden_layers=1)
    student = deep(folders / "distil", "distilbert", teacher, num_hidden_layers=2)
    tokenizer = AutoTokenizer.from_pretrained(student)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(student)
    first, second = tiny.reviews(48), tiny.reviews(48, seed=7)
    rows = [{"text": a["text"], "pair": b["text"], "label": a["label"]} for a, b in zip(first, second)]
    data, run = write_csv(tmp_path / "pairs.csv", rows), tmp_path / "run"
    ran = llmkit(
        "finetune",
        data,
        "-m",
        student,
        "--teacher",
        teacher,
        "--distill-temperature",
        3,
        "--distill-mix",
        0.7,
        "--column",
        "pair=pair",
        "--column",
        "text=text",
        "--validation",
        data,
        "-o",
        run,
        *PLAIN[:-5],
        "--dtype",
        "float32",
        "--json",
    )
    assert ran.code == 0, ran.err
    encode = AutoTokenizer.from_pretrained(teacher)
    told = encode([row["text"] for row in rows], [row["pair"] for row in rows], padding=True, return_tensors="pt")
    assert told["token_type_ids"].sum() > 0
    read = {name: told[name] for name in ("input_ids", "attention_mask")}
    labels = torch.tensor([int(row["label"] == "positive") for row in rows])
    models = [AutoModelForSequenceClassification.from_pretrained(folder) for folder in (teacher, student)]
    losses = descend(models[1], models[0], (told, read), labels, 3.0, 0.7)
    assert logged(run) == pytest.approx(losses, rel=1e-4)
    trained = weights(run)
    for name, expected in models[1].state_dict().items():
        torch.testing.assert_close(trained[name], expected, rtol=1e-3, atol=1e-5)
    fresh = AutoModelForSequenceClassification.from_pretrained(student)
    assert descend(fresh, models[0], (read, read), labels, 3.0, 0.7) != pytest.approx(losses, rel=1e-3)
    recorded = json.loads((run / "run.json").read_text())["teacher"]
    assert (recorded["name"], recorded["mix"], recorded["temperature"]) == (str(teacher), 0.7, 3.0)
    assert len(recorded["sketch"]) == 64


def test_a_language_model_learns_what_plain_torch_teaches_it(llmkit, folders, llama, texts, tmp_path):
    teacher, run = deep(folders / "llama", "llama", llama), tmp_path / "run"
    ran = llmkit(
        "finetune",
        texts,
        "--teacher",
        teacher,
        "--student-layers",
        2,
        "--validation",
        texts,
        "-o",
        run,
        "--max-length",
        32,
        "--limit",
        8,
        "--distill-states",
        3,
        *PLAIN,
    )
    assert ran.code == 0, ran.err
    assert "student: layers 1, 5 of the teacher's 5" in ran.err
    tokenizer, whole = AutoTokenizer.from_pretrained(teacher), AutoModelForCausalLM.from_pretrained(teacher)
    lines = [json.loads(line)["text"] for line in texts.read_text().splitlines()[:8]]
    stream = [token for ids in tokenizer(lines)["input_ids"] for token in ids]  # each begins with the end-of-text
    stream.append(tokenizer.eos_token_id)
    blocks = torch.tensor(stream[: len(stream) // 32 * 32]).reshape(-1, 32)
    student = copy.deepcopy(whole)
    student.model.layers = torch.nn.ModuleList([student.model.layers[0], student.model.layers[4]])
    student.model.layers[1].self_attn.layer_idx = 1
    student.config.num_hidden_layers = 2
    inputs = {"input_ids": blocks, "use_cache": False}
    pairs = ((1, 2), (2, 5))  # two layers over five: the middle is rounded down
    losses = descend(student, whole, (inputs, inputs), blocks[:, 1:].flatten(), 2.0, 0.5, True, 3.0, pairs)
    assert logged(run) == pytest.approx(losses, rel=1e-4)
    told = json.loads((run / "run.json").read_text())["teacher"]
    assert (told["layers"], told["states"]) == ([1, 5], 3.0)
    trained = weights(run)
    for name, expected in student.state_dict().items():
        if name in trained:
            torch.testing.assert_close(trained[name], expected, rtol=1e-3, atol=1e-4)


def test_a_classifier_learns_the_states_of_its_teacher_padding_aside(llmkit, teacher, tmp_path):
    rows = [row | {"text": row["text"] * (1 + number % 2)} for number, row in enumerate(tiny.reviews(48))]
    data, run = write_csv(tmp_path / "reviews.csv", rows), tmp_path / "run"
    ran = llmkit(
        "finetune",
        data,
        "--teacher",
        teacher,
        "--student-layers",
        3,
        "--distill-mix",
        1,
        "-o",
        run,
        "--validation",
        data,
        *PLAIN[:-5],
        "--dtype",
        "float32",
        "--json",
    )
    assert ran.code == 0, ran.err
    assert "gives 1 of the loss, at temperature 2, its hidden states with weight 100; the labels give 0" in ran.err
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    whole = AutoModelForSequenceClassification.from_pretrained(teacher)
    inputs = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
    assert inputs["attention_mask"].min() == 0
    student = copy.deepcopy(whole)
    student.bert.encoder.layer = torch.nn.ModuleList([student.bert.encoder.layer[place] for place in (0, 2, 4)])
    labels = torch.zeros(len(rows), dtype=torch.int64)  # which have no share
    losses = descend(student, whole, (inputs, inputs), labels, 2.0, 1.0, False, 100.0, ((1, 2), (2, 3), (3, 5)))
    assert logged(run) == pytest.approx(losses, rel=1e-3)


@pytest.mark.parametrize(
    ("family", "stack"),
    [("bert", "bert.encoder.layer"), ("distilbert", "distilbert.transformer.layer"), ("llama", "model.layers")],
)
def test_a_student_that_is_cut_has_those_layers_of_the_teacher_and_all_around_them(
    folders, classifier, llama, family, stack
):
    like, name = (llama, "causal-lm") if family == "llama" else (classifier, "text-classification")
    folder = deep(folders / f"{family}-whole", family, like)
    task, wanted = TASKS[name], DistillingOptions(teacher=str(folder), student_layers=3)
    found = find_teacher(wanted, ModelOptions(), False, Report())
    student = cut_student(found, open_teacher(found, task), task, {}, False).eval()
    auto = AutoModelForCausalLM if family == "llama" else AutoModelForSequenceClassification
    whole = auto.from_pretrained(folder).eval()
    layers = whole.get_submodule(stack)
    whole.set_submodule(stack, torch.nn.ModuleList([layers[0], layers[2], layers[4]]))
    whole.config.num_hidden_layers = 3
    assert student.config.to_dict() == whole.config.to_dict()
    before, after = whole.state_dict(), student.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    ids, more = torch.tensor([[5, 9, 12, 7]]), {"use_cache": False} if family == "llama" else {}
    torch.testing.assert_close(student(ids, **more).logits, whole(ids, **more).logits)


def test_what_a_config_lists_by_layer_is_cut_too(folders, llama, tmp_path):
    kinds = ["full_attention", "sliding_attention", "full_attention", "full_attention", "sliding_attention"]
    folder = deep(tmp_path / "qwen", "qwen2", llama, layer_types=kinds, auto=AutoModelForCausalLM)
    wanted = DistillingOptions(teacher=str(folder), student_layers=2)
    found = find_teacher(wanted, ModelOptions(), False, Report())
    student = cut_student(found, open_teacher(found, TASKS["causal-lm"]), TASKS["causal-lm"], {}, False)
    assert student.config.layer_types == [kinds[0], kinds[4]]


def test_a_family_whose_layers_are_no_plain_number_is_one_sentence(llmkit, reviews, tmp_path):
    (tmp_path / "funnel").mkdir()
    (tmp_path / "funnel" / "config.json").write_text('{"model_type": "funnel", "block_sizes": [2, 2]}')
    save_file({"a": torch.zeros(1)}, tmp_path / "funnel" / "model.safetensors", {"format": "pt"})
    ran = llmkit("finetune", reviews, "--teacher", tmp_path / "funnel", "--student-layers", 2)
    assert ran.code == 2, ran.err
    assert "--student-layers: a funnel cannot be cut to 2 layers" in ran.error


def test_the_layers_are_spaced_as_those_of_distilbert():
    assert evenly(6, 12, "bert") == (0, 2, 4, 7, 9, 11)
    assert evenly(2, 6, "minilm") == (0, 5)
    assert evenly(1, 6, "minilm") == (0,)
    for layers in range(2, 20):
        for count in range(1, layers):
            kept = evenly(count, layers, "any")
            assert len(set(kept)) == count
            assert kept == tuple(sorted(kept))
            assert 0 <= kept[0] <= kept[-1] < layers


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.supports_distillation])
def test_each_task_measures_how_far_a_student_is_by_the_formula_of_its_labels(name):
    dice = torch.Generator().manual_seed(0)
    shape = (3, 5, 7) if name in ("token-classification", "causal-lm", "masked-lm") else (3, 7)
    student, teacher = (torch.randn(shape, generator=dice, requires_grad=True) for _ in range(2))
    if name == "multi-label-classification":
        labels = torch.ones(3, 7)
        ours, theirs = (torch.sigmoid(logits / 2).flatten() for logits in (student, teacher))
        terms = [part * (part / other).log() for part, other in ((theirs, ours), (1 - theirs, 1 - ours))]
        expected = 4 * sum(terms)
    else:
        scored = torch.tensor([[False, True, True, False, True]] * 3)
        labels = torch.where(scored, 1, -100) if len(shape) == 3 else torch.ones(3, dtype=torch.int64)
        places = scored if len(shape) == 3 else torch.ones(3, dtype=torch.bool)
        if name == "causal-lm":  # what is predicted stands one place further
            places = torch.cat([places[:, 1:], torch.zeros(3, 1, dtype=torch.bool)], -1)
        ours, theirs = (torch.softmax(logits[places] / 2, -1) for logits in (student, teacher))
        expected = 4 * (theirs * (theirs / ours).log()).sum(-1)
    found = TASKS[name].divergence(student, teacher, {"labels": labels}, 2.0)
    torch.testing.assert_close(found, expected)
    assert found.min() >= 0
    assert TASKS[name].divergence(student, student, {"labels": labels}, 2.0).abs().max() < 1e-6
    gradients = [torch.autograd.grad(each.sum(), student, retain_graph=True)[0] for each in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_a_regression_learns_the_numbers_of_its_teacher():
    student, teacher = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.5], [0.0]])
    found = TASKS["text-classification"].divergence(student, teacher, {"labels": torch.tensor([9.0, 9.0])}, 2.0)
    assert found.tolist() == [0.25, 4.0]


def test_without_a_share_of_the_loss_there_is_no_lesson(teacher):
    task = TASKS["text-classification"]
    for mix, there in ((0.0, False), (0.1, True)):
        found = find_teacher(DistillingOptions(teacher=str(teacher), distill_mix=mix), ModelOptions(), False, Report())
        opened = open_teacher(found, task)
        assert not opened.training
        assert not any(weights.requires_grad for weights in opened.parameters())
        made = distillation_loss(found, opened, task, AutoTokenizer.from_pretrained(teacher))
        assert (made is not None) == there


def test_a_teacher_that_tells_no_states_is_learned_from_without_them(teacher):
    task, tokenizer = TASKS["text-classification"], AutoTokenizer.from_pretrained(teacher)
    for states, refused in ((None, True), (0.0, False)):
        wanted = DistillingOptions(teacher=str(teacher), student_layers=2, distill_states=states)
        found = find_teacher(wanted, ModelOptions(), False, Report())
        opened = open_teacher(found, task)
        opened.config.num_hidden_layers = 9  # more than it tells of
        if refused:
            with pytest.raises(ModelError, match=r"--student-layers: a BertForSequenceClassification .*-states 0"):
                distillation_loss(found, opened, task, tokenizer)
        else:
            assert distillation_loss(found, opened, task, tokenizer).hidden_state_weight == 0.0


def test_a_stopped_distillation_goes_on_to_the_same_weights_and_only_by_its_own_options(
    reviews, teacher, classifier, tmp_path
):
    hyper = TrainingOptions(max_steps=9, batch_size=16)  # into the third epoch
    call = {"dataset": str(reviews), "model": str(classifier), "training_options": hyper}
    call |= {"adapter": AdapterOptions(lora=True), "distilling": DistillingOptions(teacher=str(teacher))}
    finetune(**call, run=RunOptions(output=tmp_path / "straight"))
    run = RunOptions(output=tmp_path / "run")
    with pytest.raises(Stopped, match="saved at step 6: the same command goes on"):
        finetune(**call, run=run, report=Signalling(6, signal.SIGINT))
    other = call | {"distilling": DistillingOptions(teacher=str(teacher), distill_mix=0.9)}
    with pytest.raises(OptionError, match=r"other options \(distill_mix\)"):
        finetune(**other, run=RunOptions(output=tmp_path / "run", resume=True))
    finetune(**call, run=run)
    made = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("run", "straight")]
    assert made[0] == made[1]


def test_a_dry_run_says_which_layers_and_writes_nothing(llmkit, reviews, teacher, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    ran = llmkit("finetune", reviews, "--teacher", teacher, "--student-layers", 4, "--dry-run")
    assert (ran.code, ran.out) == (0, "")
    assert f"teacher: {teacher} gives 0.5 of the loss, at temperature 2, its hidden states with" in ran.err
    assert "student: layers 1, 2, 4, 5 of the teacher's 5" in ran.err
    assert sorted(tmp_path.rglob("*")) == before


REFUSED = {
    "{reviews} -m {bert} --distill-mix 0.5": ("--distill-mix", "needs --teacher"),
    "{reviews} -m {bert} --student-layers 1": ("--student-layers", "needs --teacher"),
    "{reviews} -m {bert} --teacher {bert} --distill-mix 1.5": ("--distill-mix", "between 0 and 1"),
    "{reviews} -m {bert} --teacher {bert} --distill-temperature 0": ("--distill-temperature", "more than 0"),
    "{reviews} -m {bert} --teacher {bert} --distill-states 5": ("--distill-states", "--student-layers"),
    "{reviews} --teacher {bert} --student-layers 2 --distill-states -1": ("--distill-states", "number of at least 0"),
    "{reviews} --teacher {bert} --student-layers 0": ("--student-layers", "at least 1"),
    "{reviews} -m {bert} --teacher {deep} --student-layers 2": ("--student-layers", "--model"),
    "{reviews} --teacher {deep} --student-layers 5": ("--student-layers 5", "5 layers"),
    "{reviews} --teacher {deep} --student-layers 2 --lora": ("--student-layers", "adapter"),
    "{reviews} -m {bert} --teacher {renamed}": ("--teacher", "bad, good", "negative, positive"),
    "{reviews} -m {bert} --teacher {more}": ("--teacher", "negative, neutral, positive"),
    "{reviews} -m {bert} --teacher {number}": ("--teacher", "a number"),
    "{reviews} -m {bert} --teacher {masked}": ("--teacher", "BertForMaskedLM", "text-classification"),
    "{texts} -m {llama} --teacher {tokens}": ("--teacher", "another tokenizer", "--student-layers"),
    "{reviews} -m {bert} --teacher {cased}": ("--teacher", "another tokenizer", "cuts texts otherwise"),
    "{reviews} -m {bert} --teacher {short}": ("--teacher", "--max-length 8"),
    "{reviews} --teacher {albert} --student-layers 2": ("--student-layers", "AlbertForSequenceClassification"),
    "{choices} -m {chooser} --teacher {chooser}": ("--teacher", "multiple-choice", "text-classification"),
    "{reviews} -m {bert} --teacher ./absent": ("./absent",),
    "{reviews} -m {bert} --teacher {bert} -o {bert} --overwrite": ("--output",),
}


@pytest.fixture(scope="module")
def places(folders, teacher, classifier, llama, masked, chooser, tmp_path_factory) -> dict[str, Path]:
    """Teachers that do not fit, by name."""
    data = tmp_path_factory.mktemp("data")
    made = {"bert": classifier, "deep": teacher, "llama": llama, "masked": masked, "chooser": chooser}
    made["reviews"] = write_csv(data / "reviews.csv", [row | {"text": row["text"].title()} for row in tiny.reviews(32)])
    made["texts"] = write_jsonl(data / "texts.jsonl", [{"text": line} for line in tiny.corpus(80).split("\n\n")])
    made["choices"] = write_jsonl(data / "choices.jsonl", tiny.choices(16))
    made["renamed"] = tiny.bert_folder(folders / "renamed", ["bad", "good"])
    made["more"] = tiny.bert_folder(folders / "more", ["negative", "neutral", "positive"])
    made["number"] = tiny.bert_folder(folders / "number", ["score"])
    made["tokens"] = deep(folders / "tokens", "llama", classifier)
    made["albert"] = deep(folders / "albert", "albert", classifier)
    made["short"] = deep(folders / "short", "bert", classifier, max_position_embeddings=8)
    made["cased"] = deep(folders / "cased", "bert", classifier)
    file = made["cased"] / "tokenizer.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"normalizer": None}))
    return made


@pytest.mark.parametrize(("line", "words"), REFUSED.items())
def test_a_teacher_that_does_not_fit_is_one_sentence_before_anything_is_loaded(
    llmkit, places, tmp_path, monkeypatch, line, words
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transformers.PreTrainedModel, "from_pretrained", None)  # no weights
    ran = llmkit("finetune", *line.format(**places).split())
    assert ran.code == 2, ran.err
    assert all(word in ran.error for word in words), ran.error
    assert not list(tmp_path.iterdir())
