"""Faults: each breaks what it says, as often as it says, and nothing else."""

from __future__ import annotations

import time

import httpx
import pytest

from catalog_pipeline.demo import SampleStores, WooStore
from catalog_pipeline_tests.demo.conftest import API


def test_a_status_strikes_so_many_times(store: WooStore, client: httpx.Client) -> None:
    fault = store.faults.add(status=503, times=2, after=1, headers={"Retry-After": "1"})
    statuses = [client.get(f"{API}/products?_fields=id").status_code for _ in range(5)]
    assert statuses == [200, 503, 503, 200, 200]
    assert fault.struck == 2


def test_a_fault_meets_only_its_path_page_and_method(store: WooStore, client: httpx.Client) -> None:
    store.faults.add(status=500, path=r"products/?$", page=2, method="GET")
    assert client.get(f"{API}/products?page=1&_fields=id").status_code == 200
    assert client.get(f"{API}/products?page=2&_fields=id").status_code == 500
    assert client.head(f"{API}/products?page=2").status_code == 200
    assert client.get(f"{API}/data/currencies/current").status_code == 200
    store.faults.clear()
    assert client.get(f"{API}/products?page=2&_fields=id").status_code == 200


def test_other_stores_stay_whole(samples: SampleStores, client: httpx.Client) -> None:
    samples.stores["atelier"].faults.add(status=500)
    other = samples.stores["nordhavn"]
    assert client.get(f"{other.url}{API}/products?_fields=id").status_code == 200


def test_a_delay_is_waited(store: WooStore, client: httpx.Client) -> None:
    store.faults.delay(0.2, path="currencies")
    start = time.monotonic()
    client.get(f"{API}/products?_fields=id&per_page=1")
    quick = time.monotonic() - start
    client.get(f"{API}/data/currencies/current")
    assert time.monotonic() - start - quick >= 0.2
    assert quick < 0.2


def test_html_invalid_json_and_noise(store: WooStore, client: httpx.Client) -> None:
    store.faults.html(times=1)
    page = client.get(f"{API}/products")
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    store.faults.invalid_json(times=1)
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        client.get(f"{API}/products").json()
    store.faults.noise_before_json()
    assert client.get(f"{API}/products").content.startswith(b"\xef\xbb\xbf<br")


@pytest.mark.parametrize("path", ["wp-json", "wp-content"])
def test_a_reset_breaks_the_connection_in_the_body(
    store: WooStore, client: httpx.Client, path: str
) -> None:
    src = client.get(f"{API}/products?include={store.product_ids('publish')[0]}").json()
    url = f"{API}/products" if path == "wp-json" else src[0]["images"][0]["src"]
    store.faults.reset(after_bytes=50, times=1, path=path)
    with pytest.raises(httpx.TransportError):
        client.get(url)
    assert client.get(url).status_code == 200


def test_short_and_empty_pages_are_still_counted(store: WooStore, client: httpx.Client) -> None:
    ids = store.product_ids()
    order = "orderby=id&order=asc&_fields=id"
    store.faults.drop_products(ids[:3])
    store.faults.empty_page(2)
    first = client.get(f"{API}/products?{order}")
    assert [product["id"] for product in first.json()] == ids[3:10]
    assert first.headers["X-WP-Total"] == str(len(ids))
    assert client.get(f"{API}/products?page=2&{order}").json() == []
    assert len(client.get(f"{API}/products?page=3&{order}").json()) == 10


def test_totals_may_be_wrong_or_missing(store: WooStore, client: httpx.Client) -> None:
    fault = store.faults.wrong_totals(5000, 500)
    answer = client.get(f"{API}/products?_fields=id")
    assert (answer.headers["X-WP-Total"], answer.headers["X-WP-TotalPages"]) == ("5000", "500")
    store.faults.remove(fault)
    store.faults.wrong_totals(None)
    assert "X-WP-Total" not in client.get(f"{API}/products?_fields=id").headers


def test_a_cache_repeats_the_first_page(store: WooStore, client: httpx.Client) -> None:
    first = client.get(f"{API}/products?_fields=id").json()
    store.faults.repeat_first_page()
    assert client.get(f"{API}/products?_fields=id&page=7").json() == first


def test_closed_and_redirected_apis(store: WooStore, client: httpx.Client) -> None:
    fault = store.faults.close_rest_api()
    closed = client.get(f"{API}/products")
    assert (closed.status_code, closed.headers["Content-Type"][:9]) == (404, "text/html")
    store.faults.remove(fault)
    fault = store.faults.forbid_rest_api()
    assert client.get(f"{API}/products").json()["code"] == "rest_forbidden"
    store.faults.remove(fault)
    store.faults.plain_permalinks(store.url)
    moved = client.get(f"{API}/products")
    assert (moved.status_code, moved.headers["Location"]) == (301, f"{store.url}/")
    home = client.get(f"{API}/products", follow_redirects=True)
    assert home.headers["Content-Type"].startswith("text/html")
