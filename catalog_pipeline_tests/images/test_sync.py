"""The images stage on a whole store: what it does once, what it never does twice."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from pytest_httpserver import HTTPServer
from sqlalchemy import Connection, Table, delete, select, update
from werkzeug import Request, Response

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.catalog.lease import LeaseLostError, StoreLease, hold_store
from catalog_pipeline.catalog.schema import (
    gates,
    image_attempts,
    image_verdicts,
    images,
    leases,
    product_images,
    products,
)
from catalog_pipeline.catalog.wanted import Scope, accepted_images
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images import measure as measuring
from catalog_pipeline.images import owed
from catalog_pipeline.images import sync as syncing
from catalog_pipeline.images.blobs import blob_name, read_blob
from catalog_pipeline.images.decode import Decoder
from catalog_pipeline.images.measure import Measurements
from catalog_pipeline.images.quality import Issue
from catalog_pipeline.images.sync import ImagesReport, sync_images
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline_tests.images.conftest import MakeStore
from catalog_pipeline_tests.images.drawing import encoded, garment, garment_bytes
from catalog_pipeline_tests.rows import product_row


class CountingDecoder(Decoder):
    """Decodes here, so that tests are quick and see how often."""

    def __init__(self) -> None:
        super().__init__(workers=1)
        self.calls = 0

    def measure(self, content: bytes, max_pixels: int | None = None) -> Measurements:
        self.calls += 1
        return measuring.measure(content, max_pixels or 50_000_000)


class Shop:
    """A store's files on the test's server, and its products in the database."""

    def __init__(self, server: HTTPServer, database: Database, files: DataFolder) -> None:
        self.server = server
        self.database = database
        self.files = files
        self.decoder = CountingDecoder()
        # Path to the answer: bytes for a picture, a number for a status.
        self.served: dict[str, bytes | int] = {}
        self.requests: list[Request] = []
        self.slept: list[float] = []
        server.expect_request("/").respond_with_data(b"")
        server.expect_request(_Anything()).respond_with_handler(self._answer)

    def _answer(self, request: Request) -> Response:
        self.requests.append(request)
        answer = self.served.get(request.path, 404)
        if isinstance(answer, int):
            return Response(status=answer)
        etag = f'"{hash(answer)}"'
        if request.headers.get("If-None-Match") == etag:
            return Response(status=304)
        return Response(answer, headers={"ETag": etag})

    def url(self, path: str) -> str:
        return self.server.url_for(path)

    def offers(self, *urls: str, image_id: str | None = None, **columns: Any) -> None:
        """Products 0, 1, … with these main images, as the products stage would write them."""
        with self.database.write() as connection:
            for number, url in enumerate(urls):
                add_product(connection, number, url, image_id or str(100 + number), columns)

    def sync(self, store: StoreConfig, **options: Any) -> ImagesReport:
        self.requests.clear()
        self.decoder.calls = 0
        given: dict[str, Any] = {"decoder": self.decoder, "sleep": self.slept.append}
        with hold_store(self.database, store.id, "test") as lease:
            return sync_images(lease, self.files, store, **(given | options))

    def rows(self, table: Table) -> list[dict[str, Any]]:
        with self.database.read() as connection:
            found = connection.execute(select(table).order_by(*table.primary_key))
            return [dict(row._mapping) for row in found]

    def attempt(self, path: str) -> dict[str, Any]:
        (found,) = (row for row in self.rows(image_attempts) if row["url"] == self.url(path))
        return found

    def accepted(self) -> set[str]:
        with self.database.read() as connection:
            return set(connection.scalars(accepted_images(Scope("atelier"))))


class _Anything(str):
    """A path that equals every other."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and other != "/"

    def __hash__(self) -> int:
        return 0


def add_product(
    connection: Connection, number: int, url: str, image_id: str, columns: dict[str, Any]
) -> None:
    identity = product_id("atelier", str(number))
    state = {name: columns.get(name) for name in ("removed_by", "left_out_by")}
    upsert(connection, products, [product_row("atelier", str(number), **state)])
    connection.execute(delete(product_images).where(product_images.c.product_id == identity))
    if url:
        upsert(
            connection,
            product_images,
            [
                {
                    "product_id": identity,
                    "position": 0,
                    "store_id": "atelier",
                    "image_id": image_id,
                    "url": url,
                    "modified_at": columns.get("modified_at"),
                }
            ],
        )


@pytest.fixture
def files(tmp_path: Path) -> DataFolder:
    return DataFolder(str(tmp_path / "data"))


@pytest.fixture
def shop(httpserver: HTTPServer, database: Database, files: DataFolder) -> Shop:
    return Shop(httpserver, database, files)


def all_kinds(shop: Shop) -> None:
    """One picture of every fate."""
    shop.served = {
        "/good.jpg": garment_bytes(1),
        "/also-good.jpg": garment_bytes(2),
        "/copy-of-good.jpg": garment_bytes(1),
        "/tiny.jpg": encoded(garment(3, (60, 80))),
        "/page.jpg": b"<html>no hotlinking</html>",
        "/cut.jpg": garment_bytes(4)[:3000],
        "/woocommerce-placeholder.png": garment_bytes(5),
        "/renamed.png": garment_bytes(5),
        "/huge.jpg": b"x" * 300_000,
        "/broken.jpg": 500,
        "/forbidden.jpg": 403,
    }
    shop.offers(
        *(shop.url(path) for path in shop.served),
        shop.url("/gone.jpg"),
        "ftp://elsewhere/a.jpg",
        "",
        shop.url("/good.jpg"),
    )


LIMITS = {"max_bytes": 200_000}


def test_every_picture_ends_in_a_verdict_or_a_reason_on_both_databases(
    httpserver: HTTPServer, any_database: Database, files: DataFolder, make_store: MakeStore
) -> None:
    shop = Shop(httpserver, any_database, files)
    all_kinds(shop)
    seen: list[tuple[int, int]] = []
    report = shop.sync(
        make_store(quality=LIMITS), progress=lambda done, total: seen.append((done, total))
    )
    assert report.wanted == 13
    assert report.accepted == 3
    assert report.rejected == {
        Issue.TOO_SMALL: 1,
        Issue.UNSUPPORTED_FORMAT: 1,
        Issue.CORRUPT: 1,
        Issue.PLACEHOLDER: 2,
        Issue.TOO_MANY_BYTES: 1,
    }
    assert (report.gone, report.failed, report.refused) == (
        1,
        {"HTTP 500": 1},
        {"HTTP 403": 1, "unusable URL": 1},
    )
    assert (report.waiting, report.stale, report.products_without_image) == (0, 0, 1)
    assert (report.fetched, report.unchanged, report.postponed) == (8, 0, 0)
    assert (report.requests, report.retries) == (16, 4)
    assert report.bytes == sum(
        len(body)
        for body in shop.served.values()
        if isinstance(body, bytes) and len(body) < 200_000
    )
    assert report.judged == len(shop.rows(image_verdicts)) == 6
    assert seen[-1] == (13, 13)
    assert [row["gate_version"] for row in shop.rows(gates)] == [report.gate_version]
    good = shop.attempt("/good.jpg")["image_sha256"]
    assert read_blob(files, good) == garment_bytes(1)
    assert shop.accepted() == {good, shop.attempt("/also-good.jpg")["image_sha256"]}
    (row,) = (row for row in shop.rows(images) if row["image_sha256"] == good)
    assert (row["format"], row["width"], row["height"]) == ("jpeg", 320, 400)
    assert row["measurements"]["sharpness"] > 0.12

    again = shop.sync(make_store(quality=LIMITS))
    assert (again.requests, again.fetched, again.judged, again.remeasured) == (0, 0, 0, 0)
    assert shop.requests == []
    run = {"fetched", "bytes", "requests", "retries", "judged", "seconds"}
    kept = dataclasses.asdict(report)
    assert {key: value for key, value in dataclasses.asdict(again).items() if key not in run} == {
        key: value for key, value in kept.items() if key not in run
    }


