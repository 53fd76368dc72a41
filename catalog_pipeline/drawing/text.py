"""Strangers' text in a drawing: one font, only what it has a glyph for, broken where it must be."""

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


def wrapped(text: str, size: int, width: int, most: int) -> list[str]:
    """The text in lines that are no wider, broken between words where that is possible.

    Args:
        text: whatever a stranger wrote.
        size: of the font, in pixels.
        width: of a line, in pixels.
        most: lines, at least 1; the last of them ends in an ellipsis where text is left over.
    """
    lines: list[str] = []
    rest = " ".join(legible(text).split())
    while rest and len(lines) < most - 1:
        end = _fitting(rest, size, width)
        if end < len(rest) and (space := rest.rfind(" ", 0, end + 1)) > 0:
            end = space
        # One letter at least, so that a line narrower than that comes to an end too.
        end = max(1, end)
        lines.append(rest[:end])
        rest = rest[end:].lstrip()
    if rest and _fitting(rest, size, width) < len(rest):
        rest = f"{rest[: _fitting(rest, size, width, '…')].rstrip()}…"
    return [*lines, rest] if rest else lines


def _fitting(text: str, size: int, width: int, end: str = "") -> int:
    """How many letters of the text fit into a line that ends so."""
    letters = font(size)
    count = len(text)
    while count and letters.getlength(text[:count] + end) > width:
        count -= 1
    return count


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
