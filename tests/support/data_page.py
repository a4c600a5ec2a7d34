"""The examples of the pages in docs/ and of the README: files that are shown or made, commands, the lines they print.

In a console block, `$ cat FILE` shows a whole file, `$ head FILES` several of them, each below `==> FILE <==`,
`$ python -c '...'` makes one, and what stands below `$ llmkit ...` are lines that it prints, in their order.
As a program it prints a page with what the commands say now: `python tests/support/data_page.py docs/data.md > new.md`.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE, EVAL_PAGE, README = ROOT / "docs" / "data.md", ROOT / "docs" / "eval.md", ROOT / "README.md"
GENERATE_PAGE = ROOT / "docs" / "generate.md"  # which shows stdout too, below stderr
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_OF_READING = ("tokens: ", "the first rows ", "findings: ", "warning: ")  # what `llmkit data` says beside


@dataclass(frozen=True)
class Step:
    """A line behind `$ ` and the lines below it."""

    command: str
    shown: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        """The words of the command, as a shell parts them."""
        return shlex.split(self.command)

    def make(self, folder: Path) -> None:
        """Write the files that a step shows or makes into a folder, which is the current one."""
        kind, *rest = self.arguments
        if kind == "python":
            exec(rest[1], {})  # the page's own code: one line with pandas, datasets or sqlite3
        for name, lines in self._files(rest).items() if kind in {"cat", "head"} else ():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def _files(self, names: list[str]) -> dict[str, list[str]]:
        if len(names) == 1 and not names[0].count("*"):
            return {names[0]: list(self.shown)}
        files: dict[str, list[str]] = {}
        for line in self.shown:
            title = re.fullmatch(r"==> (.+) <==", line)
            if title:
                files[title[1]] = []
            else:
                files[next(reversed(files))].append(line)
        return files


def steps_of(block: str) -> list[Step]:
    """Return the steps of a console block."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [Step(command, tuple(shown)) for command, *shown in (part.splitlines() for part in parts)]


def examples(page: Path) -> list[list[Step]]:
    """Return the steps of each console block of a page that begins with a file."""
    blocks = [steps_of(found[1]) for found in BLOCK.finditer(page.read_text(encoding="utf-8"))]
    return [steps for steps in blocks if has_file(steps)]


def has_file(steps: list[Step]) -> bool:
    """Tell whether a block begins with a file; those of the README that do not are run by `test_readme`."""
    return steps[0].arguments[0] in {"cat", "head", "python"}


def in_order(wanted: tuple[str, ...], lines: list[str]) -> list[str]:
    """Return the lines wanted that do not come, or not behind those before them."""
    rest = iter(lines)
    return [line for line in wanted if line not in rest]


def runs(llmkit: Callable[..., Any], steps: list[Step]) -> Iterator[tuple[Step, Any]]:
    """Make the files of an example here, and yield each of its commands with what came of it."""
    for step in steps:
        step.make(Path())
        if step.arguments[0] == "llmkit":
            yield step, llmkit(*step.arguments[1:])


def headings(text: str) -> set[str]:
    """Return the headings of a page as its links call them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w ]", "", title).lower().replace(" ", "-") for title in titles}


def links(text: str) -> set[str]:
    """Return what the links of a page lead to on it."""
    return set(re.findall(r"\]\(#([\w-]+)\)", text))


def is_refusal(step: Step) -> bool:
    """Tell whether a command is refused, as one of its lines says."""
    return any(line.startswith("error: ") for line in step.shown)


def main() -> None:
    """Print a page with the lines that its commands print now."""
    page, parent = Path(sys.argv[1]).resolve(), Path.cwd()
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        text = BLOCK.sub(_again_with_answers if page == GENERATE_PAGE else _again, text)
        os.chdir(parent)
    sys.stdout.write(text)


def _again(found: re.Match[str]) -> str:
    steps = steps_of(found[1])
    return f"```console\n{''.join(_run_again(steps))}```" if has_file(steps) else found[0]


def _again_with_answers(found: re.Match[str]) -> str:
    return f"```console\n{''.join(_run_again(steps_of(found[1]), answers=True))}```"


def _run_again(steps: list[Step], answers: bool = False) -> Iterator[str]:
    from llmkit.cli.app import main as llmkit

    for step in steps:
        step.make(Path())
        shown = step.shown
        if step.arguments[0] == "llmkit":
            said, written = io.StringIO(), io.StringIO()
            with contextlib.redirect_stderr(said), contextlib.redirect_stdout(written):
                llmkit(step.arguments[1:])
            shown = tuple(line for line in said.getvalue().splitlines() if not line.startswith(NOT_OF_READING))
            shown += tuple(written.getvalue().splitlines()) if answers else ()
        yield "".join(f"{line}\n" for line in (f"$ {step.command}", *shown))


if __name__ == "__main__":
    main()
