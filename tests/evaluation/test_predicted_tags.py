"""Tags in a file of predictions, in any scheme on either side, scored as seqeval 1.2.2 scores them."""

from __future__ import annotations

import random

import pytest
from conftest import write_jsonl
from datasets import Dataset
from evaluating import values
from seqeval.metrics import accuracy_score, classification_report, f1_score, precision_score, recall_score
from seqeval.scheme import IOBES

from llmkit import metrics
from llmkit.data.conversions.tagging import tags
from llmkit.errors import DataError
from llmkit.tasks import TASKS, TaskSettings
from llmkit.tasks.encoding.word_tags import require_iob2

TASK = TASKS["token-classification"]
COLUMNS = {"tokens": "tokens", "tags": "tags"}
TYPES = ("PER", "LOC", "人名", "شخص", "event-name")
NAMES = {
    "ru": ("Анна", "Санкт-Петербург"),
    "ar": ("مَريَم", "القاهرة"),
    "hi": ("नरेन्द्र", "दिल्ली"),
    "th": ("สมชาย", "กรุงเทพมหานคร"),
    "ja": ("山", "田"),
    "ko": ("김철수는", "서울"),
    "zh": ("王", "明"),
    "de": ("Jürgen", "Köln"),
}

Rows = list[list[str]]


def drawn(marks: str, suffixed: bool, generator: random.Random) -> list[str]:
    """A row of tags that need make no sense, as a model predicts them."""
    row = []
    for _ in range(generator.randint(2, 12)):
        mark, kind = generator.choice(marks), generator.choice(TYPES)
        row.append("O" if generator.random() < 0.35 else f"{kind}-{mark}" if suffixed else f"{mark}-{kind}")
    return row


def both_sides(marks: str, suffixed: bool, seed: int) -> tuple[Rows, Rows]:
    """Rows of tags, and others that are equal to them in most places."""
    generator = random.Random(seed)
    truth = [drawn(marks, suffixed, generator) for _ in range(generator.randint(3, 7))]
    others = [(drawn(marks, suffixed, generator) * 12)[: len(row)] for row in truth]
    pairs = [zip(row, other, strict=True) for row, other in zip(truth, others, strict=True)]
    return truth, [[one if generator.random() < 0.6 else other for one, other in pair] for pair in pairs]


def spans_drawn(generator: random.Random, words: int) -> list[tuple[str, int, int]]:
    spans, place = [], 0
    while place < words:
        end = min(words, place + generator.randint(1, 3))
        if generator.random() < 0.5:
            spans.append((generator.choice(TYPES[:3]), place, end))
        place = end
    return spans


def written(spans: list[tuple[str, int, int]], words: int, scheme: str) -> list[str]:
    """The tags that mark spans, in a scheme."""
    row = ["O"] * words
    before = ("", 0)
    for kind, start, end in spans:
        marks = {
            "IOB2": "B" + "I" * (end - start - 1),
            "IOB1": ("B" if before == (kind, start) else "I") + "I" * (end - start - 1),
            "IOE2": "I" * (end - start - 1) + "E",
            "IOBES": "S" if end - start == 1 else "B" + "I" * (end - start - 2) + "E",
            "BILOU": "U" if end - start == 1 else "B" + "I" * (end - start - 2) + "L",
            "suffix": "B" + "I" * (end - start - 1),
        }[scheme]
        row[start:end] = [f"{kind}-{mark}" if scheme == "suffix" else f"{mark}-{kind}" for mark in marks]
        before = (kind, end)
    return row


def scored(truth: Rows, predicted: Rows):
    """The observations of a file of predictions against a dataset, as the command makes them."""
    rows = Dataset.from_dict({"tokens": [["word"] * len(row) for row in truth], "tags": truth})
    conversion = tags.find(rows, "tokens", "tags")
    rows = rows if conversion is None else conversion.apply(rows)
    settings = TaskSettings(COLUMNS, 0, labels=TASK.columns.prediction_labels([rows], COLUMNS))
    predictions = [{"prediction": row, "place": number} for number, row in enumerate(predicted, start=1)]
    return TASK.answers.arrays_from_predictions(rows, predictions, settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("marks", "suffixed"), [("BI", False), ("BIES", False), ("IE", False), ("BI", True), ("BIES", True), ("I", False)]
)
def test_200_cases_of_any_tags_score_as_seqeval_scores_them(marks, suffixed):
    options = {"suffix": suffixed, "zero_division": 0}
    for seed in range(200):
        truth, predicted = both_sides(marks, suffixed, seed)
        found = scored(truth, predicted)
        for name, reference in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
            assert metrics.value(name, found) == pytest.approx(reference(truth, predicted, **options)), (seed, name)
        macro = f1_score(truth, predicted, average="macro", **options)
        assert metrics.value("f1_macro", found) == pytest.approx(macro), seed


