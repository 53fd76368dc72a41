"""The raw archive: every page of every walk as it came, from which all rows can be built again.

`archive/<store>/<walk id>/` holds `begin.json`, written when the walk starts, numbered page files
(Zstandard around the body's own bytes), and `manifest.json`, written when it ends. Nothing is ever
changed. A walk without a manifest was cut off, or is still under way: what it holds is true, but it
proves nothing. What the pages say is the business of a source's parser.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import zstandard
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from catalog_pipeline.errors import PermanentError
from catalog_pipeline.files import DataFolder
from catalog_pipeline.products.source import Page, WalkKind, WalkOrder, WalkStart
from catalog_pipeline.stores import ImageChoice

FORMAT: Final = 1
ROOT = "archive"
_BEGIN = "begin.json"
_MANIFEST = "manifest.json"
_WALK_ID = re.compile(r"(\d{8}T\d{9})Z-([a-z]+)-[0-9a-f]{6}")
_PAGE_FILE = re.compile(r"[a-z]+(-\d+)?-\d{6}\.json\.zst")
_STAMP = "%Y%m%dT%H%M%S"
# A page is at most 64 MiB when it is read from a store.
_MOST_BYTES = 256 * 1024 * 1024


class ArchiveError(PermanentError):
    """A file of the archive is damaged, missing or of another format; the message names it."""


class WalkBegin(BaseModel):
    """What was known when a walk began."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    format: Literal[1] = FORMAT
    walk_id: str
    store_id: str
    source: str
    kind: WalkKind
    sample: int | None = None
    # The watermark that an incremental walk began at, and the product that a walk of one read.
    since: AwareDatetime | None = None
    product: str | None = None
    # `images:` of the store at the time; None in walks of versions that did not note it.
    images: ImageChoice | None = None
    started_at: AwareDatetime
    server_clock: AwareDatetime
    clock_is_the_servers: bool
    currency: str | None
    announced: int | None


class WalkManifest(WalkBegin):
    """What is known of a walk that has ended, well or not."""

    finished_at: AwareDatetime
    complete: bool
    # Why it is not complete; None if it is.
    reason: str | None
    announced_at_end: int | None
    # How often the listing was read, how many products the source counts and does not show, and
    # which of them were stored: they count as seen.
    readings: int = 1
    unshown: int = 0
    unshown_ids: tuple[str, ...] = ()
    pages: int
    records: int
    ids: int
    duplicates: int
    unreadable_ids: int
    bytes: int
    requests: int
    retries: int
    throttles: int


class Archive:
    """All walks of all stores."""

    def __init__(self, folder: DataFolder) -> None:
        """Keep the walks below `archive/` in this folder."""
        self._folder = folder

    def begin(self, store_id: str, source: str, order: WalkOrder, start: WalkStart) -> WalkWriter:
        """Open a walk; its id sorts after those of all walks of this store that are there."""
        now = datetime.now(UTC)
        begin = WalkBegin(
            walk_id=self._new_walk_id(store_id, order.kind, now),
            store_id=store_id,
            source=source,
            kind=order.kind,
            sample=order.sample,
            since=order.since,
            product=order.product,
            images=order.images,
            started_at=now,
            server_clock=start.server_clock,
            clock_is_the_servers=start.clock_is_the_servers,
            currency=start.currency,
            announced=start.announced,
        )
        writer = WalkWriter(self._folder, begin)
        writer.write_begin()
        return writer

    def walk_ids(self, store_id: str) -> list[str]:
        """The store's walks, oldest first."""
        return [
            name for name in self._folder.names(f"{ROOT}/{store_id}") if _WALK_ID.fullmatch(name)
        ]

    def open(self, store_id: str, walk_id: str) -> ArchivedWalk | None:
        """A walk; None if it was cut off before it wrote anything.

        Raises:
            ArchiveError: its records cannot be read, or were written by another version.
        """
        place = f"{ROOT}/{store_id}/{walk_id}"
        names = self._folder.names(place)
        if not names:
            return None
        for name, model in ((_MANIFEST, WalkManifest), (_BEGIN, WalkBegin)):
            if name in names:
                begin = _read_record(self._folder, f"{place}/{name}", model)
                pages = tuple(found for found in names if _PAGE_FILE.fullmatch(found))
                return ArchivedWalk(self._folder, place, begin, pages)
        raise ArchiveError(f"{self._folder}/{place} has lost its {_BEGIN}; restore or remove it")

    def remove(self, store_id: str, walk_id: str) -> None:
        """Remove a walk; its manifest first, so that one removed only in part proves nothing."""
        place = f"{ROOT}/{store_id}/{walk_id}"
        names = self._folder.names(place)
        for name in sorted(names, key=lambda name: (name != _MANIFEST, name == _BEGIN, name)):
            self._folder.remove(f"{place}/{name}")
        self._folder.remove(place)

    def _new_walk_id(self, store_id: str, kind: WalkKind, now: datetime) -> str:
        stamp = _milliseconds(now)
        earlier = self.walk_ids(store_id)
        if earlier and (match := _WALK_ID.fullmatch(earlier[-1])) and match[1] >= stamp:
            # This machine's clock is behind the one that wrote the last walk, or was set back. An
            # id out of order would never be processed.
            last = walk_started_at(earlier[-1])
            stamp = _milliseconds(last + timedelta(milliseconds=1))
        return f"{stamp}Z-{kind}-{secrets.token_hex(3)}"


class WalkWriter:
    """A walk being archived."""

    def __init__(self, folder: DataFolder, begin: WalkBegin) -> None:
        """Use `Archive.begin`."""
        self._folder = folder
        self._place = f"{ROOT}/{begin.store_id}/{begin.walk_id}"
        self._compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
        self.begin = begin
        self.pages = 0
        self.bytes = 0
        self._digest = hashlib.blake2b(digest_size=16)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits of the bodies so far, each with its length."""
        return self._digest.hexdigest()

    def write_begin(self) -> None:
        """Write `begin.json`."""
        self._write_record(_BEGIN, self.begin)

    def add(self, page: Page) -> None:
        """Write a page file; once this returns, the page survives a crash."""
        name = f"{page.name}-{self.pages + 1:06d}.json.zst"
        self._folder.write(f"{self._place}/{name}", self._compressor.compress(page.body))
        self.pages += 1
        self.bytes += len(page.body)
        self._digest.update(len(page.body).to_bytes(8))
        self._digest.update(page.body)

    def finish(self, manifest: WalkManifest) -> None:
        """Write `manifest.json`; the walk has ended."""
        self._write_record(_MANIFEST, manifest)

    def _write_record(self, name: str, record: BaseModel) -> None:
        text = record.model_dump_json(indent=2) + "\n"
        self._folder.write(f"{self._place}/{name}", text.encode())


@dataclass(frozen=True)
class ArchivedWalk:
    """A walk in the archive."""

    folder: DataFolder
    place: str
    begin: WalkBegin
    page_files: tuple[str, ...]

    @property
    def manifest(self) -> WalkManifest | None:
        """The manifest; None for a walk without an end."""
        return self.begin if isinstance(self.begin, WalkManifest) else None

    @property
    def walk_id(self) -> str:
        """The walk's id."""
        return self.begin.walk_id

    @property
    def is_complete_full(self) -> bool:
        """Whether every product of the store is in it, whole."""
        return self.complete and self.begin.kind == "full"

    @property
    def complete(self) -> bool:
        """Whether the walk saw the whole store."""
        return self.manifest is not None and self.manifest.complete

    def pages(self) -> Iterator[tuple[str, bytes]]:
        """Each page file's path in the data folder, and the body as it came.

        Raises:
            ArchiveError: a page is missing or damaged.
        """
        if self.manifest is not None and len(self.page_files) != self.manifest.pages:
            raise ArchiveError(
                f"{self.folder}/{self.place} holds {len(self.page_files)} pages, its {_MANIFEST} "
                f"says {self.manifest.pages}; restore the folder, or remove it to go on without it"
            )
        # A decompressor of its own: they must not be shared between threads.
        decompressor = zstandard.ZstdDecompressor()
        for name in sorted(self.page_files, key=lambda name: name.rsplit("-", 1)[-1]):
            path = f"{self.place}/{name}"
            try:
                packed = self.folder.read(path)
                yield path, decompressor.decompress(packed, max_output_size=_MOST_BYTES)
            except (zstandard.ZstdError, FileNotFoundError) as error:
                raise ArchiveError(
                    f"{self.folder}/{path} is damaged ({error}); restore it, or remove the folder "
                    "to go on without this walk"
                ) from error


def page_kind(path: str) -> str:
    """What an archived page holds, as its source named it."""
    return path.rsplit("/", 1)[-1].rsplit("-", 1)[0]


def walk_kind(walk_id: str) -> str:
    """What kind of walk it is, told by its id alone."""
    match = _WALK_ID.fullmatch(walk_id)
    if match is None:
        raise ValueError(f"{walk_id!r} is no walk's id")
    return match[2]


def walk_started_at(walk_id: str) -> datetime:
    """When a walk began, by this machine's clock."""
    match = _WALK_ID.fullmatch(walk_id)
    if match is None:
        raise ValueError(f"{walk_id!r} is no walk's id")
    return datetime.strptime(match[1] + "000", f"{_STAMP}%f").replace(tzinfo=UTC)


def _milliseconds(moment: datetime) -> str:
    return f"{moment:{_STAMP}}{moment.microsecond // 1000:03d}"


def _read_record(folder: DataFolder, path: str, model: type[WalkBegin]) -> WalkBegin:
    try:
        return model.model_validate_json(folder.read(path))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        if first["loc"] == ("format",):
            raise ArchiveError(
                f"{folder}/{path} is of a format that this version does not know (it knows "
                f"{FORMAT}); upgrade catalog-pipeline"
            ) from None
        where = ".".join(str(part) for part in first["loc"]) or "its JSON"
        raise ArchiveError(f"{folder}/{path} is damaged: {where}: {first['msg']}") from None
