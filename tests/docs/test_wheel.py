"""What pip installs: the built wheel holds the built-in model, and every module imports from it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():  # a copy: a build leaves its traces beside pyproject.toml
        if (name.startswith("llmkit/") or "/" not in name) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_builtin_model_under_16_megabytes(wheel):
    sizes = {item.filename: item.file_size for item in zipfile.ZipFile(wheel).infolist()}
    model = {name: size for name, size in sizes.items() if name.startswith("llmkit/models/builtin/model/")}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= {Path(name).name for name in model}
    assert sum(model.values()) < 16_000_000
    assert "llmkit/py.typed" in sizes


@pytest.mark.slow
def test_every_module_imports_from_the_wheel(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    modules = [
        ".".join(path.relative_to(tmp_path / "site").with_suffix("").parts).removesuffix(".__init__")
        for path in (tmp_path / "site" / "llmkit").rglob("*.py")
    ]
    assert len(modules) > 40
    program = (
        "import importlib, sys\n"
        f"for name in {sorted(modules)!r}:\n"
        "    module = importlib.import_module(name)\n"
        "    assert module.__file__.startswith(sys.path[0]), module.__file__\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    script = tmp_path / "site" / "import_all.py"
    script.write_text(program)
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_generate_answers_from_the_wheel(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    command = [sys.executable, "-m", "llmkit", "generate", "Once upon a time", "--max-new-tokens", "12"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "built-in" in done.stderr
    assert len(done.stdout.split()) > 5
