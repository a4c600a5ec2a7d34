"""The side of a task that classify and generate see: what it is asked, and what a person or a JSON line reads of it."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from llmkit.data.columns import column_for
from llmkit.errors import DataError
from llmkit.tasks.base.setup import Setup


class Asked(ABC):
    """What rows ask a task, and how its answers are told."""

    name: ClassVar[str]
    asks: ClassVar[tuple[str, ...]] = ()  # the roles that classify and generate are given, the argument's first
    needs: ClassVar[tuple[str, ...]] = ()  # those of them that a row cannot do without
    spellings: ClassVar[Mapping[str, tuple[str, ...]]] = {}  # usual names of the columns of a file, by role
    prompted: ClassVar[bool] = False  # whether generate continues a prompt, with `decoding.Generator`
    unechoed: ClassVar[frozenset[str]] = frozenset()  # of `asks`, what the answer to a shell does not repeat

    def prompt(self, text: str, setup: Setup) -> str:
        """Return what a model that generates is asked about a text; `prompted` tasks have one."""
        return text

    def answers(
        self,
        records: Sequence[Any],
        prepared: Dataset,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        setup: Setup,
        top: int | None,
    ) -> list[dict[str, Any]]:
        """Return for each row what a person or a JSON line sees of its records; `top`: only the best so many."""
        raise NotImplementedError(f"{self.name} answers in a command of its own")

    def nothing(self, setup: Setup) -> dict[str, Any]:
        """Return the answer to a row that asks nothing, as an empty text: the usual fields, all of them null."""
        raise NotImplementedError(f"{self.name} answers in a command of its own")

    def samples(self, texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
        """Return inputs by role, made of any texts: what a model is asked where no rows are given."""
        following = [*texts[1:], *texts[:1]]
        pairs = zip(texts, following, strict=True)
        return [dict(zip(self.needs or ("text",), pair, strict=False)) for pair in pairs]

    def is_asked(self, inputs: Mapping[str, Any]) -> bool:
        """Tell whether the inputs of a row, by role, ask anything: all that the task needs is there and not blank."""
        return all(str(inputs.get(role) or "").strip() for role in self.needs)

    def find_columns(self, rows: Sequence[Mapping[str, Any]], given: dict[str, str]) -> dict[str, str]:
        """Return the columns of the rows of a file, by the roles in `asks`.

        Raises:
            DataError: a column that is needed cannot be told, or a named one does not exist.
        """
        found: dict[str, str] = {}
        for role in self.asks:
            spellings = self.spellings.get(role, (role,))
            if role in self.needs or role in given or any(name in rows[0] for name in spellings):
                column = column_for(rows, role, given, spellings)
                if column in found.values():
                    raise DataError(f"which column holds the {role}, beside {column!r}? Say --column {role}=NAME")
                found[role] = column
        return found

    def headings(self) -> list[str]:
        """Return the headings of the table that classify and generate print on a terminal."""
        return ["text", "label", "score"]

    def cells(self, row: Mapping[str, Any], answer: Mapping[str, Any]) -> list[str]:
        """Return the cells of one row of that table; several lines in a cell stand one below the other."""
        raise NotImplementedError(f"{self.name} answers in a command of its own")
