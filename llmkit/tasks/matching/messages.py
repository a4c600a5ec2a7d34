"""How the messages of a reading as conversations are read, and what of them is not."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace

from llmkit.data.conversions import chats, converted
from llmkit.data.conversions.preferences import judgement_column
from llmkit.data.conversions.turn_keys import unread_keys
from llmkit.data.evidence import Evidence
from llmkit.errors import listing
from llmkit.options import TaskFlags
from llmkit.tasks.base.candidates import Candidate


def with_messages_read(candidate: Candidate, evidence: Evidence, flags: TaskFlags) -> Candidate:
    """Return a reading with its turns as messages, and with a problem where a column says that some are bad.

    Raises:
        DataError: more rows are invalid than --skip-invalid lets go.
    """
    if candidate.problem:
        return candidate
    rows = converted(evidence.rows, candidate.conversions)
    judged = judgement_column(rows, candidate.columns)
    if judged is not None:
        return replace(candidate, problem=_unpaired_problem(judged, candidate.columns))
    unread = unread_keys(rows, candidate.columns)
    if unread:
        candidate = replace(candidate, remark=f"not used of the turns: {listing(unread)}")
    conversion = chats.find(rows, candidate.columns, flags)
    if conversion is None:
        return candidate
    return replace(candidate, columns=conversion.columns, conversions=(*candidate.conversions, conversion))


def _unpaired_problem(column: str, columns: Mapping[str, str]) -> str:
    """Return the sentence on answers that a column judges: who learns from all of them learns the bad ones too."""
    said = (
        f"{column} says which answers are good and which are bad, and training would learn from both: keep the rows "
        f"with good answers in a file of their own without {column}"
    )
    if "prompt" not in columns:
        return said
    return f"{said}, or name what is wanted, as in --task text-classification --column label={shlex.quote(column)}"