@pytest.mark.parametrize("theirs", ["IOB2", "IOB1", "IOE2", "IOBES", "BILOU", "suffix"])
@pytest.mark.parametrize("ours", ["IOB2", "IOB1", "IOBES", "suffix"])
def test_the_same_spans_score_alike_whatever_scheme_each_side_writes(ours, theirs):
    generator = random.Random(7)
    sizes = [generator.randint(4, 12) for _ in range(40)]
    truth, predicted = ([spans_drawn(generator, size) for size in sizes] for _ in range(2))
    right, guessed = (
        [written(spans, size, "IOB2") for spans, size in zip(side, sizes, strict=True)] for side in (truth, predicted)
    )
    found = scored(
        [written(spans, size, ours) for spans, size in zip(truth, sizes, strict=True)],
        [written(spans, size, theirs) for spans, size in zip(predicted, sizes, strict=True)],
    )
    assert metrics.value("f1", found) == pytest.approx(f1_score(right, guessed))
    assert metrics.value("accuracy", found) == pytest.approx(accuracy_score(right, guessed))
    strict = [
        [written(spans, size, "IOBES") for spans, size in zip(side, sizes, strict=True)] for side in (truth, predicted)
    ]
    assert metrics.value("f1", found) == pytest.approx(f1_score(*strict, mode="strict", scheme=IOBES))


@pytest.mark.parametrize("theirs", ["IOB2", "IOB1", "IOBES", "BILOU", "typed"])
@pytest.mark.parametrize("ours", ["IOB2", "IOBES"])
def test_marks_without_a_type_on_both_sides_score_as_those_of_one_type(ours, theirs):
    generator = random.Random(11)
    sizes = [generator.randint(4, 12) for _ in range(40)]
    truth, predicted = (
        [[("X", start, end) for _, start, end in spans_drawn(generator, size)] for size in sizes] for _ in range(2)
    )

    def tags_of(side, scheme):
        return [written(spans, size, scheme) for spans, size in zip(side, sizes, strict=True)]

    def untyped(rows, kind=""):
        return [[tag.replace("-X", kind) for tag in row] for row in rows]

    kind, scheme = ("-ENTITY", "IOBES") if theirs == "typed" else ("", theirs)
    guesses = untyped(tags_of(predicted, scheme), kind)
    found = scored(untyped(tags_of(truth, ours)), guesses)
    assert metrics.value("f1", found) == pytest.approx(f1_score(tags_of(truth, "IOB2"), tags_of(predicted, "IOB2")))


BIO = [["B-PER", "I-PER", "O", "O", "B-LOC"], ["B-PER", "O"]]
SUFFIXED = [["PER-B", "PER-I", "O", "O", "LOC-B"], ["PER-B", "O"]]
WORDS = [["Anna", "Maria", "lives", "in", "Rome"], ["Bob", "left"]]


@pytest.fixture
def scores(llmkit, tmp_path):
    """Run `llmkit eval DATA --predictions FILE` on two rows of tags."""

    def run(truth, predicted):
        rows = zip(WORDS, truth, strict=True)
        data = [{"id": number, "tokens": words, "ner_tags": row} for number, (words, row) in enumerate(rows)]
        guessed = [{"id": number, "prediction": row} for number, row in enumerate(predicted)]
        arguments = write_jsonl(tmp_path / "data.jsonl", data), write_jsonl(tmp_path / "guessed.jsonl", guessed)
        return llmkit("eval", arguments[0], "--predictions", arguments[1], "--resamples", 0, "--json")

    return run


@pytest.mark.parametrize(
    ("truth", "predicted", "f1", "said"),
    [
        (BIO, [["B-PER", "E-PER", "O", "O", "S-LOC"], ["S-PER", "O"]], 1.0, "their tags are BIOES, read as IOB2"),
        (BIO, [["B-PER", "L-PER", "O", "O", "U-LOC"], ["U-PER", "O"]], 1.0, "their tags are BILOU"),
        (SUFFIXED, [["PER-B", "O", "O", "O", "LOC-B"], ["PER-B", "O"]], 2 / 3, "with the marks last ('PER-B' is B-PER"),
        (BIO, [["B_PER", "I_PER", "o", "o", "B_LOC"], ["B_PER", "o"]], 1.0, "'B_PER' is B-PER"),
        (BIO, [["b-per", "i-per", "0", "0", "b-loc"], ["b-per", "0"]], 1.0, "'b-per' is B-PER"),
        (BIO, [["PER", "PER", "O", "O", "LOC"], ["PER", "O"]], 1.0, "types without marks"),
        ([["PER", "PER", "O", "O", "LOC"], ["PER", "O"]], BIO, 1.0, "read"),
        (BIO, [["O", "O", "O", "O", "S-LOC"], ["O", "O"]], 0.5, "BIOES"),
        (BIO, [["O", "E-PER", "O", "O", "O"], ["E-PER", "O"]], 0.4, "IOE"),
        (BIO, [["O"] * 5, ["O"] * 2], 0.0, "read"),
        ([["O"] * 5, ["O"] * 2], BIO, 0.0, "read"),
        (
            [["S-PER", "S-PER", "O", "O", "O"], ["S-PER", "O"]],
            [["S-PER"] * 2 + ["O"] * 3, ["S-PER", "O"]],
            1.0,
            "BIOES",
        ),
        (
            [["B-人名", "I-人名", "O", "O", "B-地名"], ["B-人名", "O"]],
            [["人名-B", "人名-I", "O", "O", "地名-B"], ["人名-B", "O"]],
            1.0,
            "'人名-B' is B-人名",
        ),
        (
            [["B_شخص", "I_شخص", "O", "O", "B_مكان"], ["B_شخص", "O"]],
            [["B-شخص", "E-شخص", "O", "O", "S-مكان"], ["S-شخص", "O"]],
            1.0,
            "BIOES",
        ),
    ],
)
def test_schemes_are_told_apart_and_said_and_classes_are_types(scores, truth, predicted, f1, said):
    ran = scores(truth, predicted)
    assert ran.code == 0, ran.err
    assert values(ran.json)["f1"] == pytest.approx(f1)
    assert said in ran.err or said == "read"
    assert not [name for name in ran.json["per_class"] if "-" in name]
    assert ran.json["metrics"]["f1"]["signature"] == "spans|tags:IOB2|mode:default|as:seqeval"


