"""The loopback Hub with a pen: what huggingface_hub asks of a Hub when a token of it creates and fills a repository.

Files go to the first root, small ones within the commit, large ones before it to the place where LFS batches send them.
The token of a user `me` reads `hf_me`: it writes below `me/` and nowhere else.
"""

import base64
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from hub_server import LFS_SUFFIXES, REPO, Hub, RefusedError, Reply, Repo, Request, digest, json_reply

WRITE = re.compile(rf"/api/models/{REPO}/(?P<call>preupload|commit)/(?P<revision>[^/]+)")
BATCH = re.compile(rf"/{REPO}\.git/info/lfs/objects/batch")
OBJECT = re.compile(r"/lfs/(?P<oid>[0-9a-f]{64})")


class WritableHub(Hub):
    """A Hub whose models can be created and changed."""

    def answer(self, request: Request) -> Reply:
        path = urlsplit(request.target).path
        try:
            if request.method == "PUT" and (match := OBJECT.fullmatch(path)):
                return self.keep(match["oid"], request.body)
            if request.method == "POST" and path == "/api/validate-yaml":
                return json_reply({"errors": [], "warnings": []})
            if request.method == "POST" and path == "/api/repos/create":
                return self.create(request)
            if request.method == "POST" and (match := BATCH.fullmatch(path)):
                self.admit(request, match["name"])
                return self.batch(request)
            if request.method == "POST" and (match := WRITE.fullmatch(path)):
                self.admit(request, match["name"])
                work = self.preupload if match["call"] == "preupload" else self.commit
                return work(match["name"], unquote(match["revision"]), request)
        except RefusedError as refusal:
            return refusal.reply
        return super().answer(request)

    def admit(self, request: Request, name: str) -> None:
        """Refuse a caller who may not write to a repo of that name."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not token.startswith("hf_"):
            raise RefusedError(401, "", "Invalid credentials in Authorization header")
        if token.removeprefix("hf_") != name.partition("/")[0]:
            raise RefusedError(403, "", f"You don't have the rights to write to {name}")

    def create(self, request: Request) -> Reply:
        wanted = json.loads(request.body)
        name = f"{wanted['organization']}/{wanted['name']}"
        self.admit(request, name)
        folder, made = (
            self.roots[0] / "models" / name,
            {"url": f"http://{request.headers['Host']}/{name}", "name": name},
        )
        if folder.is_dir():
            return json_reply({"error": "You already created this model repo", **made}, 409)
        folder.mkdir(parents=True)
        return json_reply(made)

    def preupload(self, name: str, revision: str, request: Request) -> Reply:
        known = self.open("models", name, revision).files
        modes = []
        for file in json.loads(request.body)["files"]:
            mode = "lfs" if Path(file["path"]).suffix in LFS_SUFFIXES else "regular"
            oid = known.get(file["path"], {}).get("oid")
            modes.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return json_reply({"files": modes})

    def batch(self, request: Request) -> Reply:
        place = f"http://{request.headers['Host']}/lfs"
        wanted = json.loads(request.body)["objects"]
        objects = [each | {"actions": {"upload": {"href": f"{place}/{each['oid']}"}}} for each in wanted]
        return json_reply({"transfer": "basic", "objects": objects})

    def keep(self, oid: str, content: bytes) -> Reply:
        if digest(b"", [content], "sha256") != oid:
            raise RefusedError(422, "", "The content is not what its name says")
        (self.roots[0] / "lfs").mkdir(exist_ok=True)
        (self.roots[0] / "lfs" / oid).write_bytes(content)
        return json_reply({})

    def commit(self, name: str, revision: str, request: Request) -> Reply:
        """Apply the lines of a commit on the newest one; its summary is kept in a file beside the repos."""
        self.open("models", name, revision)
        folder, root = self.roots[0] / "models" / name, self.roots[0]
        lines = [json.loads(line) for line in request.body.decode().splitlines()]
        parent = next((line["value"].get("parentCommit") for line in lines if line["key"] == "header"), None)
        if parent is not None and parent != Repo([folder], name).sha:
            raise RefusedError(412, "", "A commit has happened since. Please refresh and try again.")
        for line in lines:
            value: dict[str, Any] = line["value"]
            if line["key"] == "header":
                (root / "commits.jsonl").open("a").write(json.dumps([name, value["summary"]]) + "\n")
                continue
            file = folder / value["path"]
            file.parent.mkdir(parents=True, exist_ok=True)
            if line["key"] == "file":
                file.write_bytes(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                file.write_bytes((root / "lfs" / value["oid"]).read_bytes())
            elif line["key"] == "deletedFile":
                file.unlink()
        sha = Repo([folder], name).sha
        url = f"http://{request.headers['Host']}/{name}/commit/{sha}"
        return json_reply({"success": True, "commitOid": sha, "commitUrl": url})
