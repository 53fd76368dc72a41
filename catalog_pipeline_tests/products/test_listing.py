"""A listing read side by side tells the same as one read page after page, whatever the store does.

What a walk makes of a reading is tested with the walk.
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_pipeline.errors import CatalogError
from catalog_pipeline.products.ahead import GivenUpError
from catalog_pipeline.products.answers import (
    Answer,
    Facts,
    StoreRefusedError,
    StoreUnavailableError,
    Trouble,
)
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.listing import Pages, Reading, Totals
from catalog_pipeline.products.source import SeenIds
from catalog_pipeline.products.walk import walk_store
from catalog_pipeline.products.woocommerce import WooCommerceSource
from catalog_pipeline_tests.products.wordpress import NOW, product, store

CONNECTIONS = 5


def answer(ids: list[Any], total: int | None, pages: int | None) -> Answer:
    told = {"X-WP-Total": total, "X-WP-TotalPages": pages}
    headers = {name: str(value) for name, value in told.items() if value is not None}
    return Answer(httpx.Headers(headers), b"", [{"id": found} for found in ids])


def refused() -> StoreRefusedError:
    return StoreRefusedError("no", Trouble.DENIED, Facts(status=401))


def unavailable() -> StoreUnavailableError:
    return StoreUnavailableError("later", Trouble.SERVER_ERROR, Facts(status=500))


@dataclass
class Told:
    """All that a reading tells."""

    pages: list[list[Any]] = field(default_factory=list)
    ids: SeenIds = field(default_factory=SeenIds)
    end: tuple[Any, ...] = ()


def read(ask: Callable[[int], Answer], totals: Totals, most: int, **limits: Any) -> Told:
    """Read a listing to its end."""
    pages = Pages(lambda number, given_up: ask(number), lambda: None, lambda: most, most)
    reading = Reading("atelier", pages, totals, **limits)
    told = Told(ids=reading.ids)
    error: CatalogError | None = None
    try:
        told.pages = []
        for found, _ids in reading.pages():
            told.pages.append([record["id"] for record in found.data])
    except CatalogError as raised:
        error = raised
    flaws = (reading.flaw(), reading.flaw(may_grow=True))
    duplicates = (reading.ids.duplicates, reading.ids.unreadable)
    told.end = (type(error), str(error), reading.totals, flaws, duplicates)
    return told


@dataclass(frozen=True)
class Behaviour:
    """What a store answers for one page, and how much later than it could."""

    ids: list[Any]
    total: int | None
    pages: int | None
    error: str | None
    delay: int


behaviours = st.builds(
    Behaviour,
    ids=st.lists(st.one_of(st.integers(1, 40), st.none()), max_size=4),
    total=st.sampled_from([None, 0, 3, 9, 9, 9, 9, 12]),
    pages=st.sampled_from([None, 0, 2, 9, 9, 9, 9, 12]),
    error=st.sampled_from([None] * 12 + ["refused", "unavailable", "crowded"]),
    delay=st.integers(0, 3),
)


@settings(max_examples=80, deadline=None)
@given(
    script=st.lists(behaviours, min_size=1, max_size=12),
    first=st.tuples(st.sampled_from([None, 0, 9, 9]), st.sampled_from([None, 0, 9, 9])),
    last_page=st.one_of(st.none(), st.integers(1, 8)),
)
def test_side_by_side_tells_the_same_as_one_after_the_other(
    script: list[Behaviour], first: tuple[int | None, int | None], last_page: int | None
) -> None:
    lock = threading.Lock()
    under_way = 0

    def ask(number: int) -> Answer:
        nonlocal under_way
        one = script[(number - 1) % len(script)]
        with lock:
            under_way += 1
            crowd = under_way
        try:
            time.sleep(one.delay / 2_000)
            if one.error == "refused":
                raise refused()
            if one.error == "unavailable" or (one.error == "crowded" and crowd > 1):
                raise unavailable()
            return answer(one.ids, one.total, one.pages)
        finally:
            with lock:
                under_way -= 1

    alone = read(ask, Totals(*first), 1, last_page=last_page)
    together = read(ask, Totals(*first), CONNECTIONS, last_page=last_page)
    assert together == alone


class Shelf:
    """A listing of three a page that edits change before some of its answers are made.

    `delays` are by page, so that a page may be older than the ones before it.
    """

    def __init__(
        self, ids: list[int], edits: dict[int, int], delays: list[int], *, grows: bool
    ) -> None:
        self.ids = list(ids)
        self._edits = edits
        self._delays = delays
        self._grows = grows
        self._asked = 0
        self._fresh = 1_000
        self._lock = threading.Lock()

    def totals(self) -> Totals:
        return Totals(len(self.ids), -(-len(self.ids) // 3))

    def ask(self, number: int) -> Answer:
        time.sleep(self._delays[number % len(self._delays)] / 500)
        with self._lock:
            self._asked += 1
            place = self._edits.get(self._asked)
            if place is not None and self._grows:
                self._fresh += 1
                self.ids.insert(place % (len(self.ids) + 1), self._fresh)
            elif place is not None and self.ids:
                del self.ids[place % len(self.ids)]
            totals = self.totals()
            shown = self.ids[(number - 1) * 3 : number * 3]
            return answer(shown, totals.products, totals.pages)


def edits(most: int) -> st.SearchStrategy[dict[int, int]]:
    return st.dictionaries(st.integers(1, 12), st.integers(0, 40), max_size=most)


delays = st.lists(st.integers(0, 3), min_size=1, max_size=8)


# With three edits, a page may hold just what the one before it held, as from a cache.
@settings(max_examples=80, deadline=None)
@given(size=st.integers(0, 24), edits=edits(2), delays=delays)
def test_what_comes_into_a_listing_hides_nothing_that_was_in_it(
    size: int, edits: dict[int, int], delays: list[int]
) -> None:
    """As an incremental walk over a store that people work in must be sure of."""
    there = list(range(1, size + 1))
    shelf = Shelf(there, edits, delays, grows=True)
    told = read(shelf.ask, shelf.totals(), CONNECTIONS)
    assert told.end[0] is type(None)
    assert not [found for found in there if str(found) not in told.ids]


@settings(max_examples=80, deadline=None)
@given(size=st.integers(0, 24), edits=edits(4), delays=delays)
def test_what_goes_out_of_a_listing_hides_nothing_from_a_whole_reading(
    size: int, edits: dict[int, int], delays: list[int]
) -> None:
    shelf = Shelf(list(range(1, size + 1)), edits, delays, grows=False)
    told = read(shelf.ask, shelf.totals(), CONNECTIONS)
    flaw, _may_grow = told.end[3]
    if flaw is None:
        assert not [found for found in shelf.ids if str(found) not in told.ids]


def test_no_more_pages_are_held_than_may_be_under_way() -> None:
    """However slowly they are taken, and however many there are."""
    asked: list[int] = []

    def ask(number: int, given_up: threading.Event) -> Answer:
        asked.append(number)
        return answer([number], 200, 200)

    pages = Pages(ask, lambda: None, lambda: CONNECTIONS, CONNECTIONS)
    reading = Reading("atelier", pages, Totals(200, 200))
    for taken, _ in enumerate(reading.pages(), 1):
        assert len(asked) < taken + CONNECTIONS
    assert reading.flaw() is None


def test_what_was_asked_for_ahead_is_told_that_nobody_waits() -> None:
    begun, heard = threading.Event(), threading.Event()

    def ask(number: int, given_up: threading.Event) -> Answer:
        if number == 1:
            assert begun.wait(20)
            raise refused()
        begun.set()
        assert given_up.wait(20)
        heard.set()
        raise GivenUpError

    reading = Reading("atelier", Pages(ask, lambda: None, lambda: 2, 2), Totals(20, 2))
    with pytest.raises(StoreRefusedError):
        list(reading.pages())
    assert heard.is_set()
    assert not walk_threads()


def test_an_interrupt_gives_up_the_page_that_is_waited_for() -> None:
    waiting, heard = threading.Event(), threading.Event()

    def ask(number: int, given_up: threading.Event) -> Answer:
        waiting.set()
        assert given_up.wait(20)
        heard.set()
        raise GivenUpError

    def interrupt() -> None:
        assert waiting.wait(20)
        # By then the main thread is done with beginning, and waits.
        time.sleep(0.5)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    other = threading.Thread(target=interrupt)
    reading = Reading("atelier", Pages(ask, lambda: None, lambda: 1, 1), Totals(10, 1))
    other.start()
    with pytest.raises(KeyboardInterrupt):
        list(reading.pages())
    other.join()
    assert heard.is_set()
    assert not walk_threads()


def walk_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("walk-")]


# --- over real connections ----------------------------------------------------------------------


@contextmanager
def serving(handle: Callable[[int, BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A server on loopback; pages of the listing are handed to `handle`, all else is answered."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            query = parse_qs(address.query)
            if "currencies" in address.path:
                send(self, {"code": "EUR"})
            elif "_fields" in query:
                send(self, [{"id": 1}])
            else:
                handle(int(query["page"][0]), self)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return NOW

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(to: BaseHTTPRequestHandler, data: Any, status: int = 200, **headers: str) -> None:
    body = json.dumps(data).encode()
    to.send_response(status)
    told = {"x_wp_total": "900", "x_wp_totalpages": "9", **headers}
    for name, value in {**told, "content_length": str(len(body))}.items():
        to.send_header(name.replace("_", "-"), value)
    to.end_headers()
    to.wfile.write(body)


@pytest.mark.parametrize("rest", ["hangs", "trickles", "asks to come back in a minute"])
def test_an_error_does_not_wait_for_the_pages_behind_it(archive: Archive, rest: str) -> None:
    """The pages before it stay, and nothing is left of those that were under way."""
    over = threading.Event()
    all_here = threading.Barrier(7, timeout=20)
    others = threading.Semaphore(0)

    def handle(number: int, to: BaseHTTPRequestHandler) -> None:
        if number == 1:
            send(to, [product(one) for one in range(1, 101)])
            return
        if number < 9:
            all_here.wait()
        if number == 2:
            assert all(others.acquire(timeout=20) for _ in range(3, 9))
            send(to, {"code": "woocommerce_rest_cannot_view", "message": "Sorry."}, 401)
        elif rest.startswith("asks"):
            send(to, {}, 503, retry_after="60")
            others.release()
        else:
            others.release()
            if rest == "trickles":
                to.send_response(200)
                to.send_header("Content-Length", "1000")
                to.end_headers()
                to.wfile.write(b"[")
                to.wfile.flush()
            over.wait(60)
            to.close_connection = True

    with serving(handle) as url:
        config = store(url=url, allow_private_addresses=True)
        try:
            with StoreClient(config) as client:
                began = time.monotonic()
                with pytest.raises(StoreRefusedError, match="cannot_view"):
                    walk_store(WooCommerceSource(config, client), archive, config)
                assert time.monotonic() - began < 5
                assert not walk_threads()
        finally:
            over.set()
    (walk_id,) = archive.walk_ids("atelier")
    archived = archive.open("atelier", walk_id)
    assert archived is not None
    assert archived.manifest is not None
    assert (archived.manifest.pages, archived.manifest.complete) == (1, False)


def test_a_client_goes_on_after_its_requests_were_cut(archive: Archive) -> None:
    """A reading that gives pages up, because the totals moved, reads them again and is whole."""
    moved = threading.Event()

    def handle(number: int, to: BaseHTTPRequestHandler) -> None:
        if number > 1 and not moved.is_set():
            # No answer; the client ends the connection.
            to.rfile.read(1)
            to.close_connection = True
            return
        first = (number - 1) * 100 + 1
        send(
            to,
            [product(one) for one in range(first, first + 100)],
            x_wp_total="600",
            x_wp_totalpages="6",
        )
        moved.set()

    with serving(handle) as url:
        config = store(url=url, allow_private_addresses=True)
        with StoreClient(config) as client:
            source = WooCommerceSource(config, client)
            report = walk_store(source, archive, config)
    # 900 were announced before the first page, so a second reading has to bear the first out.
    assert (report.complete, report.readings, report.products) == (True, 2, 600)
    assert report.retries == 0
    assert not walk_threads()
