"""Sheets of pictures with a few words below each: contact sheets, nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from PIL import Image, ImageDraw

from catalog_pipeline.drawing.text import font, wrapped

# In pixels, and how many lines each thing said may take.
LABEL_SIZE: Final = 11
MOST_LINES: Final = 2

Tone = Literal["plain", "good", "bad", "query"]

_PAPER: Final = (255, 255, 255)
_INK: Final = (31, 35, 40)
_QUIET: Final = (99, 102, 109)
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
_NOTE_SIZE: Final = 12
_TITLE_SIZE: Final = 14
_ABOVE_LABEL: Final = 1
_LINES_IN_FRAME: Final = 3


@dataclass(frozen=True)
class Tile:
    """One picture with what is said of it; without a picture, an empty frame that says why.

    Each of `lines` may be wrapped once to the tile's width; what is longer still is cut.
    """

    picture: Image.Image | None
    lines: tuple[str, ...] = ()
    tone: Tone = "plain"
    # Stands in the frame where there is no picture.
    instead: str = ""


@dataclass(frozen=True)
class Section:
    """Tiles under one heading, in rows of as many as the sheet has columns.

    `note` explains the heading in smaller letters.
    """

    title: str
    tiles: Sequence[Tile]
    note: str = ""


@dataclass(frozen=True)
class _Text:
    """Lines of one size and colour, below each other."""

    lines: Sequence[str]
    size: int
    colour: tuple[int, int, int] = _INK

    @property
    def leading(self) -> int:
        return self.size + 3

    @property
    def height(self) -> int:
        return len(self.lines) * self.leading

    def draw(self, pen: ImageDraw.ImageDraw, left: int, top: int) -> int:
        """Put it there; returns where it ends."""
        for number, line in enumerate(self.lines):
            pen.text((left, top + number * self.leading), line, self.colour, font(self.size))
        return top + self.height


@dataclass(frozen=True)
class _Heading:
    """A section's title and what explains it."""

    texts: Sequence[_Text]

    @property
    def height(self) -> int:
        return sum(text.height for text in self.texts) + _GAP

    def draw(self, _sheet: Image.Image, pen: ImageDraw.ImageDraw, top: int) -> None:
        for text in self.texts:
            top = text.draw(pen, _GAP, top)


@dataclass(frozen=True)
class _Row:
    """Tiles side by side with their labels, as high as the one of which most is said."""

    tiles: Sequence[tuple[Tile, Sequence[_Text]]]
    side: int

    @property
    def height(self) -> int:
        said = max(sum(text.height for text in label) for _, label in self.tiles)
        return self.side + _ABOVE_LABEL + said + _GAP

    def draw(self, sheet: Image.Image, pen: ImageDraw.ImageDraw, top: int) -> None:
        left = _GAP
        for tile, label in self.tiles:
            _draw_frame(sheet, pen, tile, (left, top), self.side)
            below = top + self.side + _ABOVE_LABEL
            for text in label:
                below = text.draw(pen, left, below)
            left += self.side + _GAP


def draw_sheet(sections: Sequence[Section], *, columns: int = 7, side: int = 112) -> Image.Image:
    """All sections below each other, RGB on white.

    Args:
        sections: those without tiles show their heading alone.
        columns: tiles in a row.
        side: of a tile's picture, in pixels; a picture is fitted into it whole.
    """
    width = columns * (side + _GAP) + _GAP
    blocks: list[_Heading | _Row] = []
    for section in sections:
        blocks += _heading(section, width - 2 * _GAP)
        blocks += _rows(section, columns, side)
    sheet = Image.new("RGB", (width, sum(block.height for block in blocks) + 2 * _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    top = _GAP
    for block in blocks:
        block.draw(sheet, pen, top)
        top += block.height
    return sheet


def _heading(section: Section, width: int) -> list[_Heading]:
    texts = [
        _Text(wrapped(words, size, width, MOST_LINES), size, colour)
        for words, size, colour in (
            (section.title, _TITLE_SIZE, _INK),
            (section.note, _NOTE_SIZE, _QUIET),
        )
    ]
    return [_Heading(texts)] if section.title or section.note else []


def _rows(section: Section, columns: int, side: int) -> list[_Row]:
    labelled = [(tile, _label(tile, side)) for tile in section.tiles]
    return [
        _Row(labelled[first : first + columns], side) for first in range(0, len(labelled), columns)
    ]


def _label(tile: Tile, side: int) -> list[_Text]:
    """Each line of the tile; the first of a bad one in its colour."""
    return [
        _Text(
            wrapped(line, LABEL_SIZE, side, MOST_LINES),
            LABEL_SIZE,
            _COLOURS["bad"] if tile.tone == "bad" and number == 0 else _INK,
        )
        for number, line in enumerate(tile.lines)
    ]


def _draw_frame(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    tile: Tile,
    corner: tuple[int, int],
    side: int,
) -> None:
    left, top = corner
    box = (left, top, left + side - 1, top + side - 1)
    pen.rectangle(box, _FAINT if tile.picture is None else _PAPER)
    if tile.picture is None:
        _draw_instead(pen, tile.instead, corner, side)
    else:
        inner = side - 2 * _FRAME
        fitted = tile.picture.convert("RGB")
        fitted.thumbnail((inner, inner), Image.Resampling.LANCZOS)
        sheet.paste(fitted, (left + (side - fitted.width) // 2, top + (side - fitted.height) // 2))
    pen.rectangle(box, outline=_COLOURS[tile.tone], width=_FRAME)


def _draw_instead(pen: ImageDraw.ImageDraw, words: str, corner: tuple[int, int], side: int) -> None:
    """The words in the middle of an empty frame."""
    lines = wrapped(words, LABEL_SIZE, side - 4 * _FRAME, _LINES_IN_FRAME)
    top = corner[1] + (side - _Text(lines, LABEL_SIZE).height) // 2
    for line in lines:
        left = corner[0] + (side - round(font(LABEL_SIZE).getlength(line))) // 2
        top = _Text([line], LABEL_SIZE, _QUIET).draw(pen, left, top)
