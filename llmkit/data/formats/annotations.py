"""Files of annotated texts as tools write them, made into rows with a text and a list of its spans.

spaCy's pairs of a text and its entities, the same under `annotations` beside `classes`, spaCy 2's training files, Label
Studio's full export, LightTag's examples, and CLUENER's spans by type. What is a list of flat objects already (doccano,
prodigy, Label Studio's small export) is read as any other; only the lists of doccano, [start, end, label], which arrow
cannot hold, are made into objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llmkit.errors import DataError, shortened

SPAN_KEYS = ("start", "end", "label")
SPANS = "entities"  # the column of spans in rows that are made here
Rows = list[dict[str, Any]]


def read_annotations(value: object, where: str) -> Rows | None:
    """Return rows with `text` and `entities` of what a JSON file holds, or None where it is no such file.

    A text that nobody annotated has null for its entities.

    Raises:
        DataError: one of the items is not as all others; its number is named.
    """
    if isinstance(value, Mapping):
        if isinstance(value.get("annotations"), list) and "classes" in value:
            return _pairs([item for item in value["annotations"] if item is not None], where)
        examples = value.get("examples")
        if isinstance(examples, list) and examples and all(_is_light_tag(item) for item in examples):
            return [{"text": item["content"], SPANS: _light_tag_spans(item)} for item in examples]
        return None
    if not isinstance(value, list) or not value:
        return None
    if _is_pair(value[0]):
        return _pairs(value, where)
    if isinstance(value[0], Mapping) and isinstance(value[0].get("data"), Mapping):
        return _label_studio(value)
    return _by_type(value) or _of_training(value)


def span_objects(cells: Sequence[object]) -> list[object] | None:
    """Return cells of lists of [start, end, label] as lists of objects, or None where they are something else."""
    if not isinstance(next((cell for cell in cells if cell is not None), None), list):
        return None
    is_list = [isinstance(cell, list) for cell in cells]
    items = [item for cell in cells if isinstance(cell, list) for item in cell]
    if not items or not all(map(_is_triple, items)):
        return None
    if not all(known or cell is None for known, cell in zip(is_list, cells, strict=True)):
        return None
    return [_objects(cell) if isinstance(cell, list) else None for cell in cells]


def _is_triple(item: object) -> bool:
    return (
        isinstance(item, list | tuple)
        and len(item) == len(SPAN_KEYS)
        and all(isinstance(place, int) and not isinstance(place, bool) for place in item[:2])
        and isinstance(item[2], str)
    )


def _objects(spans: Iterable[Any]) -> Rows:
    return [dict(zip(SPAN_KEYS, span, strict=True)) for span in spans]


def _is_pair(item: object) -> bool:
    """Tell whether an item is a text and its entities, as spaCy's training data was written."""
    return (
        isinstance(item, list | tuple)
        and len(item) == 2
        and isinstance(item[0], str)
        and isinstance(item[1], Mapping)
        and isinstance(item[1].get("entities"), list)
    )


def _pairs(items: Sequence[Any], where: str) -> Rows:
    rows = []
    for number, item in enumerate(items, start=1):
        if not _is_pair(item) or not all(map(_is_triple, item[1]["entities"])):
            raise DataError(
                f'{where}, item {number}: ["a text", {{"entities": [[start, end, "label"]]}}] is wanted, '
                f"not {shortened(item)}"
            )
        rows.append({"text": item[0], SPANS: _objects(item[1]["entities"])})
    return rows


def _by_type(items: Sequence[Any]) -> Rows | None:
    """Return the texts and spans of CLUENER's lines, {"type": {"words": [[first, last]]}}, or None."""
    if not all(isinstance(item, Mapping) and isinstance(item.get("text"), str) for item in items):
        return None
    kinds = [item.get("label") for item in items]
    if not any(kinds) or not all(kind is None or (isinstance(kind, Mapping) and _is_by_type(kind)) for kind in kinds):
        return None
    return [
        {
            **{name: cell for name, cell in item.items() if name != "label"},
            SPANS: None if kind is None else [*_spans_by_type(kind)],
        }
        for item, kind in zip(items, kinds, strict=True)
    ]


