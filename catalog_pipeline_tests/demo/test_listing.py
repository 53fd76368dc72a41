"""Paging, filters, orders and dates of the product listing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog_pipeline.demo import ATELIER, SampleStores, WooStore
from catalog_pipeline_tests.demo.conftest import API


@pytest.fixture(scope="module")
def unchanging() -> Iterator[tuple[WooStore, httpx.Client]]:
    """A store that no test of this module edits."""
    with SampleStores(picture_size=64) as samples:
        store = samples.stores["atelier"]
        auth = (samples.key, samples.secret)
        with httpx.Client(base_url=store.url + API, auth=auth, trust_env=False) as client:
            yield store, client


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    per_page=st.integers(9, 100),
    order=st.sampled_from(["asc", "desc"]),
    orderby=st.sampled_from(["id", "date", "modified", "slug", "title", "price"]),
)
def test_pages_hold_every_product_once(
    unchanging: tuple[WooStore, httpx.Client], per_page: int, order: str, orderby: str
) -> None:
    store, client = unchanging
    url: str | None = "/products"
    parameters: dict[str, str | int] | None = {
        "per_page": per_page,
        "order": order,
        "orderby": orderby,
        "_fields": "id",
    }
    seen: list[int] = []
    pages = 0
    while url is not None:
        answer = client.get(url, params=parameters)
        seen += [product["id"] for product in answer.json()]
        pages += 1
        url, parameters = answer.links.get("next", {}).get("url"), None
        assert int(answer.headers["X-WP-Total"]) == len(store.product_ids())
    assert pages == int(answer.headers["X-WP-TotalPages"])
    assert len(seen) == len(set(seen))
    assert sorted(seen) == store.product_ids()


@settings(max_examples=25, deadline=None)
@given(page=st.integers(1, 40), per_page=st.integers(1, 100))
def test_a_page_holds_what_the_totals_leave_for_it(
    unchanging: tuple[WooStore, httpx.Client], page: int, per_page: int
) -> None:
    _, client = unchanging
    parameters: dict[str, str | int] = {"page": page, "per_page": per_page, "_fields": "id"}
    answer = client.get("/products", params=parameters)
    total, pages = (int(answer.headers[f"X-WP-Total{s}"]) for s in ("", "Pages"))
    assert pages == -(-total // per_page)
    assert len(answer.json()) == max(0, min(per_page, total - (page - 1) * per_page))
    assert ("next" in answer.links) == (page < pages)
    assert ("prev" in answer.links) == (page > 1)


def test_orders_and_filters(unchanging: tuple[WooStore, httpx.Client]) -> None:
    store, client = unchanging

    def ids(**parameters: str | int) -> list[int]:
        asked: dict[str, str | int] = {"per_page": 100, "_fields": "id", **parameters}
        return [product["id"] for product in client.get("/products", params=asked).json()]

    ordered = ids(orderby="id", order="asc")
    assert ordered == sorted(ordered)
    wanted = [ordered[3], ordered[50], ordered[7]]
    assert ids(include=",".join(map(str, wanted)), orderby="include") == wanted
    assert ids(exclude=str(ordered[0]), orderby="id", order="asc")[0] == ordered[1]
    assert ids(orderby="id", order="asc", offset=3)[0] == ordered[3]
    for status in ("draft", "pending", "private", "future", "trash"):
        assert sorted(ids(status=status)) == store.product_ids(status)
        assert store.product_ids(status)
    for kind in ("variable", "grouped", "external"):
        assert {store.product(i)["type"] for i in ids(type=kind)} == {kind}
    product = store.product(ordered[0])
    assert ids(sku=str(product["sku"])) == [ordered[0]]
    assert ids(slug=str(product["slug"])) == [ordered[0]]
    assert ids(search="nothing like this") == []
    assert all(store.product(i)["on_sale"] for i in ids(on_sale="true"))


def test_dates_are_compared_as_a_real_server_does(shared_data: Path) -> None:
    """Every measured combination of time zone, form of the value and `dates_are_gmt`."""
    study = json.loads(
        (shared_data / "woocommerce" / "_study_modified_after_timezones.json").read_text("utf-8")
    )
    moment = datetime.fromisoformat(study["T_gmt"]).replace(tzinfo=UTC)
    forms = {"plain": "", "Z": "Z", "+00:00": "+00:00", ".000Z": ".000Z"}
    zones = {name.split(" ")[0] for name in study["cuts"]}
    profiles = [
        replace(ATELIER, id=zone.lower().replace("/", "-").replace("_", "-"), time_zone=zone)
        for zone in sorted(zones)
    ]
    assert len(study["cuts"]) >= 24
    with SampleStores(products_per_store=0, profiles=profiles) as samples:
        samples.clock.advance(seconds=(moment - samples.clock.now()).total_seconds() + 0.5)
        for store in samples.stores.values():
            store.add()
        by_zone = {store.profile.time_zone: store for store in samples.stores.values()}
        auth = (samples.key, samples.secret)
        with httpx.Client(auth=auth, trust_env=False) as client:
            for name, cut in study["cuts"].items():
                zone, gmt, form = name.split(" ")
                suffix = forms[form.removeprefix("form=")]
                for key, count in (
                    ("last_value_returning_it_minus_T_s", "1"),
                    ("first_value_missing_it_minus_T_s", "0"),
                ):
                    value = (moment + timedelta(seconds=cut[key])).strftime("%Y-%m-%dT%H:%M:%S")
                    parameters = {"modified_after": value + suffix}
                    if gmt.endswith("true"):
                        parameters["dates_are_gmt"] = "true"
                    answer = client.get(f"{by_zone[zone].url}{API}/products", params=parameters)
                    assert answer.headers["X-WP-Total"] == count, (name, key)


def test_trash_is_found_by_id_and_by_status_only(unchanging: tuple[WooStore, httpx.Client]) -> None:
    store, client = unchanging
    trashed = store.product_ids("trash")[0]
    answer = client.get(f"/products/{trashed}").json()
    assert answer["status"] == "trash"
    assert answer["slug"].endswith("__trashed")
    assert client.get("/products", params={"include": trashed}).json() == []


def test_future_products_have_a_modified_date_in_the_future(
    unchanging: tuple[WooStore, httpx.Client],
) -> None:
    store, client = unchanging
    for product_id in store.product_ids("future"):
        text = client.get(f"/products/{product_id}").json()["date_modified_gmt"]
        assert datetime.fromisoformat(text).replace(tzinfo=UTC) > store.clock.now()


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(
        ["page", "per_page", "offset", "include", "exclude", "order", "orderby", "status",
         "modified_after", "after", "dates_are_gmt", "type", "category", "min_price", "_fields"]
    ),
    value=st.one_of(
        st.text(max_size=40), st.from_regex(r"-?[0-9]{1,40}(\.0)?", fullmatch=True),
        st.from_regex(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:00)?",
                      fullmatch=True),
    ),
)  # fmt: skip
def test_no_value_of_a_parameter_breaks_the_server(
    unchanging: tuple[WooStore, httpx.Client], name: str, value: str
) -> None:
    _, client = unchanging
    asked = {"_fields": "id", name: value.encode("utf-8", "replace").decode("utf-8")}
    answer = client.get("/products", params=asked)
    assert answer.status_code in (200, 400)
    if answer.status_code == 400:
        assert list(answer.json()["data"]["params"]) == [name]
