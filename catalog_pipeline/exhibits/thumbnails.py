"""Small copies of stored pictures, for drawings.

Only for pictures that the gate could decode: its workers have been through every byte of them.
"""

from __future__ import annotations

from PIL import Image

from catalog_pipeline.errors import PermanentError
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.blobs import read_blob
from catalog_pipeline.images.pictures import load_rgb

# As wide as a sheet's tiles, whose pictures are fitted in.
SIDE = 112


def thumbnail(files: DataFolder, sha256: str, side: int = SIDE) -> Image.Image | None:
    """The picture in RGB with its longer side at most `side`; None when it cannot be had."""
    try:
        return small_copy(read_blob(files, sha256), side)
    except (FileNotFoundError, PermanentError):
        return None


def small_copy(content: bytes, side: int = SIDE) -> Image.Image:
    """The picture in RGB with its longer side at most `side`.

    Raises:
        UnreadablePictureError: the bytes cannot be decoded.
    """
    picture = load_rgb(content)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture
