"""The study of a search on disk: a journal that a kill cut short, and the database of an older search."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from llmkit.options.training.search_space import Categorical, Range
from llmkit.training.series import study
from llmkit.training.series.attempt import Outcome
from llmkit.training.series.study import SearchPlan, Trials

SPACE = {"learning_rate": Range(1e-5, 1e-2, log=True), "batch_size": Categorical((8, 16))}


def plan_of(folder: Path, **more) -> SearchPlan:
    given = {"best_metric": "f1", "space": SPACE, "defaults": {"learning_rate": 1e-3, "batch_size": 8}, "count": 12}
    return SearchPlan(folder=folder, seed=42, **{**given, **more})


def value_of(values) -> float:
    return 1 - abs(values["learning_rate"] - 4e-4)


def go_on(trials: Trials, count: int | None = None) -> list[dict]:
    """Close so many trials, or all that are left, and return the values of each trial from the first on."""
    while trials.is_any_left() and count != 0:
        proposal = trials.next()
        trials.judge(proposal).prunes(1, value_of(proposal.values))
        trials.close(proposal.number, Outcome("complete", value_of(proposal.values), steps=3), 1.0)
        count = None if count is None else count - 1
    return [dict(result["values"]) for result in trials.results()]


@pytest.fixture
def straight(tmp_path) -> list[dict]:
    """The values of a search that nothing interrupted."""
    (tmp_path / "straight").mkdir()
    return go_on(Trials(plan_of(tmp_path / "straight")))


def test_the_first_trial_is_the_default_and_the_rest_are_of_the_space(straight):
    assert straight[0] == {"learning_rate": 1e-3, "batch_size": 8}
    assert all(1e-5 <= each["learning_rate"] <= 1e-2 and each["batch_size"] in (8, 16) for each in straight)
    assert len({each["learning_rate"] for each in straight}) == 12


@pytest.mark.parametrize("done", [0, 1, 5])
def test_a_journal_that_a_kill_cut_short_goes_on_as_it_would_have_gone(tmp_path, straight, done):
    trials = Trials(plan_of(tmp_path))
    go_on(trials, done)
    cut = trials.next()
    trials.judge(cut).prunes(1, value_of(cut.values))
    journal = tmp_path / study.JOURNAL
    with journal.open("ab") as file:
        file.write(b'{"op_code":6,"worker_id":"')  # a line without its end
    Path(f"{journal}.lock").symlink_to(journal)  # as a process that was killed leaves it
    again = Trials(plan_of(tmp_path))
    taken_up = again.next()
    assert (taken_up.number, taken_up.values) == (done, cut.values)
    assert go_on(again) == straight


@pytest.mark.parametrize("done", [1, 6])
def test_a_search_that_was_begun_with_a_database_goes_on_in_a_journal(tmp_path, straight, done):
    url = f"sqlite:///{tmp_path / study.DATABASE}"
    before = optuna.create_study(storage=url, study_name=study.NAME, direction="maximize")
    before.enqueue_trial({"learning_rate": 1e-3, "batch_size": 8})
    for number in range(done + 1):  # of which the last was cut short
        before.sampler = optuna.samplers.TPESampler(seed=42 + number, n_startup_trials=study.STARTUP_TRIALS)
        trial = before.ask()
        values = {name: space.suggest(trial, name) for name, space in SPACE.items()}
        values["learning_rate"] = float(f"{values['learning_rate']:.3g}")
        trial.set_user_attr("values", values)
        trial.report(value_of(values), 1)
        if number < done:
            trial.set_user_attr("steps", 3)
            trial.set_user_attr("seconds", 1.0)
            before.tell(trial, value_of(values))
    trials = Trials(plan_of(tmp_path))
    assert trials.ended() == set(range(done))
    assert go_on(trials) == straight
    assert not (tmp_path / study.DATABASE).exists()
    assert go_on(Trials(plan_of(tmp_path))) == straight


def test_several_in_hand_are_different_trials_and_those_cut_short_come_first(tmp_path):
    trials = Trials(plan_of(tmp_path, count=4, workers=3))
    proposals = [trials.next(), trials.next({0}), trials.next({0, 1})]
    assert [proposal.number for proposal in proposals] == [0, 1, 2]
    assert len({proposal.values["learning_rate"] for proposal in proposals}) == 3
    trials.close(1, Outcome("failed"), 2.0)
    again = Trials(plan_of(tmp_path, count=4, workers=3))
    assert [again.next().number, again.next({0}).number, again.next({0, 2}).number] == [0, 2, 3]
    assert not again.is_any_left({0, 2, 3})
    assert again.results()[0]["state"] == "failed"
    assert again.best() is None
    for number, value in ((0, 0.5), (2, 0.75), (3, 0.75)):
        again.close(number, Outcome("complete", value), 1.0)
    assert again.best() == (2, 0.75)  # the earliest of equals


def test_the_first_trial_is_never_pruned_and_others_by_those_before_them(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "TRIALS_COMPARED", 1)
    monkeypatch.setattr(study, "PRUNED_FROM", 2)
    trials = Trials(plan_of(tmp_path, best_metric="loss"))
    first = trials.next()
    assert [trials.judge(first).prunes(step, 0.5) for step in (1, 2)] == [False, False]
    trials.close(0, Outcome("complete", 0.5, 2), 1.0)
    second = trials.next()
    assert [trials.judge(second).prunes(step, 0.9) for step in (1, 2)] == [False, True]
    assert trials.judge(second).prunes(3, float("nan"))  # no number is reported, and judged by what was
