"""llmkit in one of several processes, of which one (FAILS=rank) fails where it would answer its first rows."""

from __future__ import annotations

import os
import sys

from llmkit.cli import app


def fail(*arguments: object, **more: object) -> None:
    raise ValueError("no such thing")


def main() -> int:
    if os.environ.get("FAILS") == os.environ.get("RANK"):
        from llmkit.inference.row_files.prediction_loop import PredictionLoop

        PredictionLoop.run = fail  # type: ignore[method-assign, assignment]
    return app.main()


if __name__ == "__main__":
    sys.exit(main())
