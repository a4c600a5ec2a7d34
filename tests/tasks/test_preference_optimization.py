from __future__ import annotations

import importlib.util
import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from conftest import write_jsonl
from datasets import Dataset
from evaluating import values
from signalling import Signalling
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmkit import metrics
from llmkit.data.preferences import preference_pair
from llmkit.errors import DataError, Stopped
from llmkit.inference.prediction import predict
from llmkit.options import AdapterOptions, DataOptions, RunOptions, TrainingOptions, TunedRecipeOptions
from llmkit.output.report import Report
from llmkit.tasks import TASKS, Reference, TaskSettings
from llmkit.tasks.encoding.preference_pairs import EncodedPair, encode_pair
from llmkit.training.finetuning import finetune

TASK = TASKS["preference-optimization"]
TEMPLATE = (
    "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}a:{% endif %}"
)
ROLES = {role: role for role in ("prompt", "chosen", "rejected")}
ROWS = tiny.preferences(12, seed=3)


def turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def as_messages(row: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    return {role: [turn("user" if role == "prompt" else "assistant", row[role])] for role in ROLES}


@pytest.fixture(scope="module")
def talker(models_root) -> Path:
    """A random Llama with a chat template."""
    return tiny.llama_folder(models_root / "preferring", seed=6, chat_template=TEMPLATE)


@pytest.fixture(scope="module")
def other(models_root) -> Path:
    """Another with the same tokenizer: what the reference of the first could be."""
    return tiny.llama_folder(models_root / "before", seed=7, chat_template=TEMPLATE)


@pytest.fixture
def data(tmp_path) -> Path:
    write_jsonl(tmp_path / "pairs" / "train.jsonl", tiny.preferences(48))
    write_jsonl(tmp_path / "pairs" / "validation.jsonl", tiny.preferences(24, seed=1))
    return tmp_path / "pairs"


@pytest.mark.parametrize("form", ["messages", "texts"])
def test_loss_gradient_and_rewards_are_those_of_trls_own_trainer(talker, other, tmp_path, form):
    from trl import DPOConfig, DPOTrainer

    rows = Dataset.from_list([as_messages(row) for row in ROWS] if form == "messages" else ROWS)
    tokenizer = AutoTokenizer.from_pretrained(talker)
    if form == "texts":
        tokenizer.chat_template = None
    model, reference = (AutoModelForCausalLM.from_pretrained(folder).eval() for folder in (talker, other))
    settings = TASK.resolve_settings(
        TaskSettings(ROLES, 64, reference=Reference(str(other))), DataOptions(beta=0.3), model.config, tokenizer
    )
    prepared = TASK.encoding.encode(rows, tokenizer, settings, training=True)
    records = predict(TASK, model, tokenizer, prepared, settings, 5)
    seen = TASK.answers.evaluation_arrays(records, prepared, tokenizer, settings)
    untold = replace(settings, reference=None)
    before = predict(TASK, reference, tokenizer, prepared, untold, 4)
    assert [record[2:] for record in records] == [pytest.approx(record, abs=1e-4) for record in before]
    told = prepared.add_column("before", before)
    loss = TASK.loss(model, TASK.encoding.collator(tokenizer, settings)(told.to_list()))
    loss.backward()
    gradient = model.model.layers[0].mlp.up_proj.weight.grad.clone()

    model.zero_grad()
    args = DPOConfig(
        str(tmp_path),
        beta=0.3,
        per_device_eval_batch_size=12,
        per_device_train_batch_size=12,
        report_to="none",
        use_cpu=True,
        max_length=None,
        bf16=False,
        disable_tqdm=True,
        gradient_checkpointing=False,
    )
    trainer = DPOTrainer(model, reference, args, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer)
    theirs = trainer.evaluate()
    assert metrics.value("dpo_loss", seen) == pytest.approx(theirs["eval_loss"], abs=1e-5)
    assert loss.item() == pytest.approx(theirs["eval_loss"], abs=1e-5)
    assert metrics.value("reward_margin", seen) == pytest.approx(theirs["eval_rewards/margins"], abs=1e-5)
    assert metrics.value("reward_accuracy", seen) == pytest.approx(theirs["eval_rewards/accuracies"])
    batch = trainer.data_collator([dict(row) for row in trainer.eval_dataset])
    trainer.compute_loss(trainer.model, batch).backward()
    assert torch.allclose(model.model.layers[0].mlp.up_proj.weight.grad, gradient, atol=1e-5)


def test_an_adapter_learns_to_prefer_without_a_second_model(llmkit, data, llama, tmp_path, monkeypatch):
    monkeypatch.setattr("llmkit.models.reference._open", None)  # nobody asks for one
    run, before = tmp_path / "run", values(llmkit("eval", data, "-m", llama, "--json").json)
    assert list(before) == ["accuracy", "margin"]
    flags = ("--lora", "--max-steps", 30, "--learning-rate", 0.01, "--json")
    ran = llmkit("finetune", data, "-m", llama, "-o", run, *flags)
    assert (ran.code, ran.json["task"]) == (0, "preference-optimization"), ran.err
    assert "reference: the model as it is now, asked once about every row" in ran.err
    after = values(ran.json)
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    measured = [step for step in steps if "eval_dpo_loss" in step]
    assert steps[0]["loss"] == pytest.approx(0.6931, abs=1e-3)  # log 2: nothing has changed
    assert measured[0]["eval_reward_margin"] < measured[-1]["eval_reward_margin"]
    assert after["reward_accuracy"] > 0.9
    assert after["reward_margin"] == pytest.approx(0.1 * (after["margin"] - before["margin"]), rel=1e-3)
    assert after["dpo_loss"] < 0.5
    assert values(llmkit("eval", data, "-m", run, "--json").json) == after


def test_all_weights_are_measured_against_what_they_were_while_that_can_be_had(llmkit, data, llama, tmp_path):
    base, run = shutil.copytree(llama, tmp_path / "base"), tmp_path / "run"
    flags = ("--max-steps", 2, "--batch-size", 8, "--beta", 0.4)
    trained = values(llmkit("finetune", data, "-m", base, "-o", run, *flags, "--json").json)
    assert json.loads((run / "run.json").read_text())["reference"]["name"] == str(base)
    assert values(llmkit("eval", data, "-m", run, "--json").json) == trained  # at the run's own beta
    doubled = values(llmkit("eval", data, "-m", run, "--beta", 0.8, "--json").json)
    assert doubled["reward_margin"] == pytest.approx(2 * trained["reward_margin"])
    shutil.copy(tiny.llama_folder(tmp_path / "others", seed=9) / "model.safetensors", base / "model.safetensors")
    changed = llmkit("eval", data, "-m", run, "--json")
    shutil.rmtree(base)
    lost = llmkit("eval", data, "-m", run, "--json")
    for ran, why in ((changed, "holds other weights now"), (lost, "base")):
        assert values(ran.json) == {name: trained[name] for name in ("accuracy", "margin")}
        assert (
            f"there are no rewards without the reference of this run: {repr(str(base)) if ran is changed else ''}"
            in ran.err
        )
        assert why in ran.err


def test_a_stopped_training_goes_on_against_its_reference_and_accumulated_batches_are_one(data, llama, tmp_path):
    hyper = TrainingOptions(max_steps=4, batch_size=8, learning_rate=0.01)
    halves = replace(hyper, batch_size=4)

    def train(
        name: str, options: TrainingOptions, report: Report | None = None, accumulate: int | None = None
    ) -> dict[str, float]:
        run, adapter = RunOptions(output=tmp_path / name), AdapterOptions(lora=True)
        trained = finetune(
            str(data),
            str(llama),
            training_options=options,
            run=run,
            adapter=adapter,
            report=report,
            recipe=TunedRecipeOptions(accumulate=accumulate),
        )
        return values(trained.as_dict())

    straight = train("straight", hyper)
    with pytest.raises(Stopped):
        train("run", hyper, Signalling(3, signal.SIGINT))
    assert train("run", hyper) == straight
    logs = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("run", "straight")]
    ends = [[json.loads(line) for line in lines if '"eval_dpo_loss"' in line][-1] for lines in logs]
    assert ends[0] == ends[1]
    assert train("halves", halves, accumulate=2) == pytest.approx(straight, rel=1e-3)


