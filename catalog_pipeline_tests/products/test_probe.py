"""Probes against stores that answer over HTTP, and what the database makes of the answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import hold_store
from catalog_pipeline.catalog.schema import quarantine
from catalog_pipeline.demo.samples import SampleStores
from catalog_pipeline.products import probe
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.known import StoredProducts
from catalog_pipeline.products.polling import Answer, Known, is_news
from catalog_pipeline.products.probe import known_products, probe_all, probe_store
from catalog_pipeline.products.sync import sync_products
from catalog_pipeline.products.walk import walk_store
from catalog_pipeline.products.woocommerce import WooCommerceSource
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline_tests.products.wordpress import reply, scripted, store

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def samples() -> Iterator[SampleStores]:
    with SampleStores(products_per_store=30, picture_size=64) as opened:
        yield opened


@pytest.fixture
def config(samples: SampleStores, monkeypatch: pytest.MonkeyPatch) -> StoreConfig:
    monkeypatch.setenv("CANARY_KEY", samples.key)
    monkeypatch.setenv("CANARY_SECRET", samples.secret)
    store_id, found = next(iter(samples.stores.items()))
    return store(id=store_id, url=found.url, allow_private_addresses=True)


@pytest.fixture
def walked(config: StoreConfig, archive: Archive, database: Database) -> datetime:
    """The store is stored; the watermark."""
    with StoreClient(config) as client:
        report = walk_store(WooCommerceSource(config, client), archive, config)
    with hold_store(database, config.id, "run") as lease:
        sync_products(lease, archive, config)
    return datetime.fromisoformat(report.server_clock)


def news(database: Database, answer: Answer) -> bool:
    with database.read() as connection:
        known = known_products(connection, [answer])
    return is_news(answer, known.get(answer.store_id, Known()))


def test_an_edit_is_news_once_and_costs_one_request(
    samples: SampleStores, config: StoreConfig, walked: datetime, database: Database
) -> None:
    shop = samples.stores[config.id]
    assert not news(database, probe_store(config, walked))

    shop.traffic.reset()
    edited = shop.product_ids()[3]
    shop.edit(edited, regular_price="1.23")
    answer = probe_store(config, walked)

    assert shop.traffic.count() == 1
    assert answer.problem is None
    # A scheduled product's date lies in the future, so it always counts as changed since.
    scheduled = [pair for pair in answer.pairs if pair[1] and pair[1].year > 2030]
    assert answer.announced == 1 + len(scheduled)
    assert {pair[0] for pair in answer.pairs if pair not in scheduled} == {str(edited)}
    assert news(database, answer)


def test_what_was_changed_within_the_overlap_and_is_stored_is_no_news(
    samples: SampleStores, config: StoreConfig, archive: Archive, database: Database
) -> None:
    shop = samples.stores[config.id]
    edited = shop.product_ids()[3]
    shop.edit(edited, regular_price="1.23")
    with StoreClient(config) as client:
        report = walk_store(WooCommerceSource(config, client), archive, config)
    with hold_store(database, config.id, "run") as lease:
        sync_products(lease, archive, config)
    answer = probe_store(config, datetime.fromisoformat(report.server_clock))

    assert str(edited) in {pair[0] for pair in answer.pairs}
    assert not news(database, answer)


def test_a_second_change_is_news_where_one_answer_does_not_hold_the_first_ones(
    samples: SampleStores,
    config: StoreConfig,
    archive: Archive,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop = samples.stores[config.id]
    edited = shop.product_ids("publish")
    for number in edited:
        shop.edit(number, regular_price="1.23")
    with StoreClient(config) as client:
        report = walk_store(WooCommerceSource(config, client), archive, config)
    with hold_store(database, config.id, "run") as lease:
        sync_products(lease, archive, config)
    watermark = datetime.fromisoformat(report.server_clock)
    monkeypatch.setattr(probe, "PAGE_SIZE", len(edited) // 2)
    answer = probe_store(config, watermark)
    assert (answer.announced or 0) >= len(edited) > len(answer.pairs)
    assert not news(database, answer)

    # The store tells its changes apart by the second.
    samples.clock.advance(seconds=1)
    shop.traffic.reset()
    for number in (edited[0], edited[-1]):
        shop.edit(number, regular_price="4.56")
        answer = probe_store(config, watermark)
        assert str(number) in {pair[0] for pair in answer.pairs}
        assert news(database, answer)
    assert shop.traffic.count() == 2


def test_a_store_that_refuses_the_order_is_asked_without_it() -> None:
    asked: list[httpx.QueryParams] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params)
        if request.url.params["orderby"] == "modified":
            return reply({"code": "rest_invalid_param", "message": "Invalid: orderby"}, 400)
        return reply([{"id": 7, "date_modified_gmt": "2026-03-01T00:00:00"}])

    answer = probe_store(store(), NOW, transport=httpx.MockTransport(handle))
    assert (answer.problem, answer.pairs) == (None, (("7", NOW),))
    assert [(one["orderby"], one["order"]) for one in asked] == [
        ("modified", "desc"),
        ("id", "asc"),
    ]
    refusals = [reply({"code": "forbidden"}, 403), reply([])]
    refusing = httpx.MockTransport(lambda _: refusals.pop(0))
    assert probe_store(store(), NOW, transport=refusing).store_failed
    assert len(refusals) == 1, "no other question is tried"


def test_more_changes_than_one_answer_holds(config: StoreConfig, any_database: Database) -> None:
    """Whatever the answer shows may be stored; the announced number tells of the rest."""
    answer = Answer(config.id, datetime.now(UTC), announced=7)

    assert news(any_database, answer)


def refused(store_id: str, external_id: str, moment: datetime) -> dict[str, object]:
    return {
        "store_id": store_id,
        "external_id": external_id,
        "walk_id": "w",
        "reason": "name: is missing",
        "raw": "{}",
        "validator": "v",
        "status": "publish",
        "updated_at": moment,
        "quarantined_at": moment,
    }


def test_refused_versions_that_one_answer_does_not_show_are_no_news(
    config: StoreConfig, walked: datetime, database: Database
) -> None:
    """Scheduled products are announced by every probe, for months; one refused is no change."""
    scheduled = probe_store(config, walked)
    assert scheduled.announced == len(scheduled.pairs) > 0
    one, moment = scheduled.pairs[0]
    assert moment is not None
    beside, alone = refused(config.id, one, moment), refused(config.id, "999999", moment)
    with database.write() as connection:
        upsert(connection, quarantine, [beside, alone])
    announced = scheduled.announced + 1

    assert not news(database, Answer(config.id, scheduled.since, (), announced))
    assert news(database, Answer(config.id, scheduled.since, (), announced + 1))


def test_a_refused_version_is_no_news(any_database: Database) -> None:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    with any_database.write() as connection:
        upsert(connection, quarantine, [refused("atelier", "7", moment)])

    later = moment + timedelta(seconds=1)
    assert not news(any_database, Answer("atelier", moment, (("7", moment),), 1))
    assert news(any_database, Answer("atelier", moment, (("7", later),), 1))


def test_a_store_that_cannot_be_asked_answers_with_the_reason(
    config: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = config.model_copy(update={"url": "http://127.0.0.1:9"})
    answer = probe_store(dead, datetime.now(UTC))
    assert "connection refused" in str(answer.problem)
    assert (answer.store_failed, answer.out_of_reach) == (True, True)

    answer = probed(reply({}, 500))
    assert "answered 500" in str(answer.problem)
    assert (answer.store_failed, answer.out_of_reach) == (True, False)

    monkeypatch.delenv("CANARY_KEY")
    answer = probe_store(config, datetime.now(UTC))
    assert "CANARY_KEY is not set" in str(answer.problem)
    assert (answer.store_failed, answer.out_of_reach) == (False, False)


def probed(*answers: httpx.Response) -> Answer:
    """What a probe makes of an answer."""
    return probe_store(store(), NOW, transport=httpx.MockTransport(scripted(*answers)))


def test_an_answer_that_holds_too_much_is_the_failure_of_that_store_alone() -> None:
    whole = reply([{"id": 7, "name": "x" * 900_000, "date_modified_gmt": "2026-03-01T00:00:00"}])
    assert probed(whole).pairs == (("7", NOW),)

    for too_much, says in (
        (reply([{"id": number} for number in range(1, 102)]), "sent 101 records where 100"),
        (reply([{"id": 7, "name": "x" * 2**20}]), "sent more than 1 MiB"),
        (httpx.Response(200, content=b"[" + b"{}," * 300_000 + b"{}]"), "sent 300001 records"),
    ):
        answer = probed(too_much)
        assert says in (answer.problem or "")
        assert answer.store_failed
        assert answer.pairs == ()


def test_any_number_of_products_can_be_looked_up(any_database: Database) -> None:
    """More than either database takes in one statement."""
    many = 70_000
    with any_database.write() as connection:
        upsert(connection, quarantine, [refused("atelier", str(many), NOW)])
    names = [str(number) for number in range(1, many + 1)]

    with any_database.read() as connection:
        answer = Answer("atelier", NOW, tuple((name, NOW) for name in names), many)
        assert known_products(connection, [answer])["atelier"].pairs == {(str(many), NOW)}
    assert set(StoredProducts(any_database, "atelier").sightings(names)) == {str(many)}


def test_probes_run_at_once_in_order_and_end_by_the_deadline() -> None:
    clock = time.monotonic()
    lock = threading.Lock()
    begun: list[str] = []

    def probe(name: str) -> Answer:
        with lock:
            begun.append(name)
        time.sleep(0.05)
        return Answer(name, datetime.now(UTC))

    names = [f"{number:03d}" for number in range(400)]
    answers = probe_all(names, probe, deadline=clock + 0.6, longest=0.1, workers=8)
    took = time.monotonic() - clock

    assert took < 0.75
    assert 40 <= len(answers) < 400
    assert sorted(begun) == names[: len(begun)] == sorted(answer.store_id for answer in answers)
    assert probe_all([], probe, deadline=clock + 99) == []