def test_the_figures_of_each_type_are_those_of_seqevals_report(scores):
    predicted = [["PER-B", "O", "O", "O", "LOC-B"], ["PER-B", "O"]]
    ran = scores(SUFFIXED, predicted)
    report = classification_report(SUFFIXED, predicted, suffix=True, output_dict=True)
    assert set(ran.json["per_class"]) == {"PER", "LOC"}
    for name, figures in ran.json["per_class"].items():
        assert figures["f1"] == pytest.approx(report[name]["f1-score"])
        assert figures["support"] == report[name]["support"]


@pytest.mark.parametrize(
    ("predicted", "sentence"),
    [
        ([["B", "I", "O", "O", "B"], ["B", "O"]], "their tags 'B', 'I' have no type"),
        ([["B-", "I-", "O", "O", "B-"], ["B-", "O"]], "their tags 'B-', 'I-' have no type"),
        ([["B-PER", "PER-I", "O", "O", "O"], ["B-PER", "O"]], "first in 'B-PER' and last in 'PER-I'"),
        ([["B-X", "I-X", "O", "O", "O"], ["O", "O"]], "their tags are of 'X', the dataset's of 'LOC', 'PER'"),
    ],
)
def test_tags_of_no_scheme_are_refused_with_what_is_wanted(scores, predicted, sentence):
    ran = scores(BIO, predicted)
    assert ran.code == 2
    assert sentence in ran.err


def test_a_mark_that_can_be_first_or_last_is_refused():
    truth = [["B-I", "I-I", "O", "B-B"]]
    with pytest.raises(DataError, match="can be its first letter or its last"):
        scored(truth, [["B-I", "I-I", "O", "I-B"]])


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("O", "B-PER", "I-PER", "E-PER", "S-PER"), "BIOES, BILOU or BMES, and IOB2 is wanted"),
        (("O", "PER-B", "PER-I"), "write B-PER for 'PER-B', I-PER for 'PER-I'"),
        (("O", "B_PER", "I_PER"), "write B-PER for 'B_PER'"),
        (("0", "B-PER", "I-PER"), "write O for '0'"),
        (("O", "B", "I"), "write B-ENTITY for 'B'"),
    ],
)
def test_a_model_with_other_marks_is_refused(names, sentence):
    with pytest.raises(DataError, match=sentence.replace("(", r"\(")):
        require_iob2(names)


@pytest.mark.parametrize("names", [("O", "B-PER", "I-PER"), ("O", "PER", "LOC"), ("NN", "VB"), ("O", "B-per", "B-PER")])
def test_a_model_whose_tags_are_iob2_or_types_is_taken(names):
    require_iob2(names)


@pytest.mark.parametrize("language", NAMES)
def test_entities_in_eight_languages_score_as_seqeval_scores_them(llmkit, tmp_path, language):
    generator = random.Random(language)
    rows, guessed = [], []
    for number in range(25):
        size = generator.randint(3, 8)
        words = [generator.choice(NAMES[language]) for _ in range(size)]
        truth, predicted = (written(spans_drawn(generator, size), size, scheme) for scheme in ("IOB2", "IOBES"))
        rows.append({"id": number, "tokens": words, "ner_tags": truth})
        guessed.append({"id": number, "prediction": predicted})
    data, file = write_jsonl(tmp_path / "data.jsonl", rows), write_jsonl(tmp_path / "guessed.jsonl", guessed)
    ran = llmkit("eval", data, "--predictions", file, "--resamples", 0, "--json")
    assert ran.code == 0, ran.err
    reference = f1_score([row["ner_tags"] for row in rows], [row["prediction"] for row in guessed])
    assert values(ran.json)["f1"] == pytest.approx(reference)
