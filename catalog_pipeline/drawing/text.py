"""Strangers' text in a drawing: one font, and only what it has a glyph for."""

from __future__ import annotations

import functools
from pathlib import Path

from PIL import ImageFont

# Longer text is never seen, and would only be measured.
_MOST = 200
_UNKNOWN = "□"


def legible(text: str) -> str:
    """The text in one line, with a box for each character that the font does not know."""
    known = _charmap()
    return "".join(
        " " if not one.isprintable() else one if ord(one) in known else _UNKNOWN
        for one in text[:_MOST]
    )


@functools.cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that Matplotlib brings, which covers the scripts of Europe; size in pixels."""
    return ImageFont.truetype(str(_file()), size)


@functools.cache
def _charmap() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(_file())).get_charmap())


def _file() -> Path:
    import matplotlib as mpl

    return Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
