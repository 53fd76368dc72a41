"""What any source of products offers, and the shapes that leave it.

A source has two halves that never meet. The walk talks to the outside and brings pages as they
came; the parser is pure and turns archived pages into records, today or in a replay years later.
How one kind of source does either belongs in a module of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Protocol

from catalog_pipeline.errors import PermanentError

WalkKind = Literal["full", "incremental", "sweep"]


class InvalidRecordError(PermanentError):
    """A record that cannot become a row; its message holds no value, so that reasons group."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One picture that a product lists; `position` is its place in the source's own list."""

    position: int
    image_id: str
    url: str
    modified_at: datetime | None


@dataclass(frozen=True, slots=True)
class ProductRecord:
    """The columns of a product that its source decides, cleaned and bounded.

    `categories` and `tags` are lists of {"name", "slug"}. Texts are plain, URLs absolute ASCII.
    """

    external_id: str
    sku: str | None
    title: str
    description: str
    price: Decimal | None
    product_url: str | None
    type: str
    status: str
    visibility: str
    categories: list[dict[str, str]]
    tags: list[dict[str, str]]
    in_stock: bool
    on_sale: bool
    created_at: datetime | None
    updated_at: datetime | None
    images: tuple[ImageRecord, ...]

    @property
    def image_url(self) -> str | None:
        """The main picture's URL; no other picture stands in for it."""
        if self.images and self.images[0].position == 0:
            return self.images[0].url
        return None


@dataclass(frozen=True)
class WalkStart:
    """What a source says before its first page.

    `server_clock` is the source's own clock, read before any page was; `clock_is_the_servers` is
    False where the source tells no time and this machine's clock stands in. `announced` and
    `announced_pages` are None where the source tells no totals.
    """

    server_clock: datetime
    clock_is_the_servers: bool
    currency: str | None
    announced: int | None
    announced_pages: int | None


@dataclass(frozen=True)
class Page:
    """One answer: its body exactly as it came, and each record's id (None: unreadable)."""

    body: bytes = field(repr=False)
    ids: tuple[str | None, ...]
    name: str = "products"


class SeenIds:
    """The ids that a walk brought, each counted once; the only thing that grows with the store."""

    def __init__(self) -> None:
        self._ids: set[int | str] = set()
        self.duplicates = 0
        self.unreadable = 0

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, ids: Iterable[str | None]) -> int:
        """Take note of a page's ids and say how many of them are new."""
        before = len(self._ids)
        for found in ids:
            if found is None:
                self.unreadable += 1
                continue
            # A small integer takes half the room of its digits.
            key = int(found) if found.isdecimal() and not found.startswith("0") else found
            if key in self._ids:
                self.duplicates += 1
            self._ids.add(key)
        return len(self._ids) - before


@dataclass(frozen=True)
class Verdict:
    """Whether a walk that came to its end saw everything, by the source's own totals."""

    complete: bool
    reason: str | None
    announced: int | None


class SourceWalk(Protocol):
    """One walk under way."""

    @property
    def start(self) -> WalkStart:
        """What the source said before the first page."""

    @property
    def seen(self) -> SeenIds:
        """The ids of the pages so far."""

    def pages(self) -> Iterator[Page]:
        """The pages in order, each read when asked for."""

    def verdict(self) -> Verdict:
        """To be asked once the pages have ended."""


class ProductSource(Protocol):
    """The outside half of a source."""

    @property
    def name(self) -> str:
        """The kind of source, as `stores.yaml` calls it; it selects the parser of a replay."""

    def start_walk(self, kind: WalkKind, *, sample: int | None = None) -> SourceWalk:
        """Begin a walk.

        Args:
            kind: what the walk covers.
            sample: stop at this many products, rounded up to whole pages.
        """

    def counters(self) -> Mapping[str, int]:
        """Requests, retries, throttles and bytes so far."""


class RecordParser(Protocol):
    """The pure half of a source."""

    @property
    def version(self) -> str:
        """Changes whenever a record could be judged or read differently."""

    def records(self, body: bytes) -> list[Any]:
        """An archived page's records.

        Raises:
            ValueError: the body is not what the source sends.
        """

    def external_id(self, record: Any) -> str | None:
        """The record's id in the source, or None where it has none."""

    def parse(self, record: Any) -> ProductRecord:
        """A record read, cleaned and checked.

        Raises:
            InvalidRecordError: it cannot become a row.
        """
