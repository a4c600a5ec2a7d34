"""llmkit push, through huggingface_hub's own client, to a loopback Hub that can be written to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny
from conftest import hub_session, write_csv
from hub_server import serve
from hub_uploads import WritableHub
from huggingface_hub import ModelCard

from llmkit.options import ModelOptions, RunOptions, TrainingOptions
from llmkit.runs.card import card, command_line, is_untouched
from llmkit.training.finetuning import finetune


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a finished run in it, the rows that it was trained on, and things that are not for the Hub."""
    folder = tmp_path_factory.mktemp("place")
    base = tiny.bert_folder(folder / "base")
    data = write_csv(folder / "rows.csv", tiny.reviews(32))
    write_csv(folder / "measured.csv", tiny.reviews(24, seed=1))
    finetune(
        str(data),
        ModelOptions(model=str(base), dtype="float32"),
        run=RunOptions(output=folder / "run"),
        training_options=TrainingOptions(max_steps=3, seed=7),
    )
    (folder / "run" / "notes.txt").write_text("not for others")
    return folder


LINES = {
    "dry": "push {}/run me/tuned --dry-run",
    "first": "push {}/run me/tuned --private --json",
    "again": "push {}/run me/tuned --json",
    "eval here": "eval {}/measured.csv -m {}/run --json",
    "eval there": "eval {}/measured.csv -m me/tuned --json",
    "other": "push {}/other me/tuned --message 'A second run'",
    "edited": "push {}/edited me/mine --json",
    "of others": "push {}/run acme/tuned",
}


@pytest.fixture(scope="module")
def pushed(place, tmp_path_factory):
    """What each line said, and the Hub that it said it to, after somebody edited a card there."""
    root = tmp_path_factory.mktemp("hub")
    other = Path(shutil.copytree(place / "run", place / "other"))
    (other / "curves.png").unlink()
    record = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps(record | {"git": None, "platform": "elsewhere"}))
    edited = Path(shutil.copytree(place / "run", place / "edited"))
    (edited / "README.md").write_text((edited / "README.md").read_text().replace("# run", "# My own words"))
    theirs = root / "models" / "me" / "mine"
    theirs.mkdir(parents=True)
    (theirs / "README.md").write_text("---\nlicense: mit\n---\nWritten on the Hub.\n")
    (theirs / "data.bin").write_text("of somebody")
    with serve([root], kind=WritableHub) as hub:
        lines = [line.replace("{}", str(place)) for line in LINES.values()]
        ran = hub_session(lines, hub.endpoint, tmp_path_factory.mktemp("home"), HF_TOKEN="hf_me")
        yield root, hub, dict(zip(LINES, ran))


def folder_of(root: Path, name: str) -> set[str]:
    return {str(path.relative_to(root / "models" / name)) for path in (root / "models" / name).rglob("*")}


def test_the_model_its_card_and_its_figures_are_put_there_and_nothing_else(pushed, place):
    root, hub, ran = pushed
    assert ran["first"].code == 0, ran["first"].err
    made = ran["first"].json
    assert (made["repo"], made["url"], made["removed"], made["unchanged"]) == (
        "me/tuned",
        f"{hub.endpoint}/me/tuned",
        [],
        [],
    )
    names = {file["path"] for file in made["uploaded"]}
    assert {"model.safetensors", "config.json", "tokenizer.json", "README.md", "run.json", "metrics.jsonl"} <= names
    assert not names & {"notes.txt", "checkpoints", "tensorboard"}
    assert not [name for name in folder_of(root, "me/tuned") if "checkpoint" in name or "notes" in name]
    saved = (root / "models/me/tuned/model.safetensors").read_bytes()
    assert saved == (place / "run" / "model.safetensors").read_bytes()
    asked = [target for method, target in hub.requests if method == "POST"]
    assert asked[0] == "/api/repos/create"
    assert "xet" not in " ".join(asked)


def test_a_dry_run_lists_the_files_with_their_sizes_and_sends_nothing(pushed, place):
    ran = pushed[2]["dry"]
    assert (ran.code, ran.out) == (0, "")
    size = (place / "run" / "model.safetensors").stat().st_size
    assert f"{size:,} bytes  model.safetensors" in ran.err
    assert "notes.txt" not in ran.err
    assert "me/tuned is not there yet" in ran.err
    methods = [method for method, _ in pushed[1].requests]
    assert pushed[1].requests[methods.index("POST")] == ("POST", "/api/repos/create")  # of the line after it


def test_what_did_not_change_is_not_sent_again(pushed):
    _, hub, ran = pushed
    first, again = ran["first"].json, ran["again"].json
    assert (again["uploaded"], again["removed"], again["commit"]) == ([], [], first["commit"])
    assert sorted(again["unchanged"]) == sorted(file["path"] for file in first["uploaded"])
    assert "nothing changed" in ran["again"].err
    assert len([target for method, target in hub.requests if method == "PUT"]) == 2  # the weights of two repositories


