"""The sample server against recorded answers of a real WooCommerce server."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from catalog_pipeline.demo import SampleStores, WooStore
from catalog_pipeline_tests.demo.conftest import API

RECORDED_ROOT = ("https://127.0.0.1:8443", "http://127.0.0.1:8080")


def recording(shared_data: Path, name: str) -> dict[str, Any]:
    content = json.loads((shared_data / "woocommerce" / f"{name}.json").read_text("utf-8"))
    assert isinstance(content, dict)
    return content


def credentials(samples: SampleStores, name: str, auth: str | None) -> tuple[str, str] | None:
    if auth is None:
        return None
    if "customer" in name:
        return samples.limited_key.key, samples.limited_key.secret
    if auth == "rw":
        return samples.write_key.key, samples.write_key.secret
    if auth == "ro":
        return samples.key, samples.secret
    secret = "cs_wrong" if "wrong_secret" in name else samples.secret
    return (samples.key if "wrong_secret" in name else "ck_unknown", secret)


def replayed(samples: SampleStores, store: WooStore, recorded: dict[str, Any]) -> httpx.Response:
    """The recorded request, sent to the sample server."""
    request = recorded["request"]
    url = request["url"]
    for root in RECORDED_ROOT:
        url = url.replace(root, store.url)
    auth = credentials(samples, recorded["name"], recorded["auth"])
    with httpx.Client(trust_env=False, auth=auth) as client:
        return client.request(request["method"], url, json=request["body"])


def header_names(headers: Any) -> set[str]:
    # Whether bytes are chunked is the transport's business, and HEAD tells nothing of it.
    return {name.lower() for name in headers} - {"transfer-encoding", "content-length"}


ERRORS = [
    "products_page0_error",
    "products_pageabc_error",
    "products_pp0_error",
    "products_pp101_error",
    "products_ppneg1_error",
    "products_orderby_bad",
    "products_status_list",
    "modified_after_bad",
    "modified_after_date_only",
    "modified_after_empty",
    "modified_after_epoch",
    "modified_after_plus_unescaped_space",
    "single_404",
    "single_bad_id",
    "variation_wrong_parent",
    "currencies_bad",
    "err_no_route",
    "err_method",
    "err_delete_404",
    "err_post_bad_json",
    "auth_none",
    "auth_unknown_key",
    "auth_garbage_user",
    "auth_wrong_secret",
    "auth_key_of_customer_products",
    "auth_key_of_customer_currency",
    "auth_readonly_post",
    "auth_readonly_put",
    "head_404",
    "head_noauth",
]


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_word_for_word_the_recorded_one(
    name: str, samples: SampleStores, store: WooStore, shared_data: Path
) -> None:
    recorded = recording(shared_data, name)
    answer = replayed(samples, store, recorded)
    assert answer.status_code == recorded["status"]
    assert header_names(answer.headers) == header_names(recorded["headers"])
    for header in ("Allow", "Content-Type", "Vary", "Expires", "Cache-Control"):
        assert answer.headers.get(header) == recorded["headers"].get(header)
    if recorded["body_kind"] == "json":
        assert answer.json() == recorded["body"]
    else:
        assert answer.content == b""


LISTINGS = [
    "products_page1_default",
    "products_page2_default",
    "products_pp100_p1",
    "products_beyond_last",
    "products_far_beyond_last",
    "products_offset",
    "products_offset_and_page",
    "products_offset_beyond",
    "products_fields",
    "products_fields_id_only",
    "products_fields_unknown",
    "products_fields_nested",
    "products_unknown_param",
    "products_status_trash",
    "modified_after_future",
    "modified_after_feb30",
    "modified_after_gmt_space",
    "err_trailing_slash",
    "err_double_slash",
    "head_products",
    "variations_of_missing",
]


@pytest.mark.parametrize("name", LISTINGS)
def test_a_listing_has_the_recorded_headers(
    name: str, samples: SampleStores, store: WooStore, shared_data: Path
) -> None:
    recorded = recording(shared_data, name)
    answer = replayed(samples, store, recorded)
    assert answer.status_code == recorded["status"] == 200
    assert header_names(answer.headers) == header_names(recorded["headers"])
    assert answer.headers["Allow"] == recorded["headers"]["Allow"]
    if recorded["body_kind"] == "json":
        theirs, ours = recorded["body"], answer.json()
        assert type(ours) is type(theirs)
        if theirs and ours and isinstance(theirs[0], list):
            assert ours[0] == theirs[0]  # nothing left of an object is an empty list
        elif theirs and ours and "images" not in theirs[0]:
            assert list(ours[0]) == list(theirs[0])


def test_link_headers_follow_the_recorded_ones(
    samples: SampleStores, store: WooStore, shared_data: Path
) -> None:
    """The recorded store is bigger, but on its second page both directions exist in either."""
    for name in ("products_page2_default", "products_offset_and_page", "products_fields_nested"):
        recorded = recording(shared_data, name)
        answer = replayed(samples, store, recorded)
        expected = recorded["headers"]["Link"].replace(RECORDED_ROOT[0], store.url)
        assert answer.headers["Link"] == expected


def kinds_of_value(values: list[dict[str, Any]]) -> dict[str, set[str]]:
    kinds: dict[str, set[str]] = defaultdict(set)
    for value in values:
        for name, part in value.items():
            kinds[name].add(type(part).__name__)
    return kinds


def recorded_products(shared_data: Path) -> list[dict[str, Any]]:
    products = []
    for name in ("products_pp100_p1", "products_pp100_p2", "products_page1_default"):
        products += recording(shared_data, name)["body"]
    for name in ("single_simple", "single_variable", "single_grouped", "single_external"):
        products.append(recording(shared_data, name)["body"])
    return products


def test_products_have_the_recorded_keys_in_order_and_types(
    client: httpx.Client, store: WooStore, shared_data: Path
) -> None:
    real = recorded_products(shared_data)
    types = kinds_of_value(real)
    image_types = kinds_of_value([image for product in real for image in product["images"]])
    checked = 0
    for product_id in store.product_ids():
        if store.catalogue.product(store.catalogue.index_of(product_id) or 0).broken:
            continue
        product = client.get(f"{API}/products/{product_id}").json()
        assert list(product) == list(real[0])
        for name, value in product.items():
            assert type(value).__name__ in types[name], name
        for image in product["images"]:
            assert set(image) == set(image_types)
            for name, value in image.items():
                assert type(value).__name__ in image_types[name], name
        for link in ("self", "collection"):
            assert product["_links"][link][0].keys() == real[0]["_links"][link][0].keys()
        checked += 1
    assert checked > 180


def test_variations_have_the_recorded_keys_in_order_and_types(
    client: httpx.Client, store: WooStore, shared_data: Path
) -> None:
    recorded = recording(shared_data, "variations")
    real = recorded["body"]
    types = kinds_of_value(real)
    types["stock_status"].add("str")
    parent = next(i for i in store.product_ids() if store.product(i)["type"] == "variable")
    answer = client.get(f"{API}/products/{parent}/variations", params={"per_page": 100})
    # The client's key may read, the recording's may write; the headers do not tell.
    assert header_names(answer.headers) == header_names(recorded["headers"])
    ours = answer.json()
    assert len(ours) >= 2
    for variation in ours:
        assert list(variation) == list(real[0])
        for name, value in variation.items():
            assert type(value).__name__ in types[name], name
        assert set(variation["image"]) == set(real[0]["image"])
    single = client.get(f"{API}/products/{parent}/variations/{ours[0]['id']}")
    assert single.json() == ours[0]


def test_currency_answers_are_the_recorded_ones(
    client: httpx.Client, store: WooStore, shared_data: Path
) -> None:
    recorded = recording(shared_data, "currencies_current_EUR")
    text = json.dumps(recorded["body"]).replace(RECORDED_ROOT[0], store.url)
    answer = client.get(f"{API}/data/currencies/current")
    assert answer.json() == json.loads(text)
    assert header_names(answer.headers) == header_names(recorded["headers"])
    setting = client.get(f"{API}/settings/general/woocommerce_currency")
    real = recording(shared_data, "settings_currency")
    assert list(setting.json()) == list(real["body"])
    assert setting.json()["value"] == "EUR"
    assert setting.headers["Allow"] == real["headers"]["Allow"]
    for code in ("JPY", "KWD"):
        store.set_currency(code)
        body = recording(shared_data, f"currencies_current_{code}")["body"]
        told = client.get(f"{API}/data/currencies/current").json()
        assert [told[k] for k in ("code", "name", "symbol")] == [
            body[k] for k in ("code", "name", "symbol")
        ]


def test_pictures_have_the_recorded_headers(
    client: httpx.Client, store: WooStore, shared_data: Path
) -> None:
    product_id = next(i for i in store.product_ids() if not _role(store, i))
    src = store.product(product_id)["images"][0]["src"]  # type: ignore[index]
    answer = client.get(src)
    again = client.get(src, headers={"If-None-Match": answer.headers["ETag"]})
    since = client.get(src, headers={"If-Modified-Since": answer.headers["Last-Modified"]})
    head = client.head(src)
    missing = client.get(f"{store.url}/wp-content/uploads/2024/03/none-1.jpg")
    for name, ours in (
        ("img_get", answer),
        ("img_304_etag", again),
        ("img_304_lastmod", since),
        ("img_head", head),
        ("img_missing_file", missing),
    ):
        real = recording(shared_data, name)
        assert ours.status_code == real["status"], name
        assert header_names(ours.headers) == header_names(real["headers"]), name
    assert head.headers["Content-Length"] == str(len(answer.content))
    assert missing.headers["Content-Type"].startswith("text/html")


def _role(store: WooStore, product_id: int) -> str:
    index = store.catalogue.index_of(product_id)
    assert index is not None
    return store.catalogue.role(index)


def test_site_index_and_namespace_have_the_recorded_keys(
    store: WooStore, client: httpx.Client, shared_data: Path
) -> None:
    index = client.get("/wp-json/").json()
    assert set(index) == set(recording(shared_data, "auth_wrong_key_on_wp_core_route")["body"])
    namespace = httpx.get(f"{store.url}/wp-json/wc/v3", trust_env=False)
    recorded = recording(shared_data, "wc_root")
    assert set(namespace.json()) == set(recorded["body"])
    assert header_names(namespace.headers) == header_names(recorded["headers"])


def test_writes_are_answered_as_recorded(
    writer: httpx.Client, store: WooStore, shared_data: Path
) -> None:
    product_id = store.product_ids("publish")[0]
    address = f"{API}/products/{product_id}"
    for name, answer in (
        ("edit_put_name", writer.put(address, json={"name": "Renamed"})),
        ("edit_delete_trash", writer.delete(address)),
        ("edit_delete_trash_again", writer.delete(address)),
        ("edit_delete_force", writer.delete(f"{address}?force=true")),
        ("edit_get_after_force_delete", writer.get(address)),
    ):
        recorded = recording(shared_data, name)
        assert answer.status_code == recorded["status"], name
        assert header_names(answer.headers) == header_names(recorded["headers"]), name
        if answer.is_success:
            assert list(answer.json()) == list(recorded["body"]), name
        else:
            assert answer.json() == recorded["body"], name


def test_a_target_that_is_too_long_is_refused(client: httpx.Client, shared_data: Path) -> None:
    recorded = recording(shared_data, "err_include_too_long")
    answer = client.get(f"{API}/products", params={"include": ",".join(["100000"] * 2000)})
    assert answer.status_code == recorded["status"] == 414
