"""Where the time of a training goes: phases, tokens, padding, FLOPs."""

from __future__ import annotations

import json
import time

import pytest
import tiny
import torch
from conftest import write_jsonl

from llmkit.distributed.world import World
from llmkit.training.loop import throughput
from llmkit.training.loop.throughput import PhaseClock, flops_per_token


def test_a_phase_within_another_is_not_counted_twice(monkeypatch):
    times = iter([0.0, 1.0, 4.0, 6.0, 10.0, 11.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    clock = PhaseClock(torch.device("cpu"))
    with clock.phase("backward"), clock.phase("forward"):
        pass
    with clock.phase("save"):
        pass
    assert clock.seconds == {
        "data": 0.0,
        "forward": 3.0,
        "backward": 3.0,
        "optimizer": 0.0,
        "measurement": 0.0,
        "save": 1.0,
    }


def test_tokens_are_counted_without_padding_and_all_places_are_computed():
    clock = PhaseClock(torch.device("cpu"))
    clock.count({"input_ids": torch.ones(2, 4), "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0]])})
    clock.count({"input_ids": torch.ones(1, 8), "labels": torch.ones(1, 8)})
    assert (int(clock.tokens), clock.places) == (13, 16)


def test_flops_are_of_the_weights_that_tokens_are_multiplied_with():
    model = torch.nn.Sequential(torch.nn.Embedding(10, 4), torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
    assert flops_per_token(model) == 6 * (4 * 8 + 8 * 2)
    model[1].requires_grad_(False)
    assert flops_per_token(model) == 4 * 4 * 8 + 6 * 8 * 2


def test_rates_are_of_the_steps_alone(monkeypatch):
    monkeypatch.setattr(throughput, "matmul_peak", lambda device, dtype: 1000.0)
    clock = PhaseClock(torch.device("cpu"), tokens=60, places=80)
    clock.seconds |= {"data": 1.0, "forward": 2.0, "backward": 4.0, "optimizer": 1.0, "measurement": 100.0}
    rates = throughput.throughput(clock, torch.nn.Linear(4, 2), torch.float32, World(0, 1))
    assert (rates["tokens_per_second"], rates["padding_share"]) == (7.5, 0.25)
    assert (rates["flops_per_second"], rates["mfu"]) == (80 / 8 * 48, 0.48)


def test_a_training_without_a_step_has_no_rates():
    rates = throughput.throughput(PhaseClock(torch.device("cpu")), torch.nn.Linear(4, 2), torch.float32, World(0, 1))
    assert rates.pop("phase_seconds") == dict.fromkeys(throughput.PHASES, 0.0)
    assert set(rates.values()) == {None}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_jsonl(tmp_path_factory.mktemp("rows") / "reviews.jsonl", tiny.reviews(60))


def test_profile_tells_the_phases_and_writes_a_trace(llmkit, rows, tmp_path):
    run = tmp_path / "run"
    model = tiny.bert_folder(tmp_path / "model")
    done = llmkit("finetune", rows, "-m", model, "-o", run, "--max-steps", 8, "--profile", "--track", "none")
    assert done.code == 0
    lines = done.err.splitlines()
    table = [line.split()[0] for line in lines[lines.index(f"{'phase':<12} {'seconds':>9} {'share':>7}") :]]
    assert table[1:8] == [*throughput.PHASES, "other"]
    assert any("tokens/s in steps" in line for line in lines)
    assert any("(MFU)" in line for line in lines)
    events = json.loads((run / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    assert any(event.get("name") == "aten::addmm" for event in events)


def test_every_run_says_how_fast_it_was(llmkit, rows, tmp_path):
    run, model = tmp_path / "run", tiny.bert_folder(tmp_path / "model")
    done = llmkit("finetune", rows, "-m", model, "-o", run, "--max-steps", 4, "--track", "none")
    assert done.code == 0
    assert not (run / "trace.json").exists()
    rates = json.loads((run / "run.json").read_text(encoding="utf-8"))["training"]["throughput"]
    assert rates["tokens_per_second"] > 0
    assert 0 <= rates["padding_share"] < 1
    assert rates["mfu"] > 0
    assert set(rates["phase_seconds"]) == set(throughput.PHASES)
    assert rates["phase_seconds"]["forward"] > 0