def test_each_picture_that_was_never_measured_is_announced(
    shop: Shop, make_store: MakeStore
) -> None:
    shop.served = {
        "/good.jpg": garment_bytes(1),
        "/also-good.jpg": garment_bytes(2),
        "/tiny.jpg": encoded(garment(3, (60, 80))),
        "/cut.jpg": garment_bytes(4)[:3000],
        "/forbidden.jpg": 403,
    }
    shop.offers(*map(shop.url, shop.served))
    announced: list[None] = []
    shop.sync(make_store(), on_new_picture=lambda: announced.append(None))
    assert len(announced) == 4
    announced.clear()
    shop.sync(make_store(), on_new_picture=lambda: announced.append(None), refetch=True)
    assert announced == []


def test_a_second_run_changes_no_row(shop: Shop, make_store: MakeStore) -> None:
    all_kinds(shop)
    tables = (image_attempts, images, image_verdicts, gates)
    shop.sync(make_store(quality=LIMITS))
    before = [shop.rows(table) for table in tables]
    shop.sync(make_store(quality=LIMITS))
    assert [shop.rows(table) for table in tables] == before


def test_real_worker_processes_come_to_the_same(shop: Shop, make_store: MakeStore) -> None:
    all_kinds(shop)
    shop.sync(make_store(quality=LIMITS))
    here = [{**row, "measured_at": None} for row in shop.rows(images)]
    with shop.database.write() as connection:
        for table in (image_attempts, images, image_verdicts):
            connection.execute(delete(table))
    shop.sync(make_store(quality=LIMITS), decoder=None)
    assert [{**row, "measured_at": None} for row in shop.rows(images)] == here


