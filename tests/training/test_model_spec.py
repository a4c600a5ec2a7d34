"""What is known of a model before its weights are loaded is what it has once they are."""

from __future__ import annotations

import json

import pytest
import tiny
from conftest import write_csv, write_jsonl

from llmkit.models import modules
from llmkit.options import (
    AdapterOptions,
    DataOptions,
    DistillingOptions,
    FinetuneRequest,
    ModelOptions,
    TrainingOptions,
)
from llmkit.output.report import Report
from llmkit.training.model_spec import open_model
from llmkit.training.planning import plan

LESS = {
    "all": {},
    "lora": {"adapter": AdapterOptions(lora=True, lora_rank=2)},
    "head": {"adapter": AdapterOptions(freeze="all")},
    "layers": {"adapter": AdapterOptions(freeze="1")},
}
CASES = [
    *((tiny.reviews(20), model, less) for model in ("classifier", "encoder", "llama") for less in LESS),
    (tiny.entities(20), "tagger", "all"),
    (tiny.questions(20), "reader", "lora"),
    (tiny.choices(20), "chooser", "layers"),
    (tiny.topics(20), "sorter", "lora"),
    (tiny.translations(20), "translator", "lora"),
    (tiny.translations(20), "translator", "layers"),
    (tiny.summaries(20), "summarizer", "all"),
    (tiny.conversations(20), "assistant", "lora"),
    (tiny.preferences(20), "llama", "lora"),
    ([{"text": text} for text in tiny.SENTENCES[:60]], "masked", "head"),
    ([{"text": text} for text in tiny.SENTENCES[:60]], "t5", "all"),
]


def trial_of(file, model, **groups):
    request = FinetuneRequest(dataset=[str(file)], model=ModelOptions(model=model and str(model)), **groups)
    return plan(request, request.identity, {}, Report())


@pytest.mark.parametrize(("rows", "model", "less"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_skeleton_has_as_many_weights_as_the_model_and_trains_as_many(
    request, tmp_path, monkeypatch, rows, model, less
):
    monkeypatch.chdir(tmp_path)
    task = {"data": DataOptions(task="seq2seq-lm")} if model == "t5" else {}
    trial = trial_of(write_jsonl(tmp_path / "rows.jsonl", rows), request.getfixturevalue(model), **LESS[less], **task)
    network = open_model(trial.job, trial.spec, trial.session.options).network
    assert trial.spec.parameters == modules.base_size(network)
    assert trial.spec.share == modules.share(network)


@pytest.mark.parametrize("less", ["all", "layers"])
def test_a_student_that_is_cut_is_counted_before_its_teacher_is_open(classifier, tmp_path, monkeypatch, less):
    monkeypatch.chdir(tmp_path)
    distilling = DistillingOptions(teacher=str(classifier), student_layers=1)
    trial = trial_of(write_csv(tmp_path / "rows.csv", tiny.reviews(20)), None, distilling=distilling, **LESS[less])
    opened = open_model(trial.job, trial.spec, trial.session.options)
    assert (
        trial.spec.parameters == modules.base_size(opened.network) < modules.base_size(opened.distillation_loss.teacher)
    )
    assert trial.spec.share == modules.share(opened.network)


def test_what_cannot_be_counted_before_is_settled_on_the_open_model(llmkit, classifier, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = write_csv(tmp_path / "rows.csv", tiny.reviews(20))
    rate = trial_of(data, classifier).recipe.learning_rate
    asked = trial_of(data, classifier, training=TrainingOptions(learning_rate=0.25))

    def refuse(*given):
        raise ValueError("no model without weights")

    monkeypatch.setattr(modules, "skeleton", refuse)
    trial = trial_of(data, classifier)
    assert (trial.spec.parameters, trial.recipe.learning_rate, asked.recipe.learning_rate) == (None, None, 0.25)
    ran = llmkit("finetune", data, "-m", classifier, "-o", tmp_path / "run", "--max-steps", "1")
    assert ran.code == 0, ran.err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]["learning_rate"] == rate
    with pytest.raises(ValueError, match="without weights"):
        trial_of(data, classifier, **LESS["lora"])
