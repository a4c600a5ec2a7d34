"""Suites: several evaluations under one name, from a YAML file or built in."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmkit.errors import OptionError, did_you_mean, listing, one_line
from llmkit.options.overrides import field_name, field_values, text_of

GLUE_TASKS = ("mrpc", "sst2", "cola", "rte", "stsb", "wnli", "qnli", "mnli", "qqp")
BUILT_IN_SUITES: dict[str, list[dict[str, Any]]] = {
    "glue": [
        {"dataset": f"glue/{name}", **({"split": "validation_matched"} if name == "mnli" else {})}
        for name in GLUE_TASKS
    ]
}
MODEL_PLACEHOLDERS = ("name", "config")


@dataclass(frozen=True)
class SuiteMember:
    """One evaluation of a suite; `options` are the fields of option groups that it gives."""

    name: str
    dataset: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> str:
        """The last part of the dataset's name: mrpc of glue/mrpc, reviews of data/reviews.csv."""
        return self.dataset.rstrip("/").replace(":", "/").split("/")[-1].split(".")[0]

    def filled(self, template: str) -> str:
        """Return a model's name with {name} and {config} replaced by this member's.

        Raises:
            OptionError: it has another placeholder.
        """
        values = {"name": self.name, "config": self.config}

        def value(match: re.Match[str]) -> str:
            if match[1] not in values:
                near = did_you_mean(match[1], MODEL_PLACEHOLDERS)
                raise OptionError(f"{template!r}: there is no {match[0]}{near}; a suite knows {{name}} and {{config}}")
            return values[match[1]]

        return re.sub(r"\{(\w*)\}", value, template)


@dataclass(frozen=True)
class Suite:
    """Evaluations in their order, by unique names."""

    name: str
    members: tuple[SuiteMember, ...]


def is_suite(reference: str) -> bool:
    """Tell whether what the user typed names a suite: a YAML file, there or not, or a built-in that is no path here."""
    if Path(reference).suffix.lower() in {".yaml", ".yml"}:
        return not Path(reference).is_dir()
    return reference in BUILT_IN_SUITES and not Path(reference).exists()


def read_suite(reference: str, kinds: Mapping[str, object], other_names: Mapping[str, str] | None = None) -> Suite:
    """Read a suite: a YAML mapping of `evals`, options that hold for all of them, and a `name`.

    A member is a dataset, or a mapping of its `dataset`, `name` and own options, which win over the suite's. Options
    have the names of flags; an option that repeats takes one value, a list, or a mapping ({f1: 0.85} is f1=0.85); null
    takes back what holds for all. Paths are as seen from where llmkit runs.

    Args:
        reference: the path of the file, or the name of a built-in suite.
        kinds: the options that are allowed and their types: `field_types` of their groups.
        other_names: what they are called besides: `other_names` of their groups.

    Raises:
        OptionError: with all that is wrong, each with the file, the member and the key.
    """
    if reference in BUILT_IN_SUITES and not Path(reference).exists():
        content: dict[Any, Any] = {"name": reference, "evals": BUILT_IN_SUITES[reference]}
    else:
        content = _load(reference)
    problems: list[str] = []
    suite = _SuiteParser(reference, kinds, other_names or {}, problems).suite(content)
    if problems:
        raise OptionError(*problems)
    return suite