def test_eval_of_the_repository_gives_the_figures_of_the_run(pushed):
    here, there = pushed[2]["eval here"], pushed[2]["eval there"]
    assert there.code == 0, there.err
    assert there.json["metrics"] == here.json["metrics"]
    assert len(there.json["model_commit"]) == 40


def test_another_run_replaces_what_differs_and_takes_away_what_it_has_not(pushed):
    root, _, ran = pushed
    assert ran["other"].code == 0, ran["other"].err
    assert "curves.png" not in folder_of(root, "me/tuned")
    assert json.loads((root / "models/me/tuned/run.json").read_text())["platform"] == "elsewhere"
    commits = [json.loads(line) for line in (root / "commits.jsonl").read_text().splitlines()]
    f1 = json.loads((root / "models/me/tuned/run.json").read_text())["result"]["metrics"]["f1"]["value"]
    told = [message for name, message in commits if name == "me/tuned"]
    assert told[0].startswith(f"llmkit finetune: f1 {f1:.4f} on ")
    assert told[1:] == ["A second run"]


def test_a_card_that_was_edited_by_hand_is_kept_and_so_is_what_is_not_of_llmkit(pushed):
    root, _, ran = pushed
    assert ran["edited"].code == 0, ran["edited"].err
    assert "README.md: edited by hand, and goes as it is" in ran["edited"].err
    assert "README.md was written by hand there, and is kept" in ran["edited"].err
    assert "Written on the Hub." in (root / "models/me/mine/README.md").read_text()
    assert "data.bin" in folder_of(root, "me/mine")
    assert ran["edited"].json["removed"] == []


def test_a_repository_of_others_is_refused_with_the_code_of_the_hub(pushed):
    ran = pushed[2]["of others"]
    assert ran.code == 4
    assert "acme/tuned" in ran.error


def test_the_card_tells_what_the_library_of_the_hub_reads(place):
    record = json.loads((place / "run" / "run.json").read_text())
    text = (place / "run" / "README.md").read_text()
    assert is_untouched(text)
    assert not is_untouched(text.replace("Recipe", "My recipe"))
    assert not is_untouched("# Mine\n")
    made = ModelCard(text)
    figures = record["result"]["metrics"]
    found = {result.metric_type: result for result in made.data.eval_results}
    assert {name: result.metric_value for name, result in found.items()} == {
        name: figure["value"] for name, figure in figures.items() if figure["value"] is not None
    }
    (place_of,) = {(each.task_type, each.dataset_type, each.dataset_split) for each in found.values()}
    assert place_of == ("text-classification", "rows.csv", record["data"]["validation"])
    assert (made.data.model_name, made.data.library_name) == ("run", "transformers")
    accuracy = figures["accuracy"]
    between = f"{accuracy['low']:.4f} to {accuracy['high']:.4f}"
    assert f"| accuracy | {accuracy['value']:.4f} | {between} | {accuracy['n']} |" in made.content
    command = f"llmkit finetune {place / 'rows.csv'} --model {place / 'base'} --dtype float32 --max-steps 3 --seed 7"
    assert command_line(record) == command
    assert command in made.content
    assert f"torch {record['versions']['torch']}" in made.content


def test_a_card_of_data_and_a_model_of_the_hub_links_both(place):
    record = json.loads((place / "run" / "run.json").read_text())
    record["data"] |= {"reference": "glue/mrpc", "commit": "d" * 40}
    record["model"] |= {"name": "acme/base", "commit": "c" * 40}
    made = ModelCard(card(record, "tuned")).data
    assert (made.base_model, made.datasets) == ("acme/base", ["nyu-mll/glue"])
    (told,) = {(each.dataset_type, each.dataset_config, each.dataset_revision) for each in made.eval_results}
    assert told == ("nyu-mll/glue", "mrpc", "d" * 40)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("{run}", "tuned"), 2, ("'tuned'", "owner/name")),
        (("{run}", "me/../x"), 2, ("'me/../x'", "owner/name")),
        (("{run}", "me/tuned", "--message", " "), 2, ("--message",)),
        (("{base}", "me/tuned"), 2, ("no run of llmkit", "finetune")),
        (("{absent}", "me/tuned"), 2, ("no run folder",)),
        (("{stopped}", "me/tuned"), 2, ("stopped", "not finished")),
        (("{run}", "me/tuned"), 4, ("hf auth login", "HF_TOKEN")),
    ],
)
def test_what_cannot_be_pushed_is_one_sentence(llmkit, place, tmp_path, monkeypatch, arguments, code, words):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "absent"))
    stopped = tmp_path / "stopped"
    stopped.mkdir()
    (stopped / "run.json").write_text(json.dumps({"status": "stopped", "data": {}}))
    names = {"run": place / "run", "base": place / "base", "absent": place / "absent", "stopped": stopped}
    ran = llmkit("push", *(argument.format(**names) for argument in arguments))
    assert ran.code == code, ran.err
    assert all(word in ran.error for word in words), ran.error
    assert ran.out == ""


def test_offline_the_hub_is_not_asked(llmkit, place):
    ran = llmkit("push", place / "run", "me/tuned")
    assert ran.code == 4
    assert "HF_HUB_OFFLINE" in ran.error
