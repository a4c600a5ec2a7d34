"""Rows of texts in several languages, as WMT has them: a column for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset


def unfolded(dataset: Dataset) -> Dataset:
    """Return a dataset with a column for each language in place of WMT's {"translation": {"en": ..., "de": ...}}."""
    from datasets import Translation

    feature = dataset.features.get("translation")
    is_texts = isinstance(feature, dict) and all(getattr(item, "dtype", None) == "string" for item in feature.values())
    if not is_texts and not isinstance(feature, Translation):
        return dataset
    languages = feature.languages if isinstance(feature, Translation) else list(feature)
    if set(languages) & set(dataset.column_names):
        return dataset
    columns = {f"translation.{language}": language for language in languages}
    return dataset.flatten().rename_columns(columns)
