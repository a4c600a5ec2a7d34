from __future__ import annotations

import gzip
import hashlib
import json

import pytest
from conftest import write_csv, write_jsonl
from datasets import Dataset, DatasetDict

from llmkit.data import fingerprint, hub_name, open_dataset
from llmkit.errors import DataError, EmptyError, HubError
from llmkit.options import FileOptions

A, B = {"text": "a", "label": "x"}, {"text": "b", "label": "y"}


def rows_by_split(reference: object) -> dict[str, list[dict[str, str]]]:
    return {name: split.to_list() for name, split in open_dataset(str(reference)).splits.items()}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("reviews.csv", "train"),
        ("train.csv", "train"),
        ("reviews-training.csv", "train"),
        ("dev.csv", "validation"),
        ("my_val.csv", "validation"),
        ("reviews.valid.csv", "validation"),
        ("Validation.csv", "validation"),
        ("test-00000-of-00001.csv", "test"),
        ("testing_set.csv", "test"),
        ("contest.csv", "train"),
        ("latest_devices.csv", "train"),
    ],
)
def test_a_file_is_the_split_that_a_word_of_its_name_tells(tmp_path, name, split):
    assert rows_by_split(write_csv(tmp_path / name, [A])) == {split: [A]}


def test_a_folder_is_its_files_by_split_in_the_order_of_their_names(tmp_path):
    write_csv(tmp_path / "train-2.csv", [B])
    write_jsonl(tmp_path / "train-1.jsonl", [A])
    write_csv(tmp_path / "test.csv", [B])
    write_csv(tmp_path / ".cache" / "train.csv", [B])
    (tmp_path / "README.md").write_text("# Reviews\n", encoding="utf-8")
    (tmp_path / "LICENSE").write_text("free\n", encoding="utf-8")
    assert rows_by_split(tmp_path) == {"train": [A, B], "test": [B]}


def test_a_folder_named_after_a_split_tells_the_split_of_its_files(tmp_path):
    write_csv(tmp_path / "train" / "part-0.csv", [A])
    write_csv(tmp_path / "test" / "2024" / "part-0.csv", [B])
    assert rows_by_split(tmp_path) == {"train": [A], "test": [B]}


def test_a_folder_whose_own_path_holds_a_split_word_is_no_split(tmp_path):
    path = write_csv(tmp_path / "dev" / "reviews" / "a.csv", [A])
    assert rows_by_split(path.parent) == {"train": [A]}
    assert rows_by_split(write_csv(tmp_path / "dev" / "reviews.csv", [A])) == {"train": [A]}


def test_what_save_to_disk_wrote_is_opened(tmp_path):
    Dataset.from_list([A]).save_to_disk(tmp_path / "one")
    DatasetDict(train=Dataset.from_list([A]), dev=Dataset.from_list([B])).save_to_disk(tmp_path / "two")
    assert rows_by_split(tmp_path / "one") == {"train": [A]}
    assert rows_by_split(tmp_path / "two") == {"train": [A], "validation": [B]}


def test_damaged_output_of_save_to_disk_is_refused(tmp_path):
    Dataset.from_list([A]).save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").glob("*.arrow")).write_bytes(b"xx")
    with pytest.raises(DataError, match="saved"):
        open_dataset(str(tmp_path / "saved"))


@pytest.fixture
def hub_layout(tmp_path):
    """A folder as the Hub keeps a dataset: two configurations that its README names."""
    folder = tmp_path / "benchmark"
    write_csv(folder / "one" / "train.csv", [A])
    write_csv(folder / "two" / "rows.csv", [B])
    config = "- config_name: {}\n  data_files:\n  - split: {}\n    path: {}\n"
    configs = config.format("one", "train", "one/train.csv") + config.format("two", "test", "two/rows.csv")
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n# Benchmark\n", encoding="utf-8")
    return folder


def test_a_configuration_of_a_folder_in_the_layout_of_the_hub_is_named_after_a_colon(hub_layout):
    source = open_dataset(f"{hub_layout}:two")
    assert {name: split.to_list() for name, split in source.splits.items()} == {"test": [B]}
    assert (source.benchmark, source.slug) == ("benchmark/two", "two")


