"""What transformers' modules of models hold: it reads a thousand files for that at each start, and a cache keeps it."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import json
import sys
import sysconfig
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType

from llmkit.output.atomic import cache_folder, write_whole

MODULE = "transformers.utils.import_utils"  # whose define_import_structure makes the index
FILE_NAME = "transformers_models.json"

# the packages that a module needs -> module -> its names
Index = dict[frozenset[str], dict[str, set[str]]]


def keep_transformers_index() -> None:
    """Let transformers, when it is imported, take the index of its models from the cache, unless it changed.

    An installation that is worked on, outside the folder of installed packages, is read at each start.
    """
    if MODULE not in sys.modules and not any(isinstance(finder, IndexFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, IndexFinder())


class IndexFinder(importlib.abc.MetaPathFinder):
    """Finds the module that makes the index where it is, and nothing else."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None and _is_installed(Path(spec.origin)):
            spec.loader = IndexedModule(fullname, spec.origin)
        return spec


class IndexedModule(importlib.machinery.SourceFileLoader):
    """Loads that module as always, and puts what asks the cache before its function."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        made = getattr(module, "define_import_structure", None)
        if made is not None:
            vars(module)["define_import_structure"] = partial(_index, made)


def _index(made: Callable[..., Index], module_path: str, prefix: str | None = None) -> Index:
    """Return what `made` returns: of the folder of all models from the cache, and of any other as it is."""
    folder = Path(module_path)
    folder = folder if folder.is_dir() else folder.parent
    if (folder.parent.name, folder.name) != ("transformers", "models"):
        return made(module_path, prefix=prefix)
    key, file = _state(folder), cache_folder() / FILE_NAME
    index = _read(file, key)
    if index is None:
        index = made(module_path)
        with contextlib.suppress(OSError):  # it is read from the files again
            write_whole(file, json.dumps({"key": key, "index": _plain(index)}))
    if prefix is None:
        return index
    return {needs: {f"{prefix}.{name}": held for name, held in names.items()} for needs, names in index.items()}


def _state(folder: Path) -> list[object]:
    """Return what changes when packages of models come, go or are replaced."""
    models = sorted((entry.name, entry.stat().st_mtime_ns) for entry in folder.iterdir())
    return [str(folder), [list(model) for model in models]]


def _read(file: Path, key: list[object]) -> Index | None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        kept = json.loads(file.read_bytes())
        if kept["key"] == key:
            return {
                frozenset(needs): {name: set(held) for name, held in names.items()} for needs, names in kept["index"]
            }
    return None


def _plain(index: Index) -> list[tuple[list[str], dict[str, list[str]]]]:
    return [(sorted(needs), {name: sorted(held) for name, held in names.items()}) for needs, names in index.items()]


def _is_installed(path: Path) -> bool:
    return any(path.is_relative_to(sysconfig.get_path(kind)) for kind in ("purelib", "platlib"))
