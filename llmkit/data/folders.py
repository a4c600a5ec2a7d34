"""Folders of data files: which file is of which split, folders per class, and files that are no data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from llmkit.data import files
from llmkit.data.formats import Part
from llmkit.errors import DataError, EmptyError, listing
from llmkit.options import FileOptions
from llmkit.output.report import Report

SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
WHOLE_NAMES = SPLIT_WORDS | {"eval": "validation", "evaluation": "validation"}  # car_evaluation.csv is no validation
NOTES = {"readme", "license", "licence", "citation", "changelog", "notice"}
SUBMISSIONS = {"submission", "submissions", "samplesubmission"}  # what Kaggle wants back
WITHOUT_CLASS = {"unsup", "unlabeled", "unlabelled", "unsupervised"}
CHAPTERS = re.compile(r"(?i)(chapter|chap|ch|part|page|section|vol|volume|book|kapitel|teil|act|scene)[\W_]*\d+")
SHORT_TEXT = 20_000  # bytes that half of the texts of a class have at most; the chapter of a book has more
LOOKED_AT = 200  # rows, or files, that tell what there is


def split_of(path: Path) -> str:
    """Return the split that a file's name, or else its folder's, tells: dev.csv is validation, data.csv is train."""
    for name in reversed(path.parts):
        whole = WHOLE_NAMES.get(name.lower().split(".")[0])
        if whole is not None:
            return whole
        words = name.lower().replace("-", "_").replace(".", "_").split("_")
        for word in words:
            if word in SPLIT_WORDS:
                return SPLIT_WORDS[word]
    return "train"


def files_by_split(folder: Path, report: Report | None = None) -> dict[str, list[Path]]:
    """Return the data files of a folder by the split that each is of; what is left out is said.

    Raises:
        DataError: there is none.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and _is_data(path.relative_to(folder)))
    others = [path for path in paths if _is_note(path) or _is_submission(path)]
    if others and len(others) < len(paths):
        paths = [path for path in paths if path not in others]
        if report is not None:
            names = listing(path.relative_to(folder) for path in others)
            report.say(f"{folder}: not read, as the names say that they are notes or sample submissions: {names}")
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(split_of(path.relative_to(folder)), []).append(path)
    if not groups:
        raise DataError(f"the folder {str(folder)!r} holds no data file ({', '.join(files.FORMATS)})")
    return groups


def _is_data(inside: Path) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in inside.parts)
    return not hidden and inside.suffix.lower() != ".md" and files.format_of(inside) is not None


def _is_note(path: Path) -> bool:
    return files.format_of(path) == "txt" and path.stem.lower() in NOTES


def _is_submission(path: Path) -> bool:
    words = re.split(r"[\W_]+", path.name.lower().split(".")[0])
    return bool(SUBMISSIONS & set(words)) or "samplesubmission" in "".join(words) or words == ["sample"]


def read_folder(folder: Path, options: FileOptions, report: Report) -> dict[str, list[Part]]:
    """Read the data files of a folder, by split; what is left out is said.

    Raises:
        DataError: a file is broken, or has not the columns of the others of its split.
        EmptyError: no file holds rows.
    """
    classes = class_folders(folder)
    if classes is not None:
        report.say(classes.sentence)
        return {
            split: [_of_classes(f"{folder}, {split}", by_class, options)] for split, by_class in classes.splits.items()
        }
    _say_documents(folder, report)
    parts: dict[str, list[Part]] = {}
    empty: list[EmptyError] = []
    for split, paths in files_by_split(folder, report).items():
        for path in paths:
            try:
                part = files.read_part(path, options)
            except EmptyError as nothing:
                empty.append(nothing)
            else:
                part.tell(report)
                parts.setdefault(split, []).append(part)
    if not parts:
        raise empty[0]
    for error in empty:
        report.warn(f"{error}; it is left out")
    parts = _without_submissions(_without_documents(parts, report), report)
    for split, group in parts.items():
        _refuse_other_columns(split, group)
    return parts


def _say_documents(folder: Path, report: Report) -> None:
    """Say of texts in folders, which could be classes, that each is a document."""
    texts = [path for path in folder.rglob("*.txt") if _is_data(path.relative_to(folder))]
    names = sorted({path.parent.name for path in texts if path.parent != folder} - set(WHOLE_NAMES))
    if len(names) > 1:
        report.say(
            f"{folder}: each text file is a document, and its folder ({listing(names, 4)}) is not read; names with "
            "numbers, as 1.txt, tell that folders are classes"
        )


def _without_documents(parts: Mapping[str, list[Part]], report: Report) -> dict[str, list[Part]]:
    """Return the files without those of plain text beside tables that have more than texts."""
    all_parts = [part for group in parts.values() for part in group]
    plain = [part for part in all_parts if part.table.column_names == ["text"]]
    texts = {part.where for part in plain if files.format_of(Path(part.where)) == "txt"}
    if not texts or all(part.where in texts or part.table.column_names == ["text"] for part in all_parts):
        return dict(parts)
    report.say(f"not read, as they are plain text beside files with columns: {listing(sorted(texts))}")
    kept = {split: [part for part in group if part.where not in texts] for split, group in parts.items()}
    return {split: group for split, group in kept.items() if group}


