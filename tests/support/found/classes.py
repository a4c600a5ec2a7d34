"""Texts with labels, as people have them: what labels are called, how they are written, what stands beside them."""

from __future__ import annotations

import json
from pathlib import Path

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from found.writing import (
    LABELS,
    OTHER_LABELS,
    OTHERS,
    TEXTS,
    Writer,
    csv_of,
    cycled,
    jsonl_of,
    one,
    reviews,
    several,
    table,
)

DAYS = [f"2021-03-{day:02}" for day in range(1, 25)]
LINKS = [f"https://news.example.org/articles/{'x' * 50}/{row}" for row in range(24)]
NUMBERS = [str(row * 11) for row in range(24)]


def odd_splits(folder: Path) -> Path:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good", "never"])})

    def rows(texts: tuple[str, ...]) -> Dataset:
        return Dataset.from_dict({"text": texts, "label": cycled(0, 1, rows=len(texts))}, features=features)

    DatasetDict(training=rows(TEXTS), evaluation=rows(OTHERS)).save_to_disk(folder / "saved")
    return folder / "saved"


def splits_of(train: list[object], validation: list[object], kind: str = "csv") -> Writer:
    """Write labelled texts of two splits, as tables or as lines of JSON."""
    write = csv_of if kind == "csv" else jsonl_of
    rows = {"train": reviews(label=train), "validation": table({"text": OTHERS, "label": validation[:12]})}
    return several({f"{split}.{kind}": write(part) for split, part in rows.items()})


def codes(*labels: str, name: str = "label") -> Writer:
    """Write texts with labels that look like numbers."""
    return one("codes.csv", csv_of(reviews(**{name: cycled(*labels)})))


