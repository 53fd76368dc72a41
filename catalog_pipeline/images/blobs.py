"""Picture bytes in the data folder, named by their SHA-256, written once and never changed."""

from __future__ import annotations

import hashlib

from catalog_pipeline.files import DataFolder


def blob_name(sha256: str) -> str:
    """Where the bytes with this hash lie, relative to the data folder."""
    return f"images/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def write_blob(files: DataFolder, content: bytes) -> tuple[str, bool]:
    """Keep the bytes unless they are there already.

    Returns:
        Their SHA-256 in hexadecimal, and whether they were there.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    name = blob_name(sha256)
    is_there = files.exists(name)
    if not is_there:
        files.write(name, content)
    return sha256, is_there


def read_blob(files: DataFolder, sha256: str) -> bytes:
    """The bytes with this hash.

    Raises:
        FileNotFoundError: they are not in the data folder.
    """
    return files.read(blob_name(sha256))


def has_blob(files: DataFolder, sha256: str) -> bool:
    """Whether the bytes with this hash are in the data folder."""
    return files.exists(blob_name(sha256))
