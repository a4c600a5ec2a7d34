"""llmkit cache [show|clear]."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Annotated

import typer

from llmkit.errors import OptionError
from llmkit.options import TalkOptions
from llmkit.options.flags import flag, option_groups, with_examples
from llmkit.output.report import Report


class Action(StrEnum):
    """What to do with the cache."""

    show = "show"
    clear = "clear"


@with_examples(
    "llmkit cache",
    "llmkit cache --json | jq .model",
    "llmkit cache clear --dry-run",
    "llmkit cache clear --older-than 30",
)
@option_groups
def cache(
    action: Annotated[Action, typer.Argument(help="show, or clear.")] = Action.show,
    *,
    older_than: Annotated[
        float | None, flag(panel="Cache", help="clear: only what was not used for so many days.")
    ] = None,
    talk: TalkOptions,
) -> None:
    """Show or clear what `llmkit eval` keeps: the answers of models to rows, so that the same run takes seconds.

    Beside them are the vectors of passages that `llmkit generate --retrieve` embedded.

    The cache lies in $LLMKIT_CACHE, else in ~/.cache/llmkit.
    """
    from llmkit.inference import cache as store

    report = Report(talk)
    if older_than is not None and (not older_than >= 0 or action is Action.show):
        raise OptionError("--older-than is for `llmkit cache clear`, in days from 0")
    if action is Action.clear and not talk.dry_run:
        count, size = store.clear(older_than or 0.0)
        report.say(f"removed {count} entries, {_megabytes(size)}, from {store.folder()}")
        if report.json:
            report.json_line({"folder": str(store.folder()), "removed": count, "bytes": size})
        return
    _show(report)


def _show(report: Report) -> None:
    from llmkit.inference import cache as store

    entries = store.entries()
    report.say(f"{len(entries)} entries, {_megabytes(sum(entry.bytes for entry in entries))}, in {store.folder()}")
    if report.json:
        for entry in entries:
            report.json_line({**entry.about, "rows": entry.rows, "bytes": entry.bytes, "file": str(entry.path)})
        return
    names = ("dataset", "split", "model", "task")
    rows = [
        [str(entry.about.get(name, "")) for name in names]
        + [str(entry.rows), _megabytes(entry.bytes), _day(entry.used)]
        for entry in entries
    ]
    if rows:
        report.table("", [*names, "rows", "size", "used"], rows)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
