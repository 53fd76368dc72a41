"""Picture bytes in the data folder, named by their SHA-256, written once and never changed.

A disk may change them all the same. Whoever reads a blob gets the bytes that its name promises or
none, so that what the gate measured in a confined process is also what is decoded outside of it.
"""

from __future__ import annotations

import hashlib

from catalog_pipeline.errors import PermanentError
from catalog_pipeline.files import DataFolder


class DamagedBlobError(PermanentError):
    """What lies under a blob's name are other bytes than those that it was named after."""


def blob_name(sha256: str) -> str:
    """Where the bytes with this hash lie, relative to the data folder."""
    return f"images/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def write_blob(files: DataFolder, content: bytes) -> tuple[str, bool]:
    """Keep the bytes unless they are there already, undamaged.

    Returns:
        Their SHA-256 in hexadecimal, and whether they were there.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    name = blob_name(sha256)
    try:
        is_there = files.read(name) == content
    except FileNotFoundError:
        is_there = False
    if not is_there:
        files.write(name, content)
    return sha256, is_there


def read_blob(files: DataFolder, sha256: str) -> bytes:
    """The bytes with this hash.

    Raises:
        FileNotFoundError: they are not in the data folder.
        DamagedBlobError: others lie in their place; a new download of the picture replaces them.
    """
    content = files.read(blob_name(sha256))
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DamagedBlobError(
            f"the file {blob_name(sha256)} in the data folder was changed or damaged; "
            "fetch the store's images anew, or put the file back from a copy"
        )
    return content


def has_blob(files: DataFolder, sha256: str) -> bool:
    """Whether bytes lie under this hash in the data folder."""
    return files.exists(blob_name(sha256))
