"""A store that answers, but so slowly that reading it would never end."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from catalog_pipeline.products.answers import StoreUnavailableError, Trouble
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.walk import walk_store
from catalog_pipeline.products.woocommerce import WooCommerceSource
from catalog_pipeline_tests.products.wordpress import FakeTime, product, reply, store


def slow_client(seconds: float, fake: FakeTime, **settings: object) -> StoreClient:
    """A client whose every request takes so long, before it brings a list."""

    def handle(_request: httpx.Request) -> httpx.Response:
        fake.now += seconds
        return reply([])

    config = store(**settings)
    transport = httpx.MockTransport(handle)
    return StoreClient(config, transport=transport, sleep=fake.sleep, clock=fake.clock)


def asked_until_it_gives_up(client: StoreClient, most: int = 500) -> int:
    for number in range(most):
        try:
            client.get("/p", expect=list)
        except StoreUnavailableError as error:
            return number if error.trouble is Trouble.TIMEOUT else -1
    return most


def test_a_store_whose_every_page_takes_minutes_is_given_up_within_the_hour() -> None:
    fake = FakeTime()
    began = fake.now
    assert 10 <= asked_until_it_gives_up(slow_client(170.0, fake)) <= 20
    assert fake.now - began < timedelta(hours=1).total_seconds()


@pytest.mark.parametrize("seconds", [0.5, 20.0, 29.0])
def test_a_slow_shared_host_is_read_to_its_end(seconds: float) -> None:
    assert asked_until_it_gives_up(slow_client(seconds, FakeTime())) == 500


def test_a_pace_that_the_store_s_configuration_asks_for_is_not_held_against_it() -> None:
    assert asked_until_it_gives_up(slow_client(1.0, FakeTime(), requests_per_second=0.02)) == 500


def test_what_a_slow_store_showed_is_kept_and_proves_nothing(archive: Archive) -> None:
    fake = FakeTime()

    def handle(request: httpx.Request) -> httpx.Response:
        fake.now += 170.0
        if "currencies" in request.url.path:
            return reply({"code": "EUR"})
        page = int(request.url.params["page"])
        count = int(request.url.params["per_page"])
        shown = [product(number) for number in range(100 * page, 100 * page + count)]
        return reply(shown, headers={"X-WP-Total": "100000", "X-WP-TotalPages": "1000"})

    config = store()
    transport = httpx.MockTransport(handle)
    with (
        StoreClient(config, transport=transport, sleep=fake.sleep, clock=fake.clock) as client,
        pytest.raises(StoreUnavailableError, match="too slow"),
    ):
        walk_store(WooCommerceSource(config, client), archive, config)
    (walk_id,) = archive.walk_ids(config.id)
    walk = archive.open(config.id, walk_id)
    assert walk is not None
    assert walk.manifest is not None
    assert not walk.manifest.complete
    assert "too slow to be read" in (walk.manifest.reason or "")
    assert 500 <= walk.manifest.records <= 2_000
