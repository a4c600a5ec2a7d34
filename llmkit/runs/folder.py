"""The run folder: a model folder plus run.json, metrics.jsonl, curves.png, a model card and checkpoints/."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack, cast

from llmkit.distributed.world import world
from llmkit.errors import OptionError, listing
from llmkit.options import RunOptions
from llmkit.output.atomic import write_whole
from llmkit.output.report import to_json
from llmkit.runs.record import RunRecord

SCHEMA = 1
MADE_HERE = (
    "run.json",
    "metrics.jsonl",
    "curves.png",
    "confusion.png",
    "calibration.png",
    "metrics.png",
    "README.md",
    "config.json",
    "adapter_config.json",
    "generation_config.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "vocab.*",
    "merges.txt",
    "chat_template.jinja",
    "*.model",
    "*.spm",
    "added_tokens.json",
    "trials.png",
)
KEPT_HERE = ("search.journal*", "search.db")  # what a search goes on from: of no use anywhere else
RUNS_WITHIN = ("seed-*", "trials/*")  # of several trainings: each has a run.json of its own
TRACKED = ("tensorboard", "wandb")  # what trackers write there


@dataclass
class RunFolder:
    """One run's folder, and the checkpoint that it goes on from, if any."""

    path: Path
    resume_from: Path | None = None
    finished: bool = False

    @property
    def checkpoints(self) -> Path:
        """Where the trainer keeps its checkpoints."""
        return self.path / "checkpoints"

    @property
    def begun(self) -> RunRecord:
        """The run.json of the run that is gone on with, or is finished; empty where a run begins."""
        goes_on = self.finished or self.resume_from is not None
        return (read_run(self.path) or {}) if goes_on else {}

    def options_with(self, identity: Mapping[str, object]) -> dict[str, object]:
        """Return the options for run.json: a run that was begun before there was an option stays without it."""
        known = self.begun.get("options", identity)
        return {name: value for name, value in identity.items() if name in known or value is not None}

    def write(self, run_record: RunRecord) -> None:
        """Replace run.json at one stroke: a reader never sees half of it. Of several processes the main one does."""
        if world().is_main:
            write_whole(self.path / "run.json", to_json({"schema": SCHEMA, **run_record}, indent=2) + "\n")

    def update(self, **fields: Unpack[RunRecord]) -> RunRecord:
        """Change fields of run.json and return it."""
        run_record: RunRecord = {**(read_run(self.path) or {}), **fields}
        self.write(run_record)
        return run_record

    def clear(self) -> None:
        """Remove what an earlier run left here, and nothing else."""
        if not world().is_main:
            return
        for pattern in (*MADE_HERE, *KEPT_HERE):
            for file in self.path.glob(pattern):
                file.unlink()
        for pattern in RUNS_WITHIN:
            for file in self.path.glob(f"{pattern}/run.json"):
                shutil.rmtree(file.parent, ignore_errors=True)
        for name in ("checkpoints", *TRACKED):
            shutil.rmtree(self.path / name, ignore_errors=True)

    def abandon(self) -> None:
        """Remove a run that has nothing to go on from, and the folder when nothing else is in it."""
        self.clear()
        if world().is_main:
            with contextlib.suppress(OSError):
                self.path.rmdir()


def require_shared(folder: RunFolder) -> None:
    """Refuse a run folder that one of the processes does not see: each reads the checkpoints that the main one writes.

    Raises:
        OptionError: it is on a disk of one node alone.
    """
    here = world()
    here.wait()
    if not (folder.path / "run.json").exists():
        raise OptionError(
            f"process {here.rank} does not see {str(folder.path)!r}: -o names a folder that all nodes share"
        )


def read_run(folder: Path) -> RunRecord | None:
    """Return the run.json of a folder, or None when it has no readable one."""
    with contextlib.suppress(OSError, ValueError):
        document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return cast("RunRecord", document) if isinstance(document, dict) else None
    return None


def open_run(path: Path, options: RunOptions, identity: Mapping[str, object], start: Path | None = None) -> RunFolder:
    """Decide what a run may do with its folder; nothing is written yet. Of several processes the main one decides.

    `identity` holds the options that make two commands the same one. A run that stopped on a signal goes on when the
    same command comes again; a run that died needs --resume. `start` is the model that it begins with.

    Raises:
        OptionError: the folder holds something else, or --resume comes with other options.
    """
    here = world()
    return here.from_main(_opened(path, options, identity, start) if here.is_main else None)


def _opened(path: Path, options: RunOptions, identity: Mapping[str, object], start: Path | None) -> RunFolder:
    if path.exists() and not path.is_dir():
        raise OptionError(f"--output {str(path)!r} is a file; a folder is wanted")
    if not path.exists() or not any(path.iterdir()):
        return RunFolder(path)
    if start is not None and start.exists() and start.resolve() == path.resolve():
        raise OptionError(f"--output {str(path)!r} holds the model to start from; name another folder")
    run_record = read_run(path) or {}
    if options.overwrite and run_record:
        return RunFolder(path)
    if options.overwrite:
        raise OptionError(
            f"--overwrite: {str(path)!r} holds no run of llmkit (no run.json) and is left alone; name another"
        )
    changed = _changed(run_record.get("options") or {}, json.loads(to_json(identity)))
    stopped_here = run_record.get("status") == "stopped" and not changed
    if not (options.resume or stopped_here):
        raise OptionError(
            f"the run folder {str(path)!r} is not empty: --resume goes on with it, --overwrite replaces it, "
            "-o names another"
        )
    if not run_record:
        raise OptionError(f"--resume: {str(path)!r} holds no run of llmkit (no run.json)")
    if changed:
        raise OptionError(f"--resume: the run in {str(path)!r} had other options ({listing(changed)}); repeat its own")
    return RunFolder(path, newest_checkpoint(path / "checkpoints"), run_record.get("status") == "finished")


def _changed(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    return sorted(name for name in {*before, *now} - {"offline"} if before.get(name) != now.get(name))


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint: a kill while one is written leaves half of it behind."""
    numbered = [path for path in folder.glob("checkpoint-*") if path.name.rpartition("-")[2].isdigit()]
    newest_first = sorted(numbered, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((path for path in newest_first if _complete(path)), None)


def _complete(checkpoint: Path) -> bool:
    """Tell whether a checkpoint was written to its end; trainer_state.json is what the trainer writes last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    needed = ("optimizer.pt", "scheduler.pt", "config.json")
    return all((checkpoint / name).is_file() for name in needed) and any(checkpoint.glob("*.safetensors"))


def drop_incomplete(folder: Path) -> None:
    """Remove checkpoints that were not written to their end."""
    for path in folder.glob("checkpoint-*"):
        if path.name.rpartition("-")[2].isdigit() and not _complete(path):
            shutil.rmtree(path)
