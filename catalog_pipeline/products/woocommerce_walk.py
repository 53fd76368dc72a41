"""A walk of a WooCommerce store: which requests it consists of, and what it proves.

A walk goes by id, because every other order repeats and skips products between pages. What a
reading of the listing may have missed is asked for by id where its id is known, and the listing is
read again where it is not, until the store's totals are met or two readings agree. A stored product
that is missing is asked for by id before the walk says that it is gone.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, timedelta
from itertools import islice

from catalog_pipeline.products.answers import Answer
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.listing import (
    Flaw,
    Pages,
    Reading,
    StoreMisbehavedError,
    Totals,
)
from catalog_pipeline.products.models import external_id, sighting
from catalog_pipeline.products.source import (
    IDS_PAGE,
    PRODUCTS_PAGE,
    PROVING_KINDS,
    TRASH_PAGE,
    Page,
    SeenIds,
    Sighting,
    Verdict,
    WalkOrder,
    WalkStart,
)

API = "/wp-json/wc/v3"
PRODUCTS = f"{API}/products"
# The most that a store gives, and as many ids as one address holds: 100 of 19 digits with their
# encoded commas are 2.2 KB, and servers refuse addresses beyond 8 KB.
PAGE_SIZE = 100
# An incremental walk begins this much before its watermark: the dates of products and the clock of
# the answers may come from different machines, and dates have whole seconds.
OVERLAP = timedelta(minutes=5)
MOST_READINGS = 3
# 5 MB; what is beyond them is read twice.
_MOST_REMEMBERED = 20_000
_SIGHTING_FIELDS = "id,status,date_modified_gmt"


class WooCommerceWalk:
    """One walk of a store's products."""

    def __init__(
        self,
        store_id: str,
        client: StoreClient,
        order: WalkOrder,
        start: WalkStart,
        *,
        per_page: int,
        connections: int,
        just_read: dict[str, Sighting],
    ) -> None:
        """Prepare.

        Args:
            store_id: the store, for messages.
            client: asks the store.
            order: what to cover.
            start: what the store said before the first page.
            per_page: products in a page.
            connections: pages read side by side.
            just_read: products that walks of what changed have read, which will be stored; shared
                by the walks of a run, so that a sweep asks for none of them once more.
        """
        self._store_id = store_id
        self._client = client
        self._order = order
        self._start = start
        self._per_page = per_page
        self._connections = connections
        self._just_read = just_read
        self._throttles = client.counters()["throttles"]
        self._seen = SeenIds()
        self._reading: Reading | None = None
        self._readings = 0
        self._doubt: str | None = None
        self._looked_for = SeenIds()
        # What the store shows or counts when asked by id counts in every later reading as well.
        self._found_by_id: list[str | None] = []
        self._outdated: dict[str, None] = {}
        self._news: set[str] = set()
        self._unshown_ids: list[str] = []
        # Answers to questions by id came without totals, so what they leave out proves nothing.
        self._blind = False

    @property
    def start(self) -> WalkStart:
        """What the store said before the first page."""
        return self._start

    @property
    def seen(self) -> SeenIds:
        """The ids of the pages so far."""
        return self._seen

    def pages(self) -> Generator[Page]:
        """Every page as it came.

        Raises:
            StoreRefusedError, StoreUnavailableError: the store stopped answering.
            StoreMisbehavedError: the answers contradict each other.
        """
        if self._order.product is not None:
            yield from self._one_product(self._order.product)
            return
        yield from self._listing()
        yield from self._whole(tuple(self._outdated))
        if self._doubt is None and self._order.kind in PROVING_KINDS:
            gone = self._missing()
            self._news.update(gone)
            yield from self._trash(gone)

    def verdict(self) -> Verdict:
        """Complete if the store's totals were met, or two readings in a row agreed."""
        announced, shown = self._start.announced, len(self._seen)
        if self._reading is not None:
            announced, shown = self._reading.announced, len(self._reading.ids)
        # A walk that proves nothing cannot tell what the store hides from what it did not see.
        unshown = 0 if announced is None or self._doubt else max(announced - shown, 0)
        return Verdict(
            complete=self._doubt is None,
            reason=self._doubt,
            announced=announced,
            readings=self._readings,
            unshown=unshown + len(self._unshown_ids),
            unshown_ids=tuple(self._unshown_ids),
            # A full walk alone shows what changed without a date: its bytes are the word on it.
            news=None if self._order.kind == "full" else len(self._news),
        )

    # --- the listing ------------------------------------------------------------------------

    def _listing(self) -> Iterator[Page]:
        totals = Totals(self._start.announced, self._start.announced_pages)
        if totals.pages == 0 and self._order.kind in PROVING_KINDS:
            # That a shop is empty is not believed of one answer, which may come from a cache.
            totals = replace(totals, pages=1)
        pages = Pages(self._read, self._client.cut, self._at_once, self._connections)
        before: Reading | None = None
        for _ in range(MOST_READINGS):
            reading = Reading(self._store_id, pages, totals, last_page=self._last_page)
            self._begin(reading)
            yield from self._pages_of(reading)
            self._note(self._found_by_id, reading)
            flaw = reading.flaw(may_grow=self._order.kind == "incremental")
            if self._order.sample is not None:
                self._doubt = f"a sample of {self._order.sample} products was asked for"
                return
            if flaw in (None, Flaw.TOO_FEW) and self._order.kind in PROVING_KINDS:
                yield from self._whole(self._missing(), reading)
                # Also where the totals were met: products that are shown by id and not counted
                # say that the totals are wrong.
                flaw = reading.flaw()
            agrees = before is not None and _agree(before, reading)
            if flaw is None or (flaw is Flaw.TOO_FEW and agrees):
                self._doubt = None
                break
            self._doubt = reading.doubt(flaw)
            if flaw is Flaw.NO_TOTALS:
                return
            before, totals = reading, reading.totals
        if self._doubt is None and self._blind:
            self._doubt = "the store announces no totals where products are asked for by id"

    def _begin(self, reading: Reading) -> None:
        # What the walk has seen is what its first reading sees; only another reading needs ids of
        # its own, to be compared.
        self._seen = reading.ids if self._reading is None else self._seen.copy()
        self._reading, self._readings = reading, self._readings + 1

    def _pages_of(self, reading: Reading) -> Iterator[Page]:
        with closing(reading.pages()) as pages:
            for answer, ids in pages:
                self._note(ids, None)
                if self._order.kind == "sweep":
                    self._compare(answer)
                    yield Page(answer.body, ids, IDS_PAGE)
                    continue
                if self._order.kind == "incremental":
                    self._note_news(_sightings(answer))
                    self._remember(answer)
                yield Page(answer.body, ids, PRODUCTS_PAGE)

    def _remember(self, answer: Answer) -> None:
        room = _MOST_REMEMBERED - len(self._just_read)
        for found in islice(filter(None, map(sighting, answer.data)), max(room, 0)):
            self._just_read[found.external_id] = found

    def _compare(self, answer: Answer) -> None:
        """Take note of the products that are not the ones that are stored."""
        shown = _sightings(answer)
        stored = self._note_news(shown)
        for external, found in shown.items():
            if self._just_read.get(external, stored.get(external)) != found:
                self._outdated[external] = None

    def _note_news(self, shown: Mapping[str, Sighting]) -> Mapping[str, Sighting]:
        stored = self._order.known.sightings(tuple(shown))
        self._news.update(one for one, found in shown.items() if stored.get(one) != found)
        return stored

    def _read(self, number: int, given_up: threading.Event) -> Answer:
        query = {**listing_query(self._order), "per_page": self._per_page, "page": number}
        if self._order.kind == "sweep":
            query["_fields"] = _SIGHTING_FIELDS
        return self._client.get(PRODUCTS, query, expect=list, given_up=given_up)

    def _at_once(self) -> int:
        # A store that has said 429 is asked for one page after the other.
        throttled = self._client.counters()["throttles"] > self._throttles
        return 1 if throttled else self._connections

    @property
    def _last_page(self) -> int | None:
        sample = self._order.sample
        return None if sample is None else math.ceil(sample / self._per_page)

    # --- by id ------------------------------------------------------------------------------

    def _missing(self) -> list[str]:
        """Stored products that no page has shown."""
        return [known for known in self._order.known.ids() if known not in self._seen]

    def _whole(self, ids: Sequence[str], reading: Reading | None = None) -> Iterator[Page]:
        """Whole products by id; with a reading, what the store hides is told from what is gone."""
        for asked in _chunks([one for one in ids if one not in self._looked_for]):
            self._looked_for.add(asked)
            answer = self._by_id(asked, "any")
            shown = tuple(external_id(record) for record in answer.data)
            self._note(shown, reading)
            if self._order.kind == "product":
                self._note_news(_sightings(answer))
            if reading is not None:
                hidden = self._hidden(asked, shown, Totals.of(answer).products)
                self._unshown_ids.extend(hidden)
                self._note(hidden, reading)
                self._found_by_id += [*shown, *hidden]
            if answer.data:
                yield Page(answer.body, shown, PRODUCTS_PAGE)

    def _hidden(
        self, asked: Sequence[str], shown: Sequence[str | None], total: int | None
    ) -> list[str]:
        """Those of the ids that the store counts and, unable to read them, does not show."""
        if total is None:
            self._blind = True
            return []
        if total <= len(shown):
            return []
        return [one for one in asked if one not in shown and self._is_counted(one)]

    def _is_counted(self, one: str) -> bool:
        total = Totals.of(self._by_id([one], "any", fields="id")).products
        self._blind = self._blind or total is None
        return bool(total)

    def _trash(self, ids: Sequence[str]) -> Iterator[Page]:
        """What the store has in its trash of products that are gone from its listing."""
        for asked in _chunks(ids):
            answer = self._by_id(asked, "trash", fields=_SIGHTING_FIELDS)
            if answer.data:
                yield Page(answer.body, (), TRASH_PAGE)

    def _one_product(self, product: str) -> Iterator[Page]:
        self._doubt = "one product was asked for, which proves nothing of the others"
        yield from self._whole([product])
        if product not in self._seen:
            self._news.add(product)
            pages = list(self._trash([product]))
            where = "has it in its trash" if pages else "does not have it"
            self._doubt = f"product {product} was asked for, and the store {where}"
            yield from pages

    def _by_id(self, asked: Sequence[str], status: str, *, fields: str | None = None) -> Answer:
        query = {
            **listing_query(self._order),
            "status": status,
            "include": ",".join(asked),
            "per_page": PAGE_SIZE,
            "page": 1,
        }
        if fields is not None:
            query["_fields"] = fields
        answer = self._client.get(PRODUCTS, query, expect=list)
        others = {external_id(record) for record in answer.data} - {None, *asked}
        if others:
            raise StoreMisbehavedError(
                f"store {self._store_id}: asked for {len(asked)} products by id, it shows "
                f"{len(others)} others: something in front of the store caches answers and "
                "ignores the query; exclude /wp-json/ from that cache"
            )
        return answer

    def _note(self, ids: Sequence[str | None], reading: Reading | None) -> None:
        new = [found for found in ids if found is not None and found not in self._seen]
        self._seen.add(new)
        if reading is not None:
            reading.ids.add(found for found in ids if found and found not in reading.ids)


def listing_query(order: WalkOrder) -> dict[str, str | int]:
    """The part of a walk's queries that is the same on every page."""
    query: dict[str, str | int] = {"status": "any", "orderby": "id", "order": "asc"}
    if order.since is not None:
        # With a zone's suffix the store would move the moment by its own offset from UTC.
        after = (order.since - OVERLAP).astimezone(UTC)
        query["modified_after"] = f"{after:%Y-%m-%dT%H:%M:%S}"
        query["dates_are_gmt"] = "true"
    return query


def _sightings(answer: Answer) -> dict[str, Sighting]:
    return {found.external_id: found for found in map(sighting, answer.data) if found}


def _agree(first: Reading, second: Reading) -> bool:
    return first.announced == second.announced and first.ids == second.ids


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), PAGE_SIZE):
        yield ids[start : start + PAGE_SIZE]
