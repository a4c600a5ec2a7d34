"""Data in object stores and on web servers: the rows of a local copy, and a sentence for all that goes wrong."""

from __future__ import annotations

import gzip
import http.server
import json
import logging
import threading
from pathlib import Path

import fsspec
import pytest
import tiny
from conftest import write_jsonl

from llmkit.data import fingerprint, open_dataset
from llmkit.data.remote import RemoteFile
from llmkit.data.remote.failures import failure
from llmkit.data.streams import open_streams
from llmkit.errors import DataError, EmptyError, HubError, LlmkitError, OptionError, ResourceError
from llmkit.options import FileOptions, RowOptions, SplitOptions
from llmkit.options.urls import full_url, unsigned
from llmkit.output.report import Report

ROWS = [{"text": f"text number {number}", "label": "ab"[number % 2]} for number in range(6)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
FILES = {
    "corpus/train-00000.jsonl.gz": gzip.compress(LINES.encode(), mtime=0),
    "corpus/train-00001.jsonl.gz": gzip.compress(b'{"text": "one more", "label": "a"}\n', mtime=0),
    "corpus/dev.jsonl": b'{"text": "to measure", "label": "b"}\n',
    "corpus/README.txt": b"notes",
    "tables/semicolons.csv": "text;label\nein Café am See;gut\nzu kalt;schlecht\n".encode("latin-1"),
    "tables/tabs.tsv": b"text\tlabel\nfirst row\tx\nsecond row\ty\n",
    "tables/list.json": json.dumps(ROWS).encode(),
    "tables/book.txt": "a text of\n好 two lines\n".encode(),
    "classes/train/pos/1.txt": b"good and warm",
    "classes/train/pos/2.txt": b"fine",
    "classes/train/neg/1.txt": b"bad and cold",
    "classes/train/neg/2.txt": b"dull",
    "bad/empty.jsonl": b"",
    "bad/broken.jsonl": b'{"text": "a"}\n{"text": \n',
    "bad/noise.parquet": b"no table at all",
    "bad/image.png": b"\x89PNG",
}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    """A bucket of FILES in a store on this machine; return a folder with the same files."""
    moto = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    folder = tmp_path_factory.mktemp("local")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "1",
        }.items():
            patch.setenv(name, value)
        store = fsspec.filesystem("s3", skip_instance_cache=True)
        store.mkdir("bucket")
        for name, content in FILES.items():
            store.pipe(f"bucket/{name}", content)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        yield folder
    server.stop()


def put(name: str, content: bytes) -> str:
    fsspec.filesystem("s3", skip_instance_cache=True).pipe(f"bucket/{name}", content)
    return f"s3://bucket/{name}"


def rows_of(reference: str, **options: object) -> dict[str, list[object]]:
    splits = open_dataset(reference, FileOptions(**options), report=Report()).splits
    return {name: part.to_list() for name, part in splits.items()}


def streamed(reference: str, **options: object) -> dict[str, list[object]]:
    splits = open_streams(reference, FileOptions(**options), Report()).splits
    return {name: [row for batch in rows.batches() for row in batch.to_list()] for name, rows in splits.items()}