def _is_by_type(kinds: Mapping[str, Any]) -> bool:
    places = [places for words in kinds.values() if isinstance(words, Mapping) for places in words.values()]
    bounds = [place for found in places if isinstance(found, list) for place in found]
    are_mappings = all(isinstance(words, Mapping) for words in kinds.values())
    return are_mappings and all(isinstance(place, list) and len(place) == 2 for place in bounds)


def _spans_by_type(kinds: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for label, words in kinds.items():
        for text, places in words.items():
            yield from ({"start": start, "end": last, "label": label, "text": text} for start, last in places)


def _of_training(items: Sequence[Any]) -> Rows | None:
    """Return the words and tags of the sentences of spaCy 2's own training files, or None."""
    if not all(isinstance(item, Mapping) and isinstance(item.get("paragraphs"), list) for item in items):
        return None
    paragraphs = [paragraph for item in items for paragraph in item["paragraphs"] if isinstance(paragraph, Mapping)]
    sentences = [sentence for paragraph in paragraphs for sentence in paragraph.get("sentences") or ()]
    lists = [sentence.get("tokens") or [] for sentence in sentences if isinstance(sentence, Mapping)]
    words = [word for tokens in lists for word in tokens]
    if not words or not all(isinstance(word, Mapping) and {"orth", "ner"} <= word.keys() for word in words):
        return None
    return [{"tokens": [w["orth"] for w in tokens], "tags": [w["ner"] for w in tokens]} for tokens in lists]


def _is_light_tag(item: object) -> bool:
    return (
        isinstance(item, Mapping) and isinstance(item.get("content"), str) and isinstance(item.get("annotations"), list)
    )


def _light_tag_spans(item: Mapping[str, Any]) -> Rows:
    return [
        {"start": span.get("start"), "end": span.get("end"), "label": span.get("tag")} for span in item["annotations"]
    ]


def _label_studio(items: Sequence[Any]) -> Rows | None:
    """Return the texts of Label Studio's full export with their spans or their classes; None where it has neither."""
    rows: Rows = []
    for item in items:
        if not isinstance(item, Mapping) or not isinstance(item.get("data"), Mapping):
            return None
        annotations = item.get("annotations", item.get("completions")) or []
        done = [one for one in annotations if isinstance(one, Mapping) and not one.get("was_cancelled")]
        results = done[0].get("result") or [] if done else []
        values = [result["value"] for result in results if isinstance(result, Mapping) and _is_region(result)]
        text = _text_of(item["data"], results)
        if text is None:
            return None
        spans = [
            {"start": value.get("start"), "end": value.get("end"), "label": _only(value), "text": value.get("text")}
            for value in values
        ]
        rows.append({"text": text, SPANS: spans if done else None, "labels": _choices(results) if done else None})
    if any(row[SPANS] for row in rows):
        return [{"text": row["text"], SPANS: row[SPANS]} for row in rows]
    if not any(row["labels"] for row in rows):
        return None
    if any(len(row["labels"] or ()) > 1 for row in rows):
        return [{"text": row["text"], "labels": row["labels"]} for row in rows]
    return [{"text": row["text"], "label": (row["labels"] or [None])[0]} for row in rows]


def _choices(results: Iterable[Any]) -> list[str]:
    """Return the classes that a person chose for a text."""
    values = [result.get("value") for result in results if isinstance(result, Mapping)]
    chosen = [value.get("choices") for value in values if isinstance(value, Mapping)]
    return [str(name) for names in chosen if isinstance(names, list) for name in names]


def _is_region(result: Mapping[str, Any]) -> bool:
    """Tell whether a result is a span of a text: relations, choices and ratings are others."""
    value = result.get("value")
    return isinstance(value, Mapping) and {"start", "end"} <= value.keys() and _only(value) is not None


def _only(value: Mapping[str, Any]) -> str | None:
    labels = value.get("labels") or value.get("hypertextlabels") or []
    return str(labels[0]) if labels else None


def _text_of(data: Mapping[str, Any], results: Sequence[Any]) -> str | None:
    """Return the text that the spans are of: what the results name, or `text`, or the only string."""
    names = [result["to_name"] for result in results if isinstance(result, Mapping) and "to_name" in result]
    strings = {name: text for name, text in data.items() if isinstance(text, str)}
    named = next((strings[name] for name in (*names, "text") if name in strings), None)
    return named if named is not None else max(strings.values(), key=len, default=None)