KINDS: dict[str, Writer] = {
    "agnews": one(
        "train.csv",
        csv_of(table({"Class Index": cycled(1, 2, 3, 4), "Title": [f"News {n}" for n in DAYS], "Description": TEXTS})),
    ),
    "kaggle_emotion": one("emotions.csv", csv_of(reviews(emotion=cycled("love", "fear", "surprise")))),
    "kaggle_quora": one(
        "train.csv",
        csv_of(
            table(
                {
                    "id": range(24),
                    "qid1": range(100, 148, 2),
                    "qid2": range(101, 149, 2),
                    "question1": [f"Is it so that {text}?" for text in TEXTS],
                    "question2": [f"Was it true that {text}?" for text in TEXTS],
                    "is_duplicate": cycled(0, 1, 1),
                }
            )
        ),
    ),
    "kaggle_news_json": one(
        "News_Category.json",
        jsonl_of(
            table(
                {
                    "link": LINKS,
                    "headline": [f"News of {day}" for day in DAYS],
                    "category": cycled("POLITICS", "WELLNESS", "TRAVEL"),
                    "short_description": TEXTS,
                    "authors": cycled("Ann Lee"),
                    "date": DAYS,
                }
            )
        ),
    ),
    "longest_is_url": one("links.csv", csv_of(table({"url": LINKS, "title": TEXTS, "topic": cycled("a", "b")}))),
    "class_folders": several({f"{label}/{row}.txt": text for row, (text, label) in enumerate(zip(TEXTS, LABELS))}),
    "toxic_onehot": one(
        "train.csv",
        csv_of(
            table(
                {
                    "id": [f"{row:016x}" for row in range(24)],
                    "comment_text": TEXTS,
                    "toxic": cycled(1, 0, 1),
                    "obscene": cycled(0, 1),
                    "threat": cycled(0, 0, 0, 1),
                    "insult": cycled(1, 0, 0),
                }
            )
        ),
    ),
    "onehot2": one("rows.jsonl", jsonl_of(reviews(labels=cycled([1, 0, 0], [0, 1, 1], [0, 0, 0])))),
    "multi_comma": one("tags.csv", csv_of(reviews(labels=cycled("art,home", "art", "home,nature", "nature")))),
    "float_labels_nan": one("reviews.csv", csv_of(reviews(label=cycled("1.0", "0.0", "1.0", "")))),
    "float_labels_five": one("stars.csv", csv_of(reviews(stars=cycled("1.0", "2.0", "3.0", "4.0", "5.0")))),
    "big_ids": codes("36893488147419103233", "36893488147419103234"),
    "decimal_comma": one(
        "marks.csv", csv_of(reviews(score=[f"{row % 5},{row % 7}" for row in range(24)]), delimiter=";")
    ),
    "json_float_val": splits_of(cycled(1, 0), cycled(1.0, 0.0), "jsonl"),
    "json_float_train_str_val": splits_of(cycled(0.5, 2.5), cycled("bad", "good"), "jsonl"),
    "zeros_val": several(
        {
            "train.csv": csv_of(reviews(label=cycled("003", "021"))),
            "validation.jsonl": jsonl_of(table({"text": OTHERS, "label": cycled("003", "021", rows=12)})),
        }
    ),
    "csv_bool_train_int_val": splits_of(cycled("True", "False"), cycled("1", "0")),
    "csv_int_train_float_test": several(
        {
            "train.csv": csv_of(reviews(label=cycled("1", "0"))),
            "test.csv": csv_of(table({"text": OTHERS, "label": ["", *cycled("1.0", "0.0", rows=11)]})),
        }
    ),
    "reg_inf": one("marks.csv", csv_of(reviews(score=["1.5", "0.25", "-inf", *cycled("2.5", "0.75", rows=21)]))),
    "reg_percent": one("marks.csv", csv_of(reviews(score=cycled("15%", "80%")))),
    "text_numbers": one("numbers.csv", csv_of(table({"text": NUMBERS, "label": LABELS}))),
    "disk_odd_splits": odd_splits,
    "mixed_folder": several(
        {
            "train_1.csv": csv_of(reviews(label=cycled("1", "0"))),
            "train_2.jsonl": jsonl_of(table({"text": OTHERS, "label": OTHER_LABELS})),
        }
    ),
    "meta_mixed": one("rows.jsonl", jsonl_of(reviews(label=LABELS, meta=cycled({"page": 3}, "unknown", None)))),
    "test_without_label": several(
        {
            "train.csv": csv_of(reviews()),
            "test.csv": csv_of(table({"text": OTHERS})),
            "sample_submission.csv": csv_of([{"id": 0, "label": "positive"}, {"id": 1, "label": "positive"}]),
        }
    ),
    "val_other_columns": several(
        {"train.csv": csv_of(reviews()), "dev.csv": csv_of(table({"sentence": OTHERS, "label": OTHER_LABELS}))}
    ),
    "integer_scores_as_classes": one("scores.csv", csv_of(reviews(score=[(row * 41) % 97 for row in range(24)]))),
    "labels_hex": codes("0x0F", "0x1F"),
    "labels_invisible_variants": codes("r\u00e9sum\u00e9", "re\u0301sume\u0301", "not\u00a0junk", "not junk", "Junk"),
    "labels_leading_zeros_merged": codes("01", "1", "02", "10"),
    "labels_plus_minus_one": codes("+1", "-1"),
    "labels_version_numbers_merged": codes("3.10", "3.1", "4.0"),
    "pair_half_dropped": one(
        "pairs.csv",
        csv_of(
            table({"sent_1": TEXTS, "sent_2": [f"they say {text} or not" for text in TEXTS], "label": cycled("0", "1")})
        ),
    ),
    "text_column_leading_zeros": one(
        "numbers.csv", csv_of(table({"text": [n.zfill(5) for n in NUMBERS], "label": LABELS}))
    ),
    "typed_per_file": splits_of(cycled("005", "B31"), cycled("005")),
    "json_data_key": one("export.json", json.dumps({"version": 2, "data": reviews()})),
    "json_pandas_split": one(
        "frame.json",
        json.dumps(
            {"columns": ["text", "label"], "index": list(range(24)), "data": [list(row) for row in zip(TEXTS, LABELS)]}
        ),
    ),
    "jsonl_array": one("rows.jsonl", json.dumps(reviews())),
    "jsonl_pretty": one("rows.jsonl", "\n".join(json.dumps(row, indent=2) for row in reviews()) + "\n"),
}
