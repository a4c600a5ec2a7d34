from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from example_results import FAILED, hostile

from llmkit.output import plots


def shape(path: Path) -> tuple[int, ...]:
    from matplotlib import image

    return tuple(image.imread(path).shape)


def test_what_a_result_holds_is_drawn(tmp_path, result):
    drawn = plots.draw_results(tmp_path / "pictures", result)
    assert [path.name for path in drawn] == ["confusion.png", "calibration.png", "metrics.png", "slices.png"]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == sorted(path.name for path in drawn)
    assert all(min(shape(path)[:2]) > 200 for path in drawn)


def test_only_what_a_result_holds_is_drawn(tmp_path, language):
    assert plots.draw_results(tmp_path, language) == [tmp_path / "metrics.png"]
    assert plots.draw_results(tmp_path / "nothing", FAILED) == []
    assert not (tmp_path / "nothing").exists()


def test_a_picture_shows_its_figures(tmp_path, result):
    before = {path.name: path.read_bytes() for path in plots.draw_results(tmp_path, result)}
    again = {path.name: path.read_bytes() for path in plots.draw_results(tmp_path, result)}
    assert again == before
    result["confusion"]["counts"][0] = [52, 77]
    result["calibration"]["bins"][1]["accuracy"] = 0.1
    result["metrics"]["accuracy"]["low"] = 0.1
    result["slices"]["source"]["values"]["blog"]["metrics"]["f1"]["value"] = 0.5
    after = {path.name: path.read_bytes() for path in plots.draw_results(tmp_path, result)}
    assert [name for name in after if after[name] == before[name]] == []


def test_a_confusion_matrix_grows_with_its_classes(tmp_path, result):
    sizes = []
    result |= {"calibration": None, "slices": None}
    for classes in (2, 12, 30):
        counts = [[int(i == j) for j in range(classes)] for i in range(classes)]
        result["confusion"] = {"labels": [f"class {i}" for i in range(classes)], "counts": counts}
        sizes.append(shape(plots.draw_results(tmp_path, result)[0])[0])
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("label", ["</b>", "$x^$", "新闻", "🙂", "\x00", "\ud800", "_", "", "x" * 500], ids=ascii)
def test_any_label_can_be_drawn_without_a_word(tmp_path, result, label, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(plots.draw_results(tmp_path, hostile(result, label))) == 4
    assert capsys.readouterr() == ("", "")


def test_figures_that_are_missing_or_out_of_range_are_drawn_all_the_same(tmp_path, result):
    nothing = {"value": None, "low": None, "high": None, "n": 408, "interval": None}
    result["metrics"] |= {"pearson": nothing, "spearman": {**nothing, "value": -0.7, "low": -0.9, "high": -0.4}}
    result["metrics"] |= {"bleu": {**nothing, "value": 31.5}}
    result["metrics"].pop("ece")
    result["slices"]["source"]["values"]["blog"]["metrics"]["f1"] = nothing
    result["confusion"]["counts"][0] = [0, 0]
    assert len(plots.draw_results(tmp_path, result)) == 4
