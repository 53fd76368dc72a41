"""One reading of a listing of WooCommerce, page by page: when it ends, and whether it was whole.

A page that is short, or empty, is not the last one: WooCommerce drops objects that it cannot read
after paging, and still counts them. So only the announced number of pages ends a reading, and only
as many different ids as announced make it whole. What to do about one that is not belongs to the
walk.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum

from catalog_pipeline.errors import PermanentError
from catalog_pipeline.products.answers import Answer
from catalog_pipeline.products.models import external_id
from catalog_pipeline.products.source import SeenIds

# Two requests at once were 1.35 times as fast as one on a real server, four no faster.
_AHEAD = 2
# Pages in a row that bring no new product: far more than unreadable objects explain.
_FRUITLESS_PAGES = 50
# Where no totals bound a reading.
_MOST_PAGES = 10_000


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


class Reading:
    """One pass through a listing."""

    def __init__(
        self,
        store_id: str,
        read: Callable[[int], Answer],
        totals: Totals,
        *,
        last_page: int | None = None,
    ) -> None:
        """Prepare.

        Args:
            store_id: for messages.
            read: gives the page with this number, counted from 1; called from several threads.
            totals: what the store announced just before; with its number of pages of this size.
            last_page: read no further, whatever is announced.
        """
        self._store_id = store_id
        self._read = read
        self._last_page = last_page
        self._first = totals
        self._pages = totals.pages
        self._fewest = totals.products
        self._read_pages = 0
        self._fruitless = 0
        self._last_ids: tuple[str | None, ...] = ()
        self._met_an_empty_page = False
        self.announced = totals.products
        self.ids = SeenIds()

    @property
    def totals(self) -> Totals:
        """What the store announced last."""
        return Totals(self.announced, self._pages)

    def pages(self) -> Iterator[tuple[Answer, tuple[str | None, ...]]]:
        """Every page and its ids, the next one being read while the caller works on the last.

        Raises:
            StoreRefusedError, StoreUnavailableError: the store stopped answering.
            StoreMisbehavedError: the pages repeat or do not end.
        """
        under_way: deque[Future[Answer]] = deque()
        asked = 0
        pool = ThreadPoolExecutor(_AHEAD, thread_name_prefix=f"walk-{self._store_id}")
        try:
            while True:
                while len(under_way) < _AHEAD and self._is_wanted(asked + 1):
                    asked += 1
                    under_way.append(pool.submit(self._read, asked))
                if not under_way:
                    return
                answer = under_way.popleft().result()
                yield answer, self._take(answer)
        finally:
            pool.shutdown(cancel_futures=True)

    def flaw(self, *, may_grow: bool = False) -> Flaw | None:
        """Why a reading that came to its end may not have seen everything; None if it has.

        Args:
            may_grow: products that come into the listing meanwhile may be missed.
        """
        if self.announced is None or self._first.products is None or self._fewest is None:
            return Flaw.NO_TOTALS
        if self._fewest < self._first.products:
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
        if flaw is Flaw.SHRANK:
            return (
                f"products were deleted meanwhile (the total fell from {self._first.products} to "
                f"{self._fewest}), so later ones may have been skipped"
            )
        return f"the store announces {self.announced} products and showed {len(self.ids)}"

    def _take(self, answer: Answer) -> tuple[str | None, ...]:
        # Totals may change while the reading lasts; a page without them changes nothing.
        totals = Totals.of(answer)
        self.announced = self.announced if totals.products is None else totals.products
        self._pages = self._pages if totals.pages is None else totals.pages
        if self.announced is not None and self._fewest is not None:
            self._fewest = min(self._fewest, self.announced)
        ids = tuple(external_id(record) for record in answer.data)
        self._make_sure_of_progress(ids)
        return ids

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
        first = self._first.pages
        if self._read_pages >= (_MOST_PAGES if first is None else 2 * first + _FRUITLESS_PAGES):
            raise StoreMisbehavedError(
                f"{store}: no end after {self._read_pages} pages, far more than announced"
            )


def pages_of(products: int | None, per_page: int) -> int | None:
    """How many pages of a size hold so many products."""
    return None if products is None else math.ceil(products / per_page)
