"""What push does to files that other hands put into a repository, and to those that llmkit itself put there."""

from __future__ import annotations

import json
import shutil
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
import torch
from conftest import hub_session
from hub_server import serve
from hub_uploads import WritableHub
from huggingface_hub import ModelCard
from safetensors.torch import save_file

from llmkit.runs.card import card, is_untouched

SCHEMA = json.loads((resources.files("llmkit") / "output" / "schemas" / "push.schema.json").read_text(encoding="utf-8"))
MERGED = {"schema": 1, "model": "m", "adapter": "runs/adapter", "base": "acme/base", "prompts": 16, "equal": 15}
RECORD = {
    "schema": 1,
    "status": "finished",
    "command": "merge",
    "merged": {**MERGED, "agreement": 0.9375, "largest_difference": 0.25, "differing": []},
    "versions": {"llmkit": "0"},
}


def run_folder(folder: Path, **files: str) -> Path:
    """A folder as `llmkit merge` leaves it, with more files in it."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(RECORD))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "of": folder.name}))
    save_file({"a": torch.full((4,), float(len(folder.name)))}, folder / "model.safetensors")
    for name, text in {"tokenizer.json": "{}", **files}.items():
        (folder / name).write_text(text)
    return folder


def repository(root: Path, name: str, **files: str) -> Path:
    folder = root / "models" / "me" / name
    for path, text in files.items():
        file = folder / path.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


OTHERS = {
    "config.json": '{"model_type": "t5"}',
    "spiece.model": "theirs",
    "vocab.txt": "theirs",
    "other.safetensors": "theirs",
    "notes.bin": "theirs",
    "README.md": "# Theirs",
    "onnx__model.safetensors": "theirs",
}


@pytest.fixture
def world(tmp_path):
    """The root of a Hub, and a function that runs lines of one user at it."""
    root = tmp_path / "hub"
    root.mkdir()
    with serve([root], kind=WritableHub) as hub:

        def session(*lines: str):
            return hub_session(
                [line.replace("{}", str(tmp_path)) for line in lines], hub.endpoint, tmp_path, HF_TOKEN="hf_me"
            )

        yield root, session


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def checked(document: dict) -> dict:
    jsonschema.validate(document, SCHEMA)
    return document


def test_files_of_other_hands_are_refused_and_stay(tmp_path, world):
    root, session = world
    run_folder(tmp_path / "run")
    theirs = repository(root, "other", **OTHERS)
    dry, real = session("push {}/run me/other --dry-run --json", "push {}/run me/other")
    for ran in (dry, real):
        assert ran.code == 2
        assert "me/other holds files that llmkit did not put there" in ran.error
        assert "(config.json): --replace writes over them" in ran.error
        assert "kept there, not of llmkit: README.md, notes.bin, onnx/model.safetensors, other.safetensors" in ran.err
    document = checked(dry.json)
    assert (document["refused"], document["removed"], document["replaced"]) == (["config.json"], [], ["config.json"])
    assert {"spiece.model", "vocab.txt", "other.safetensors"} <= set(document["kept"])
    assert real.out == ""
    assert {name: (theirs / name.replace("__", "/")).read_text() for name in OTHERS} == OTHERS
    assert len(names_in(theirs)) == len(OTHERS)


def test_replace_writes_over_them_and_removes_only_what_is_called_as_a_model_is(tmp_path, world):
    root, session = world
    run = run_folder(tmp_path / "run")
    theirs = repository(root, "other", **OTHERS)
    (ran,) = session("push {}/run me/other --replace --json")
    assert ran.code == 0, ran.err
    document = checked(ran.json)
    assert document["replaced"] == ["README.md", "config.json"]
    assert document["removed"] == ["other.safetensors", "spiece.model", "vocab.txt"]
    assert document["kept"] == ["notes.bin", "onnx/model.safetensors"]
    assert "removed there: other.safetensors, spiece.model, vocab.txt" in ran.err
    assert {"notes.bin", "onnx/model.safetensors"} <= names_in(theirs)
    assert not {"spiece.model", "vocab.txt", "other.safetensors"} & names_in(theirs)
    assert (theirs / "config.json").read_bytes() == (run / "config.json").read_bytes()
    assert is_untouched((theirs / "README.md").read_text())


def test_a_later_push_removes_what_the_former_one_left_and_nothing_else(tmp_path, world):
    root, session = world
    first = run_folder(tmp_path / "first", **{"vocab.txt": "ours", "merges.txt": "ours", "spiece.model": "ours"})
    shutil.copy(first / "model.safetensors", first / "model-00001-of-00001.safetensors")
    run_folder(tmp_path / "second")
    there = root / "models" / "me" / "both"
    (ran,) = session("push {}/first me/both --json")
    assert (ran.code, ran.json["new"], ran.json["removed"]) == (0, True, []), ran.err
    (there / "merges.txt").write_text("edited there")
    (there / "extra.safetensors").write_text("theirs")
    dry, real, again = session(
        "push {}/second me/both --dry-run --json", "push {}/second me/both --json", "push {}/second me/both --json"
    )
    assert (dry.code, real.code, again.code) == (0, 0, 0), real.err
    removed = ["model-00001-of-00001.safetensors", "spiece.model", "vocab.txt"]
    for ran in (dry, real):
        document = checked(ran.json)
        assert (document["removed"], document["kept"]) == (removed, ["extra.safetensors", "merges.txt"])
        assert document["refused"] == []
    assert dry.json["commit"] is None
    assert {"config.json", "llmkit_files.json", "model.safetensors"} <= set(real.json["replaced"])
    assert (again.json["uploaded"], again.json["removed"]) == ([], [])
    assert not names_in(there) & set(removed)
    assert (there / "merges.txt").read_text() == "edited there"


def test_a_file_that_was_changed_there_is_of_another_hand(tmp_path, world):
    root, session = world
    run_folder(tmp_path / "first")
    run_folder(tmp_path / "second")
    session("push {}/first me/mine")
    (root / "models/me/mine/config.json").write_text('{"edited": true}')
    refused, replaced = session("push {}/second me/mine", "push {}/second me/mine --replace --json")
    assert refused.code == 2
    assert "(config.json)" in refused.error
    assert (replaced.code, replaced.json["removed"]) == (0, []), replaced.err
    assert "edited" not in (root / "models/me/mine/config.json").read_text()


def test_a_card_of_ones_own_hand_is_pushed_again_and_only_gives_way_to_another_of_that_hand(tmp_path, world):
    root, session = world
    run, there = run_folder(tmp_path / "run"), root / "models/me/mine/README.md"
    (run / "README.md").write_text("# By hand")
    first, again = session("push {}/run me/mine --json", "push {}/run me/mine --json")
    assert (first.code, again.code, again.json["uploaded"], again.json["kept"]) == (0, 0, [], []), again.err
    (run / "README.md").write_text("# By hand, better")
    (better,) = session("push {}/run me/mine --json")
    assert better.json["replaced"] == ["README.md", "llmkit_files.json"]
    assert there.read_text() == "# By hand, better"
    (run / "README.md").unlink()
    (written,) = session("push {}/run me/mine --json")
    assert (written.code, written.json["kept"]) == (0, ["README.md"])
    assert "README.md was written by hand there, and is kept" in written.err
    (run / "README.md").write_text("# By hand, best")
    there.write_text("# By hand, there")
    (other,) = session("push {}/run me/mine --json")
    assert (other.json["kept"], there.read_text()) == (["README.md"], "# By hand, there")
    (replaced,) = session("push {}/run me/mine --json --replace")
    assert (replaced.code, there.read_text()) == (0, "# By hand, best")


def test_a_repository_of_an_llmkit_without_the_list_keeps_what_its_runs_need_not_have(tmp_path, world):
    root, session = world
    run_folder(tmp_path / "run")
    old = run_folder(root / "models" / "me" / "old", **{"vocab.txt": "?", "curves.png": "ours", "x.safetensors": "?"})
    (ran,) = session("push {}/run me/old --json")
    assert ran.code == 0, ran.err
    assert "left no list of its files (llmkit_files.json)" in ran.err
    assert (ran.json["removed"], ran.json["kept"]) == (["curves.png"], ["vocab.txt", "x.safetensors"])
    assert {"vocab.txt", "x.safetensors", "llmkit_files.json"} <= names_in(old)


@pytest.mark.parametrize("text", ["[]", "{", '{"name": "of another program"}'])
def test_a_run_json_of_another_program_is_of_another_hand(tmp_path, world, text):
    root, session = world
    run_folder(tmp_path / "run")
    repository(root, "odd", **{"run.json": text, "llmkit_files.json": text})
    (ran,) = session("push {}/run me/odd")
    assert ran.code == 2
    assert "(llmkit_files.json, run.json)" in ran.error


class BusyHub(WritableHub):
    """A Hub where somebody else commits while files are sent."""

    def preupload(self, name, revision, request):
        answer = super().preupload(name, revision, request)
        (self.roots[0] / "models" / name / "config.json").write_text('{"of": "somebody"}')
        return answer


def test_a_commit_in_between_is_refused(tmp_path):
    root = tmp_path / "hub"
    root.mkdir()
    run_folder(tmp_path / "run")
    with serve([root], kind=BusyHub) as hub:
        (ran,) = hub_session([f"push {tmp_path}/run me/busy"], hub.endpoint, tmp_path / "home", HF_TOKEN="hf_me")
    assert ran.code == 4
    assert "'me/busy' was changed while this push was made, and is left as it is: run the command again" in ran.error
    assert names_in(root / "models/me/busy") == {"config.json"}


def test_a_push_names_the_commit_that_it_was_compared_with(tmp_path, world):
    root, session = world
    run_folder(tmp_path / "run")
    (ran,) = session("push {}/run me/new --json")  # the loopback Hub refuses any other parent
    assert ran.code == 0, ran.err
    assert "model.safetensors" in names_in(root / "models/me/new")


def test_a_merged_model_has_a_card_of_its_own(llmkit, tmp_path):
    run = run_folder(tmp_path / "run")
    ran = llmkit("push", run, "me/x", "--dry-run", "--json")
    assert ran.code == 0, ran.err
    document = checked(ran.json)
    assert (document["looked_up"], document["new"], document["url"]) == (False, False, None)
    assert "could not be looked up" in ran.err
    text = card(RECORD, "x")
    assert "made by `llmkit merge` from acme/base and the adapter runs/adapter." in text
    assert "15 of 16 answers as before; the largest difference between two numbers of them is 0.25" in text
    assert "llmkit merge runs/adapter" in text
    made = ModelCard(text).data
    assert (made.base_model, made.library_name, made.pipeline_tag) == ("acme/base", "transformers", None)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("run.json", "[]", "no run of llmkit"),
        ("run.json", '{"status": "finished", "command": "merge", "merged": {}}', "run.json in"),
        ("run.json", '{"status": "finished", "command": "finetune", "data": {}}', "run.json in"),
        ("run.json", '{"status": "finished", "command": "merge", "merged": null}', "run.json in"),
        ("config.json", None, "has lost its config.json"),
        ("model.safetensors", None, "holds no weights"),
    ],
)
def test_a_damaged_run_is_one_sentence(llmkit, tmp_path, file, text, words):
    run = run_folder(tmp_path / "run")
    (run / file).unlink()
    if text is not None:
        (run / file).write_text(text)
    ran = llmkit("push", run, "me/x", "--dry-run")
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.error


@pytest.mark.parametrize("base", ["/models/base", "built-in", "../base", "~/base", "a/b/c"])
def test_a_base_on_a_disk_is_no_base_of_the_hub(base):
    record = {**RECORD, "merged": {**RECORD["merged"], "base": base, "largest_difference": None}}
    assert ModelCard(card(record, "x")).data.base_model is None
