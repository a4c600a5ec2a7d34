"""The benchmark's own arithmetic: ratios, rounds that are added to a file, the table, one run of a command."""

from __future__ import annotations

import sys

import pytest
from pairs import measuring, quality, results, table
from pairs.rows import ROWS, chosen
from pairs.ways import Output, Row, Way


def one_round(seconds, peak=100.0, rates=None, said=None):
    ways = {
        name: {"seconds": value, "peak_mb": peak, "rate": (rates or {}).get(name)} for name, value in seconds.items()
    }
    return {"date": "2026-01-02T03:04:05+00:00", "commit": "abc", "ways": ways, "quality": said}


def row(*rounds, of_memory=False, kind="plain", absent=""):
    ways = [{"name": "ours", "kind": "llmkit", "absent": ""}, {"name": "theirs", "kind": kind, "absent": absent}]
    return {"what": "a case", "unit": "rows/s", "of_memory": of_memory, "ways": ways, "rounds": list(rounds)}


def test_a_ratio_is_that_of_each_round_not_of_the_medians():
    found = results.ratio([(10.0, 5.0), (30.0, 10.0), (8.0, 8.0)])
    assert found == results.Ratio(median=2.0, lowest=1.0, highest=3.0, rounds=3)
    assert str(found) == "2.00 (1.00 to 3.00)"
    assert results.ratio([(None, 2.0), (1.0, None)]) is None


def test_a_round_that_was_left_in_the_middle_does_not_count():
    half = one_round({"ours": 1.0})
    assert results.complete(row(one_round({"ours": 1.0, "theirs": 2.0}), half)) == [
        one_round({"ours": 1.0, "theirs": 2.0})
    ]
    assert results.complete(row(half, absent="not installed")) == [half]


def test_results_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "bench" / "results.json"
    assert results.load(path) == results.empty()
    kept = results.empty()
    kept["rows"]["help"] = row(one_round({"ours": 1.0, "theirs": 2.0}))
    results.save(kept, path)
    assert results.load(path) == kept
    assert [one.name for one in path.parent.iterdir()] == ["results.json"]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (row(one_round({"ours": 2.0, "theirs": 3.0})), ["a case", "2.00 s", "theirs 3.00 s", "1.50", "", "", "1"]),
        (
            row(one_round({"ours": 20.0, "theirs": 10.0}, said="same text")),
            ["a case", "20.0 s", "theirs 10.0 s", "**0.50, slower**", "", "same text", "1"],
        ),
        (
            row(one_round({"ours": 2.0, "theirs": 1.0}), kind="floor"),
            ["a case", "2.00 s", "theirs 1.00 s", "2.00 times its time", "", "", "1"],
        ),
        (
            row(one_round({"ours": 2.0, "theirs": 3.0}, rates={"ours": 30.0, "theirs": 120.0})),
            ["a case", "2.00 s", "theirs 3.00 s", "1.50", "30.0 against 120 rows/s: **0.25, slower**", "", "1"],
        ),
        (
            row(one_round({"ours": 2.0, "theirs": 3.0}, peak=1500.0), of_memory=True),
            ["a case", "1,500 MB", "theirs 1,500 MB", "1.00 times the memory", "", "", "1"],
        ),
        (
            row(one_round({"ours": 2.0}), kind="peer", absent="not installed"),
            ["a case", "2.00 s", "theirs: not installed", "", "", "", ""],
        ),
        (row(one_round({"ours": 2.0})), ["a case", "2.00 s", "theirs: not measured yet", "", "", "", ""]),
    ],
)
def test_a_line_of_the_table_says_what_is_slower(found, expected):
    assert table.row_cells(found) == [expected]


def test_the_table_names_date_and_machine_and_takes_its_place_in_a_text():
    kept = results.empty()
    kept["rows"] = {"b": row(one_round({"ours": 1.0, "theirs": 2.0})), "a": row(one_round({"ours": 1.0}))}
    kept["machine"] = {"processor": "Some CPU", "cores": 2, "memory_gib": 24, "gpu": None}
    kept["ceilings"] = [
        {"bfloat16_gflops": value, "float32_gflops": 90.0, "read_gb_per_second": 27.5} for value in (1, 3)
    ]
    text = table.table(kept, ["a", "b", "c"])
    assert text.startswith(
        "2026-01-02: Some CPU, 2 cores, 24 GiB. The machine at its best: matrix products 3 GFLOP/s in"
    )
    kept["rows"]["c"] = {"what": "another", "rounds": [], "ways": [], "skipped": "no data"}
    assert "| another |  | not measured: no data |" in table.table(kept, ["c"])
    assert text.count("\n| a case |") == 1  # the row whose round is whole
    before = f"one\n{table.BEGIN}old\n{table.END}two\n"
    assert table.placed(before, text) == f"one\n{table.BEGIN}{text}{table.END}two\n"
    with pytest.raises(SystemExit, match="has no place"):
        table.placed("one\n", text)


def test_rows_are_chosen_by_words_and_long_ones_by_their_name_alone():
    assert {row for row in ROWS if ROWS[row].long}.isdisjoint(chosen("", long=False))
    assert chosen("classify", long=False) == ["classify-2000", "classify-10000"]
    assert chosen("lambada,help", long=False) == ["help", "lambada"]
    assert chosen("", long=True) == list(ROWS)


@pytest.mark.parametrize("terminal", [False, True])
def test_a_run_is_timed_and_its_output_kept(tmp_path, terminal):
    line = "import sys; print(sys.stdout.isatty())"
    way = Way("python", (sys.executable, "-S", "-c", line), terminal=terminal, rate=lambda output: 1.5)
    measured, output = measuring.measure(way, tmp_path)
    assert measured.rate == 1.5
    assert measured.seconds > 0
    assert measured.peak_mb > 1
    assert quality.plain_text(output) == str(terminal)


def test_a_run_that_ends_otherwise_than_its_row_says_is_no_figure(tmp_path):
    broken = (sys.executable, "-S", "-c", "import sys; sys.exit('no such thing')")
    measuring.measure(Way("broken", broken, fails=True, copies=2), tmp_path)
    with pytest.raises(measuring.WayFailed, match="no such thing"):
        measuring.measure(Way("broken", broken), tmp_path)


def test_texts_and_answers_are_compared(tmp_path):
    one, other = Output("a b c\r\n", 0.0, None), Output("a b d", 0.0, None)
    assert quality.same_text({"ours": one, "theirs": one}) == "same text"
    assert quality.same_text({"ours": one, "theirs": other}) == "texts agree in the first 4 of 5 characters"
    files = [tmp_path / "ours.csv", tmp_path / "theirs.csv"]
    for file, last in zip(files, ("y", "x"), strict=True):
        file.write_text(f"text,label\na,x\nb,{last}\n")
    outputs = {file.stem: Output("", 0.0, file) for file in files}
    assert quality.same_labels(outputs, ["x", "x"]) == "1 of 2 labels as theirs; accuracy 0.500, 1.000"


def test_every_row_says_what_it_is():
    for found in ROWS.values():
        assert isinstance(found, Row)
        assert found.seconds > 0
        assert found.what.format(decoder="one", encoder="two")
