"""Modules that are loaded when they are used: none by what asks a model, and all that needs them works."""

import importlib
import json
import subprocess
import sys

from peft_adapters import QUERY, make

from llmkit.models.deferred_modules import DEFERRED

ASKING = """
import json, sys
from llmkit.cli.app import main
from llmkit.models.deferred_modules import DEFERRED, DeferredModule
heavy = ("datasets", "pandas", "sklearn", "scipy.optimize", "transformers.trainer", *DEFERRED)
for command in json.loads(sys.argv[1]):
    assert main(command) == 0, command
    modules = {name: sys.modules[name] for name in heavy if name in sys.modules}
    print(json.dumps([name for name, module in modules.items() if not isinstance(module, DeferredModule)]), flush=True)
"""

USING = """
import inspect, sys
from llmkit.models.deferred_modules import DeferredModule, defer_modules
defer_modules()
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers.integrations.accelerate import dispatch_model
from transformers.loss.loss_for_object_detection import linear_sum_assignment
from transformers.distributed.sharding_utils import DTensor
from transformers.integrations.sdpa_attention import PagedAttentionCache
assert not isinstance(torch.ones(1), DTensor) and not isinstance(None, DTensor)
waits = lambda name: isinstance(sys.modules[name], DeferredModule)
assert all(map(waits, ("scipy.optimize", "accelerate", "torch.distributed.tensor", "torch._dynamo")))
assert [ids.tolist() for ids in linear_sum_assignment([[4, 1], [2, 3]])] == [[0, 1], [1, 0]]
assert "skip_keys" in inspect.signature(dispatch_model).parameters and not waits("accelerate")
llama, bert = sys.argv[1:]
for model in (AutoModelForCausalLM.from_pretrained(llama), AutoModelForSequenceClassification.from_pretrained(bert)):
    ids = torch.tensor([[5, 6, 7], [7, 6, 5]])
    labels = ids if model.config.model_type == "llama" else torch.tensor([0, 1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(3):
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0], losses
compiled = torch.compile(lambda values: values * 2 + isinstance(values, DTensor), backend="eager")
assert compiled(torch.ones(2)).tolist() == [2, 2] and not waits("torch._dynamo")
from torch.distributed.tensor import DTensor as loaded
assert isinstance(loaded, type) and not isinstance(torch.ones(1), DTensor) and not isinstance(1, DTensor)
from transformers import Trainer, TrainingArguments
from torch.distributed.fsdp import fully_shard
"""


def run(script, *arguments):
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_is_stood_in_for_is_there():
    missing = [
        f"{module}.{name}"
        for module, names in DEFERRED.items()
        for name in names
        if not hasattr(importlib.import_module(module), name)
    ]
    assert missing == []


def test_a_model_that_is_asked_loads_none_of_them(encoder):
    generate, embed = ["generate", "Once upon a time", "--max-new-tokens", "3"], ["embed", "a fox", "-m", str(encoder)]
    generated, embedded = (json.loads(line) for line in run(ASKING, json.dumps([generate, embed])) if line[0] == "[")
    assert generated == []
    assert set(embedded) <= {"datasets", "pandas"}  # which hold the texts


def test_every_way_of_asking_works_with_them(llama, t5, assistant, tmp_path):
    make(llama, tmp_path / "adapter", "Lora", QUERY)
    generate = ["generate", "the fox", "--max-new-tokens", "3", "--json"]
    run(
        ASKING,
        json.dumps(
            [
                [*generate, "-m", str(llama), "--num-beams", "2"],
                [*generate, "-m", str(llama), "--temperature", "0.7", "--top-k", "5", "-n", "2"],
                [*generate, "-m", str(t5), "--task", "summarization"],
                [*generate, "-m", str(assistant)],
                [*generate, "-m", str(tmp_path / "adapter")],
            ]
        ),
    )


def test_what_uses_them_has_them(llama, classifier):
    run(USING, llama, classifier)
