"""Files in a sample store's uploads folder: drawn pictures, bad ones, and real ones from a disk.

Bytes are made when they are asked for and never kept here, so a store of any size costs no memory.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol

from PIL import Image, ImageDraw, ImageFilter

from catalog_pipeline.demo.garments import COLOURS, Attributes
from catalog_pipeline.demo.pictures import DEFAULT_SIZE, encoded, picture

PLACEHOLDER_NAME: Final = "woocommerce-placeholder"


class Flaw(StrEnum):
    """What can be wrong with a picture in a shop, each for a quality gate to find."""

    FLAT = "flat"
    DARK = "dark"
    BLURRED = "blurred"
    TRUNCATED = "truncated"
    TINY = "tiny"
    STRETCHED = "stretched"
    HTML = "html"
    PLACEHOLDER = "placeholder"
    MISSING = "missing"


class Media(Protocol):
    """One file that a store serves."""

    @property
    def extension(self) -> str:
        """The file name's ending, with its dot."""

    @property
    def media_type(self) -> str:
        """What the server says the file is, which need not be true."""

    @property
    def fingerprint(self) -> str:
        """Short text that differs when the bytes differ; known without making them."""

    def content(self) -> bytes | None:
        """The bytes, or None where the file is gone from the disk."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawn garment, possibly flawed. `size` is the side in pixels of a good one."""

    attributes: Attributes
    seed: int
    size: int = DEFAULT_SIZE
    flaw: Flaw | None = None

    @property
    def extension(self) -> str:
        """`.jpg`, save for WooCommerce's own placeholder."""
        return ".png" if self.flaw is Flaw.PLACEHOLDER else ".jpg"

    @property
    def media_type(self) -> str:
        """`image/jpeg` even for the HTML page, as a misconfigured shop says."""
        return "image/png" if self.flaw is Flaw.PLACEHOLDER else "image/jpeg"

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits over everything that decides the bytes."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:12]

    def content(self) -> bytes | None:
        """Draw it; None for a missing file."""
        if self.flaw is None:
            return encoded(self.good())
        return _flawed(self, self.flaw)

    def good(self, size: int | None = None) -> Image.Image:
        """The garment without its flaw."""
        look = self.attributes
        return picture(look.kind, look.colour, look.pattern, self.seed, size or self.size)


def _flawed(drawing: Drawing, flaw: Flaw) -> bytes | None:
    if flaw is Flaw.MISSING:
        return None
    if flaw is Flaw.HTML:
        return b"<!DOCTYPE html>\n<html><head><title>Hotlinking forbidden</title></head></html>\n"
    if flaw is Flaw.PLACEHOLDER:
        return placeholder()
    if flaw is Flaw.TRUNCATED:
        whole = encoded(drawing.good())
        return whole[: len(whole) // 2]
    return encoded(_spoilt(drawing, flaw))


def _spoilt(drawing: Drawing, flaw: Flaw) -> Image.Image:
    """The flaws that leave a readable picture."""
    size = drawing.size
    if flaw is Flaw.FLAT:
        return Image.new("RGB", (size, size), COLOURS[drawing.attributes.colour])
    if flaw is Flaw.TINY:
        return drawing.good(64)
    good = drawing.good()
    if flaw is Flaw.DARK:
        return good.point(lambda value: value * 0.08)
    if flaw is Flaw.BLURRED:
        return good.filter(ImageFilter.GaussianBlur(size * 0.018))
    return good.resize((size // 4, size // 4 * 12))


@lru_cache(maxsize=1)
def placeholder() -> bytes:
    """The grey picture that WooCommerce shows where a product has none."""
    image = Image.new("RGB", (600, 600), (233, 233, 233))
    pen = ImageDraw.Draw(image)
    grey = (190, 190, 190)
    pen.rounded_rectangle((170, 190, 430, 410), radius=18, outline=grey, width=12)
    pen.polygon([(195, 385), (265, 290), (315, 345), (350, 310), (405, 385)], fill=grey)
    pen.ellipse((340, 225, 385, 270), fill=grey)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A real file, read anew each time it is served."""

    path: Path
    media_type: str = "image/jpeg"

    @property
    def extension(self) -> str:
        """The path's own ending."""
        return self.path.suffix

    @property
    def fingerprint(self) -> str:
        """From the file's path, size and time of change."""
        facts = self.path.stat()
        key = f"{self.path}:{facts.st_size}:{facts.st_mtime_ns}"
        return hashlib.sha256(key.encode()).hexdigest()[:12]

    def content(self) -> bytes | None:
        """The file's bytes; None when it is gone."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            return None


@dataclass(frozen=True, slots=True)
class Bytes:
    """Bytes given by a test."""

    data: bytes
    media_type: str = "image/jpeg"
    extension: str = ".jpg"

    @property
    def fingerprint(self) -> str:
        """From the bytes themselves."""
        return hashlib.sha256(self.data).hexdigest()[:12]

    def content(self) -> bytes | None:
        """The bytes."""
        return self.data


# The same bytes in every store, whatever its pictures' size.
PLACEHOLDER: Final = Drawing(Attributes("bag", "grey", "plain"), 0, flaw=Flaw.PLACEHOLDER)
