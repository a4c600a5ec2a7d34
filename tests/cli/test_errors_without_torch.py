"""What is wrong with a command line, a folder or a file is said before torch and transformers are imported."""

import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file
from stand_in_server import standing_in

SCRIPT = """
import contextlib, io, json, sys
from llmkit.cli.app import main
for command in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = main(command)
    loaded = sorted({"torch", "transformers", "datasets", "pandas", "scipy"} & set(sys.modules))
    print(json.dumps([code, said.getvalue(), loaded]))
"""
CONFIG = json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})
FOLDERS = {
    "no-weights": {"config.json": CONFIG},
    "no-config": {},
    "broken": {"config.json": "{"},
    "a-list": {"config.json": "[]"},
    "own-code": {"config.json": '{"auto_map": {}, "model_type": "own"}'},
    "cut": {"config.json": CONFIG, "model.safetensors": "not a header"},
    "adapter": {"adapter_config.json": '{"peft_type": "LORA", "base_model_name_or_path": "/no/base"}'},
    "no-base": {"adapter_config.json": '{"peft_type": "LORA"}'},
}
CASES = {
    "generate -m no-weights hi": "holds no weights",
    "generate -m no-config hi": "has no config.json",
    "generate -m broken hi": "config.json that cannot be used",
    "classify -m a-list hi": "holds no object",
    "generate -m own-code hi": "--trust-remote-code",
    "embed -m cut hi": "truncated or no safetensors file",
    "generate -m adapter hi": "no model folder '/no/base'",
    "generate -m no-base hi": "does not say which base",
    "chat -m ./gone": "no model folder",
    "generate -m gone hi --offline": "is not on this machine",
    "generate --task nope hi": "there is no task 'nope'",
    "generate --temperature -1 hi": "must be more than 0",
    "classify --input missing.csv": "there is no file",
    "embed --input no-config": "is a folder",
    "finetune missing.csv": "no file or folder 'missing.csv'",
    "finetune glue/mrpc -m no-weights": "holds no weights",
    "pretrain missing.txt": "no file or folder 'missing.txt'",
    "eval missing.jsonl": "no file or folder 'missing.jsonl'",
    "eval glue/mrpc -m broken": "config.json that cannot be used",
    "data missing.csv": "no file or folder 'missing.csv'",
    "plan finetune glue/mrpc -m no-config": "has no config.json",
    "merge no-config": "has no config.json",
}


@pytest.fixture(scope="module")
def endings(tmp_path_factory):
    root = tmp_path_factory.mktemp("wrong")
    for name, held in FOLDERS.items():
        (root / name).mkdir()
        for file, text in held.items():
            (root / name / file).write_text(text, encoding="utf-8")
    named = [[str(root / word) if word in FOLDERS else word for word in case.split()] for case in CASES]
    return dict(zip(CASES, run(named, root), strict=True))


def run(commands, folder):
    """Return how commands of one process ended: their codes, what they said, and what is imported after each."""
    typed = [sys.executable, "-c", SCRIPT, json.dumps(commands)]
    done = subprocess.run(typed, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


@pytest.mark.parametrize("case", CASES)
def test_it_is_said_before_the_libraries_are_imported(case, endings):
    code, said, loaded = endings[case]
    assert code in (2, 4)
    assert CASES[case] in said
    assert loaded == []


def test_an_unknown_type_of_model_is_said_before_torch_is_imported(tmp_path):
    for name, config in {"strange": {"model_type": "lama"}, "own": {"model_type": "lama", "auto_map": {}}}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config), encoding="utf-8")
        save_file({"weight": np.zeros(1, np.float32)}, tmp_path / name / "model.safetensors")
    ended = run([["generate", "hi", "-m", "strange"], ["finetune", "glue/mrpc", "-m", "strange"]], tmp_path)
    says = "'strange' has a config.json that cannot be used: its model_type is 'lama' (did you mean 'llama'?), which "
    assert [(code, said[: len(f"error: {says}")], loaded) for code, said, loaded in ended] == [
        (2, f"error: {says}", ["transformers"])
    ] * 2
    [(code, said, loaded)] = run([["generate", "hi", "-m", "own"]], tmp_path)
    assert (code, "--trust-remote-code" in said, loaded) == (2, True, [])


def test_a_server_is_asked_without_the_libraries(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a fox"}\n', encoding="utf-8")
    with standing_in() as server:
        commands = [
            ["generate", "hello", "--endpoint", server.url],
            ["generate", "--input", "rows.jsonl", "--output", "answers.jsonl", "--endpoint", server.url],
        ]
        ended = run(commands, tmp_path)
    assert [(code, loaded) for code, _, loaded in ended] == [(0, []), (0, [])]
    assert "A FOX" in (tmp_path / "answers.jsonl").read_text(encoding="utf-8")
