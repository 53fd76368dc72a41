"""A picture that is drawn only when what it shows has changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Exhibit:
    """Something to look at.

    Attributes:
        title: says what it is, where the picture itself cannot be seen.
        digest: another one whenever the drawing would look different.
        most_bytes: of the drawing as a WebP file.
        draw: makes the drawing, RGB; reads files, and may take a second.
    """

    title: str
    digest: str
    most_bytes: int
    draw: Callable[[], Image.Image]
