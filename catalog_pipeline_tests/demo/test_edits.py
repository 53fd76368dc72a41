"""Edits by the Python handle and over the API, and what a sync can see of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from catalog_pipeline.demo import Attributes, Bytes, SampleStores, WooStore
from catalog_pipeline.demo.state import UnknownProductError
from catalog_pipeline_tests.demo.conftest import API


def changed_since(client: httpx.Client, moment: datetime) -> list[int]:
    parameters = {
        "modified_after": moment.strftime("%Y-%m-%dT%H:%M:%S"),
        "dates_are_gmt": "true",
        "status": "publish",
        "per_page": "100",
        "_fields": "id",
    }
    answer = client.get(f"{API}/products", params=parameters)
    return [product["id"] for product in answer.json()]


@pytest.fixture
def before(samples: SampleStores) -> datetime:
    """A moment before every edit and after every generated date."""
    moment = samples.clock.now()
    samples.clock.advance(seconds=5)
    return moment


def test_an_edit_moves_the_date_and_is_found(
    store: WooStore, client: httpx.Client, before: datetime
) -> None:
    product_id = store.product_ids("publish")[0]
    assert changed_since(client, before) == []
    store.edit(product_id, name="Renamed", regular_price="12.00", sale_price="10.00")
    assert changed_since(client, before) == [product_id]
    answer = client.get(f"{API}/products/{product_id}").json()
    assert (answer["name"], answer["price"], answer["on_sale"]) == ("Renamed", "10.00", True)
    moved = datetime.fromisoformat(answer["date_modified_gmt"]).replace(tzinfo=UTC)
    assert abs(store.clock.now() - moved) < timedelta(seconds=5)


def test_a_write_past_woocommerce_moves_nothing(
    store: WooStore, client: httpx.Client, before: datetime
) -> None:
    product_id = store.product_ids("publish")[0]
    store.write(product_id, {"regular_price": "1.00", "sale_price": ""}, touch=False)
    assert client.get(f"{API}/products/{product_id}").json()["price"] == "1.00"
    assert changed_since(client, before) == []


def test_trash_restore_and_delete(store: WooStore, client: httpx.Client, before: datetime) -> None:
    product_id = store.product_ids("publish")[0]
    total = len(store.product_ids())
    store.trash(product_id)
    assert client.head(f"{API}/products").headers["X-WP-Total"] == str(total - 1)
    assert changed_since(client, before) == []
    store.restore(product_id)
    assert store.status(product_id) == "publish"
    assert changed_since(client, before) == [product_id]
    picture = client.get(f"{API}/products/{product_id}").json()["images"][0]["src"]
    store.delete(product_id)
    assert client.get(f"{API}/products/{product_id}").status_code == 404
    assert client.get(picture).status_code == 200  # WordPress keeps the attachment
    assert len(store.product_ids()) == total - 1
    with pytest.raises(UnknownProductError, match=str(product_id)):
        store.trash(product_id)


def test_an_added_product_is_served_with_its_picture(
    store: WooStore, client: httpx.Client, before: datetime
) -> None:
    product_id = store.add(Attributes("hat", "red", "plain"), price="49.00", status="draft")
    other = store.add(name="Тапочки & été", media=Bytes(b"not a picture"))
    answer = client.get(f"{API}/products/{product_id}").json()
    assert (answer["name"], answer["price"], answer["status"]) == ("Red Hat", "49.00", "draft")
    picture = client.get(answer["images"][0]["src"])
    assert picture.headers["Content-Type"] == "image/jpeg"
    assert changed_since(client, before) == [other]
    src = client.get(f"{API}/products/{other}").json()["images"][0]["src"]
    assert client.get(src).content == b"not a picture"


def test_a_changed_picture_has_a_new_url_and_moves_the_date(
    store: WooStore, client: httpx.Client, before: datetime
) -> None:
    product_id = store.product_ids("publish")[0]
    old = client.get(f"{API}/products/{product_id}").json()["images"][0]
    url = store.change_picture(product_id)
    new = client.get(f"{API}/products/{product_id}").json()["images"][0]
    assert new["src"] == url != old["src"]
    assert new["id"] != old["id"]
    assert client.get(url).content != client.get(old["src"]).content
    assert changed_since(client, before) == [product_id]


def test_a_file_replaced_under_its_url_shows_only_in_the_file(
    store: WooStore, client: httpx.Client, before: datetime
) -> None:
    product_id = store.product_ids("publish")[0]
    first = client.get(f"{API}/products/{product_id}").json()
    src = first["images"][0]["src"]
    old = client.get(src)
    assert store.change_picture(product_id, same_url=True) == src
    assert client.get(f"{API}/products/{product_id}").json() == first
    assert changed_since(client, before) == []
    new = client.get(src, headers={"If-None-Match": old.headers["ETag"]})
    assert new.status_code == 200
    assert new.content != old.content
    assert new.headers["Last-Modified"] != old.headers["Last-Modified"]
    store.change_picture(product_id, same_url=True)
    assert client.get(src).content not in (old.content, new.content)


def test_variation_edits_move_the_parent(
    store: WooStore, client: httpx.Client, before: datetime
) -> None:
    parent = next(i for i in store.product_ids("publish") if store.product(i)["type"] == "variable")
    variation = store.variations(parent)[0]
    identity = variation["id"]
    assert isinstance(identity, int)
    store.edit_variation(identity, price="5.00")
    url = store.change_variation_picture(identity)
    assert changed_since(client, before) == [parent]
    answer = client.get(f"{API}/products/{parent}/variations/{identity}").json()
    assert answer["price"] == "5.00"
    assert answer["image"]["src"] == url
    assert client.get(url).status_code == 200


def test_pictures_may_be_removed_and_fields_broken(store: WooStore, client: httpx.Client) -> None:
    product_id = store.product_ids("publish")[0]
    store.remove_pictures(product_id)
    assert client.get(f"{API}/products/{product_id}").json()["images"] == []
    store.edit(product_id, price=None, images="\ud83d", id="7")
    answer = client.get(f"{API}/products/{product_id}").json()
    assert (answer["price"], answer["images"], answer["id"]) == (None, "\ud83d", "7")


def test_saving_a_product_gives_it_the_dates_that_it_lacked(store: WooStore) -> None:
    bare = [i for i in store.product_ids() if store.product(i)["date_created"] is None]
    assert bare
    for product_id in bare:
        assert store.edit(product_id, name="Saved")["date_modified_gmt"] is not None


def test_a_currency_change_moves_no_product(
    store: WooStore, client: httpx.Client, before: datetime
) -> None:
    store.set_currency("SEK")
    assert client.get(f"{API}/data/currencies/current").json()["code"] == "SEK"
    assert changed_since(client, before) == []
    with pytest.raises(ValueError, match="XXX"):
        store.set_currency("XXX")


def test_the_api_writes_with_a_key_that_may(store: WooStore, writer: httpx.Client) -> None:
    created = writer.post(f"{API}/products", json={"name": "Made", "regular_price": "8"})
    assert created.status_code == 201
    product_id = created.json()["id"]
    changed = writer.put(f"{API}/products/{product_id}", json={"name": "Made again"}).json()
    assert (changed["name"], changed["price"]) == ("Made again", "8")
    assert writer.delete(f"{API}/products/{product_id}").json()["status"] == "publish"
    assert store.status(product_id) == "trash"
    assert writer.delete(f"{API}/products/{product_id}").status_code == 410
    assert writer.delete(f"{API}/products/{product_id}?force=true").status_code == 200
    assert writer.get(f"{API}/products/{product_id}").status_code == 404
    bad = writer.put(f"{API}/products/{store.product_ids()[0]}", content=b"{")
    assert (bad.status_code, bad.json()["code"]) == (400, "rest_invalid_json")
    unknown = writer.put(f"{API}/products/{store.product_ids()[0]}", json={"status": "gone"})
    assert (unknown.status_code, unknown.json()["code"]) == (400, "rest_invalid_param")
    with pytest.raises(ValueError, match="'gone' is not one of publish"):
        store.edit(store.product_ids()[0], status="gone")


def test_a_revoked_key_is_nobody(
    samples: SampleStores, store: WooStore, client: httpx.Client
) -> None:
    assert client.get(f"{API}/products").status_code == 200
    store.keyring.revoke(samples.key)
    assert client.get(f"{API}/products").json()["code"] == "woocommerce_rest_cannot_view"
