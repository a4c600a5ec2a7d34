"""What a model answered, kept on disk: a run that was stopped goes on, and one that was made before need not run."""

from __future__ import annotations

import contextlib
import json
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.inference.cache import NOTE, CacheEntry, folder, key_of
from llmkit.output.report import Report, to_json

if TYPE_CHECKING:
    from filelock import BaseFileLock


@dataclass
class AnswerCache:
    """The predictions of one model for encoded rows, or for requests; without an entry they are only held in memory."""

    done: dict[int, list[float]] = field(default_factory=dict)  # by the number of the row, or the hash of the request
    notes: dict[str, Any] = field(default_factory=dict)
    entry: CacheEntry | None = None
    lock: BaseFileLock | None = None

    @classmethod
    def open(cls, parts: Mapping[str, object], about: Mapping[str, object], report: Report) -> AnswerCache:
        """Open the entry that `parts` name; `about` says for people what it is of.

        Where the entry cannot be had, in a folder that cannot be written to or beside another process that has it, what
        is returned has none.
        """
        key, place = key_of(parts), folder()
        try:
            place.mkdir(parents=True, exist_ok=True)
            lock = _lock(place / f"{key}.lock")
            if lock is None:
                report.say("another process is measuring the same at this moment; going on without the cache")
                return cls()
            cache = cls(lock=lock)
            try:
                cache.entry = CacheEntry(key, {**about, "begun": time.strftime("%Y-%m-%d %H:%M:%S")})
                cache._read(cache.entry)
            except BaseException:
                cache.close()
                raise
        except OSError as error:
            report.warn(f"the cache cannot be written ({error.strerror or error}: {place}); going on without it")
            return cls()
        return cache

    def add(self, rows: Sequence[int], predictions: Sequence[Sequence[float]]) -> None:
        """Keep the predictions of a batch, the numbers of each in float64."""
        numbers = [[float(number) for number in prediction] for prediction in predictions]
        batch = dict(zip(rows, numbers, strict=True))
        new = {row: values for row, values in batch.items() if row not in self.done}
        self.done.update(batch)
        self._write(self._prediction_items(new))

    def note(self, name: str, value: object) -> None:
        """Keep a finding beside the predictions, as JSON."""
        self.notes[name] = json.loads(to_json(value))
        self._write(self._note_items(name))

    def close(self) -> None:
        """Let go of the entry."""
        if self.entry is not None:
            self.entry.close()
            self.entry = None
        if self.lock is not None:
            self.lock.release()
            with contextlib.suppress(OSError):
                Path(self.lock.lock_file).unlink()
            self.lock = None

    def _read(self, entry: CacheEntry) -> None:
        for name, value in entry.read().items():
            if name.startswith(NOTE):
                self.notes[name.removeprefix(NOTE).decode("utf-8", "surrogatepass")] = json.loads(value)
            else:
                self.done[int(name)] = list(struct.unpack(f"<{len(value) // 8}d", value))

    def _write(self, items: Mapping[bytes, bytes]) -> None:
        if self.entry is None:
            return
        try:
            if not self.entry.write(items):  # the file was damaged and is an empty one now
                self.entry.write({**self._prediction_items(self.done), **self._note_items(*self.notes)})
        except OSError:  # a full disk costs the cache, not the evaluation
            self.close()

    @staticmethod
    def _prediction_items(predictions: Mapping[int, Sequence[float]]) -> dict[bytes, bytes]:
        return {b"%d" % row: struct.pack(f"<{len(numbers)}d", *numbers) for row, numbers in predictions.items()}

    def _note_items(self, *names: str) -> dict[bytes, bytes]:
        return {NOTE + name.encode("utf-8", "surrogatepass"): json.dumps(self.notes[name]).encode() for name in names}


def _lock(path: Path) -> BaseFileLock | None:
    """Return the lock on a file, which ends with the process, or None where it cannot be had."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except (Timeout, NotImplementedError):  # the second: of a file system without locks
        return None
    return lock
