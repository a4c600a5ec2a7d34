"""The house keeps the figures that it was built to: folders, signatures, classes, types, layout, words."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest
from readme import ROOT

PACKAGE = ROOT / "llmkit"
FILES = sorted(PACKAGE.rglob("*.py"))
# words of a language of its own, where the field has others: transformers, TRL and scikit-learn know none of them
NOT_THE_FIELDS = {
    "Setup",
    "settle",
    "truths",
    "TRUTHS",
    "flaw",
    "misfit",
    "obstacle",
    "meant",
    "placed",
    "learned",
    "tuned",
    "silent",
    "shown",
    "aside",
    "told",
    "remembers",
    "observe",
    "seen",
    "Located",
    "located",
    "locate",
    "Lesson",
    "lesson",
    "states",
    "StopWish",
    "heed",
    "wish",
    "Narrator",
    "Watchdog",
    "haste",
    "pace",
    "Portion",
    "Drawn",
    "alike",
    "Attempt",
    "within",
    "promote",
    "sketch",
    "mishap",
    "exhibits",
}


def trees() -> list[tuple[Path, ast.Module]]:
    return [(file, ast.parse(file.read_text(encoding="utf-8"))) for file in FILES]


def names(file: Path) -> list[str]:
    """Return the identifiers of a file, those in the fields of f-strings too."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.NAME:
            found.append(token.string)
        elif token.type == tokenize.STRING and "f" in token.string[: token.string.index(token.string[-1])].lower():
            found += [
                node.id if isinstance(node, ast.Name) else node.attr
                for node in ast.walk(ast.parse(token.string, mode="eval"))
                if isinstance(node, ast.Name | ast.Attribute)
            ]
    return found


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    given = function.args
    rest = [one for one in (given.vararg, given.kwarg) if one is not None]
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *rest]
    return [one.arg for one in every if one.arg not in ("self", "cls")]


def test_no_folder_holds_more_than_a_reader_can_take_in():
    folders = [PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__")]
    sizes = {path: len([one for one in path.iterdir() if one.name != "__pycache__"]) for path in folders}
    assert sizes[PACKAGE] <= 18
    assert {path.name: size for path, size in sizes.items() if size > 18} == {}


def test_no_function_takes_more_than_six_parameters():
    functions = [
        (f"{file.relative_to(ROOT)}:{node.lineno} {node.name}", len(parameters(node)))
        for file, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert len(functions) > 1000
    assert [function for function, count in functions if count > 6] == []


def test_no_class_has_more_than_twenty_five_methods_with_those_of_its_bases():
    methods: dict[str, set[str]] = {}
    bases: dict[str, list[str]] = {}
    for _, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                methods[node.name] = {one.name for one in node.body if isinstance(one, ast.FunctionDef)}
                bases[node.name] = [ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases]

    def of(name: str) -> set[str]:
        return methods.get(name, set()).union(*(of(base) for base in bases.get(name, ()) if base != name))

    assert {name: len(of(name)) for name in methods if len(of(name)) > 25} == {}


def test_types_are_named():
    lines = sum(file.read_text(encoding="utf-8").count("\n") for file in FILES)
    untyped = sum(names(file).count("Any") for file in FILES)
    assert untyped * 1000 / lines <= 15


@pytest.mark.parametrize("root", ["llmkit", "tests", "examples"])
def test_the_formatter_lays_out_every_line(root):
    marks = re.compile(r"#\s*fmt:\s*(skip|off)")
    packed = [str(file) for file in sorted((ROOT / root).rglob("*.py")) if marks.search(file.read_text("utf-8"))]
    assert packed == []


def test_names_are_the_fields():
    found = {str(file.relative_to(ROOT)): sorted(NOT_THE_FIELDS & set(names(file))) for file in FILES}
    assert {file: words for file, words in found.items() if words} == {}
