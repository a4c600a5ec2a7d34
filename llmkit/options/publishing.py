"""The group of push: how a run is put on the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from llmkit.options.base import Options
from llmkit.options.flags import flag


@dataclass(frozen=True, kw_only=True)
class PushOptions(Options):
    """How a run is put on the Hub."""

    private: Annotated[
        bool, flag("--private/--no-private", panel="Hub", help="Make the repository a private one, if it is new.")
    ] = False
    replace: Annotated[
        bool,
        flag(
            panel="Hub",
            help="Write over files of other hands there, an edited card too, and remove other models' files.",
        ),
    ] = False
    message: Annotated[str | None, flag(panel="Hub", help="Message of the commit; default: what was measured.")] = None

    def problems(self) -> Iterator[str]:
        if self.message is not None and not self.message.strip():
            yield "--message must not be empty"
