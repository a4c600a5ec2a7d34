"""Where pictures are drawn: matplotlib without a screen, with fonts for any label; a picture is written whole."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from llmkit.output.atomic import staged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EAST_ASIAN_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "SimHei",
)
DPI = 130
BLUE, ORANGE, GREY = "tab:blue", "tab:orange", "0.6"


@contextmanager
def canvas(framed: bool = False) -> Iterator[ModuleType]:
    """Yield pyplot without a screen, where any label is text: no formula between dollars, no missing-glyph warnings.

    Axes have a line at the left and the bottom; where they are `framed`, at the right and the top too.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import font_manager
    from matplotlib import pyplot as plt

    installed = {font.name for font in font_manager.fontManager.ttflist}
    families = ["DejaVu Sans", *(name for name in EAST_ASIAN_FONTS if name in installed)]
    style = {"font.family": families, "text.parse_math": False, "axes.spines.top": framed, "axes.spines.right": framed}
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield plt


def save_figure(figure: Figure, path: Path, dpi: int = DPI) -> Path:
    """Write a figure as PNG, whole, close it, and return its path."""
    from matplotlib import pyplot as plt

    with staged(path) as beside:
        figure.savefig(beside, dpi=dpi, format="png")
    plt.close(figure)
    return path
