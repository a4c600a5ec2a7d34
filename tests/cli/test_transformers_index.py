"""The index of transformers' models is the same from the cache as from its files, and made anew if unreadable."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import transformers
from transformers.utils.import_utils import define_import_structure

from llmkit.cli.shared import transformers_index

MODELS = Path(transformers.__file__).parent / "models"
kept = getattr(define_import_structure, "args", [define_import_structure])[0]  # a test before may have put ours there
PLAIN = kept.__wrapped__  # transformers adds to what its function remembers
SCRIPT = """
from llmkit.cli.shared.transformers_index import keep_transformers_index
keep_transformers_index()
from transformers import BertConfig
from transformers.utils.import_utils import define_import_structure
print(BertConfig().model_type, type(define_import_structure).__name__)
"""


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Count what is made from the files, with a cache of its own."""
    monkeypatch.setenv("LLMKIT_CACHE", str(tmp_path / "cache"))
    calls = []

    def make(module_path, prefix=None):
        calls.append((Path(module_path).name, prefix))
        return PLAIN(module_path, prefix=prefix)

    return make, calls, tmp_path / "cache" / "transformers_models.json"


def test_it_is_read_once_and_is_the_same_with_and_without_a_prefix(made):
    make, calls, _ = made
    for prefix in (None, "models"):
        for path in (MODELS, MODELS / "__init__.py"):
            assert transformers_index._index(make, path, prefix) == PLAIN(MODELS, prefix=prefix)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "damaged",
    [lambda text: "[]", lambda text: text[:-9], lambda text: text.replace('"albert', '"albort', 1)],
    ids=["another-shape", "cut", "another-installation"],
)
def test_a_cache_that_does_not_fit_is_made_again(made, damaged):
    make, calls, file = made
    transformers_index._index(make, MODELS)
    written = file.read_text(encoding="utf-8")
    file.write_text(damaged(written), encoding="utf-8")
    assert transformers_index._index(make, MODELS) == PLAIN(MODELS)
    assert len(calls) == 2
    assert file.read_text(encoding="utf-8") == written


def test_packages_of_one_model_and_a_cache_that_cannot_be_written_are_read_from_the_files(made):
    make, calls, file = made
    bert = str(MODELS / "bert" / "__init__.py")
    assert transformers_index._index(make, bert) == PLAIN(bert)
    assert not file.exists()
    file.parent.write_text("", encoding="utf-8")
    assert transformers_index._index(make, MODELS) == PLAIN(MODELS)
    assert len(calls) == 2


def test_transformers_asks_the_cache_as_it_is_imported(tmp_path):
    for _ in range(2):
        typed = [sys.executable, "-c", SCRIPT]
        done = subprocess.run(typed, capture_output=True, text=True, env={**os.environ, "LLMKIT_CACHE": str(tmp_path)})
        assert (done.returncode, done.stdout) == (0, "bert partial\n"), done.stderr
    assert (tmp_path / "transformers_models.json").exists()
