"""Raw text to pretrain on: several sources into training documents and held-out ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from llmkit.data import Source
from llmkit.data.splits import END_SHARE, VALIDATIONS, ComponentRecord, TrainAndValidation, cut_end, select
from llmkit.errors import DataError, EmptyError, listing
from llmkit.options import CorpusOptions, SplitOptions
from llmkit.output.report import Report
from llmkit.tasks import require_roles
from llmkit.tasks.base.language_modeling import text_column, usable_texts
from llmkit.training.rows.mixture import MixtureComponent

HELD_OUT_SHARE = END_SHARE  # of the documents too
FEW_DOCUMENTS = 20  # under which the held-out text is the end of each rather than whole documents


@dataclass(frozen=True)
class Corpus:
    """Documents in one column, `text`."""

    sources: tuple[Source, ...]
    rows: TrainAndValidation


def read_corpus(
    components: Sequence[MixtureComponent], data: CorpusOptions, splits: SplitOptions, seed: int, report: Report
) -> Corpus:
    """Take the texts of every source, and hold out what is measured on: validation splits, else a cut of 5%.

    Documents are here once each, whatever the weight of their source.

    Raises:
        DataError: a source has no text column.
        EmptyError: there is no text.
    """
    require_roles(data.columns, ("text",))
    component_records, train, held_out = list[ComponentRecord](), list[str](), list[str]()
    for component in components:
        source = component.source
        kept, cut, origin = _documents(source, data, splits, seed)
        sizes = len(kept), len(cut)
        counts = f"{sizes[0]} documents to train on{component.times}, {sizes[1]} held out ({origin})"
        report.say(f"{source.reference}: {counts}")
        component_records.append(
            ComponentRecord(source.reference, source.commit, component.weight, *sizes, origin, None)
        )
        train += kept
        held_out += cut
    if not train or not held_out:
        names = listing(component.reference for component in component_records)
        raise EmptyError(f"{names}: too little text to train on and to measure on")
    rows = TrainAndValidation(
        Dataset.from_dict({"text": train}),
        Dataset.from_dict({"text": held_out}),
        "held-out text",
        component_records=tuple(component_records),
    )
    return Corpus(tuple(component.source for component in components), rows)


def _documents(
    source: Source, data: CorpusOptions, splits: SplitOptions, seed: int
) -> tuple[list[str], list[str], str]:
    """Return the documents to train on, those that are held out, and a phrase on where these come from."""
    train = _texts(source, splits.train_split, data)
    name = splits.validation or next((name for name in VALIDATIONS if name in source.splits), None)
    if name is not None:
        return train, _texts(source, name, data), f"split {name}"
    if len(train) >= FEW_DOCUMENTS:
        order = np.random.default_rng(seed).permutation(len(train))
        count = max(1, round(len(train) * HELD_OUT_SHARE))
        held_out = set(order[:count].tolist())
        kept = [text for row, text in enumerate(train) if row not in held_out]
        return kept, [train[row] for row in sorted(held_out)], f"{HELD_OUT_SHARE:.0%} of the documents, seed {seed}"
    pairs = [cut_end(text) for text in train]
    kept, ends = [start for start, _ in pairs], [end for _, end in pairs if end.strip()]
    return kept, ends, f"the last {HELD_OUT_SHARE:.0%} of each document"


def _texts(source: Source, split: str, data: CorpusOptions) -> list[str]:
    rows = select(source.splits, split, data.limit)
    columns = text_column(rows, data.columns)
    if columns is None or columns["text"] not in rows.column_names:
        raise DataError(f"there is no text column among {listing(rows.column_names)}; name it with --column text=NAME")
    if columns["text"] in source.mixed:
        raise DataError(source.mixed[columns["text"]])
    texts = rows[columns["text"]][:]
    return [str(texts[row]) for row in usable_texts(rows, columns)]