CASES = [
    ("corpus", {}),
    ("corpus/", {}),
    ("corpus/dev.jsonl", {}),
    ("tables/semicolons.csv", {"encoding": "latin-1"}),
    ("tables/tabs.tsv", {}),
    ("tables/list.json", {}),
    ("tables/book.txt", {}),
    ("classes", {}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_an_object_or_a_folder_of_them_gives_the_rows_of_a_local_copy(bucket, name, options):
    remote = open_dataset(f"s3://bucket/{name}", FileOptions(**options), report=Report())
    local = open_dataset(str(bucket / name), FileOptions(**options), report=Report())
    assert {split: fingerprint(rows) for split, rows in remote.splits.items()} == {
        split: fingerprint(rows) for split, rows in local.splits.items()
    }
    assert (remote.reference, remote.slug, remote.is_file) == (f"s3://bucket/{name}", local.slug, local.is_file)


@pytest.mark.parametrize(("name", "options"), [case for case in CASES if not case[0].endswith(".json")])
def test_it_streams_the_same_rows(bucket, name, options):
    assert streamed(f"s3://bucket/{name}", **options) == streamed(str(bucket / name), **options)


@pytest.mark.parametrize("read", [rows_of, streamed])
def test_a_pattern_takes_its_objects_in_the_order_of_their_names(bucket, read):
    more = {"text": "one more", "label": "a"}
    assert read("s3://bucket/corpus/train-*.jsonl.gz") == {"train": [*ROWS, more]}
    assert read("s3://bucket/c*/train-0000[1-9].jsonl.gz") == {"train": [more]}
    assert open_dataset("s3://bucket/corpus/*.jsonl.gz").slug == "corpus"


@pytest.mark.parametrize("read", [rows_of, streamed])
def test_parquet_is_read_and_streamed(bucket, tmp_path, read):
    import pyarrow as pa
    import pyarrow.parquet

    table = pa.Table.from_pylist(ROWS)
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    assert read(put("made/a.parquet", (tmp_path / "a.parquet").read_bytes())) == {"train": ROWS}
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    assert read(put("made/a.arrow", (tmp_path / "a.arrow").read_bytes())) == {"train": ROWS}


def test_a_sheet_of_a_workbook_is_named_as_here(bucket, tmp_path):
    pandas, _ = pytest.importorskip("pandas"), pytest.importorskip("openpyxl")
    with pandas.ExcelWriter(tmp_path / "book.xlsx") as writer:
        for sheet, text in (("first", "one"), ("second", "two")):
            pandas.DataFrame([{"text": text}]).to_excel(writer, sheet_name=sheet, index=False)
    reference = put("made/book.xlsx", (tmp_path / "book.xlsx").read_bytes())
    assert rows_of(f"{reference}:second") == {"train": [{"text": "two"}]}


def test_what_datasets_saved_is_read(bucket, tmp_path):
    open_dataset(str(bucket / "corpus")).splits.save_to_disk(str(tmp_path / "saved"))
    for path in (tmp_path / "saved").rglob("*"):
        if path.is_file():
            put(f"saved/{path.relative_to(tmp_path / 'saved')}", path.read_bytes())
    assert rows_of("s3://bucket/saved") == rows_of(str(bucket / "corpus"))


def test_an_object_that_was_written_again_is_read_again(bucket):
    reference = put("made/changing.jsonl", b'{"text": "before"}\n')
    assert rows_of(reference) == {"train": [{"text": "before"}]}
    put("made/changing.jsonl", b'{"text": "behind"}\n')
    assert rows_of(reference) == {"train": [{"text": "behind"}]}


def test_a_shard_is_opened_once_its_rows_are_wanted(bucket, monkeypatch):
    opened = []
    original = RemoteFile.open
    monkeypatch.setattr(RemoteFile, "open", lambda file, *mode: opened.append(file.name) or original(file, *mode))
    batches = open_streams("s3://bucket/corpus", FileOptions(), Report()).splits["train"].batches()
    assert opened == []
    assert len(next(batches)) == len(ROWS)
    assert opened == ["train-00000.jsonl.gz"]
    assert sum(map(len, batches)) == 1
    assert opened == ["train-00000.jsonl.gz", "train-00001.jsonl.gz"]


BAD = [
    ("s3://nothing/a.jsonl", DataError, "there is no bucket 'nothing' for s3://nothing/a.jsonl"),
    ("s3://nothing/", DataError, "there is no bucket 'nothing' for s3://nothing/"),
    ("s3://nothing/*.jsonl", DataError, "there is no bucket 'nothing' for s3://nothing/*.jsonl"),
    ("s3://bucket/corpus/dew.jsonl", DataError, "there is no s3://bucket/corpus/dew.jsonl (did you mean 'dev.jsonl'?)"),
    ("s3://bucket/none/", DataError, "there is no s3://bucket/none/"),
    (
        "s3://bucket/corpus/*.csv",
        DataError,
        "no object is called s3://bucket/corpus/*.csv; see what is in s3://bucket/corpus/",
    ),
    ("s3://bucket/bad/broken.jsonl", DataError, "s3://bucket/bad/broken.jsonl, line 2: "),
    ("s3://bucket/bad/noise.parquet", DataError, "s3://bucket/bad/noise.parquet"),
    ("s3://bucket/bad/image.png", DataError, "s3://bucket/bad/image.png: unknown format; llmkit reads csv"),
    ("ftp://host/a.csv", DataError, "ftp:// is not read; a file here is named by its path, and others by s3://"),
    ("s3://AKIA:secret@bucket/a.csv", OptionError, "the s3:// reference holds a name and a password"),
    ("https://me:secret@host/a.csv", OptionError, "the https:// reference holds a name and a password"),
]


@pytest.mark.parametrize("read", [rows_of, streamed])
@pytest.mark.parametrize(("reference", "kind", "phrase"), BAD)
def test_what_is_wrong_is_said_in_a_sentence(bucket, reference, kind, phrase, read):
    with pytest.raises(LlmkitError) as caught:
        read(reference)
    assert type(caught.value) is kind
    assert phrase in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "/tmp" not in str(caught.value)


def test_an_empty_object_holds_no_rows(bucket):
    with pytest.raises(EmptyError, match=r"^s3://bucket/bad/empty\.jsonl is empty$"):
        rows_of("s3://bucket/bad/empty.jsonl")


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setattr("llmkit.errors.extras.is_installed", lambda module: False)
    for scheme, extra in (("s3", "s3"), ("gs", "gcs"), ("az", "azure"), ("abfss", "azure")):
        with pytest.raises(OptionError, match=rf"^{scheme}:// needs \w+: pip install 'llmkit\[{extra}\]'$"):
            open_dataset(f"{scheme}://container/a.csv")


@pytest.mark.parametrize("read", [rows_of, streamed])
def test_keys_and_addresses_that_do_not_work(bucket, monkeypatch, read):
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        patch.delenv("AWS_SECRET_ACCESS_KEY")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        patch.setenv("AWS_CONFIG_FILE", "/nowhere")
        with pytest.raises(HubError, match=r"no keys to read s3://bucket/corpus: AWS_ACCESS_KEY_ID and"):
            read("s3://bucket/corpus")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(HubError, match=r"^the server of s3://bucket/corpus cannot be reached; check the network"):
        read("s3://bucket/corpus")


@pytest.mark.parametrize(
    ("error", "kind", "phrase"),
    [
        (PermissionError("Access Denied"), HubError, "access to gs://b/a.csv is forbidden (403); check the name"),
        (type("HttpError", (Exception,), {"code": 403})(), HubError, "is forbidden (403)"),
        (type("ResourceNotFoundError", (Exception,), {"status_code": 404})(), DataError, "there is no gs://b/a.csv"),
        (
            type("DefaultCredentialsError", (Exception,), {})(),
            HubError,
            "keys to read gs://b/a.csv: GOOGLE_APPLICATION",
        ),
        (TimeoutError(), HubError, "the server of gs://b/a.csv cannot be reached"),
        (OSError(28, "No space left on device"), ResourceError, "no space left on the disk"),
        (OSError("odd"), HubError, "gs://b/a.csv cannot be read (OSError: odd)"),
    ],
)
def test_what_the_libraries_raise_is_a_sentence(error, kind, phrase):
    said = failure(error, "gs://b/a.csv")
    assert type(said) is kind
    assert phrase in str(said)


class Pages(http.server.BaseHTTPRequestHandler):
    """A web server: /STATUS/... answers so, and what has a signature is given for it alone."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        name = path.rpartition("/")[2]
        status = 200
        if path.split("/")[1].isdigit():
            status = int(path.split("/")[1])
        elif name == "signed.jsonl" and "X-Amz-Signature=s3cret" not in query:
            status = 403
        body = b"<!DOCTYPE html><p>Log in</p>" if name == "page.jsonl" else LINES.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if name == "page.jsonl" else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def web():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize("read", [rows_of, streamed])
def test_a_web_server_gives_a_file(web, read):
    assert read(f"{web}/data/rows.jsonl") == {"train": ROWS}
    assert read(f"{web}/data/dev.jsonl?download=true") == {"validation": ROWS}


@pytest.mark.parametrize("read", [rows_of, streamed])
@pytest.mark.parametrize(
    ("path", "kind", "phrase"),
    [
        ("page.jsonl", DataError, "page.jsonl answers with a page of HTML; give the address of the file itself"),
        ("404/a.jsonl", DataError, "there is no http://127.0.0.1:"),
        ("401/a.jsonl", HubError, "/401/a.jsonl is forbidden (401)"),
        ("403/a.jsonl?token=abc", HubError, "/403/a.jsonl?REDACTED is forbidden (403)"),
        ("429/a.jsonl", HubError, "asked to slow down (429)"),
        ("500/a.jsonl", HubError, "the server failed (500) when asked for http://127.0.0.1:"),
    ],
)
def test_a_web_server_that_gives_none(web, path, kind, phrase, read):
    with pytest.raises(LlmkitError) as caught:
        read(f"{web}/{path}")
    assert type(caught.value) is kind
    assert phrase in str(caught.value)
    assert "abc" not in str(caught.value)


SIGNED = "X-Amz-Algorithm=AWS4&X-Amz-Date=2026&X-Amz-Expires=60&X-Amz-Signature=s3cret"


@pytest.mark.parametrize(
    ("url", "left"),
    [
        (f"https://h/a.jsonl?{SIGNED}", "https://h/a.jsonl?REDACTED"),
        (f"https://h/a.jsonl?{SIGNED}@2", "https://h/a.jsonl?REDACTED@2"),
        ("https://h/a.csv?part=1&sv=2024&se=2026&sig=s3cret", "https://h/a.csv?part=1&REDACTED"),
        ("https://h/a.csv?token=s3cret", "https://h/a.csv?REDACTED"),
        ("https://h/a.csv?part=1", "https://h/a.csv?part=1"),
        ("s3://b/a.csv", "s3://b/a.csv"),
        ("what is https://h/?token=s3cret", "what is https://h/?token=s3cret"),
    ],
)
def test_a_signature_is_taken_off_and_still_works(url, left):
    assert unsigned(url) == left
    assert unsigned([url, left]) == [left, left]
    assert full_url(left.removesuffix("@2")) == url.removesuffix("@2")
    assert unsigned(left) == left


def test_groups_of_options_hold_no_signature():
    url = f"https://h/a.jsonl?{SIGNED}"
    assert SplitOptions(validation=url).validation == "https://h/a.jsonl?REDACTED"
    assert str(RowOptions(input=Path(url)).input) == "https:/h/a.jsonl?REDACTED"


def test_a_store_in_memory_is_read():
    fsspec.filesystem("memory").pipe("/box/a.jsonl", LINES.encode())
    assert rows_of("memory://box/a.jsonl") == streamed("memory://box") == {"train": ROWS}


def test_a_run_from_a_store_is_that_from_a_copy(bucket, llmkit, tmp_path, classifier):
    rows = write_jsonl(tmp_path / "rows.jsonl", tiny.reviews(40))
    reference = put("made/rows.jsonl", rows.read_bytes())
    records = []
    for name, data in (("local", str(rows)), ("remote", reference)):
        ran = llmkit("finetune", data, "-m", classifier, "--max-steps", "2", "-o", tmp_path / name, "--json")
        assert ran.code == 0, ran.err
        records.append(json.loads((tmp_path / name / "run.json").read_text()))
    local, remote = (record["data"] for record in records)
    assert remote["reference"] == records[1]["options"]["dataset"] == reference
    assert {**local, "reference": ""} == {**remote, "reference": ""}
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("local", "remote")]
    assert weights[0] == weights[1]
    runs = (("local", str(rows)), ("remote", reference))
    measured = [llmkit("eval", data, "-m", tmp_path / name, "--json").json["metrics"] for name, data in runs]
    assert measured[0] == measured[1]


def test_a_signature_is_in_nothing_that_is_written_or_said(web, llmkit, tmp_path, classifier):
    url = f"{web}/signed.jsonl?{SIGNED}"
    run = tmp_path / "run"
    ran = llmkit("finetune", url, "--validation", url, "-m", classifier, "--max-steps", "1", "-o", run, "-v")
    assert ran.code == 0, ran.err
    texts = [path for path in run.rglob("*") if path.suffix in {".json", ".jsonl", ".md", ".yaml", ".html"}]
    written = "".join(path.read_text(errors="replace") for path in texts)
    assert "s3cret" not in written + ran.out + ran.err
    assert f"{web}/signed.jsonl?REDACTED" in (run / "run.json").read_text()
    refused = llmkit("data", f"{web}/signed.jsonl?X-Amz-Signature=0ther")
    assert (refused.code, "0ther" in refused.err) == (4, False)


def test_rows_are_answered_from_a_store(bucket, llmkit, tmp_path, classifier):
    rows = bucket / "corpus" / "train-00000.jsonl.gz"
    answers = []
    for name, data in (("local", rows), ("remote", "s3://bucket/corpus/train-00000.jsonl.gz")):
        ran = llmkit("classify", "--input", data, "-m", classifier, "-o", tmp_path / f"{name}.jsonl")
        assert ran.code == 0, ran.err
        answers.append((tmp_path / f"{name}.jsonl").read_bytes())
    assert answers[0] == answers[1]
    assert answers[0].count(b"\n") == len(ROWS)
    for name, code, phrase in [
        ("s3://bucket/corpus", 2, "--input 's3://bucket/corpus' is a folder; a file of rows is wanted"),
        ("s3://bucket/none.jsonl", 2, "there is no s3://bucket/none.jsonl"),
        ("s3://bucket/bad/empty.jsonl", 5, "s3://bucket/bad/empty.jsonl is empty"),
    ]:
        ran = llmkit("classify", "--input", name, "-m", classifier, "-o", tmp_path / "none.jsonl")
        assert (ran.code, phrase in ran.err) == (code, True), ran.err
        assert not list(tmp_path.glob("none*"))


def test_predictions_are_read_from_a_store(bucket, llmkit, tmp_path):
    predicted = "".join(json.dumps({"text": row["text"], "prediction": "a"}) + "\n" for row in ROWS)
    predictions = put("made/predictions.jsonl", predicted.encode())
    ran = llmkit("eval", "s3://bucket/corpus/train-00000.jsonl.gz", "--predictions", predictions, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["metrics"]["accuracy"]["value"] == 0.5
    others = put("made/others.jsonl", b'{"text": "?", "prediction": "a"}\n')
    ran = llmkit("eval", "s3://bucket/corpus/dev.jsonl", "--predictions", others)
    assert (ran.code, f"{others}: none of its rows" in ran.err) == (2, True), ran.err
    ran = llmkit("eval", "s3://bucket/corpus/dev.jsonl", "--predictions", "s3://bucket/none.jsonl")
    assert (ran.code, "there is no s3://bucket/none.jsonl" in ran.err) == (2, True)


def test_a_training_streams_from_a_store(bucket, llmkit, tmp_path, classifier):
    reference = put("made/streamed/rows.jsonl", "".join(f"{json.dumps(row)}\n" for row in tiny.reviews(40)).encode())
    flags = ("-m", classifier, "--streaming", "--max-steps", "2", "-o", tmp_path / "run")
    ran = llmkit("finetune", reference, *flags)
    assert ran.code == 0, ran.err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"]["reference"] == reference


def test_the_hub_that_cannot_be_asked_is_named(llmkit):
    ran = llmkit("data", "hf://datasets/owner/name/rows.jsonl")
    assert (ran.code, ran.err.count("\n")) == (4, 1), ran.err
    assert "hf://datasets/owner/name/rows.jsonl" in ran.err


@pytest.mark.parametrize(("reference", "code"), [("s3://nothing/a.jsonl", 2), ("s3://bucket/bad/empty.jsonl", 5)])
def test_a_training_that_finds_nothing_writes_nothing(bucket, llmkit, tmp_path, classifier, reference, code):
    ran = llmkit("finetune", reference, "-m", classifier, "-o", tmp_path / "run")
    assert (ran.code, ran.err.count("\n"), (tmp_path / "run").exists()) == (code, 1, False), ran.err
