"""The stand-in Hub satisfies the real clients, which run in processes of their own: they read HF_ENDPOINT on import."""

import hashlib
import http.client
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer, serve

SERVER = Path(__file__).with_name("hub_server.py")
CARD = """---
configs:
- config_name: small
  data_files:
  - {split: train, path: small/train-*.parquet}
  - {split: test, path: small/test-*.parquet}
---
"""

HUB_CLIENT = """
import json, os
from huggingface_hub import HfApi, hf_hub_download, snapshot_download

def fails(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except Exception as error:
        return [kind.__name__ for kind in type(error).__mro__]

api = HfApi()
model = api.model_info("acme/bert", files_metadata=True)
tree = list(api.list_repo_tree("acme/bert", recursive=True, expand=True))
paths = api.get_paths_info("acme/rows", ["small", "README.md", "absent"], repo_type="dataset")
snapshot = snapshot_download("acme/bert")
print(json.dumps({
    "sha": model.sha,
    "siblings": {file.rfilename: [file.size, file.lfs is not None] for file in model.siblings},
    "by_sha": api.model_info("acme/bert", revision=model.sha).sha,
    "dataset": [file.rfilename for file in api.dataset_info("acme/rows").siblings],
    "branches": [branch.target_commit for branch in api.list_repo_refs("acme/bert").branches],
    "tree": {entry.path: type(entry).__name__ for entry in tree},
    "commits": sorted({entry.last_commit.oid for entry in tree}),
    "subfolder": [entry.path for entry in api.list_repo_tree("acme/rows", "small", repo_type="dataset")],
    "paths": [entry.path for entry in paths],
    "snapshot": os.path.basename(snapshot),
    "files": sorted(os.listdir(snapshot)),
    "config": open(hf_hub_download("acme/bert", "config.json", revision=model.sha)).read(),
    "gated_info": api.model_info("acme/gated").gated,
    "gated": fails(hf_hub_download, "acme/gated", "config.json"),
    "no_repo": fails(api.model_info, "acme/absent"),
    "no_legacy_repo": fails(hf_hub_download, "bert", "config.json"),
    "no_file": fails(hf_hub_download, "acme/bert", "absent.json"),
    "no_revision": fails(hf_hub_download, "acme/bert", "config.json", revision="v9"),
    "no_revision_info": fails(api.dataset_info, "acme/rows", revision="refs/pr/1"),
}))
"""

LIBRARIES = """
import json
import datasets
from datasets import load_dataset
from transformers import AutoModel

datasets.config.USE_PARQUET_EXPORT = False  # its host is datasets-server.127.0.0.1, which is no loopback address
splits = load_dataset("acme/rows", "small")
streamed = load_dataset("acme/rows", "small", split="train", streaming=True)
print(json.dumps({
    "train": splits["train"]["text"][:],
    "test": splits["test"]["label"][:],
    "streamed": [row["text"] for row in streamed],
    "weights": sum(parameter.sum().item() for parameter in AutoModel.from_pretrained("acme/bert").parameters()),
}))
"""


def run_client(script: str, endpoint: str, home: Path) -> dict[str, Any]:
    """Run a script as a fresh user of the Hub at endpoint and return the JSON that it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    # Counting a download is a request to the outside; a proxy would be one too.
    own |= {"HF_UPDATE_DOWNLOAD_COUNTS": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "*", "no_proxy": "*"}
    command = [sys.executable, "-c", script]
    run = subprocess.run(command, env=kept | own, cwd=home, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def fetch(url: str, method: str = "GET", **headers: str) -> tuple[int, Any, bytes]:
    """Return the status, the headers and the body that a plain HTTP request gets."""
    request = urllib.request.Request(url, method=method, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, answer.read()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random BERT, a dataset of five rows and a gated model."""
    import torch
    from datasets import Dataset
    from transformers import BertConfig, BertModel

    root = tmp_path_factory.mktemp("root")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}
    BertModel(BertConfig(vocab_size=16, max_position_embeddings=8, **sizes)).save_pretrained(root / "models/acme/bert")
    rows = root / "datasets/acme/rows"
    (rows / "small").mkdir(parents=True)
    (rows / "README.md").write_text(CARD)
    train = Dataset.from_dict({"text": ["a", "b", "c"], "label": [0, 1, 0]})
    train.to_parquet(rows / "small/train-00000-of-00001.parquet")
    train.select([1, 2]).to_parquet(rows / "small/test-00000-of-00001.parquet")
    gated = root / "models/acme/gated"
    gated.mkdir()
    (gated / ".gated").touch()
    (gated / "config.json").write_text("{}")
    return root


@pytest.fixture
def hub(root: Path) -> Iterator[HubServer]:
    """A Hub serving root."""
    with serve([root]) as server:
        yield server