def _without_submissions(parts: Mapping[str, list[Part]], report: Report) -> dict[str, list[Part]]:
    """Return the files without those of ids and labels alone, beside files with texts."""
    has_text = {part.where: _texts(part) for group in parts.values() for part in group}
    kept: dict[str, list[Part]] = {}
    for split, group in parts.items():
        for part in group:
            has_id = any(re.fullmatch(r"(.*[_ ])?(id|idx|index)", name.lower()) for name in part.table.column_names)
            if has_id and not has_text[part.where] and any(has_text.values()):
                names = listing(part.table.column_names)
                report.say(f"{part.where}: not read, as it has no text beside its columns {names}, which others have")
            else:
                kept.setdefault(split, []).append(part)
    return kept


def _texts(part: Part) -> bool:
    """Tell whether a column holds texts of several words, or values that are no cells of a table."""
    for name in part.table.column_names:
        values = [value for value in part.table[name].slice(0, LOOKED_AT).to_pylist() if value is not None]
        if any(isinstance(value, list | dict) for value in values):
            return True
        words = [len(value.split()) for value in values if isinstance(value, str)]
        if words and sum(words) >= 2 * len(words):
            return True
    return False


def _refuse_other_columns(split: str, parts: Sequence[Part]) -> None:
    shapes = Counter(frozenset(part.table.column_names) for part in parts)
    usual = max(shapes, key=lambda shape: (shapes[shape], len(shape)))
    first = next(part for part in parts if set(part.table.column_names) == usual)
    other = next((part for part in parts if not usual <= set(part.table.column_names)), None)
    if other is not None:
        raise DataError(
            f"{other.where} has the columns {listing(other.table.column_names)}, and {first.where}, which is of the "
            f"split {split} too, has {listing(first.table.column_names)}; move one of them to another folder"
        )


@dataclass(frozen=True)
class ClassFolders:
    """Text files in a folder for each class."""

    folder: Path
    splits: Mapping[str, Mapping[str, list[Path]]]  # by split and class
    left_out: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """How the folder is read, with the way out."""
        names = listing(sorted({name for by_class in self.splits.values() for name in by_class}))
        left = f"; without {listing(self.left_out)}" if self.left_out else ""
        return (
            f"{self.folder}: each text file is a row, and its folder is its label ({names}){left}; "
            "--task causal-lm reads the files as documents"
        )


def class_folders(folder: Path) -> ClassFolders | None:
    """Return the text files of a folder by class, if that is how it is laid out: pos/1.txt, or train/pos/1.txt."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_data(path.relative_to(folder))]
    paths = [path for path in paths if path.relative_to(folder).parent != Path() or not _is_note(path)]
    left_out = sorted({path.parent.name for path in paths if path.parent.name.lower() in WITHOUT_CLASS})
    paths = [path for path in paths if path.parent.name not in left_out]
    if not paths or any(path.suffix.lower() != ".txt" for path in paths):
        return None
    top = _top(folder, paths)
    splits: dict[str, dict[str, list[Path]]] = {}
    for path in paths:
        inside = path.relative_to(top).parts[:-1]
        above = [WHOLE_NAMES.get(name.lower()) for name in inside]
        if len(inside) not in {1, 2} or above[-1] is not None or (len(inside) == 2 and above[0] is None):
            return None
        split = above[0] if len(inside) == 2 and above[0] is not None else "train"
        splits.setdefault(split, {}).setdefault(inside[-1], []).append(path)
    return ClassFolders(folder, splits, tuple(left_out)) if _are_classes(splits) else None


def _top(folder: Path, paths: Sequence[Path]) -> Path:
    """Return the folder that holds all files in several folders: aclImdb of data/aclImdb/train/pos/1.txt."""
    while len(inside := {path.relative_to(folder).parts[0] for path in paths}) == 1:
        name = min(inside)
        is_file = any(len(path.relative_to(folder).parts) == 1 for path in paths)
        if is_file or name.lower() in WHOLE_NAMES:
            break
        folder = folder / name
    return folder


def _are_classes(splits: Mapping[str, Mapping[str, list[Path]]]) -> bool:
    """Tell whether folders are classes: at least two, of several short texts each, which are no chapters."""
    names = {name for by_class in splits.values() for name in by_class}
    groups = [paths for by_class in splits.values() for paths in by_class.values()]
    first = splits.get("train", next(iter(splits.values())))
    paths = [path for group in groups for path in group[:LOOKED_AT]]
    if len(first) < 2 or not names <= set(first) or min(map(len, first.values())) < 2:
        return False
    numbered = sum(any(letter.isdigit() for letter in path.stem) for path in paths) >= 0.9 * len(paths)
    chapters = sum(CHAPTERS.fullmatch(path.stem) is not None for path in paths) > 0.1 * len(paths)
    sizes = sorted(path.stat().st_size for path in paths)
    return numbered and not chapters and sizes[len(sizes) // 2] <= SHORT_TEXT


def _of_classes(where: str, by_class: Mapping[str, Iterable[Path]], options: FileOptions) -> Part:
    texts, labels = list[str](), list[str]()
    for name in sorted(by_class):
        for path in by_class[name]:
            texts.append(files.decode(files.bytes_of(path), options.encoding, str(path)))
            labels.append(name)
    return Part(where, pa.table({"text": pa.array(texts, pa.string()), "label": pa.array(labels, pa.string())}))
