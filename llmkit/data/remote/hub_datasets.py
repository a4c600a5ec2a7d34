"""Datasets of the Hub, or in a folder as the Hub has them: by the names that people type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmkit.errors import DataError, HubError, did_you_mean, listing, one_line

if TYPE_CHECKING:
    from datasets import DatasetDict, IterableDatasetDict

# names that people type, and where the Hub keeps them today
HOMES = {
    "ag_news": "fancyzhx/ag_news",
    "glue": "nyu-mll/glue",
    "imdb": "stanfordnlp/imdb",
    "rotten_tomatoes": "cornell-movie-review-data/rotten_tomatoes",
    "super_glue": "aps/super_glue",
    "tiny_shakespeare": "karpathy/tiny_shakespeare",
    "wikitext": "Salesforce/wikitext",
    "yelp_polarity": "fancyzhx/yelp_polarity",
}


def hub_name(reference: str) -> tuple[str, str | None]:
    """Return the Hub's name and the configuration: `glue/mrpc` is nyu-mll/glue with mrpc."""
    name, _, config = reference.partition(":")
    owner, _, rest = name.partition("/")
    if owner in HOMES and (rest or config):
        return HOMES[owner], rest or config
    return HOMES.get(name, name), config or None


def load_splits(
    name: str, config: str | None, revision: str | None = None, streaming: bool = False
) -> DatasetDict | IterableDatasetDict:
    """Return what `datasets.load_dataset` does, of all splits.

    Raises:
        DataError: there is no such configuration, or it cannot be opened.
        HubError: it is not on this machine, and the Hub cannot be asked.
    """
    from datasets import load_dataset

    try:
        return load_dataset(name, config, revision=revision, streaming=streaming)
    except ValueError as error:
        message = str(error)
        if "Config name is missing" in message or "BuilderConfig" in message:
            raise DataError(_which_config(name, config)) from error
        raise DataError(f"{name!r} cannot be opened: {one_line(message)}") from error
    except (FileNotFoundError, RuntimeError) as error:
        if isinstance(error, ConnectionError) or "offline" in str(error).lower():
            raise HubError(f"dataset {name!r} is not on this machine and the Hub cannot be asked") from error
        raise DataError(f"{name!r} cannot be opened: {one_line(error, 300)}") from error


def _which_config(name: str, config: str | None) -> str:
    from datasets import get_dataset_config_names

    known = get_dataset_config_names(name)
    short = next((short for short, home in HOMES.items() if home == name), None)
    example = f"{short}/{known[0]}" if short else f"{name}:{known[0]}"
    if config is None:
        return f"{name!r} has several configurations ({listing(known)}); name one, for example {example}"
    return f"{name!r} has no configuration {config!r}{did_you_mean(config, known)}; it has {listing(known)}"
