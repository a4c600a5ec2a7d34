"""A loopback stand-in for the Hugging Face Hub: the real, unmodified clients read folders through it.

    python tests/support/hub_server.py FOLDER... [--port N] [--verbose]

Each FOLDER holds `models/<org>/<name>/` and `datasets/<org>/<name>/`. A repo is the union of the folders' files, and
the first folder that has a file wins. The first line on stdout is the endpoint, for HF_ENDPOINT; nothing else goes
there. A repo folder holding a file named `.gated` still answers the API, but refuses its files, as the Hub does.

`Hub` turns a Request into a Reply and knows no sockets; `HubHandler` only moves bytes. A fault belongs between the two,
in `HubHandler.answer`: it returns another Reply, or wraps the iterator that is the Reply's body to stall or cut it.
"""

import argparse
import contextlib
import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

# Matched before unquoting, because clients quote the slashes inside a revision and inside a tree's path. A name cannot
# begin with a dot, so ".." never reaches the disk; below the repo a path is only looked up among the files found there.
REPO = r"(?P<name>\w[\w.-]*(?:/\w[\w.-]*)?)"
RESOLVE = re.compile(rf"/(?:(?P<kind>datasets)/)?{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
API = re.compile(
    rf"/api/(?P<kind>models|datasets)/{REPO}"
    r"(?:/(?P<call>refs|revision|tree|paths-info)(?:/(?P<revision>[^/]+)(?:/(?P<path>.+))?)?)?"
)
LFS_SUFFIXES = {".safetensors", ".parquet", ".bin"}
LFS_SIZE = 1_000_000
CHUNK = 1 << 20


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    target: str
    headers: Message
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What the Hub answers; the body is read only while it is sent."""

    status: int
    headers: dict[str, str]
    body: Iterable[bytes]


class RefusedError(Exception):
    """A refusal, which the clients tell from others by its X-Error-Code."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        named = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        self.reply = json_reply({"error": message}, status, named | (headers or {}))


def json_reply(data: object, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """Return a Reply carrying data as JSON."""
    body = json.dumps(data).encode()
    own = {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(body))}
    return Reply(status, own | (headers or {}), [body])


def read_span(source: Path, start: int, stop: int) -> Iterator[bytes]:
    """Yield the bytes of a file from start up to stop."""
    with source.open("rb") as stream:
        stream.seek(start)
        while start < stop and (chunk := stream.read(min(CHUNK, stop - start))):
            start += len(chunk)
            yield chunk


def digest(start: bytes, chunks: Iterable[bytes], algorithm: str = "sha1") -> str:
    """Return the digest of start and the chunks after it."""
    state = hashlib.new(algorithm, start)
    for chunk in chunks:
        state.update(chunk)
    return state.hexdigest()


@cache
def tree_entry(source: Path, size: int, mtime_ns: int) -> dict[str, Any]:
    """Return a file's size and digests as a tree shows them; an edited file has another mtime, so another entry."""
    content = read_span(source, 0, size)
    if source.suffix not in LFS_SUFFIXES and size <= LFS_SIZE:
        return {"type": "file", "size": size, "oid": digest(b"blob %d\0" % size, content)}
    sha256 = digest(b"", content, "sha256")
    # Git itself holds only this pointer to a large file, and names the pointer.
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    lfs = {"oid": sha256, "sha256": sha256, "size": size, "pointerSize": len(pointer)}
    return {"type": "file", "size": size, "oid": digest(b"blob %d\0" % len(pointer), [pointer]), "lfs": lfs}


class Repo:
    """One repo: its files merged over the roots, the first that has a file winning, and what the API says of them."""

    def __init__(self, folders: Sequence[Path], name: str) -> None:
        sources: dict[str, Path] = {}
        for folder in folders:
            for source in sorted(folder.rglob("*")):
                if source.is_file():
                    sources.setdefault(source.relative_to(folder).as_posix(), source)
        self.name = name
        self.gated = sources.pop(".gated", None) is not None
        self.sources = sources
        stats = {path: source.stat() for path, source in sources.items()}
        self.files = {
            path: tree_entry(sources[path], stat.st_size, stat.st_mtime_ns) | {"path": path}
            for path, stat in sorted(stats.items())
        }
        self.sha = self.commit("")
        newest = max((stat.st_mtime for stat in stats.values()), default=0.0)
        self.modified = datetime.fromtimestamp(newest, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def commit(self, prefix: str) -> str:
        """Return a stable digest of the files below prefix: for the whole repo, its commit sha."""
        below = (path for path in self.files if path.startswith(prefix))
        return digest(b"", (f"{self.files[path]['oid']} {path}\n".encode() for path in below))

    def entries(self, expand: bool) -> dict[str, dict[str, Any]]:
        """Return a tree entry for every file and every folder, by path."""
        folders = {str(parent) for path in self.files for parent in PurePosixPath(path).parents} - {"."}
        entries = dict(self.files)
        for path in sorted(folders):
            entries[path] = {"type": "directory", "path": path, "size": 0, "oid": self.commit(path + "/")}
        commit = {"lastCommit": {"id": self.sha, "title": "Upload", "date": self.modified}} if expand else {}
        return {path: entry | commit for path, entry in entries.items()}

    def info(self, blobs: bool) -> dict[str, Any]:
        """Return the repo's page, its files with sizes and digests when blobs are asked for."""
        siblings = [
            {"rfilename": path}
            | ({"size": file["size"], "blobId": file["oid"], "lfs": file.get("lfs")} if blobs else {})
            for path, file in self.files.items()
        ]
        named = {"id": self.name, "author": self.name.partition("/")[0], "sha": self.sha, "siblings": siblings}
        access = {"private": False, "disabled": False, "gated": "manual" if self.gated else False}
        return named | access | {"lastModified": self.modified, "downloads": 0, "likes": 0, "tags": []}


class Hub:
    """Answers requests from folders, without a socket."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = roots

    def answer(self, request: Request) -> Reply:
        """Return the Reply to a request; a refusal is a Reply too."""
        path = urlsplit(request.target).path
        try:
            if (match := RESOLVE.fullmatch(path)) and request.method != "POST":
                repo = self.open(match["kind"] or "models", match["name"], match["revision"])
                return send_file(repo, unquote(match["path"]), request.headers.get("Range", ""))
            # Only paths-info is posted, because its list of paths can be long.
            if (match := API.fullmatch(path)) and (request.method == "POST") == (match["call"] == "paths-info"):
                repo = self.open(match["kind"], match["name"], match["revision"] or "main")
                return describe(repo, match["call"], unquote(match["path"] or ""), request)
            raise RefusedError(404, "", f"No such page: {path}")
        except RefusedError as refusal:
            return refusal.reply

    def open(self, kind: str, name: str, revision: str) -> Repo:
        """Return a repo, or refuse as the Hub refuses an anonymous caller, who may not learn which names exist."""
        folders = [folder for root in self.roots if (folder := root / kind / name).is_dir()]
        if "/" not in name or not folders:
            raise RefusedError(401, "RepoNotFound", "Repository not found")
        repo = Repo(folders, name)
        if unquote(revision) not in ("main", repo.sha):
            raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {unquote(revision)}")
        return repo


def describe(repo: Repo, call: str | None, folder: str, request: Request) -> Reply:
    """Return what the API says of a repo: its info, its refs, a folder of its tree, or some of its paths."""
    text = request.body.decode() if call == "paths-info" else urlsplit(request.target).query
    fields = parse_qs(text)
    wanted = {key for key in fields if fields[key][0].lower() in ("true", "1")}
    if call == "refs":
        main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.sha}
        return json_reply({"branches": [main], "converts": [], "tags": [], "pullRequests": []})
    if call not in ("tree", "paths-info"):
        return json_reply(repo.info("blobs" in wanted))
    entries = repo.entries("expand" in wanted)
    if call == "paths-info":
        return json_reply([entries[path] for path in fields.get("paths", []) if path in entries])
    prefix = f"{folder}/" if folder else ""
    inside = {path.removeprefix(prefix): entry for path, entry in entries.items() if path.startswith(prefix)}
    if folder and not inside:
        raise RefusedError(404, "EntryNotFound", f"{folder} does not exist", {"X-Repo-Commit": repo.sha})
    return json_reply([entry for path, entry in inside.items() if "recursive" in wanted or "/" not in path])


def send_file(repo: Repo, path: str, wanted: str) -> Reply:
    """Return a file of a repo, or the part of it that a Range header wants."""
    if repo.gated:
        raise RefusedError(403, "GatedRepo", f"Access to {repo.name} is restricted.")
    if path not in repo.files:
        # Told the commit, a client remembers that this revision lacks the file and does not ask again.
        raise RefusedError(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": repo.sha})
    entry, source = repo.files[path], repo.sources[path]
    lfs, size = entry.get("lfs"), entry["size"]
    etag = f'"{lfs["oid"] if lfs else entry["oid"]}"'
    headers = {"X-Repo-Commit": repo.sha, "ETag": etag, "Accept-Ranges": "bytes"}
    headers |= {"X-Linked-ETag": etag, "X-Linked-Size": str(size)} if lfs else {}
    span = requested_span(wanted, size)
    start, stop = span or (0, size)
    headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(stop - start)}
    headers |= {"Content-Range": f"bytes {start}-{stop - 1}/{size}"} if span else {}
    return Reply(206 if span else 200, headers, read_span(source, start, stop))


def requested_span(wanted: str, size: int) -> tuple[int, int] | None:
    """Return the start and the end of the bytes that a Range header wants, or None for all of them."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted)
    if match is None or wanted == "bytes=-":
        return None
    first, last = match.groups()
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= stop:
        # A reader of hf:// paths goes on until it is told so.
        raise RefusedError(416, "", "Range not satisfiable", {"Content-Range": f"bytes */{size}"})
    return start, stop


class HubServer(ThreadingHTTPServer):
    """The Hub on a loopback port; `requests` lists the method and the target of every request so far."""

    # A client with eight download threads overruns the default of five.
    request_queue_size = 64

    def __init__(self, hub: Hub, port: int = 0, verbose: bool = False) -> None:
        super().__init__(("127.0.0.1", port), HubHandler)
        self.hub = hub
        self.verbose = verbose
        self.requests: list[tuple[str, str]] = []
        self.endpoint = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Show a bug in this file, but not a client that hung up."""
        if self.verbose or not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class HubHandler(BaseHTTPRequestHandler):
    """Moves bytes between a socket and the Hub."""

    server: HubServer
    protocol_version = "HTTP/1.1"
    # Headers and body are two writes, and on a kept connection the second would wait 40 ms for the client's ACK.
    disable_nagle_algorithm = True

    def answer(self) -> None:
        """Answer one request; what a HEAD would get, it gets without the body."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path))
        reply = self.server.hub.answer(Request(self.command, self.path, self.headers, body))
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        for chunk in reply.body if self.command != "HEAD" else ():
            self.wfile.write(chunk)

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def log_message(self, format: str, *args: Any) -> None:
        """Log to stderr, and only when asked to."""
        if self.server.verbose:
            super().log_message(format, *args)


@contextlib.contextmanager
def serve(roots: Sequence[Path | str], port: int = 0, kind: type[Hub] = Hub) -> Iterator[HubServer]:
    """Run a Hub in a thread while the block runs: `with serve([folder]) as hub: ... hub.endpoint ... hub.requests`."""
    with HubServer(kind([Path(root) for root in roots]), port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def main() -> None:
    """Serve the folders named on the command line until interrupted."""
    parser = argparse.ArgumentParser(description="Serve folders as a Hugging Face Hub, on 127.0.0.1 only.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="holds models/ and datasets/")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes any free port")
    parser.add_argument("--verbose", action="store_true", help="log requests to stderr")
    options = parser.parse_args()
    if missing := [str(folder) for folder in options.folders if not folder.is_dir()]:
        parser.error(f"not a folder: {', '.join(missing)}")
    with HubServer(Hub(options.folders), options.port, options.verbose) as server:
        print(server.endpoint, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