def test_huggingface_hub_reads_and_is_refused(hub: HubServer, root: Path, tmp_path: Path) -> None:
    seen = run_client(HUB_CLIENT, hub.endpoint, tmp_path)
    model = root / "models/acme/bert"
    weights = (model / "model.safetensors").stat().st_size
    assert seen["siblings"]["model.safetensors"] == [weights, True]
    assert seen["siblings"]["config.json"] == [(model / "config.json").stat().st_size, False]
    assert len(seen["sha"]) == 40
    assert [seen["by_sha"], seen["snapshot"], *seen["branches"], *seen["commits"]] == [seen["sha"]] * 4
    assert seen["tree"] == {"config.json": "RepoFile", "model.safetensors": "RepoFile"}
    assert seen["files"] == ["config.json", "model.safetensors"]
    assert seen["config"] == (model / "config.json").read_text()
    shards = ["small/test-00000-of-00001.parquet", "small/train-00000-of-00001.parquet"]
    assert seen["dataset"] == ["README.md", *shards]
    assert seen["subfolder"] == shards
    assert sorted(seen["paths"]) == ["README.md", "small"]
    assert seen["gated_info"] == "manual"
    assert "GatedRepoError" in seen["gated"]
    assert "RepositoryNotFoundError" in seen["no_repo"]
    assert "RepositoryNotFoundError" in seen["no_legacy_repo"]
    assert "RemoteEntryNotFoundError" in seen["no_file"]
    assert "RevisionNotFoundError" in seen["no_revision"]
    assert "RevisionNotFoundError" in seen["no_revision_info"]
    assert ("HEAD", "/acme/bert/resolve/main/absent.json") in hub.requests


def test_transformers_and_datasets_load(hub: HubServer, root: Path, tmp_path: Path) -> None:
    from transformers import BertModel

    seen = run_client(LIBRARIES, hub.endpoint, tmp_path)
    assert seen["train"] == seen["streamed"] == ["a", "b", "c"]
    assert seen["test"] == [1, 0]
    local = BertModel.from_pretrained(root / "models/acme/bert")
    assert seen["weights"] == sum(parameter.sum().item() for parameter in local.parameters())


def test_a_file_comes_whole_or_in_part(hub: HubServer, root: Path) -> None:
    content = (root / "models/acme/bert/model.safetensors").read_bytes()
    size, etag = len(content), f'"{hashlib.sha256(content).hexdigest()}"'
    url = f"{hub.endpoint}/acme/bert/resolve/main/model.safetensors"
    status, headers, body = fetch(url, "HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", str(size))
    assert (headers["ETag"], headers["X-Linked-ETag"], headers["X-Linked-Size"]) == (etag, etag, str(size))
    assert fetch(url)[2] == content
    for wanted, start, stop in [("2-5", 2, 6), ("7-", 7, size), ("-3", size - 3, size), ("0-", 0, size)]:
        status, headers, body = fetch(url, Range=f"bytes={wanted}")
        assert (status, body) == (206, content[start:stop])
        assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
    status, headers, body = fetch(url, Range=f"bytes={size}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")


def test_an_edited_file_is_a_new_commit(tmp_path: Path) -> None:
    readme = tmp_path / "datasets/acme/rows/README.md"
    readme.parent.mkdir(parents=True)
    with serve([tmp_path]) as hub:
        commits = []
        for day, text in enumerate((b"one", b"two"), start=1):
            readme.write_bytes(text)
            os.utime(readme, (day * 86400, day * 86400))
            _, headers, _ = fetch(f"{hub.endpoint}/datasets/acme/rows/resolve/main/README.md")
            blob = hashlib.sha1(b"blob %d\0%s" % (len(text), text))
            assert headers["ETag"] == f'"{blob.hexdigest()}"'
            commits.append(headers["X-Repo-Commit"])
        assert commits[0] != commits[1]
        assert fetch(f"{hub.endpoint}/api/datasets/acme/rows/revision/{commits[0]}")[0] == 404


def test_the_first_root_that_has_a_file_wins(tmp_path: Path) -> None:
    for folder, files in {"one": ["a.txt", "b.txt"], "two": ["b.txt", "sub/c.txt"]}.items():
        for name in files:
            path = tmp_path / folder / "models/acme/bert" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(folder)
    with serve([tmp_path / "one", tmp_path / "two"]) as hub:
        info = json.loads(fetch(f"{hub.endpoint}/api/models/acme/bert")[2])
        files = [sibling["rfilename"] for sibling in info["siblings"]]
        texts = [fetch(f"{hub.endpoint}/acme/bert/resolve/main/{file}")[2] for file in files]
    assert dict(zip(files, texts, strict=True)) == {"a.txt": b"one", "b.txt": b"one", "sub/c.txt": b"two"}


def test_nothing_outside_the_repos_is_served(hub: HubServer, root: Path) -> None:
    (root / "secret.txt").write_text("do not tell")
    connection = http.client.HTTPConnection("127.0.0.1", hub.server_port)
    for path in (
        "/acme/bert/resolve/main/../../../secret.txt",
        "/acme/bert/resolve/main/%2e%2e/%2e%2e/%2e%2e/secret.txt",
        "/acme/gated/resolve/main/.gated",
        "/../../resolve/main/secret.txt",
        "/api/models/../..",
        "/api/models/acme/bert/tree/main/..%2Fgated",
        "/secret.txt",
        "/",
    ):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status in (401, 403, 404), path
        assert b"do not tell" not in answer.read()
    connection.close()


def test_the_command_line_prints_the_endpoint_and_nothing_else(root: Path) -> None:
    command = [sys.executable, str(SERVER), str(root), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        endpoint = server.stdout.readline().rstrip("\n")
        try:
            assert fetch(f"{endpoint}/api/models/acme/bert")[0] == 200
        finally:
            server.terminate()
        assert server.communicate() == ("", "")