@pytest.mark.parametrize(
    ("config", "phrases"),
    [("", ["several configurations (one, two)", "benchmark:one"]), (":tow", ["'tow'", "did you mean 'two'?"])],
)
def test_a_configuration_that_is_missing_or_unknown_is_answered_with_those_there_are(hub_layout, config, phrases):
    with pytest.raises(DataError) as refusal:
        open_dataset(f"{hub_layout}{config}")
    assert [phrase for phrase in phrases if phrase not in str(refusal.value)] == []


def test_a_file_has_no_configurations(tmp_path):
    path = write_csv(tmp_path / "reviews.csv", [A])
    with pytest.raises(DataError, match="configuration"):
        open_dataset(f"{path}:train")


def test_a_missing_file_is_answered_with_the_near_name(tmp_path):
    write_csv(tmp_path / "reviews.csv", [A])
    with pytest.raises(DataError, match=r"no file or folder '.*review.csv' \(did you mean 'reviews.csv'\?\)"):
        open_dataset(str(tmp_path / "review.csv"))


@pytest.mark.parametrize("reference", ["./nothing", "~/no/such/folder", "no/such/reviews.csv", "reviews.jsonl.gz"])
def test_what_looks_like_a_path_is_never_sent_to_the_hub(tmp_path, monkeypatch, reference):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no file or folder"):
        open_dataset(reference)


@pytest.mark.parametrize("reference", ["nobody/nothing", "nobody/name-v1.5", "glue/mrpc"])
def test_a_hub_name_that_is_not_on_this_machine_needs_the_network(tmp_path, monkeypatch, reference):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    with pytest.raises(HubError, match="Hub"):
        open_dataset(reference)


def test_a_path_that_exists_wins_over_a_hub_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "glue" / "mrpc" / "train.csv", [A])
    assert rows_by_split("glue/mrpc") == {"train": [A]}


def test_a_folder_without_data_is_refused(tmp_path):
    (tmp_path / "notes.docx").write_bytes(b"x")
    with pytest.raises(DataError, match="holds no data file"):
        open_dataset(str(tmp_path))


def test_a_column_without_one_type_in_the_files_of_a_split_is_named(tmp_path):
    write_csv(tmp_path / "train-1.csv", [{"text": "a", "label": 1}])
    write_csv(tmp_path / "train-2.csv", [{"text": "b", "label": "x"}])
    source = open_dataset(str(tmp_path))
    assert source.splits["train"].to_list() == [{"text": "a", "label": "1"}, {"text": "b", "label": '"x"'}]
    assert list(source.mixed) == ["label"]
    assert f"{tmp_path / 'train-1.csv'} holds whole numbers ('1')" in source.mixed["label"]
    assert f"{tmp_path / 'train-2.csv'} holds text ('x')" in source.mixed["label"]


def test_files_of_one_split_must_agree_in_their_columns(tmp_path):
    write_csv(tmp_path / "train-1.csv", [{"text": "a", "label": 1}])
    write_csv(tmp_path / "train-2.csv", [{"text": "b", "label": 1}])
    write_csv(tmp_path / "train-3.csv", [{"review": "b", "label": 1}])
    with pytest.raises(DataError, match=r"train-3.csv has the columns review, label, and .*train-1.csv"):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("typed", "home"),
    [
        ("glue/mrpc", ("nyu-mll/glue", "mrpc")),
        ("glue:mrpc", ("nyu-mll/glue", "mrpc")),
        ("nyu-mll/glue:mrpc", ("nyu-mll/glue", "mrpc")),
        ("glue", ("nyu-mll/glue", None)),
        ("super_glue/boolq", ("aps/super_glue", "boolq")),
        ("wikitext/wikitext-2-raw-v1", ("Salesforce/wikitext", "wikitext-2-raw-v1")),
        ("ag_news", ("fancyzhx/ag_news", None)),
        ("rotten_tomatoes", ("cornell-movie-review-data/rotten_tomatoes", None)),
        ("org/name", ("org/name", None)),
        ("org/name:config", ("org/name", "config")),
    ],
)
def test_benchmarks_are_found_at_their_present_home(typed, home):
    assert hub_name(typed) == home


