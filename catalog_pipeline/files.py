"""The data folder: archive, images and vector parts, on a local disk or any fsspec file system.

Files are written whole or not at all and never changed afterwards. What the files mean belongs to
the rooms that write them.
"""

from __future__ import annotations

import os
import re
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from catalog_pipeline.errors import ConfigurationError, ServiceUnavailableError

_DRAFT = re.compile(r"\..+\.[0-9a-f]{32}")


class DataFolder:
    """A folder of immutable files, addressed by relative POSIX paths."""

    def __init__(self, url: str) -> None:
        """Open the folder named by a local path or an fsspec URL; a local one is made on demand.

        Raises:
            ConfigurationError: the URL's file system is unknown or its driver is not installed.
        """
        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ConfigurationError(
                f"the data folder {url!r} cannot be opened: {error}"
            ) from error
        self._root = str(root).rstrip("/")
        self._is_local = isinstance(self._fs, LocalFileSystem)

    def __str__(self) -> str:
        return self._root

    def check(self) -> None:
        """Make sure that the folder can be used now.

        Raises:
            ServiceUnavailableError: it cannot be reached, or a local one cannot be written to.
        """
        try:
            if self._is_local:
                with tempfile.TemporaryFile(dir=self._made()):
                    return
            self._fs.ls(self._root, detail=False, refresh=True)
        except Exception as error:
            if isinstance(error, FileNotFoundError) and not self._is_local:
                # Nothing was ever written there; the file system itself has answered.
                return
            # Each remote file system raises its own kinds, and says in them what it likes.
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ServiceUnavailableError(
                f"the data folder {self._root} cannot be used now: {reason}"
            ) from error

    def _made(self) -> Path:
        folder = Path(self._root)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def path(self, name: str) -> str:
        """The full path of a file in the folder's own file system.

        Raises:
            ValueError: the name is absolute or climbs out of the folder.
        """
        parts = PurePosixPath(name).parts
        if not parts or parts[0] == "/" or ".." in parts:
            raise ValueError(f"{name!r} is not a path inside the data folder")
        return f"{self._root}/{name}"

    def uri(self, name: str) -> str:
        """The address of a file or folder with its protocol: file:///… or s3://…."""
        return str(self._fs.unstrip_protocol(self.path(name)))

    def write(self, name: str, content: bytes) -> None:
        """Write a file so that a reader sees all of it or nothing, even after a crash."""
        path = self.path(name)
        if not self._is_local:
            self._fs.pipe_file(path, content)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            with draft.open("wb") as handle:
                handle.write(content)
                handle.flush()
                os.fsync(handle.fileno())
            draft.replace(target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def read(self, name: str) -> bytes:
        """The file's bytes.

        Raises:
            FileNotFoundError: there is no such file.
        """
        return cast("bytes", self._fs.cat_file(self.path(name)))

    def open(self, name: str) -> IO[bytes]:
        """The file opened for reading with seek, for formats that read parts of it."""
        return cast("IO[bytes]", self._fs.open(self.path(name), "rb"))

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return bool(self._fs.exists(self.path(name)))

    def names(self, folder: str) -> list[str]:
        """Names of what lies directly inside a folder, sorted; empty if it is absent."""
        try:
            entries: list[Any] = self._fs.ls(self.path(folder), detail=False, refresh=True)
        except FileNotFoundError:
            return []
        found = (str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries)
        return sorted(name for name in found if not name.startswith("."))

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that it holds; absent ones are no error."""
        path = self.path(name)
        if self._fs.exists(path):
            self._fs.rm(path, recursive=True)

    def walk(self, folder: str) -> Iterator[str]:
        """Every file below a folder, as paths relative to the data folder."""
        for path in self._fs.find(self.path(folder)):
            relative = str(path).removeprefix(self._root + "/")
            if not PurePosixPath(relative).name.startswith("."):
                yield relative

    def drafts(self, folder: str, before: datetime) -> Iterator[str]:
        """Files below a folder whose writer was killed before they were whole.

        Elsewhere than on a local disk a file appears whole, without a draft.

        Args:
            folder: in the data folder.
            before: only those that nobody has written to since.
        """
        if not self._is_local:
            return
        # Folders may go meanwhile, which is no error here.
        for place, _, names in os.walk(self.path(folder)):
            for path in (Path(place, name) for name in names if _DRAFT.fullmatch(name)):
                try:
                    written_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                except FileNotFoundError:
                    # Its writer lives, and has just given it its name.
                    continue
                if written_at < before:
                    yield path.relative_to(self._root).as_posix()
