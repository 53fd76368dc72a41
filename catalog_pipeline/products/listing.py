"""One reading of a listing of WooCommerce, page by page: when it ends, and whether it was whole.

A page that is short, or empty, is not the last one: WooCommerce drops objects that it cannot read
after paging, and still counts them. So only the announced number of pages ends a reading, and only
as many different ids as announced make it whole. What to do about one that is not belongs to the
walk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum

from catalog_pipeline.errors import PermanentError
from catalog_pipeline.products.ahead import Ahead, Ask
from catalog_pipeline.products.answers import Answer, StoreUnavailableError
from catalog_pipeline.products.models import external_id
from catalog_pipeline.products.source import SeenIds

# Pages in a row that bring no new product: far more than unreadable objects explain.
_FRUITLESS_PAGES = 50
# Where no totals bound a reading, and whatever they say: 20 million products are no shop.
_MOST_PAGES = 10_000
_MOST_PAGES_EVER = 200_000


class StoreMisbehavedError(PermanentError):
    """The store's answers contradict each other; the walk stops and proves nothing."""


class Flaw(Enum):
    """Why a reading may not have seen everything."""

    NO_TOTALS = "no totals"
    SHRANK = "shrank"
    TOO_FEW = "too few"
    TOO_MANY = "too many"


@dataclass(frozen=True)
class Totals:
    """What an answer announces; None where it announces nothing that can be read."""

    products: int | None
    pages: int | None

    @classmethod
    def of(cls, answer: Answer) -> Totals:
        """The totals in an answer's headers."""
        return cls(answer.number("x-wp-total"), answer.number("x-wp-totalpages"))


@dataclass(frozen=True)
class Pages:
    """How the pages of a listing are asked for.

    Attributes:
        ask: reads one page; called from several threads.
        cut: ends the requests that wait for an answer, in place of waiting for them.
        at_once: how many pages may be under way, asked before each page; 1 to `most`.
        most: what `at_once` never exceeds.
    """

    ask: Ask
    cut: Callable[[], None]
    at_once: Callable[[], int]
    most: int


class Reading:
    """One pass through a listing."""

    def __init__(
        self,
        store_id: str,
        pages: Pages,
        totals: Totals | None,
        *,
        last_page: int | None = None,
    ) -> None:
        """Prepare.

        Args:
            store_id: for messages.
            pages: how to ask for them.
            totals: what the store announced just before, with its number of pages of this size;
                None: what its first page announces.
            last_page: read no further, whatever is announced.
        """
        self._store_id = store_id
        self._source = pages
        self._last_page = last_page
        self._first = totals
        self._pages = None if totals is None else totals.pages
        self._fell: tuple[int, int] | None = None
        self._read_pages = 0
        self._fruitless = 0
        self._last_ids: tuple[str | None, ...] = ()
        self._met_an_empty_page = False
        self.announced = None if totals is None else totals.products
        self.ids = SeenIds()

    @property
    def totals(self) -> Totals:
        """What the store announced last."""
        return Totals(self.announced, self._pages)

    def pages(self) -> Generator[tuple[Answer, tuple[str | None, ...]]]:
        """Every page and its ids, in order, the next ones being read while the caller works.

        Which page is the next, and whether there is one, is decided by the pages before it alone,
        so an answer that was asked for ahead and is not due in the end is dropped. A page must not
        be older than the one before it either, or products that came into the listing between the
        two have pushed others from the one into the other unseen: wherever the totals change, what
        was asked for ahead is asked for again.

        Raises:
            StoreRefusedError, StoreUnavailableError: the store stopped answering.
            StoreMisbehavedError: the pages repeat or do not end.
        """
        source = self._source
        number, width, most, crowded = 1, source.most, source.most, False
        with Ahead(source.ask, source.cut, source.most, f"walk-{self._store_id}") as ahead:
            while self._is_wanted(number):
                due = self._due(number, min(width, most, source.at_once()))
                crowded = crowded or len(due) > 1
                ahead.begin(due)
                try:
                    answer = ahead.take(number)
                except StoreUnavailableError:
                    if not crowded:
                        raise
                    # Several at once may be what the store cannot bear.
                    crowded, most = False, 1
                    ahead.give_up()
                    continue
                before = self.totals
                ids = self._take(answer)
                if self.totals == before:
                    width = min(2 * width, most)
                else:
                    width = 1
                    ahead.give_up()
                yield answer, ids
                number += 1

    def flaw(self, *, may_grow: bool = False) -> Flaw | None:
        """Why a reading that came to its end may not have seen everything; None if it has.

        Args:
            may_grow: products that come into the listing meanwhile may be missed.
        """
        if self.announced is None or self._first is None or self._first.products is None:
            return Flaw.NO_TOTALS
        if self._fell is not None:
            return Flaw.SHRANK
        if len(self.ids) < (self._first.products if may_grow else self.announced):
            return Flaw.TOO_FEW
        if len(self.ids) > self.announced and not may_grow:
            return Flaw.TOO_MANY
        return None

    def doubt(self, flaw: Flaw) -> str:
        """A flaw as a sentence."""
        if flaw is Flaw.NO_TOTALS:
            return "the store announces no totals"
        if self._fell is not None:
            return (
                f"products were deleted meanwhile (the total fell from {self._fell[0]} to "
                f"{self._fell[1]}), so later ones may have been skipped"
            )
        return f"the store announces {self.announced} products and showed {len(self.ids)}"

    def _take(self, answer: Answer) -> tuple[str | None, ...]:
        # Totals may change while the reading lasts; a page without them changes nothing.
        totals = Totals.of(answer)
        self._first = self._first or totals
        if totals.products is not None:
            if self.announced is not None and totals.products < self.announced:
                # It may have risen before: not the first total counts, but each one's predecessor.
                highest = max(self.announced, self._fell[0] if self._fell else 0)
                self._fell = (highest, totals.products)
            self.announced = totals.products
        self._pages = self._pages if totals.pages is None else totals.pages
        ids = tuple(external_id(record) for record in answer.data)
        self._make_sure_of_progress(ids)
        return ids

    def _due(self, number: int, width: int) -> list[int]:
        """The page that is wanted next, and those that may be asked for along with it."""
        if self._pages is None:
            # Nobody knows whether there are more.
            return [number]
        return [number, *filter(self._is_wanted, range(number + 1, number + width))]

    def _is_wanted(self, number: int) -> bool:
        if self._last_page is not None and number > self._last_page:
            return False
        if self._pages is None:
            # Without totals the first empty page is the only end there is.
            return not self._met_an_empty_page
        return number <= self._pages

    def _make_sure_of_progress(self, ids: tuple[str | None, ...]) -> None:
        self._read_pages += 1
        store = f"store {self._store_id}"
        if ids == self._last_ids and any(ids):
            raise StoreMisbehavedError(
                f"{store}: page {self._read_pages} holds the products of the page before it: "
                "something in front of the store caches answers and ignores the query; exclude "
                "/wp-json/ from that cache"
            )
        self._met_an_empty_page = self._met_an_empty_page or not ids
        self._last_ids = ids or self._last_ids
        self._fruitless = 0 if self.ids.add(ids) else self._fruitless + 1
        if self._fruitless >= _FRUITLESS_PAGES:
            raise StoreMisbehavedError(
                f"{store}: the last {self._fruitless} of {self._read_pages} pages brought no new "
                "product, and the store announces still more"
            )
        first = None if self._first is None else self._first.pages
        most = _MOST_PAGES if first is None else 2 * first + _FRUITLESS_PAGES
        if self._read_pages >= min(most, _MOST_PAGES_EVER):
            raise StoreMisbehavedError(
                f"{store}: no end after {self._read_pages} pages, far more than announced "
                "or than a shop can have"
            )


def pages_of(products: int | None, per_page: int) -> int | None:
    """How many pages of a size hold so many products."""
    return None if products is None else math.ceil(products / per_page)