@pytest.mark.parametrize(
    ("reference", "slug"),
    [("reviews.csv", "reviews"), ("data/reviews.jsonl.gz", "reviews"), ("data/reviews/", "reviews")],
)
def test_a_source_has_a_short_name_for_folders(tmp_path, monkeypatch, reference, slug):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "reviews.csv", [A])
    write_csv(tmp_path / "data" / "reviews" / "train.csv", [A])
    (tmp_path / "data" / "reviews.jsonl.gz").write_bytes(gzip.compress(json.dumps(A).encode()))
    assert open_dataset(reference).slug == slug


@pytest.fixture
def standard_input(monkeypatch, tmp_path):
    """Set the bytes of standard input."""

    def put(data: bytes) -> None:
        (tmp_path / "stdin").write_bytes(data)
        monkeypatch.setattr("sys.stdin", (tmp_path / "stdin").open(encoding="utf-8"))

    return put


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b'{"text": "a"}\n{"text": "b"}\n', [{"text": "a"}, {"text": "b"}]),
        (b"\xef\xbb\xbf" + b'{"text": "a"}\n', [{"text": "a"}]),
        (b'[{"text": "a"}, {"text": "b"}]', [{"text": "a"}, {"text": "b"}]),
        (b"one\ntwo\n", [{"text": "one\ntwo\n"}]),
    ],
    ids=["JSON lines", "JSON lines after a BOM", "JSON array", "text"],
)
def test_standard_input_is_json_or_one_text(standard_input, data, rows):
    standard_input(data)
    source = open_dataset("-")
    assert (source.splits["train"].to_list(), source.slug) == (rows, "stdin")


@pytest.mark.parametrize(
    ("data", "error", "phrase"),
    [
        (b" \n", EmptyError, "standard input is empty"),
        (b'{"text": "a"}\n{"text"\n', DataError, "line 2"),
        (b"one\ncaf\xe9\n", DataError, "line 2"),
    ],
    ids=["empty", "broken JSON", "another encoding"],
)
def test_bad_standard_input_is_refused_in_one_sentence(standard_input, data, error, phrase):
    standard_input(data)
    with pytest.raises(error, match=phrase):
        open_dataset("-")


def test_standard_input_is_read_in_the_named_encoding(standard_input):
    standard_input("好".encode("gb18030"))
    assert open_dataset("-", FileOptions(encoding="gb18030")).splits["train"]["text"] == ["好"]


def test_a_fingerprint_depends_on_the_rows_and_their_order_and_on_nothing_else(tmp_path):
    rows = [{"text": f"row {number}", "label": number % 3} for number in range(1500)]
    whole = Dataset.from_list(rows)
    write_jsonl(tmp_path / "rows.jsonl", rows)
    same = [
        whole.select(range(1500)),
        Dataset.from_list([{"label": row["label"], "text": row["text"]} for row in rows]),
        Dataset.from_list(rows[::-1]).select(range(1499, -1, -1)),
        open_dataset(str(tmp_path / "rows.jsonl")).splits["train"],
        whole.with_format("numpy"),
    ]
    assert {fingerprint(dataset) for dataset in same} == {fingerprint(whole)}
    changed = [
        rows[::-1],
        rows[:-1],
        [*rows[:-1], {"text": "row 1499", "label": 9}],
        [*rows[1:2], *rows[:1], *rows[2:]],
    ]
    assert len({fingerprint(Dataset.from_list(other)) for other in [rows, *changed]}) == 5


def test_a_fingerprint_is_the_sha256_of_the_columns_as_json():
    written = '{"label": ["x", "y"], "text": ["a", "大"]}'
    rows = Dataset.from_list([A, {**B, "text": "大"}])
    assert fingerprint(rows) == hashlib.sha256(written.encode()).hexdigest()
