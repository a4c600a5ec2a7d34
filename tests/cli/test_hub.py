"""The Hub, through the real clients: models and datasets by name, then from the cache, then with the Hub gone."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
import tiny
from conftest import hub_session
from datasets import ClassLabel, Dataset, Features, Value
from hub_server import HubServer, Repo, serve

MRPC = Features(
    {
        "sentence1": Value("string"),
        "sentence2": Value("string"),
        "label": ClassLabel(names=["not_equivalent", "equivalent"]),
        "idx": Value("int32"),
    }
)
CARD = """---
configs:
- config_name: mrpc
  data_files:
  - {split: train, path: mrpc/train-*}
  - {split: validation, path: mrpc/validation-*}
  - {split: test, path: mrpc/test-*}
- config_name: cola
  data_files:
  - {split: train, path: mrpc/train-*}
---
"""
ASK = "classify -m acme/paraphrase 'the film was good' --pair 'the film was fine'"
WORKING = {
    "finetune": "finetune glue/mrpc -m acme/base --max-steps 1 --batch-size 4 --json -o {}/tuned",
    "eval": "eval glue/mrpc -m acme/paraphrase --json",
    "eval of the run": "eval glue/mrpc -m {}/tuned --json",
    "classify": ASK,
    "classify by commit": ASK + " --revision {commit}",
    "embed": "embed -m acme/base 'the fox was good'",
    "generate": "generate -m acme/stories 'the fox was' --max-new-tokens 5 --json",
    "pretrain": "pretrain {}/corpus.txt -m acme/stories --max-steps 1 --batch-size 2 --json -o {}/more",
    "tokenizer": "pretrain {}/corpus.txt --tokenizer acme/stories --dry-run",
}
FAILING = {
    ASK.replace("paraphrase", "gated"): (4, "gated"),
    ASK + " --revision v9": (2, "--revision"),
    ASK.replace("paraphrase", "paraphrases"): (2, "neither here on disk nor on the Hub"),
    "eval glue/mrcp -m acme/paraphrase": (2, "'mrpc'"),
    "finetune glue -m acme/base": (2, "glue/mrpc"),
    "finetune glue/mrpc -m acme/own_code": (2, "--trust-remote-code"),
    "generate x -m acme/paraphrase": (2, "text-classification"),
    "classify x -m acme/cut": (2, "truncated"),
}


def make_hub(root: Path) -> Path:
    """A folder in the Hub's layout: three models that work, three that do not, and GLUE's MRPC in small."""
    models = root / "models" / "acme"
    base = tiny.bert_folder(models / "base", kind="encoder")
    (base / "1_Pooling").mkdir()
    (base / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (base / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.Pooling", "path": "1_Pooling"}]))
    paraphrase = tiny.bert_folder(models / "paraphrase", ["not_equivalent", "equivalent"])
    (paraphrase / "pytorch_model.bin").write_bytes(b"the same weights as a pickle")
    (paraphrase / "onnx").mkdir()
    (paraphrase / "onnx" / "model.onnx").write_bytes(b"the same weights for others")
    tiny.llama_folder(models / "stories")
    (Path(shutil.copytree(paraphrase, models / "gated")) / ".gated").touch()
    config = Path(shutil.copytree(paraphrase, models / "own_code")) / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "auto_map": {"AutoConfig": "own.Own"}}))
    cut = Path(shutil.copytree(paraphrase, models / "cut")) / "model.safetensors"
    cut.write_bytes(cut.read_bytes()[:5000])

    glue = root / "datasets" / "nyu-mll" / "glue"
    (glue / "mrpc").mkdir(parents=True)
    (glue / "README.md").write_text(CARD)
    for seed, (split, count) in enumerate({"train": 24, "validation": 10, "test": 6}.items()):
        texts = [row["text"] for row in tiny.reviews(2 * count, seed=seed)]
        columns = {"sentence1": texts[::2], "sentence2": texts[1::2], "label": [row % 2 for row in range(count)]}
        dataset = Dataset.from_dict({**columns, "idx": list(range(count))}, features=MRPC)
        dataset.to_parquet(glue / "mrpc" / f"{split}-00000-of-00001.parquet")
    return root


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with serve([make_hub(tmp_path_factory.mktemp("hub"))]) as server:
        yield server


@pytest.fixture(scope="module")
def user(tmp_path_factory) -> Path:
    """The folder of one user, with a cache of his own."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "corpus.txt").write_text(tiny.corpus(200))
    return folder


def run(hub: HubServer, user: Path, lines, endpoint: str | None = None):
    commit = Repo([hub.hub.roots[0] / "models/acme/paraphrase"], "acme/paraphrase").sha
    filled = [line.replace("{commit}", commit).replace("{}", str(user)) for line in lines]
    return hub_session(filled, endpoint or hub.endpoint, user / "home")


@pytest.fixture(scope="module")
def online(hub, user):
    """Every working command once, with an empty cache."""
    return dict(zip(WORKING, run(hub, user, WORKING.values())))


