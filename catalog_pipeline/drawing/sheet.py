"""Sheets of pictures with a line below each: contact sheets, nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from PIL import Image, ImageDraw

from catalog_pipeline.drawing.text import font, legible

Tone = Literal["plain", "good", "bad", "query"]

_PAPER: Final = (255, 255, 255)
_INK: Final = (31, 35, 40)
_FAINT: Final = (238, 240, 243)
# Told apart by people who do not see red and green, too: blue, vermilion.
_COLOURS: Final[dict[Tone, tuple[int, int, int]]] = {
    "plain": (201, 206, 213),
    "good": (0, 114, 178),
    "bad": (213, 94, 0),
    "query": (31, 35, 40),
}
_GAP: Final = 8
_FRAME: Final = 2
_LABEL_SIZE: Final = 10
_TITLE_SIZE: Final = 14
_LINE: Final = 14


@dataclass(frozen=True)
class Tile:
    """One picture with what is said of it; without a picture, an empty frame.

    Each line of `lines` is cut to the tile's width.
    """

    picture: Image.Image | None
    lines: tuple[str, ...] = ()
    tone: Tone = "plain"


@dataclass(frozen=True)
class Section:
    """Tiles under one heading, in rows of as many as the sheet has columns."""

    title: str
    tiles: Sequence[Tile]


def draw_sheet(sections: Sequence[Section], *, columns: int = 7, side: int = 112) -> Image.Image:
    """All sections below each other, RGB on white.

    Args:
        sections: those without tiles show their heading alone.
        columns: tiles in a row.
        side: of a tile's picture, in pixels; a picture is fitted into it whole.
    """
    width = columns * (side + _GAP) + _GAP
    heights = [_height(section, columns, side) for section in sections]
    sheet = Image.new("RGB", (width, max(1, sum(heights) + _GAP)), _PAPER)
    pen = ImageDraw.Draw(sheet)
    top = _GAP
    for section, height in zip(sections, heights, strict=True):
        _draw_section(sheet, pen, section, top, columns, side)
        top += height
    return sheet


def _height(section: Section, columns: int, side: int) -> int:
    rows = -(-len(section.tiles) // columns)
    return _heading(section) + rows * _row_height(section, side)


def _heading(section: Section) -> int:
    return _TITLE_SIZE + _GAP if section.title else 0


def _row_height(section: Section, side: int) -> int:
    lines = max((len(tile.lines) for tile in section.tiles), default=0)
    return side + lines * _LINE + _GAP


def _draw_section(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    section: Section,
    top: int,
    columns: int,
    side: int,
) -> None:
    if section.title:
        title = _cut(section.title, _TITLE_SIZE, columns * (side + _GAP))
        pen.text((_GAP, top), title, _INK, font(_TITLE_SIZE))
    top += _heading(section)
    for number, tile in enumerate(section.tiles):
        row, column = divmod(number, columns)
        corner = _GAP + column * (side + _GAP), top + row * _row_height(section, side)
        _draw_tile(sheet, pen, tile, corner, side)


def _draw_tile(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, tile: Tile, corner: tuple[int, int], side: int
) -> None:
    left, top = corner
    box = (left, top, left + side - 1, top + side - 1)
    pen.rectangle(box, _FAINT if tile.picture is None else _PAPER)
    if tile.picture is not None:
        inner = side - 2 * _FRAME
        fitted = tile.picture.convert("RGB")
        fitted.thumbnail((inner, inner), Image.Resampling.LANCZOS)
        sheet.paste(fitted, (left + (side - fitted.width) // 2, top + (side - fitted.height) // 2))
    pen.rectangle(box, outline=_COLOURS[tile.tone], width=_FRAME)
    for number, line in enumerate(tile.lines):
        pen.text(
            (left, top + side + 1 + number * _LINE),
            _cut(line, _LABEL_SIZE, side),
            _COLOURS["bad"] if tile.tone == "bad" and number == 0 else _INK,
            font(_LABEL_SIZE),
        )


def _cut(text: str, size: int, width: int) -> str:
    """As much of the text as fits, in one line of printable characters."""
    shown, letters = legible(text), font(size)
    if letters.getlength(shown) <= width:
        return shown
    while shown and letters.getlength(shown + "…") > width:
        shown = shown[:-1]
    return shown.rstrip() + "…"