def test_a_store_of_many_pages_comes_to_the_same(
    shop: Shop, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_kinds(shop)
    whole = shop.sync(make_store(quality=LIMITS))
    expected = state(shop)
    with shop.database.write() as connection:
        for table in (image_attempts, images, image_verdicts, gates):
            connection.execute(delete(table))
    monkeypatch.setattr(owed, "_PAGE", 2)
    monkeypatch.setattr(syncing, "_BATCH", 3)
    paged = shop.sync(make_store(quality=LIMITS))
    assert state(shop) == expected
    assert (paged.fetched, paged.judged) == (whole.fetched, whole.judged)


def test_equal_bytes_are_decoded_once(shop: Shop, make_store: MakeStore) -> None:
    shop.served = {"/a.jpg": garment_bytes(1)}
    shop.offers(shop.url("/a.jpg"))
    shop.sync(make_store())
    assert shop.decoder.calls == 1
    shop.served["/b.jpg"] = garment_bytes(1)
    shop.offers(shop.url("/a.jpg"), shop.url("/b.jpg"))
    report = shop.sync(make_store())
    assert (report.fetched, shop.decoder.calls, len(shop.rows(images))) == (1, 0, 1)
    assert (report.accepted, report.accepted_distinct) == (2, 1)


def test_removed_and_left_out_products_want_nothing(shop: Shop, make_store: MakeStore) -> None:
    shop.offers(shop.url("/a.jpg"), removed_by="absent")
    assert shop.sync(make_store()).wanted == 0
    shop.offers(shop.url("/a.jpg"), left_out_by="visibility")
    assert shop.sync(make_store()).wanted == 0
    assert shop.requests == []


@pytest.mark.parametrize(
    "change",
    [{"image_id": "999"}, {"modified_at": datetime(2026, 7, 1, tzinfo=UTC)}],
    ids=["image id", "modified"],
)
def test_a_picture_that_the_source_calls_another_is_asked_for_again(
    shop: Shop, make_store: MakeStore, change: dict[str, Any]
) -> None:
    shop.served = {"/a.jpg": garment_bytes(1)}
    shop.offers(shop.url("/a.jpg"))
    shop.sync(make_store())
    shop.offers(shop.url("/a.jpg"), **change)
    same = shop.sync(make_store())
    assert (same.requests, same.unchanged, same.fetched, same.bytes) == (1, 1, 0, 0)
    assert shop.sync(make_store()).requests == 0

    shop.served["/a.jpg"] = garment_bytes(2)
    shop.offers(shop.url("/a.jpg"), image_id="1000")
    other = shop.sync(make_store())
    assert (other.fetched, other.accepted) == (1, 1)
    assert read_blob(shop.files, shop.attempt("/a.jpg")["image_sha256"]) == garment_bytes(2)


def test_no_304_is_asked_for_when_the_bytes_are_not_here(shop: Shop, make_store: MakeStore) -> None:
    shop.served = {"/a.jpg": garment_bytes(1)}
    shop.offers(shop.url("/a.jpg"))
    shop.sync(make_store())
    shop.files.remove(blob_name(shop.attempt("/a.jpg")["image_sha256"]))
    shop.offers(shop.url("/a.jpg"), image_id="999")
    assert shop.sync(make_store()).fetched == 1


def test_products_that_disagree_on_one_url_ask_for_it_once(
    shop: Shop, make_store: MakeStore
) -> None:
    shop.served = {"/a.jpg": garment_bytes(1)}
    shop.offers(shop.url("/a.jpg"), shop.url("/a.jpg"))
    assert shop.sync(make_store()).requests == 1
    assert shop.sync(make_store()).requests == 0


@pytest.mark.parametrize(("answer", "outcome"), [(500, "failed"), (404, "gone")])
def test_what_could_not_be_had_is_tried_again_at_growing_intervals(
    shop: Shop, make_store: MakeStore, answer: int, outcome: str
) -> None:
    shop.served = {"/a.jpg": answer}
    shop.offers(shop.url("/a.jpg"))
    moment = datetime(2026, 7, 1, tzinfo=UTC)
    for pause in (timedelta(hours=1), timedelta(days=1), timedelta(days=7), timedelta(days=7)):
        with time_machine.travel(moment, tick=False):
            assert shop.sync(make_store()).requests > 0
            assert shop.attempt("/a.jpg")["outcome"] == outcome
            assert shop.attempt("/a.jpg")["next_attempt_at"] == moment + pause
        with time_machine.travel(moment + pause - timedelta(seconds=1), tick=False):
            assert shop.sync(make_store()).requests == 0
        moment += pause
    shop.served["/a.jpg"] = garment_bytes(1)
    with time_machine.travel(moment, tick=False):
        assert shop.sync(make_store()).accepted == 1
    assert shop.attempt("/a.jpg")["failures"] == 0
    assert shop.attempt("/a.jpg")["next_attempt_at"] is None


def test_a_new_picture_that_fails_for_now_leaves_the_last_good_one(
    shop: Shop, make_store: MakeStore
) -> None:
    shop.served = {"/a.jpg": garment_bytes(1)}
    shop.offers(shop.url("/a.jpg"))
    shop.sync(make_store())
    good = shop.accepted()
    for answer, reasons in ((503, {"HTTP 503": 1}), (403, {"HTTP 403": 1})):
        shop.served["/a.jpg"] = answer
        shop.offers(shop.url("/a.jpg"), image_id=f"after {answer}")
        report = shop.sync(make_store())
        assert (report.stale, report.accepted) == (1, 1)
        assert report.failed | report.refused == reasons
        assert shop.accepted() == good


@pytest.mark.parametrize("answer", [404, 410, b"x" * 300_000])
def test_a_picture_that_is_gone_or_too_big_stands_for_nothing(
    shop: Shop, make_store: MakeStore, answer: bytes | int
) -> None:
    shop.served = {"/a.jpg": garment_bytes(1)}
    shop.offers(shop.url("/a.jpg"))
    shop.sync(make_store(quality=LIMITS))
    shop.served["/a.jpg"] = answer
    shop.offers(shop.url("/a.jpg"), image_id="999")
    report = shop.sync(make_store(quality=LIMITS))
    assert (report.accepted, report.stale) == (0, 0)
    assert report.gone + sum(report.rejected.values()) == 1
    assert shop.accepted() == set()


def test_new_thresholds_judge_again_without_a_download_or_a_decoder(
    shop: Shop, make_store: MakeStore
) -> None:
    all_kinds(shop)
    first = shop.sync(make_store(quality=LIMITS))
    strict = shop.sync(make_store(quality=LIMITS | {"min_side": 500}))
    assert (strict.requests, shop.decoder.calls, strict.accepted) == (0, 0, 0)
    assert strict.judged == first.judged
    assert len(shop.rows(gates)) == 2
    back = shop.sync(make_store(quality=LIMITS))
    assert (back.accepted, back.gate_version) == (first.accepted, first.gate_version)


def test_a_changed_limit_of_bytes_asks_again_for_what_was_too_big(
    shop: Shop, make_store: MakeStore
) -> None:
    picture = garment_bytes(1) + b"\x00" * 300_000
    shop.served = {"/a.jpg": picture}
    shop.offers(shop.url("/a.jpg"))
    assert shop.sync(make_store(quality=LIMITS)).rejected == {Issue.TOO_MANY_BYTES: 1}
    assert shop.sync(make_store(quality=LIMITS)).requests == 0
    raised = shop.sync(make_store())
    assert (raised.fetched, raised.accepted) == (1, 1)
    lowered = shop.sync(make_store(quality=LIMITS))
    assert (lowered.requests, lowered.rejected) == (0, {Issue.TOO_MANY_BYTES: 1})


def test_a_raised_limit_of_pixels_decodes_what_is_stored(shop: Shop, make_store: MakeStore) -> None:
    shop.served = {"/a.jpg": garment_bytes(1)}
    shop.offers(shop.url("/a.jpg"))
    low = shop.sync(make_store(quality={"max_pixels": 100_000}))
    assert low.rejected == {Issue.TOO_MANY_PIXELS: 1}
    less_low = shop.sync(make_store(quality={"max_pixels": 110_000}))
    assert (less_low.remeasured, less_low.rejected) == (0, {Issue.TOO_MANY_PIXELS: 1})
    raised = shop.sync(make_store())
    assert (raised.requests, raised.remeasured, raised.accepted) == (0, 1, 1)
    assert shop.sync(make_store()).remeasured == 0


def test_another_decoder_measures_stored_bytes_again_and_fetches_lost_ones(
    shop: Shop, make_store: MakeStore
) -> None:
    shop.served = {"/a.jpg": garment_bytes(1), "/b.jpg": garment_bytes(2)}
    shop.offers(shop.url("/a.jpg"), shop.url("/b.jpg"))
    shop.sync(make_store())
    with shop.database.write() as connection:
        connection.execute(update(images).values(decoder="0", measurements={"bytes": 1}))
    shop.files.remove(blob_name(shop.attempt("/b.jpg")["image_sha256"]))
    report = shop.sync(make_store())
    assert (report.remeasured, report.fetched, report.accepted) == (1, 1, 2)
    assert {row["decoder"] for row in shop.rows(images)} == {measuring.DECODER}


def test_a_placeholder_is_recognised_under_any_url_even_afterwards(
    shop: Shop, make_store: MakeStore
) -> None:
    shop.served = {"/a.png": garment_bytes(1), "/woocommerce-placeholder.png": garment_bytes(1)}
    shop.offers(shop.url("/a.png"))
    assert shop.sync(make_store()).accepted == 1
    shop.offers(shop.url("/a.png"), shop.url("/woocommerce-placeholder.png"))
    report = shop.sync(make_store())
    assert (report.accepted, report.rejected) == (0, {Issue.PLACEHOLDER: 2})
    assert shop.sync(make_store()).judged == 0


def test_a_setting_that_opens_the_way_makes_refused_urls_owed_again(
    shop: Shop, make_store: MakeStore
) -> None:
    closed = make_store(url="https://shop.example", allow_private_addresses=False)
    shop.served = {"/a.jpg": garment_bytes(1)}
    shop.offers(shop.url("/a.jpg"))
    assert set(shop.sync(closed).refused) == {f"port {shop.server.port} is not allowed"}
    assert shop.sync(closed).requests == 0
    port_open = closed.model_copy(update={"image_ports": (shop.server.port,)})
    assert shop.sync(port_open).refused == {"address is not public": 1}
    assert shop.sync(port_open).requests == 0
    assert shop.requests == []
    private = port_open.model_copy(update={"allow_private_addresses": True})
    assert shop.sync(private).accepted == 1


def test_postponed_urls_are_owed_to_the_next_run(shop: Shop, make_store: MakeStore) -> None:
    paths = [f"/{number:02}.jpg" for number in range(14)]
    shop.served = dict.fromkeys(paths, 503)
    shop.offers(*(shop.url(path) for path in paths))
    report = shop.sync(make_store(connections=1))
    assert (report.failed, report.postponed, report.waiting) == ({"HTTP 503": 10}, 4, 4)
    shop.served = {path: garment_bytes(1) for path in paths}
    later = shop.sync(make_store(connections=1))
    assert (later.fetched, later.accepted) == (4, 4)


class Crash(BaseException):
    """The process is gone."""


@contextmanager
def crashing(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, after: int) -> Iterator[None]:
    """Let a function work `after` times and then take the run down, before it does its work."""
    real: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def dying(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Crash
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(Crash):
            yield


@pytest.mark.parametrize(
    ("owner", "name", "after"),
    [
        (syncing, "write_blob", 3),
        (CountingDecoder, "measure", 2),
        (syncing, "upsert", 0),
        (syncing, "upsert", 1),
        (syncing, "upsert", 2),
        (syncing, "judge", 0),
        (syncing, "judge", 4),
    ],
)
def test_a_run_that_dies_anywhere_is_completed_by_the_next(
    shop: Shop,
    make_store: MakeStore,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    after: int,
) -> None:
    all_kinds(shop)
    undisturbed = shop.sync(make_store(quality=LIMITS))
    expected = state(shop)
    with shop.database.write() as connection:
        for table in (image_attempts, images, image_verdicts, gates):
            connection.execute(delete(table))
    shop.files.remove("images")
    with crashing(monkeypatch, owner, name, after):
        shop.sync(make_store(quality=LIMITS))
    for row in shop.rows(images):
        assert shop.files.exists(blob_name(row["image_sha256"]))
    finished = shop.sync(make_store(quality=LIMITS))
    assert state(shop) == expected
    assert (finished.accepted, finished.rejected) == (undisturbed.accepted, undisturbed.rejected)
    assert shop.sync(make_store(quality=LIMITS)).requests == 0


def state(shop: Shop) -> list[list[dict[str, Any]]]:
    clocks = {"attempted_at", "next_attempt_at", "measured_at", "judged_at", "created_at"}
    return [
        [{key: value for key, value in row.items() if key not in clocks} for row in rows]
        for rows in map(shop.rows, (image_attempts, images, image_verdicts, gates))
    ]


def test_a_run_that_lost_its_store_writes_nothing_more(shop: Shop, make_store: MakeStore) -> None:
    all_kinds(shop)
    store = make_store(quality=LIMITS)
    with hold_store(shop.database, store.id, "test") as lease:
        with shop.database.write() as connection:
            connection.execute(update(leases).values(epoch=leases.c.epoch + 1))
        lost = StoreLease(shop.database, store.id, lease.epoch)
        with pytest.raises(LeaseLostError):
            sync_images(lost, shop.files, store, decoder=shop.decoder, sleep=shop.slept.append)
        with shop.database.write() as connection:
            connection.execute(update(leases).values(epoch=lease.epoch))
    assert shop.rows(image_attempts) == shop.rows(images) == []


def test_a_waiting_thread_does_not_hold_up_a_run_that_stops(
    shop: Shop, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = datetime.now(UTC)
    shop.served = {"/a.jpg": garment_bytes(1), "/b.jpg": 503}
    shop.offers(shop.url("/b.jpg"), shop.url("/a.jpg"))
    with crashing(monkeypatch, syncing, "write_blob", 0):
        shop.sync(make_store(), sleep=None)
    assert datetime.now(UTC) - began < timedelta(seconds=10)