def test_every_command_works_by_name(online):
    assert {name: ran.code for name, ran in online.items()} == dict.fromkeys(WORKING, 0)
    assert online["generate"].json["completion"]
    assert online["classify"].json["label"] in ("not_equivalent", "equivalent")
    assert online["classify by commit"].out == online["classify"].out
    assert "pooling: the first token, as the model's own files say" in online["embed"].err


def test_an_evaluation_says_which_commits_it_rests_on(online, hub):
    found = online["eval"].json
    assert (found["dataset"], found["split"], found["n"]) == ("glue/mrpc", "validation", 10)
    assert found["headline"] == "f1"
    assert {len(found["model_commit"]), len(found["dataset_commit"])} == {40}
    assert found["model_commit"] != found["dataset_commit"]


def test_finetune_on_the_hub_gives_the_figures_of_eval(online, user):
    tuned, measured = online["finetune"].json, online["eval of the run"].json
    assert (tuned["metrics"], tuned["split"]) == (measured["metrics"], "validation")
    record = json.loads((user / "tuned" / "run.json").read_text())
    assert record["data"]["labels"] == ["not_equivalent", "equivalent"]
    assert record["data"]["commit"] == measured["dataset_commit"]


def test_only_what_is_needed_is_downloaded(online, hub):
    fetched = {target for method, target in hub.requests if method == "GET" and "/resolve/" in target}
    assert [target for target in fetched if target.endswith("model.safetensors")] != []
    assert [target for target in fetched if target.endswith((".bin", ".onnx"))] == []


@pytest.mark.slow
def test_offline_the_cache_answers_and_the_hub_is_not_asked(online, hub, user):
    lines = [WORKING[name] + " --offline" for name in ("classify", "classify by commit", "eval", "embed", "generate")]
    retuned = WORKING["finetune"].replace("tuned", "offline") + " --offline"
    asked = len(hub.requests)
    *ran, tuned = run(hub, user, [*lines, retuned])
    assert hub.requests[asked:] == []
    assert [(one.code, one.err) for one in ran if one.code] == []
    assert ran[0].out == ran[1].out == online["classify"].out
    assert ran[2].json["metrics"] == online["eval"].json["metrics"]
    assert (ran[3].out, ran[4].out) == (online["embed"].out, online["generate"].out)
    assert (tuned.code, tuned.json["metrics"]) == (0, online["finetune"].json["metrics"])


def test_offline_what_is_not_in_the_cache_is_exit_4(online, hub, user):
    lines = [f"{ASK} --revision v9 --offline", "classify x -m acme/absent --offline", "eval ag_news -m acme/paraphrase"]
    asked = len(hub.requests)
    ran = run(hub, user, lines)
    assert [one.code for one in ran] == [4, 4, 4]
    assert all("not on this machine" in one.error for one in ran)
    assert hub.requests[asked:] == []


@pytest.mark.slow
def test_with_the_hub_gone_the_cache_answers_and_says_so(online, hub, user):
    names = ("classify", "eval", "generate")
    with socket.socket() as taken:  # bound and not listening: the port answers nobody
        taken.bind(("127.0.0.1", 0))
        gone = f"http://127.0.0.1:{taken.getsockname()[1]}"
        ran = run(hub, user, [WORKING[name] for name in names], endpoint=gone)
    assert {name: one.code for name, one in zip(names, ran)} == dict.fromkeys(names, 0)
    assert ran[0].out == online["classify"].out
    assert ran[1].json["metrics"] == online["eval"].json["metrics"]
    assert ran[2].out == online["generate"].out
    for one in ran:
        assert "warning: the Hub cannot be reached" in one.err
        assert "using the copy in the cache" in one.err


def test_what_the_hub_refuses_is_said_with_its_code(hub, user):
    ran = dict(zip(FAILING, run(hub, user, FAILING)))
    assert {line: one.code for line, one in ran.items()} == {line: code for line, (code, _) in FAILING.items()}
    assert [(line, one.err) for line, one in ran.items() if FAILING[line][1] not in one.error] == []
    assert [line for line, one in ran.items() if one.out] == []


@pytest.mark.slow
def test_a_built_in_suite_measures_what_the_hub_has_and_names_what_it_has_not(online, hub, user):
    (ran,) = run(hub, user, ["eval glue -m acme/paraphrase --json"])
    assert (ran.code, ran.json["suite"], ran.json["exit_code"]) == (2, "glue", 2)
    results = {result["name"]: result for result in ran.json["results"]}
    assert {name for name, result in results.items() if result["status"] == "ok"} == {"glue/mrpc"}
    assert results["glue/mrpc"]["metrics"] == online["eval"].json["metrics"]
    assert len(results) == 9
    assert "no configuration 'qqp'; it has mrpc, cola" in results["glue/qqp"]["error"]
    assert "name one with --split" in results["glue/cola"]["error"]
    assert "glue/qqp: " in ran.error
