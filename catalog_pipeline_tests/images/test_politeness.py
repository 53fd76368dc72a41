"""What a store is spared while its pictures are fetched, and what slow hosts cannot take."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images import sync as syncing
from catalog_pipeline.images.download import Downloader
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline_tests.images.conftest import MakeStore
from catalog_pipeline_tests.images.drawing import garment_bytes
from catalog_pipeline_tests.images.test_sync import Shop

PICTURE = b"\xff\xd8\xff" + bytes(range(256)) * 40


@pytest.fixture
def httpserver() -> Iterator[HTTPServer]:
    """A server that answers several requests at once."""
    with HTTPServer("localhost", 0, threaded=True) as server:
        yield server


class Busy:
    """Counts how many requests are being answered at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def answer(self, _request: Request) -> Response:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(0.05)
        with self._lock:
            self._now -= 1
        return Response(PICTURE)


def test_no_more_connections_than_the_store_allows_whatever_threads_ask(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    busy = Busy()
    httpserver.expect_request("/a.jpg").respond_with_handler(busy.answer)
    url = httpserver.url_for("/a.jpg")
    with Downloader(make_store(connections=2)) as downloader, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(downloader.fetch, [url] * 12))
    assert [one.outcome for one in found] == ["fetched"] * 12
    assert busy.most == 2


def test_a_stage_opens_no_more_connections_than_the_store_allows(
    httpserver: HTTPServer, make_store: MakeStore, database: Database, tmp_path: Path
) -> None:
    busy = Busy()
    shop = Shop(httpserver, database, DataFolder(str(tmp_path / "data")))
    httpserver.clear()
    for number in range(9):
        httpserver.expect_request(f"/{number}.jpg").respond_with_handler(busy.answer)
    shop.offers(*(shop.url(f"/{number}.jpg") for number in range(9)))
    assert shop.sync(make_store(connections=3)).fetched == 9
    assert busy.most == 3


