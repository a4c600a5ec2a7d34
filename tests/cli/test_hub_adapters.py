"""Adapters and their bases on the Hub: found by name, from the cache, and when one of them is gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from conftest import hub_session, write_csv
from hub_server import Repo, serve
from safetensors.torch import load_file

from llmkit.options import AdapterOptions, RunOptions, TrainingOptions
from llmkit.training.finetuning import finetune

LINES = {
    "finetune": "finetune {}/rows.csv -m acme/base --lora --max-steps 2 --json -o {}/tuned",
    "of a folder": "classify good -m {}/tuned",
    "of the Hub": "classify good -m acme/adapter",
    "by commit": "classify good -m acme/adapter --revision {commit}",
    "eval": "eval {}/rows.csv -m acme/adapter --json",
    "merge": "merge acme/adapter -o {}/merged --json",
}
FAILING = {
    "classify good -m acme/orphan": (2, "'acme/gone' is neither here on disk nor on the Hub"),
    "classify good -m acme/stray": (2, "made on other weights than those of 'acme/other'"),
    "classify good -m acme/pickled": (2, "'acme/pickled' holds its weights as adapter_model.bin"),
    "classify good -m acme/dated": (2, "the adapter 'acme/dated', by its adapter_config.json, at revision 'absent'"),
    "classify good -m acme/itself": (2, "'acme/itself' is an adapter, and a model is wanted"),
    "merge acme/orphan": (2, "`llmkit merge acme/orphan -m FOLDER` makes a model of the adapter and that base"),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A Hub with a model, another, and adapters: of the first, of one that is gone, of the wrong one, spoilt ones."""
    root = tmp_path_factory.mktemp("hub")
    models, run = root / "models" / "acme", root / "run"
    base = tiny.bert_folder(models / "base", kind="encoder")
    tiny.bert_folder(models / "other", kind="encoder", seed=1)
    data = write_csv(root / "rows.csv", tiny.reviews(32))
    finetune(
        str(data),
        str(base),
        training_options=TrainingOptions(max_steps=2),
        run=RunOptions(output=run),
        adapter=AdapterOptions(lora=True),
    )
    bases = {
        "adapter": "base",
        "orphan": "gone",
        "stray": "other",
        "pickled": "base",
        "dated": "base",
        "itself": "itself",
    }
    for name, of in bases.items():
        folder = Path(shutil.copytree(run, models / name, ignore=shutil.ignore_patterns("checkpoints")))
        config = json.loads((folder / "adapter_config.json").read_text())
        values = {"base_model_name_or_path": f"acme/{of}"} | ({"revision": "absent"} if name == "dated" else {})
        (folder / "adapter_config.json").write_text(json.dumps(config | values))
    weights = models / "pickled" / "adapter_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with serve([root]) as server:
        yield server


@pytest.fixture(scope="module")
def user(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("user")
    write_csv(folder / "rows.csv", tiny.reviews(32))
    return folder


def run(hub, user, lines, home="home"):
    commit = Repo([hub.hub.roots[0] / "models/acme/adapter"], "acme/adapter").sha
    filled = [line.replace("{commit}", commit).replace("{}", str(user)) for line in lines]
    return hub_session(filled, hub.endpoint, user / home)


@pytest.fixture(scope="module")
def online(hub, user):
    return dict(zip(LINES, run(hub, user, LINES.values())))


def test_an_adapter_and_its_base_are_found_by_name(online, user):
    assert {name: (ran.code, ran.err if ran.code else "") for name, ran in online.items()} == dict.fromkeys(
        LINES, (0, "")
    )
    assert json.loads((user / "tuned" / "adapter_config.json").read_text())["base_model_name_or_path"] == "acme/base"
    note = json.loads((user / "tuned" / "config.json").read_text())["llmkit_base"]
    assert (note["name"], len(note["commit"])) == ("acme/base", 40)
    assert online["by commit"].out == online["of the Hub"].out
    assert online["merge"].json["agreement"] == 1.0


def test_offline_both_come_from_the_cache_or_are_exit_4(online, hub, user):
    asked = len(hub.requests)
    names = ("of a folder", "of the Hub", "by commit")
    known = run(hub, user, [f"{LINES[name]} --offline" for name in names])
    assert [one.out for one in known] == [online[name].out for name in names]
    (unknown,) = run(hub, user, [f"{LINES['of a folder']} --offline"], home="another")
    assert unknown.code == 4
    assert "'acme/base' is not on this machine" in unknown.error
    assert "the base of the adapter" in unknown.error
    assert hub.requests[asked:] == []


def test_a_base_that_is_gone_or_another_is_one_sentence(hub, user):
    ran = dict(zip(FAILING, run(hub, user, FAILING)))
    assert {line: (one.code, FAILING[line][1] in one.error) for line, one in ran.items()} == {
        line: (code, True) for line, (code, _) in FAILING.items()
    }, [one.err for one in ran.values()]
