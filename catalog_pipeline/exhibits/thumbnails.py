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


def thumbnail(files: DataFolder, sha256: str) -> Image.Image | None:
    """The picture in RGB with its longer side at most `SIDE`; None when it cannot be had."""
    try:
        picture = load_rgb(read_blob(files, sha256))
    except (FileNotFoundError, PermanentError):
        return None
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return picture
