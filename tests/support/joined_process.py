"""One of several processes that run command lines together, one after the other."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def run(lines: Sequence[Sequence[str]], size: int, folder: Path) -> None:
    """Run command lines in so many processes; each must end well."""
    listed = folder / f"lines-{size}.json"
    listed.write_text(json.dumps([list(map(str, line)) for line in lines]), encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    group = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "ACCELERATE_USE_CPU": "true"}
    started = [
        subprocess.Popen(
            [sys.executable, __file__, str(listed)],
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        for rank in range(size)
    ]
    ended = [(process.communicate(timeout=400)[1], process.returncode) for process in started]
    assert [code for _, code in ended] == [0] * size, "\n".join(text[-3000:] for text, _ in ended)


def main() -> None:
    from llmkit.cli.app import app
    from llmkit.distributed.world import join
    from llmkit.errors import Stopped

    join()
    for line in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            try:
                app(args=line, prog_name="llmkit", standalone_mode=False, obj=line)
            except Stopped:
                continue
            except Exception as error:
                raise AssertionError(f"{line}: {said.getvalue()}") from error


if __name__ == "__main__":
    main()
