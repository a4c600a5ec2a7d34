"""Libraries that come with an extra of the package: refused in one sentence where they are missing."""

from __future__ import annotations

import importlib.util

from llmkit.errors import LlmkitError, OptionError


def is_installed(module: str) -> bool:
    """Tell whether there is a library of that name, without importing it."""
    return importlib.util.find_spec(module) is not None


def needs_extra(feature: str, extra: str, what: str) -> str:
    """Return the sentence that a feature needs something, which an extra installs."""
    return f"{feature} needs {what}: pip install 'llmkit[{extra}]'"


def require_extra(
    feature: str, extra: str, *modules: str, what: str = "", error: type[LlmkitError] = OptionError
) -> None:
    """Demand the libraries of a feature.

    Args:
        feature: a flag, or what the user knows it by.
        extra: what installs them.
        modules: the libraries, by the names that they are imported by.
        what: how the sentence calls them, if not by the name of the one that is missing.
        error: of which kind the refusal is.

    Raises:
        LlmkitError: of that kind, where one of them is missing.
    """
    for module in modules:
        if not is_installed(module):
            raise error(needs_extra(feature, extra, what or module))
