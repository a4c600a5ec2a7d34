"""lm-eval's benchmarks on a real model: figures and log-likelihoods are those of lm-eval's own model class.

The weights come from `get_smollm2.py` in the folder of real data; $LLMKIT_SMOLLM2 names a folder that keeps them.
$LLMKIT_LM_EVAL_LIMIT is the number of documents of each task, 60 where it is not set: CI's time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from conftest import threads
from hub_server import serve

pytestmark = pytest.mark.real
LIMIT = int(os.environ.get("LLMKIT_LM_EVAL_LIMIT", "60"))
TASKS = {"lambada_openai": {"acc", "perplexity"}, "piqa": {"acc", "acc_norm"}, "arc_easy": {"acc", "acc_norm"}}
# of each log-likelihood: absolute, or of a tenth of its size; on these tasks HFLM's float32 log_softmax is itself up to
# 4e-4 from float64, ours 7e-5
CLOSE = 1e-4

OURS = """
import json, sys, time
from llmkit import models
from llmkit.evaluation import benchmarks
from llmkit.evaluation.answer_session import AnswerSession
from llmkit.inference.answer_cache import AnswerCache
from llmkit.options import ModelOptions
from llmkit.output.report import Report
names, folder, limit = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
options = ModelOptions(model=folder, dtype="float32", device="cpu")
session, report = AnswerSession(AnswerCache()), Report()
resolved = models.resolve_model(options, report)
found = {}
for name in benchmarks.task_names("lm-eval:" + ",".join(names)):
    began = time.perf_counter()
    asked = benchmarks.BenchmarkOptions(limit=limit)
    (result,) = benchmarks.run([name], resolved, options, report, asked, session)
    if isinstance(result, benchmarks.FailedBenchmark):
        raise result.error
    found[name] = {"metrics": result.metrics, "ids": result.ids, "seconds": time.perf_counter() - began}
"""
LIKELIHOODS = """
import lm_eval
from llmkit.evaluation.benchmarks import registry, task_loading
from llmkit.evaluation.benchmarks.harness_errors import quiet

def sampled(model):
    for name in names:
        task = task_loading.load_tasks(registry.definition_of(name), None, report)[name]
        began = time.perf_counter()
        with quiet(report):
            run = lm_eval.simple_evaluate(model, tasks=[task], limit=limit, bootstrap_iters=0)
        kept = {key.partition(",")[0]: value for key, value in run["results"][name].items() if key.endswith(",none")}
        yield name, {
            "metrics": {key: value for key, value in kept.items() if "_stderr" not in key},
            "answers": [sample["filtered_resps"] for sample in run["samples"][name]],
            "seconds": time.perf_counter() - began,
        }
"""
SAMPLED = (
    LIKELIHOODS
    + """
from llmkit.evaluation.benchmarks.language_model import PrefixSharingLM, UnloadedModel
tokenizer = models.load_tokenizer(resolved, options)
known = PrefixSharingLM(UnloadedModel(resolved, options, tokenizer), tokenizer, session=session)
for name, run in sampled(known):
    found[name]["answers"] = run["answers"]
    assert run["metrics"] == found[name]["metrics"], (run["metrics"], found[name]["metrics"])
assert known.computed == 0
"""
)
THEIRS = (
    """
import json, sys, time
from lm_eval.models.huggingface import HFLM
from llmkit.output.report import Report
names, folder, limit = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
report = Report()
"""
    + LIKELIHOODS
    + """
found = dict(sampled(HFLM(folder, dtype="float32", device="cpu", batch_size=8)))
"""
)
PRINT = """
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def process(real_hub, smollm2, tmp_path_factory):
    """Run a script as a user of the loopback Hub: `process(script, ["piqa"])`; `offline=True` after it went away."""
    home = tmp_path_factory.mktemp("home")
    kept = {key: value for key, value in os.environ.items() if not key.endswith("_OFFLINE")}
    kept |= {"HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": threads()}

    def run(script, names, limit=LIMIT, **env):
        line = [sys.executable, "-c", script + PRINT, json.dumps(list(names)), str(smollm2), str(limit)]
        done = subprocess.run(line, capture_output=True, text=True, env=kept | env, timeout=1500)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    with serve([real_hub]) as server:
        kept["HF_ENDPOINT"] = server.endpoint
        run.ours, run.theirs = run(OURS + SAMPLED, TASKS), run(THEIRS, TASKS)
    return run


@pytest.mark.parametrize("name", TASKS)
def test_figures_and_log_likelihoods_are_those_of_lm_evals_own_model(process, name):
    ours, theirs = process.ours[name], process.theirs[name]
    print(
        f"{name}, {LIMIT} documents: {ours['metrics']}; llmkit {ours['seconds']:.1f} s, HFLM {theirs['seconds']:.1f} s"
    )
    assert set(ours["metrics"]) == TASKS[name]
    assert ours["metrics"] == pytest.approx(theirs["metrics"], rel=1e-5)
    assert len(ours["answers"]) == len(theirs["answers"]) == LIMIT
    pairs = [pair for a, b in zip(ours["answers"], theirs["answers"]) for pair in zip(a, b)]
    assert [mine[0] for mine, _ in pairs] == pytest.approx([other[0] for _, other in pairs], abs=CLOSE, rel=CLOSE / 10)
    assert [mine[1] for mine, _ in pairs] == [other[1] for _, other in pairs]


def test_a_benchmark_whose_data_was_had_once_runs_offline(process):
    again = process(OURS, ["arc_easy"], 3, HF_HUB_OFFLINE="1")
    assert again["arc_easy"]["ids"] == process.ours["arc_easy"]["ids"][:3]
