"""Case and verdict for a listing as a whole: totals that lie, pages that repeat or never end.

Each case begins with 150 stored products of which the store still has 149, and is in force from the
first request on. No case removes the missing one unless the store's totals prove it gone.
"""

# A case is one line.
# ruff: noqa: E501

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from catalog_pipeline.catalog.schema import products
from catalog_pipeline.products import listing
from catalog_pipeline.products.listing import StoreMisbehavedError
from catalog_pipeline_tests.products.hostile.server import HostileStore, Sent, sent
from catalog_pipeline_tests.products.hostile.walking import Room
from catalog_pipeline_tests.products.walks import some
from catalog_pipeline_tests.products.wordpress import NOW, FakeTime, page_of, product

THERE = 149
Misbehave = Callable[[httpx.Request, int], Sent | None]


@dataclass(frozen=True)
class Case:
    """How the listing misbehaves, and what becomes of the walk.

    `verdict` is `proven`, `unproven` (the walk ends and proves nothing) or `failed` (it is cut
    off); `says` is what the walk says of the store then. `limits` shrinks the bounds on pages.
    """

    name: str
    misbehave: Misbehave
    verdict: str
    says: str = ""
    limits: dict[str, int] = field(default_factory=dict)
    facts: dict[str, int] = field(default_factory=dict)


def listed(records: list[Any], total: object = THERE, pages: object = 2) -> Sent:
    named = (("X-WP-Total", total), ("X-WP-TotalPages", pages))
    headers = {name: str(value) for name, value in named if value is not None}
    return sent(200, json.dumps(records).encode(), {"Date": NOW, **headers})


def is_listing(request: httpx.Request) -> bool:
    return request.url.path.endswith("/products")


def everywhere(answer: Callable[[httpx.Request], Sent]) -> Misbehave:
    return lambda request, _count: answer(request) if is_listing(request) else None


def pages(answer: Callable[[int], Sent]) -> Misbehave:
    def misbehave(request: httpx.Request, _count: int) -> Sent | None:
        number = page_of(request)
        return None if number is None else answer(number)

    return misbehave


def page_with(total: object, page_count: object = 2) -> Misbehave:
    """The right products under these totals, whatever is asked."""

    def misbehave(request: httpx.Request, _count: int) -> Sent | None:
        params = request.url.params
        if not is_listing(request) or "include" in params:
            return None
        size, number = int(params["per_page"]), int(params["page"])
        return listed(some(THERE)[(number - 1) * size : number * size], total, page_count)

    return misbehave


def up_and_down(request: httpx.Request, count: int) -> Sent | None:
    return page_with(THERE + (3 if page_of(request) == 1 else 0))(request, count)


def new_ones(number: int) -> list[Any]:
    return [product(1000 * number + n) for n in range(3)]


def endless(total: object, page_count: object) -> Misbehave:
    """Three new products on every page, or the first of them where one was asked for."""

    def answer(request: httpx.Request) -> Sent:
        params = request.url.params
        found = new_ones(int(params["page"]))[: int(params["per_page"])]
        return listed(found, total, page_count)

    return everywhere(answer)


def falling(request: httpx.Request, count: int) -> Sent | None:
    return page_with(max(THERE - count, 0))(request, count)