def test_a_pause_that_a_host_asks_for_holds_for_all_its_pictures_and_no_other_host(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    httpserver.expect_ordered_request("/a.jpg").respond_with_response(
        Response(status=429, headers={"Retry-After": "30"})
    )
    httpserver.expect_ordered_request("/a.jpg").respond_with_data(PICTURE)
    httpserver.expect_request("/b.jpg").respond_with_data(PICTURE)
    slept: list[float] = []
    with Downloader(make_store(), sleep=slept.append) as downloader:
        assert downloader.fetch(httpserver.url_for("/a.jpg")).retries == 1
        assert downloader.fetch(httpserver.url_for("/b.jpg")).outcome == "fetched"
        assert slept == pytest.approx([30.0, 30.0], abs=2.0)
        downloader.fetch(f"http://127.0.0.1:{httpserver.port}/b.jpg")
    assert len(slept) == 2


def test_a_pause_that_a_host_asks_for_holds_for_whoever_is_sent_on_to_it(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    cdn = f"http://127.0.0.1:{httpserver.port}"
    busy = Response(status=503, headers={"Retry-After": "60"})
    for name in ("a", "b"):
        moved = Response(status=302, headers={"Location": f"{cdn}/cdn/{name}.jpg"})
        httpserver.expect_request(f"/{name}.jpg").respond_with_response(moved)
    httpserver.expect_oneshot_request("/cdn/a.jpg").respond_with_response(busy)
    httpserver.expect_request("/cdn/a.jpg").respond_with_data(PICTURE)
    httpserver.expect_request("/cdn/b.jpg").respond_with_data(PICTURE)
    httpserver.expect_request("/own.jpg").respond_with_data(PICTURE)
    slept: list[tuple[float, int]] = []

    def sleep(seconds: float) -> None:
        slept.append((seconds, len(httpserver.log)))

    with Downloader(make_store(), sleep=sleep) as downloader:
        assert downloader.fetch(httpserver.url_for("/a.jpg")).outcome == "fetched"
        assert downloader.fetch(httpserver.url_for("/b.jpg")).outcome == "fetched"
        assert downloader.fetch(httpserver.url_for("/own.jpg")).outcome == "fetched"
    paths = [request.path for request, _ in httpserver.log]
    assert paths == [
        "/a.jpg", "/cdn/a.jpg", "/a.jpg", "/cdn/a.jpg", "/b.jpg", "/cdn/b.jpg", "/own.jpg",
    ]  # fmt: skip
    # Both wait before they ask the host that is busy, and nobody before the host that is not.
    assert [paths[asked] for _, asked in slept] == ["/cdn/a.jpg", "/cdn/b.jpg"]
    assert [seconds for seconds, _ in slept] == pytest.approx([60.0, 60.0], abs=2.0)


def test_pauses_that_hosts_ask_for_take_nothing_of_the_time_for_a_picture(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    moved = Response(status=302, headers={"Location": f"http://127.0.0.1:{httpserver.port}/b.jpg"})
    httpserver.expect_request("/a.jpg").respond_with_response(moved)
    httpserver.expect_oneshot_request("/b.jpg").respond_with_response(
        Response(status=429, headers={"Retry-After": "1"})
    )
    httpserver.expect_request("/b.jpg").respond_with_data(PICTURE)
    with Downloader(make_store(), total_seconds=0.9) as downloader:
        found = downloader.fetch(httpserver.url_for("/a.jpg"))
    assert (found.outcome, found.requests, found.retries) == ("fetched", 4, 1)


def test_own_headers_follow_no_redirect_to_another_host(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    cdn = f"http://127.0.0.1:{httpserver.port}"
    moved = Response(status=302, headers={"Location": f"{cdn}/b.jpg"})
    back = Response(status=302, headers={"Location": httpserver.url_for("/c.jpg")})
    httpserver.expect_request("/a.jpg").respond_with_response(moved)
    httpserver.expect_request("/b.jpg").respond_with_response(back)
    httpserver.expect_request("/c.jpg").respond_with_data(PICTURE)
    store = make_store(headers={"X-Firewall": "let-me-in"})
    with Downloader(store) as downloader:
        assert downloader.fetch(httpserver.url_for("/a.jpg")).outcome == "fetched"
    sent = [request.headers.get("X-Firewall") for request, _ in httpserver.log]
    assert sent == ["let-me-in", None, "let-me-in"]


def test_pictures_are_asked_for_under_the_name_that_the_api_sees(
    httpserver: HTTPServer, make_store: MakeStore
) -> None:
    httpserver.expect_request("/a.jpg").respond_with_data(PICTURE)
    for store in (make_store(), make_store(user_agent="Catalogue of Atelier")):
        with Downloader(store) as downloader, StoreClient(store) as client:
            downloader.fetch(httpserver.url_for("/a.jpg"))
            request, _ = httpserver.log[-1]
            assert request.headers["User-Agent"] == client.user_agent
    assert request.headers["User-Agent"] == "Catalogue of Atelier"


def test_slow_hosts_end_a_run_and_the_next_one_goes_on(
    httpserver: HTTPServer,
    make_store: MakeStore,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = Shop(httpserver, database, DataFolder(str(tmp_path / "data")))
    shop.served = {f"/{number}.jpg": garment_bytes(number) for number in range(12)}
    shop.offers(*(shop.url(path) for path in shop.served))
    monkeypatch.setattr(syncing, "_SLOW_START_SECONDS", 0.3)
    monkeypatch.setattr(syncing, "_SLOWEST_SECONDS", 0.0)
    answer = shop._answer

    def slowly(request: Request) -> Response:
        time.sleep(0.25)
        return answer(request)

    httpserver.clear()
    for path in shop.served:
        httpserver.expect_request(path).respond_with_handler(slowly)
    first = shop.sync(make_store(connections=2))
    assert 2 <= first.fetched < 12
    assert first.left == 12 - first.fetched
    monkeypatch.undo()
    second = shop.sync(make_store(connections=2))
    assert (second.fetched, second.left) == (first.left, 0)