def test_a_pair_is_read_from_each_form_and_in_the_chat_template_where_there_is_one(talker):
    row = ROWS[0]
    system, asked = turn("system", "be kind"), turn("user", row["prompt"])
    answers = [[turn("assistant", row[role])] for role in ("chosen", "rejected")]
    texts = preference_pair(row, ROLES)
    assert ([*texts.prompt], [*texts.answers]) == ([asked], answers)
    apart = {"prompt": [system, asked], "chosen": answers[0], "rejected": answers[1]}
    whole = {"chosen": [system, asked, *answers[0]], "rejected": [system, asked, *answers[1]]}
    assert preference_pair(apart, ROLES) == preference_pair(whole, {role: role for role in whole})
    both = {**whole, "prompt": row["prompt"]}  # as in UltraFeedback
    assert preference_pair(both, ROLES) == preference_pair(apart, ROLES)
    tokenizer = AutoTokenizer.from_pretrained(talker)
    made = encode_pair(texts, tokenizer)
    assert tokenizer.decode(made.prompt) == f"u:{row['prompt']}\na:"
    assert [tokenizer.decode(ids) for ids in made.answers] == [f"{row[role]}\n" for role in ("chosen", "rejected")]
    tokenizer.chat_template = None
    plain = encode_pair(texts, tokenizer)
    whole = tokenizer.decode(plain.prompt + plain.answers[0])
    assert whole == tokenizer.bos_token + row["prompt"] + row["chosen"] + tokenizer.eos_token


