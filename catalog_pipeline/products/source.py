"""What any source of products offers, and the shapes that leave it.

A source has two halves that never meet. The walk talks to the outside and brings pages as they
came; the parser is pure and turns archived pages into records, today or in a replay years later.
How one kind of source does either belongs in a module of its own.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, Protocol

from catalog_pipeline.errors import PermanentError
from catalog_pipeline.stores import ImageChoice

# full: every product whole. incremental: whole products changed since a watermark. sweep: id,
# status and date of every product, and whole those that are not the ones that are stored.
# product: one product whole.
WalkKind = Literal["full", "incremental", "sweep", "product"]
# The walks that can prove a product gone.
PROVING_KINDS: frozenset[WalkKind] = frozenset({"full", "sweep"})
# Those after which a watermark stands: a sweep cannot tell two edits within one second apart.
WATERMARK_KINDS: frozenset[WalkKind] = frozenset({"full", "incremental"})
# Archived pages are named by what they hold: whole products; a few fields of each product; a few
# fields of products that are in the store's trash.
PRODUCTS_PAGE = "products"
IDS_PAGE = "ids"
TRASH_PAGE = "trash"
TRASH = "trash"


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


@dataclass(frozen=True, slots=True)
class Sighting:
    """A product as a sweep sees it: if all of this is as it is stored, so is the product."""

    external_id: str
    status: str | None
    updated_at: datetime | None


class KnownProducts(Protocol):
    """The products that are stored, those in quarantine among them, removed ones left out."""

    def sightings(self, ids: Sequence[str]) -> Mapping[str, Sighting]:
        """Those of the ids that are stored, as they are stored."""

    def ids(self) -> Iterator[str]:
        """Every id that is stored."""


class NothingKnown:
    """A store of which nothing is stored."""

    def sightings(self, ids: Sequence[str]) -> Mapping[str, Sighting]:
        """None."""
        return {}

    def ids(self) -> Iterator[str]:
        """None."""
        return iter(())


@dataclass(frozen=True)
class WalkOrder:
    """What a walk is to cover.

    Attributes:
        kind: how much of the store.
        sample: stop at this many products, rounded up to whole pages; of a full walk only.
        since: the watermark that an incremental walk begins at.
        product: the id of the one product to read.
        images: the store's setting, which the archive keeps: variations are read for `all` alone.
        known: what is stored; a full walk or sweep asks for each of these that it does not find,
            and other walks tell whether anything that they bring is news.
    """

    kind: WalkKind = "full"
    sample: int | None = None
    since: datetime | None = None
    product: str | None = None
    images: ImageChoice | None = None
    known: KnownProducts = field(default_factory=NothingKnown, repr=False)

    def __post_init__(self) -> None:
        if self.sample is not None and (self.sample < 1 or self.kind != "full"):
            raise ValueError("a sample is of a full walk, and holds at least 1 product")
        if (self.kind == "incremental") != (self.since is not None):
            raise ValueError("an incremental walk, and no other, begins at a watermark")
        if (self.kind == "product") != (self.product is not None):
            raise ValueError("a walk of one product, and no other, names it")


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
    name: str = PRODUCTS_PAGE


class SeenIds:
    """The ids that a walk brought, each counted once; the only thing that grows with the store."""

    def __init__(self) -> None:
        self._ids: set[int | str] = set()
        self.duplicates = 0
        self.unreadable = 0

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, found: str) -> bool:
        return _key(found) in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SeenIds) and self._ids == other._ids

    __hash__ = None  # type: ignore[assignment]

    def copy(self) -> SeenIds:
        """The same ids and counts, to go on from."""
        twin = SeenIds()
        twin._ids = set(self._ids)
        twin.duplicates, twin.unreadable = self.duplicates, self.unreadable
        return twin

    def add(self, ids: Iterable[str | None]) -> int:
        """Take note of a page's ids and say how many of them are new."""
        before = len(self._ids)
        for found in ids:
            if found is None:
                self.unreadable += 1
                continue
            key = _key(found)
            if key in self._ids:
                self.duplicates += 1
            self._ids.add(key)
        return len(self._ids) - before


def _key(found: str) -> int | str:
    # A small integer takes half the room of its digits.
    return int(found) if found.isdecimal() and not found.startswith("0") else found


@dataclass(frozen=True)
class Verdict:
    """Whether a walk that came to its end saw everything, by the source's own totals.

    `unshown` counts products that the source counts and does not show, whoever asks; `unshown_ids`
    names those of them that are stored. `readings` says how often the listing was read. `news`
    counts products that are not as they are stored; None where the walk did not compare them.
    """

    complete: bool
    reason: str | None
    announced: int | None
    readings: int = 1
    unshown: int = 0
    unshown_ids: tuple[str, ...] = ()
    news: int | None = None


class SourceWalk(Protocol):
    """One walk under way."""

    @property
    def start(self) -> WalkStart:
        """What the source said before the first page."""

    @property
    def seen(self) -> SeenIds:
        """The ids of the pages so far."""

    def pages(self) -> Generator[Page]:
        """The pages in order, each read when asked for or a little ahead; to be closed if left."""

    def verdict(self) -> Verdict:
        """To be asked once the pages have ended."""


class ProductSource(Protocol):
    """The outside half of a source."""

    @property
    def name(self) -> str:
        """The kind of source, as `stores.yaml` calls it; it selects the parser of a replay."""

    def currency(self) -> str:
        """The currency of the source's prices."""

    def start_walk(self, order: WalkOrder) -> SourceWalk:
        """Begin a walk."""

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

    def sighting(self, record: Any) -> Sighting | None:
        """What a sweep compares of a record, whole or not; None where it has no id."""

    def parse(self, record: Any) -> ProductRecord:
        """A record read, cleaned and checked.

        Raises:
            InvalidRecordError: it cannot become a row.
        """
