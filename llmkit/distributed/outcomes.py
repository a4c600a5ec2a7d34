"""How each process of a command ended: written by each for its launcher, which tells the one that was the cause."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from llmkit.errors.causes import causes

AGREED = (0, 1, 75)  # ends that are not to end the others: done, a gate that the main one missed, stopped
PEER = re.compile(r"by peer|gloo|nccl|ProcessGroup|process group|TCPStore|c10d|Broken pipe|Socket", re.IGNORECASE)


@dataclass(frozen=True)
class Outcome:
    """How one process ended; a consequence is what another process's end did to it."""

    rank: int
    code: int
    sentence: str = ""
    consequence: bool = False
    time: float = field(default_factory=time.time)

    @property
    def failed(self) -> bool:
        """Whether the other processes have to end too."""
        return self.code not in AGREED

    def write(self, folder: Path) -> None:
        """Write it into the launcher's folder, whole or not at all."""
        write_whole(folder / f"outcome-{self.rank}.json", self.to_json())

    def to_json(self) -> str:
        """Return it as `from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> Outcome:
        """Return what `to_json` wrote."""
        return cls(**json.loads(text))


def write_whole(path: Path, text: str) -> None:
    """Write a file that is never there in part; where the disk is full there is none."""
    part = path.with_suffix(".part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError:  # the launcher has the exit code then
        return


def outcomes(folder: Path) -> dict[int, Outcome]:
    """Return how the processes of a launch ended, of those that could say it, by rank."""
    ends = (Outcome.from_json(path.read_text(encoding="utf-8")) for path in folder.glob("outcome-*.json"))
    return {end.rank: end for end in ends}


def lost_peer(error: BaseException) -> bool:
    """Tell whether an error is what the end of another process does to this one: a collective that breaks."""
    return any(isinstance(link, RuntimeError) and PEER.search(str(link)) is not None for link in causes(error))