CASES = [
    # --- totals ---
    Case("right totals", page_with(THERE), "proven"),
    Case("no totals", page_with(None, None), "unproven", "the store announces no totals"),
    Case("empty totals", page_with("", ""), "unproven", "the store announces no totals"),
    Case("negative totals", page_with(-149, -2), "unproven", "the store announces no totals"),
    Case("totals in words", page_with("many", "two"), "unproven", "the store announces no totals"),
    Case("totals as floats", page_with("149.0", "2.0"), "unproven", "the store announces no totals"),
    Case("totals in other digits", page_with("\u00b949", "\u00b2"), "unproven", "the store announces no totals"),
    Case("totals of 30 digits", page_with("9" * 30, "9" * 30), "unproven", "the store announces no totals"),
    Case("totals said twice", page_with("149, 149", "2, 2"), "unproven", "the store announces no totals"),
    Case("totals too low", page_with(120), "unproven", "announces 120 products and showed 149"),
    Case("totals of zero", page_with(0, 2), "unproven", "announces 0 products and showed 149"),
    # Two readings that agree say that the store hides one; a stored product is asked for by id.
    Case("totals too high", page_with(150), "proven", facts={"unshown": 1}),
    Case("totals that rise and fall", up_and_down, "unproven", "the total fell from 152 to 149"),
    Case("totals that fall", falling, "unproven", "the total fell from"),
    # --- pages that repeat ---
    Case("page 1 for ever", pages(lambda _n: listed(some(100))), "failed", "page 2 holds the products of the page before it: something in front of the store caches answers and ignores the query; exclude /wp-json/ from that cache"),
    Case("page 1 for ever without totals", pages(lambda _n: listed(some(100), None, None)), "failed", "something in front of the store caches answers"),
    Case("one answer to all questions", everywhere(lambda _r: listed(some(1))), "failed", "something in front of the store caches answers"),
    Case("two pages in turns", pages(lambda n: listed(some(4)[n % 2 * 2 :][:2], 9000, 90)), "failed", "the last 50 of 52 pages brought no new product"),
    Case("a cache for questions by id", lambda r, _c: listed(some(3)) if "include" in r.url.params else None, "failed", "asked for 1 products by id, it shows 3 others: something in front of the store caches"),
    # --- pages that never end ---
    Case("endless new pages", pages(lambda n: listed(new_ones(n), 100, n + 5)), "failed", "no end after 54 pages"),
    Case("endless empty pages", pages(lambda _n: listed([], 10**8, 10**6)), "failed", "the last 50 of 50 pages brought no new product"),
    Case("endless without totals", endless(None, None), "failed", "no end after 10 pages", limits={"_MOST_PAGES": 10}),
    Case("a hundred million", endless(10**8, 10**6), "failed", "no end after 10 pages, far more than announced or than a shop can have", limits={"_MOST_PAGES_EVER": 10}),
    # --- pages with gaps ---
    Case("an empty page", pages(lambda n: listed([] if n == 1 else some(149)[100:])), "proven", facts={"products": 149}),
    Case("a short page", pages(lambda n: listed(some(60) if n == 1 else some(149)[100:])), "proven", facts={"products": 149}),
    Case("products on two pages", pages(lambda n: listed(some(100) if n == 1 else some(149)[80:])), "proven", facts={"duplicates": 20}),
    Case("a page of no objects", pages(lambda n: listed([None, 7, "x", [], True] if n == 1 else some(149)[100 * (n - 2) :][:100], pages=3)), "proven", facts={"unreadable_ids": 5}),
]  # fmt: skip


@pytest.fixture(scope="module")
def shop() -> Iterator[HostileStore]:
    with HostileStore(some(THERE)).serving() as opened:
        yield opened


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_listing_has_its_verdict(
    case: Case, shop: HostileStore, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, bound in case.limits.items():
        monkeypatch.setattr(listing, name, bound)
    config = room.new_store(shop)
    room.stock(config, some(THERE + 1))
    before = room.state(config)
    count = 0

    def misbehave(request: httpx.Request) -> Sent | None:
        nonlocal count
        count += is_listing(request)
        return case.misbehave(request, count)

    shop.misbehave = misbehave
    if case.verdict == "failed":
        with pytest.raises(StoreMisbehavedError) as found:
            room.walk(config, FakeTime())
        assert case.says in str(found.value)
    else:
        report = room.walk(config, FakeTime())
        assert report.complete is (case.verdict == "proven")
        assert {name: getattr(report, name) for name in case.facts} == case.facts
    manifest = room.manifest(config)
    assert manifest.complete is (case.verdict == "proven")
    assert case.says in (manifest.reason or "")
    room.sync(config)
    after = room.state(config)
    if case.verdict == "proven":
        gone = [row["external_id"] for row in after["products"] if row["removed_by"]]
        assert gone == ["150"]
        return
    kept = [row for row in room.rows(config, products) if row["first_walk_id"] != manifest.walk_id]
    assert kept == before["products"]
    assert after["store_states"] == before["store_states"]
    assert after["removal_waits"] == []
