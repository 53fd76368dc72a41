"""What all plots have in common: colours, letters, and how they become a picture.

Drawn through Matplotlib's objects, never its `pyplot`, whose state all threads would share.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np
from PIL import Image, ImageColor

from catalog_pipeline.drawing.text import legible

# Okabe and Ito's palette, told apart with any kind of colour vision; the last is for all others.
PALETTE: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
OTHER: Final = "#B8BEC6"
OTHERS: Final = "others"
INK: Final = "#1F2328"
QUIET: Final = "#63666D"
_DPI: Final = 100
# Of each colour, from white to itself.
_SHADES: Final = 5
_LONGEST_NAME: Final = 24


def new_figure(width: float, height: float) -> Any:
    """An empty figure, in inches of 100 pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def row_of_axes(figure: Any, count: int) -> list[Any]:
    """As many plots side by side."""
    return list(figure.subplots(1, count, squeeze=False)[0])


def without_box(axes: Any) -> None:
    """Only the sides that have numbers, which are small."""
    axes.tick_params(labelsize=8, colors=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def plain(text: str) -> str:
    """A stranger's name for a legend."""
    shown = legible(text)
    if len(shown) > _LONGEST_NAME:
        shown = f"{shown[: _LONGEST_NAME - 1]}…"
    # A dollar sign would start Matplotlib's mathematics, which can fail to parse.
    return shown.replace("$", r"\$")


def as_image(figure: Any) -> Image.Image:
    """The figure as RGB, in so few colours that a small file holds it without loss."""
    figure.canvas.draw()
    drawn = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    return drawn.quantize(palette=_few_colours(), dither=Image.Dither.NONE).convert("RGB")


@functools.cache
def _few_colours() -> Image.Image:
    """Every colour that is drawn with, and its shades at an edge on white."""
    shades = [
        round(255 + (level - 255) * strength / _SHADES)
        for colour in (*PALETTE, OTHER, INK, QUIET)
        for strength in range(1, _SHADES + 1)
        for level in ImageColor.getrgb(colour)
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette([255, 255, 255, *shades])
    return palette
