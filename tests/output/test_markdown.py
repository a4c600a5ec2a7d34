from __future__ import annotations

import copy
from html.parser import HTMLParser

import pytest
from example_results import FAILED, HOSTILE, hostile, many_slices
from markdown_it import MarkdownIt

from llmkit.output import markdown
from llmkit.output.formatting import printable


class Page(HTMLParser):
    """What a reader of the rendered page sees: the tags, and the text of every table cell and list item."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.text = ""
        self.cell = False
        self.feed(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(source))

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")
            self.cell = True

    def handle_endtag(self, tag: str) -> None:
        self.cell = self.cell and tag not in {"td", "th"}

    def handle_comment(self, data: str) -> None:
        self.tags.append("comment")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.cell:
            self.tables[-1][-1][-1] += data


def test_the_job_summary_says_what_was_measured_and_which_gates_were_met(result):
    page = markdown.render([result])
    assert page.startswith("### ❌ runs/mrpc on glue/mrpc, validation\n")
    assert "\n- ✅ gate met: f1 is 0.8684, at least 0.85 is demanded\n- ❌ gate NOT met: accuracy is" in page
    assert "\n|metric|value|95% interval|n|\n|---|---|---|---|\n|accuracy|0.8113|0.7705 to 0.8464|408|\n" in page
    assert "\n|f1 (class 'equivalent')|0.8684|0.8401 to 0.8946|408|\n" in page
    assert "\n|brier|0.1372||408|\n" in page
    assert "\n|f1|0.8997|0.8684|-0.0313 (-0.0519 to -0.0117)|0.0025|\n" in page
    assert "\n38 predictions changed: 9 fixed, 29 broken.\n" in page
    assert "\n|17|equivalent|equivalent|not_equivalent|\n" in page
    assert "\n|blog|148|0.8341 (0.7812 to 0.8819)|\n" in page
    assert "\n- largest gap of f1: 0.0530 (-0.0067 to 0.1126), best news, worst blog\n" in page
    assert "3 of 40 predictions flip (a share of 0.0750, 95% interval 0.0258 to 0.1986)." in page
    assert "- ⚠️ warning: 2 of 410 rows" in page
    assert "Batch invariance" not in page
    assert page.count("<details>") == page.count("</details>") == 2


def test_the_job_summary_of_a_passing_result_is_green_and_short(language):
    page = markdown.render([language])
    assert page.startswith("### ✅ books: preds.jsonl on examples/corpus.txt, train\n")
    assert "|perplexity|47.7529|44.1000 to 51.9000|4491|" in page
    assert "❌" not in page
    assert "<details>" not in page
    assert page.endswith(", cached\n")


def test_the_job_summary_of_a_suite_begins_with_all_of_it(result, language):
    (overview, *_) = Page(markdown.render([result, language, FAILED])).tables
    assert overview[1:] == [
        ["❌", "glue/mrpc", "f1 (class 'equivalent')", "0.8684", "0.8401 to 0.8946", "408", "1 of 2 met"],
        ["✅", "books", "perplexity", "47.7529", "44.1000 to 51.9000", "4491", ""],
        ["❌", "reviews", f"error: {FAILED['error']}", "", "", "", ""],
    ]


def test_a_failed_run_in_markdown_is_its_sentence():
    page = Page(markdown.render([FAILED]))
    assert page.text.split("\n")[:2] == ["❌ reviews", f"error: {FAILED['error']}"]


def test_changed_predictions_of_the_invariance_check_are_named(result):
    result["invariance"] = {
        "rows": 8,
        "largest_difference": 0.5,
        "changed": 1,
        "changed_rows": [{"id": "row-7", "alone": "a", "together": "b"}],
    }
    assert "1 of 8 predictions depend on the rows beside them: row-7." in markdown.render([result])


@pytest.mark.parametrize("label", HOSTILE, ids=ascii)
def test_no_label_breaks_the_page(result, label):
    plain = Page(markdown.render([hostile(copy.deepcopy(result), "plain"), FAILED]))
    page = Page(markdown.render([hostile(result, label), {**FAILED, "error": label}]))
    assert page.tags == plain.tags
    assert [[len(row) for row in table] for table in page.tables] == [
        [len(row) for row in table] for table in plain.tables
    ]
    if len(label) < 100:
        assert [printable(label)] * 4 in [row for table in page.tables for row in table]


def test_at_most_ten_flipped_rows_are_in_the_summary(result):
    row = result["baseline"]["flips"]["rows"][0]
    result["baseline"]["flips"]["rows"] = [{**row, "id": f"row-{i}"} for i in range(50)]
    page = markdown.render([result])
    assert "row-9|" in page
    assert "row-10|" not in page
    assert "<summary>10 of the 38 rows that changed</summary>" in page


def test_markdown_is_written_to_its_file(tmp_path, result):
    markdown.write_markdown(tmp_path / "summary.md", [result])
    assert (tmp_path / "summary.md").read_text(encoding="utf-8") == markdown.render([result])


def test_the_step_summary_is_added_to_when_there_is_one(tmp_path, result, monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert markdown.append_step_summary([result]) is None
    path = tmp_path / "summary.md"
    path.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    assert markdown.append_step_summary([result]) is None
    assert path.read_text(encoding="utf-8") == "before\n" + markdown.render([result])


@pytest.mark.parametrize("before", [0, 100, 900_001, 1024 * 1024 - 400])
def test_the_step_summary_stays_under_its_limit_and_says_that_it_was_cut(tmp_path, result, monkeypatch, before):
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * before)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    markdown.append_step_summary([many_slices(result)])
    written = path.read_bytes()
    assert before < len(written) <= 1024 * 1024
    added = written[before:].decode()
    assert added.endswith(
        "\n\n_Cut here: a job summary holds at most 1024 KiB; --output and --markdown write the whole._\n"
    )
    assert added.count("<details>") == added.count("</details>")
    kept = added.rpartition("\n\n_Cut here")[0].removesuffix("\n\n</details>")
    assert markdown.render([result]).startswith(kept + "\n" if kept else "")


def test_a_cut_inside_details_closes_them(result):
    content = markdown.render([result]).encode()
    middle = content.index(b"|17|equivalent")
    cut = markdown._fit(content, middle + len(markdown.CUT_NOTE) + len(markdown.END_DETAILS)).decode()
    assert cut.count("<details>") == cut.count("</details>") == 1


def test_a_full_step_summary_is_left_alone(tmp_path, result, monkeypatch):
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * 1024 * 1024)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    assert markdown.append_step_summary([result]) is None
    assert path.stat().st_size == 1024 * 1024


def test_a_step_summary_that_cannot_be_written_is_a_sentence(tmp_path, result, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "missing" / "summary.md"))
    assert markdown.append_step_summary([result]).startswith(
        "the job summary $GITHUB_STEP_SUMMARY could not be written"
    )


def test_annotations_name_missed_gates_and_errors(result):
    result["gates"][1]["sentence"] = "NOT met: 5% lower,\r\nsadly: yes"
    assert markdown.annotations([result, {**FAILED, "name": "a:b,c%"}]) == [
        "::error title=glue/mrpc%3A max-drop accuracy::NOT met: 5%25 lower,%0D%0Asadly: yes",
        f"::error title=a%3Ab%2Cc%25%3A error::{FAILED['error']}",
    ]


def test_met_gates_have_no_annotation(result):
    result["gates"] = result["gates"][:1]
    assert markdown.annotations([result]) == []
