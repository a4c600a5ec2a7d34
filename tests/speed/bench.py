"""Measure llmkit against what a user would run instead, in rounds A B A B, and write the results as JSON and a table.

`make bench`, or `make bench ARGS="-k classify --rounds 3"`. What the file of results holds is kept, and the rounds that
are still missing are added to it, run by run: an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pairs import results as stored
from pairs.inputs import Inputs
from pairs.machine import commit, machine, versions
from pairs.measuring import WayFailed, environment, measure
from pairs.rows import ROWS, chosen
from pairs.table import placed, table
from pairs.ways import ROOT, Output, Row, Way

CEILINGS = Path(__file__).parent / "pairs" / "ceilings.py"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.split("\n\n")[0])
    rounds = int(os.environ.get("LLMKIT_BENCH_ROUNDS", "5"))
    parser.add_argument(
        "-k", default="", metavar="WORDS", help="only rows whose name holds one of these words: classify,int8"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=rounds,
        help=f"rounds that each row shall have; default {rounds}, $LLMKIT_BENCH_ROUNDS",
    )
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--long", action="store_true", help="the rows that take long, too")
    parser.add_argument("--fresh", action="store_true", help="forget the rounds of the chosen rows")
    parser.add_argument("--seconds", type=float, help="begin no run that would end after so many seconds")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "bench" / "results.json", help="the JSON file")
    parser.add_argument("--list", action="store_true", help="name the rows and their time, and end")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md, and end")
    return parser.parse_args()


@dataclass
class Bench:
    """The rows that were chosen, the results so far, and where they are kept."""

    names: list[str]
    rounds: int
    until: float  # on time.perf_counter's clock
    inputs: Inputs
    results: dict[str, Any]
    path: Path
    runs: int = 0  # so far; the first is begun however long it takes

    def missing(self, name: str) -> int:
        """Return how many rounds a row still needs."""
        row = self.results["rows"].get(name)
        return max(0, self.rounds - (len(stored.complete(row)) if row else 0))

    def estimate(self) -> float:
        """Return the seconds that the missing rounds will take: as the last took, or as the row says."""
        return sum(self.missing(name) * round_seconds(self.results, name) for name in self.names)

    def run(self) -> list[str]:
        """Measure what is missing; return the rows that failed."""
        failed = []
        for name in self.names:
            try:
                while self.missing(name) and self.one_round(ROWS[name]):
                    pass
            except LookupError as reason:
                print(f"{name}: not measured: {reason}", flush=True)
                row = self.results["rows"].setdefault(name, {"rounds": [], "ways": []})
                row |= {"what": self.what(ROWS[name]), "skipped": str(reason)}
                stored.save(self.results, self.path)
            except WayFailed as reason:
                print(f"{name}: {reason}", file=sys.stderr, flush=True)
                failed.append(name)
        return failed

    def one_round(self, row: Row) -> bool:
        """Run each way once, or go on with a round that was left in the middle; False when the time is up."""
        ways = row.ways(self.inputs)
        kept = self.results["rows"].setdefault(row.name, {"rounds": []})
        kept |= {
            "what": self.what(row),
            "unit": row.unit,
            "of_memory": row.of_memory,
            "ways": [{"name": way.name, "kind": way.kind, "absent": way.absent} for way in ways],
        }
        if len(stored.complete(kept)) == len(kept["rounds"]):
            self.warm(row, ways, kept)
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            kept["rounds"].append({"date": now, "commit": commit(), "ways": {}, "quality": None})
        current = kept["rounds"][-1]
        for way in ways:
            if way.absent or way.name in current["ways"]:
                continue
            if self.runs and time.perf_counter() + self.expected(kept, way, row) > self.until:
                return False
            self.one_run(row, way, current)
        self.judge(row, ways, kept)
        told = ", ".join(f"{name} {one['seconds']:.2f} s" for name, one in current["ways"].items())
        print(f"{row.name}, round {len(kept['rounds'])}: {told}; {current['quality'] or ''}", flush=True)
        return True

    def what(self, row: Row) -> str:
        return row.what.format(decoder=self.inputs.decoder_name, encoder=self.inputs.encoder_name)

    def warm(self, row: Row, ways: list[Way], kept: dict[str, Any]) -> None:
        """Before the first round of a short row, run each way once: files are then in memory for all."""
        if not kept["rounds"] and row.seconds <= 25 and self.until == float("inf"):
            for way in ways:
                if not way.absent:
                    measure(way, self.inputs.cache)

    def expected(self, kept: dict[str, Any], way: Way, row: Row) -> float:
        known = [each["ways"][way.name]["seconds"] for each in kept["rounds"] if way.name in each["ways"]]
        return statistics.median(known) if known else row.seconds / len(kept["ways"])

    def one_run(self, row: Row, way: Way, current: dict[str, Any]) -> None:
        measured, output = measure(way, self.inputs.cache)
        self.runs += 1
        self.said(row, way).write_text(output.text, encoding="utf-8")
        current["ways"][way.name] = asdict(measured)
        stored.save(self.results, self.path)

    def said(self, row: Row, way: Way) -> Path:
        """Return where the standard output of the last run of a way is kept."""
        folder = self.inputs.output("stdout")
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{row.name}-{way.name.replace('/', '-')}.txt"

    def judge(self, row: Row, ways: list[Way], kept: dict[str, Any]) -> None:
        """Write down how good the answers of this round are; what is judged once, in the first."""
        present = [way for way in ways if not way.absent and way.kind != "floor"]
        told = []
        if row.quality is not None:
            outputs = {
                way.name: Output(self.said(row, way).read_text(encoding="utf-8"), 0.0, way.file) for way in present
            }
            told.append(row.quality(outputs, self.inputs))
        if row.once is not None:
            kept["judged"] = kept.get("judged") or row.once(self.inputs)
            told.append(kept["judged"])
        kept["rounds"][-1]["quality"] = "; ".join(told) or None
        stored.save(self.results, self.path)


def round_seconds(results: dict[str, Any], name: str) -> float:
    row = results["rows"].get(name)
    rounds = stored.complete(row) if row else []
    if not rounds:
        return ROWS[name].seconds
    return statistics.median(sum(one["seconds"] for one in each["ways"].values()) for each in rounds)


def ceilings(inputs: Inputs) -> dict[str, Any]:
    """Return what the machine can do at most, measured now."""
    command = [sys.executable, str(CEILINGS)]
    done = subprocess.run(command, env=environment(inputs.cache), stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> int:
    asked = arguments()
    results = stored.load(asked.results)
    if asked.readme:
        readme = ROOT / "README.md"
        text = placed(readme.read_text(encoding="utf-8"), table(results, list(ROWS)))
        readme.write_text(text, encoding="utf-8")
        return 0
    names = chosen(asked.k, asked.long)
    if asked.fresh:
        for name in names:
            results["rows"].pop(name, None)
    until = time.perf_counter() + asked.seconds if asked.seconds else float("inf")
    inputs = Inputs(asked.results.parent)
    bench = Bench(names, 1 if asked.quick else asked.rounds, until, inputs, results, asked.results)
    for name in names:
        print(f"{name}: {bench.missing(name)} rounds of about {round_seconds(results, name):.0f} s")
    left = [name for name in chosen(asked.k, True) if name not in names]
    print(
        f"{len(names)} rows, about {bench.estimate() / 60:.0f} minutes"
        + (f"; only with --long: {', '.join(left)}" if left else ""),
        flush=True,
    )
    if asked.list or not bench.estimate():
        return 0
    found = ceilings(inputs)
    results["ceilings"].append({name: value for name, value in found.items() if name != "gpu"})
    results["machine"], results["versions"] = machine(found["gpu"]), versions()
    failed = bench.run()
    text = table(results, list(ROWS))
    asked.results.with_name("table.md").write_text(text, encoding="utf-8")
    print(f"\n{text}\n{asked.results}, {asked.results.with_name('table.md')}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