def test_data_shows_what_is_learned_of_a_pair(llmkit, talker, tmp_path):
    data = write_jsonl(tmp_path / "rows.jsonl", [as_messages(row) for row in ROWS])
    ran = llmkit("data", data, "-m", talker, "--batch-size", 1, "--json")
    assert ran.code == 0, ran.err
    texts = ran.json["shown"][0]["texts"]
    for role in ("chosen", "rejected"):
        kinds = {piece["kind"]: piece["text"] for piece in texts[role] if piece["kind"] != "padding"}
        assert kinds == {"unlearned": f"u:{ROWS[0]['prompt']}\na:", "learned": f"{ROWS[0][role]}\n"}


def test_a_pair_that_is_too_long_keeps_the_end_of_its_prompt_and_the_beginnings_of_its_answers():
    pair = EncodedPair([1, 2, 3, 4, 5, 6], ([7, 8, 9], [10]))
    assert pair.truncated(9) == pair
    assert pair.truncated(8) == EncodedPair([2, 3, 4, 5, 6], ([7, 8, 9], [10]))
    assert pair.truncated(4) == EncodedPair([5, 6], ([7, 8], [10]))


GOOD_ROW = as_messages(ROWS[0])
BAD = {
    "it has no chosen answer": {"chosen": []},
    "it has no rejected answer": {"rejected": [turn("assistant", " ")]},
    "its chosen and rejected answers are the same": {"rejected": GOOD_ROW["chosen"]},
    "it has no prompt": {"prompt": []},
    "its chosen answer is to be one turn of the assistant's, and has user": {"chosen": [turn("user", "x")]},
    "turn 2 is the assistant's, out of order": {"prompt": [turn("assistant", "x")]},
    "and has assistant, user, assistant": {
        "chosen": [turn("assistant", "x"), turn("user", "y"), turn("assistant", "z")]
    },
    "has the role 'robot'": {"rejected": [turn("robot", "x")]},
}


@pytest.mark.parametrize(("words", "wrong"), BAD.items())
def test_a_bad_pair_is_refused_by_its_number(llmkit, talker, tmp_path, words, wrong):
    data = write_jsonl(tmp_path / "rows.jsonl", [GOOD_ROW, as_messages(ROWS[1]), {**GOOD_ROW, **wrong}])
    for verb in (("finetune", "-o", tmp_path / "run"), ("eval",)):
        ran = llmkit(*verb, data, "-m", talker)
        assert (ran.code, ran.out) == (2, "")
        assert "row 3: " in ran.error
        assert words in ran.error
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_trained_on_pairs_is_a_sentence(llmkit, talker, llama, classifier, tmp_path, monkeypatch):
    messages = write_jsonl(tmp_path / "messages.jsonl", [as_messages(row) for row in ROWS])
    texts = write_jsonl(tmp_path / "texts.jsonl", ROWS)
    half = write_jsonl(tmp_path / "half.jsonl", [{"prompt": "x", "chosen": "y"}] * 3)
    for line, words in {
        ("finetune", messages, "-m", llama): "has no chat template, which rows of messages need",
        ("finetune", texts, "-m", llama, "--beta", 0): "--beta must be more than 0, not 0",
        ("finetune", texts, "-m", llama, "--beta", 1, "--task", "causal-lm"): "--beta is for preference-optimization",
        ("finetune", half, "-m", llama, "--task", TASK.name): "a prompt, a chosen and a rejected answer",
        ("finetune", texts, "-m", classifier, "--task", TASK.name): "cannot be used for preference-optimization",
        ("eval", texts, "-m", llama, "--metric", "reward_margin"): "'reward_margin' needs a reference model",
    }.items():
        ran = llmkit(*line)
        assert (ran.code, ran.out, words in ran.error) == (2, "", True), ran.err
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "trl" else found(name, *more))
    ran = llmkit("finetune", texts, "-m", llama)
    assert (ran.code, "pip install 'llmkit[dpo]'" in ran.error) == (2, True)


def test_a_blank_answer_is_no_answer():
    with pytest.raises(DataError, match="no chosen answer"):
        preference_pair({**ROWS[0], "chosen": "  "}, ROLES)