def _load(reference: str) -> dict[Any, Any]:
    import yaml

    path = Path(reference)
    if not path.is_file():
        near = did_you_mean(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
        raise OptionError(f"there is no suite {reference!r}{near}; built in: {listing(BUILT_IN_SUITES)}")

    class Loader(yaml.SafeLoader):
        """Refuses a key that is given twice: YAML would drop the first, and a gate with it."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
            twice = next((key for key in keys if keys.count(key) > 1), None)
            if twice is not None:
                raise OptionError(f"{reference}, line {node.start_mark.line + 1}: {twice!r} is given twice")
            return super().construct_mapping(node, deep)

    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except OSError as error:
        raise OptionError(f"{reference}: {error.strerror or error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise OptionError(f"{reference} is not YAML: {one_line(error)}") from None
    if not isinstance(content, dict):
        raise OptionError(f"{reference} must hold a mapping with a list of `evals`")
    return content


@dataclass(frozen=True)
class _SuiteParser:
    """Reads the content of one file and collects what is wrong with it."""

    file: str
    kinds: Mapping[str, object]
    other_names: Mapping[str, str]
    problems: list[str]

    def suite(self, content: Mapping[Any, Any]) -> Suite:
        given = self.field_options(content, self.file, ("name", "evals"))
        name = given.pop("name", None)
        name = Path(self.file).stem if name is None else self.text(name, f"{self.file}: name")
        evals = given.pop("evals", None)
        if not isinstance(evals, list) or not evals:
            self.problems.append(f"{self.file}: `evals` must be a list of datasets, or of mappings with a `dataset`")
            evals = []
        shared = self.options(given, self.file)
        members = [self.member(item, number, shared) for number, item in enumerate(evals, start=1)]
        valid = tuple(member for member in members if member is not None)
        names = [member.name for member in valid]
        twice = list(dict.fromkeys(name for name in names if name and names.count(name) > 1))
        if twice:
            self.problems.append(
                f"{self.file}: two members are called {listing(map(repr, twice))}; give each a `name` of its own"
            )
        return Suite(name, valid)

    def member(self, item: object, number: int, shared: dict[str, Any]) -> SuiteMember | None:
        if isinstance(item, str):
            item = {"dataset": item}
        if not isinstance(item, dict):
            self.problems.append(
                f"{self.file}, member {number} must be a dataset, or a mapping with a `dataset`, not {item!r}"
            )
            return None
        called = next((item[key] for key in ("name", "dataset") if isinstance(item.get(key), str)), number)
        where = f"{self.file}, member {called!r}"
        given = self.field_options(item, where, ("name", "dataset"))
        dataset, name = self.dataset(given.pop("dataset", None), where), given.pop("name", None)
        merged = {**shared, **self.options(given, where)}
        options = {option: value for option, value in merged.items() if value is not None}
        member = SuiteMember(dataset if name is None else self.text(name, f"{where}: name"), dataset, options)
        return self.with_model(member, where)

    def dataset(self, value: object, where: str) -> str:
        if not isinstance(value, str) or not value.strip():
            wrong = "is missing" if value is None else "must be the name of one"
            self.problems.append(f"{where}: `dataset` {wrong}")
            return ""
        if is_suite(value):
            self.problems.append(f"{where}: {value!r} is a suite, and a suite holds datasets")
        return value

    def with_model(self, member: SuiteMember, where: str) -> SuiteMember:
        """Return the member with the placeholders of its model filled in."""
        model = member.options.get("model")
        if not isinstance(model, str):
            return member
        try:
            return dataclasses.replace(member, options={**member.options, "model": member.filled(model)})
        except OptionError as error:
            self.problems.append(f"{where}: model {error}")
            return member

    def field_options(self, content: Mapping[Any, Any], where: str, extra_names: tuple[str, ...]) -> dict[str, Any]:
        """Return the content by the names of fields: fail-under is fail_under."""
        values: dict[str, Any] = {}
        known = (*extra_names, *self.kinds)
        for key, value in content.items():
            name = field_name(key)
            name = name if name in known else self.other_names.get(name, name)
            if name not in known:
                self.problems.append(f"{where}: there is no option {str(key)!r}{did_you_mean(name, known)}")
            elif name in values:
                self.problems.append(f"{where}: {name!r} is given twice")
            else:
                values[name] = value
        return values

    def options(self, given: Mapping[str, object], where: str) -> dict[str, Any]:
        return field_values(given, self.kinds, where, self.problems)

    def text(self, value: Any, where: str) -> str:
        try:
            return text_of(value)
        except ValueError as error:
            self.problems.append(f"{where} must be {error}, not {value!r}")
            return ""
