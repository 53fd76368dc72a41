"""A drawing as WebP within a number of bytes: the event log holds every byte several times."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

from PIL import Image

# Drawings of no more colours are smaller without any loss than with the least.
FEW_COLOURS = 64
_QUALITIES = (82, 70, 58, 46, 34)
_SHRINK = 0.8


def webp(drawing: Image.Image, most_bytes: int) -> bytes:
    """The drawing in the best quality that fits; where none does, smaller too.

    Args:
        drawing: RGB.
        most_bytes: of the file; a few hundred are needed for anything at all.
    """
    while True:
        for options in _options(drawing):
            file = io.BytesIO()
            drawing.save(file, "WEBP", method=4, **options)
            content = file.getvalue()
            if len(content) <= most_bytes:
                return content
        width, height = (max(1, round(side * _SHRINK)) for side in drawing.size)
        if (width, height) == drawing.size:
            return content
        drawing = drawing.resize((width, height), Image.Resampling.LANCZOS)


def _options(drawing: Image.Image) -> Iterator[dict[str, Any]]:
    """Of Pillow's encoder, the best first."""
    if drawing.getcolors(FEW_COLOURS) is not None:
        yield {"lossless": True}
    for quality in _QUALITIES:
        yield {"quality": quality}


def data_uri(content: bytes) -> str:
    """The WebP file as an address that a page or a Markdown text can hold."""
    return f"data:image/webp;base64,{base64.b64encode(content).decode('ascii')}"
