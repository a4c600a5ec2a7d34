"""Data and model folders that a command names: those that are not there are said before the libraries are imported."""

from __future__ import annotations

from collections.abc import Sequence

from llmkit.options import ModelOptions

# in URLs, datasets with a weight or a configuration, and suites: their readers tell what is not there
LATER = ("://", "@", ":", ".yaml", ".yml")


def require_named(model: ModelOptions, datasets: Sequence[str] = ()) -> None:
    """Refuse a model folder that holds no model, and names of data that read as paths where nothing is.

    Call behind `quiet_libraries`.

    Raises:
        ModelError: the folder holds no model.
        DataError: there is no such file or folder.
    """
    from llmkit.data.loading import local_path
    from llmkit.models import require_folder

    for name in datasets:
        if name != "-" and not any(mark in name for mark in LATER):
            local_path(name)
    require_folder(model)
