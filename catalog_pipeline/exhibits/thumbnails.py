"""Small copies of stored pictures, for drawings.

Only for pictures that the gate could decode: its workers have been through every byte of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from PIL import Image

from catalog_pipeline.errors import PermanentError
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.blobs import read_blob
from catalog_pipeline.images.pictures import load_thumbnail

# As wide as a sheet's tiles, whose pictures are fitted in.
SIDE = 112
# In place of one that cannot be had.
NOT_AT_HAND = "no picture at hand"
_THREADS = 4

Thing = TypeVar("Thing")
Made = TypeVar("Made")


def side_by_side(make: Callable[[Thing], Made], things: Iterable[Thing]) -> list[Made]:
    """What is made of each, in order: reading and decoding pictures occupy more than one core."""
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(make, things))


def thumbnail(files: DataFolder, sha256: str, side: int = SIDE) -> Image.Image | None:
    """The picture in RGB with its longer side at most `side`; None when it cannot be had."""
    try:
        return load_thumbnail(read_blob(files, sha256), side)
    except (FileNotFoundError, PermanentError):
        return None
