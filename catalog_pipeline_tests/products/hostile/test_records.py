"""Case and verdict for single products: what one field holds, as it stands in the store's JSON.

All cases are products of one shop, which is walked once; each ends as a row or in quarantine with a
reason, and none takes another with it. `{n}` in a field's text is the case's own number.
"""

# A case is one line.
# ruff: noqa: E501

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from catalog_pipeline.catalog.schema import product_images, products, quarantine
from catalog_pipeline.products.walk import WalkReport
from catalog_pipeline_tests.products.hostile.server import HostileStore, literal
from catalog_pipeline_tests.products.hostile.walking import Room
from catalog_pipeline_tests.products.wordpress import KEY, SECRET, FakeTime, product

FIRST = 5001


@dataclass(frozen=True)
class Case:
    """A field, its JSON, and either columns of the row or the reason of the quarantine."""

    field: str
    written: str
    row: dict[str, Any] | None = None
    reason: str = ""


@dataclass(frozen=True)
class Outcome:
    """What is stored after the walk."""

    report: WalkReport
    rows: dict[str, dict[str, Any]]
    pictures: dict[Any, list[tuple[int, str]]]
    refused: list[dict[str, Any]]


def row(field: str, written: str, **columns: Any) -> Case:
    return Case(field, written, columns)


def refused(field: str, written: str, reason: str) -> Case:
    return Case(field, written, reason=f"{field}: {reason}")


def images(*entries: str) -> str:
    return f"[{', '.join(entries)}]"


def src(written: str) -> str:
    return f'{{"id": 1, "src": {written}}}'


def at(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)  # type: ignore[arg-type,misc]


NO_ID = "is not a positive integer"
SHOP = "https://cdn.example"
DEEP = "[" * 150 + "]" * 150
CASES = [
    # --- ids ---
    row("id", '"{n}"', title="Linen Shirt {n}"),
    row("id", "{n}.0", title="Linen Shirt {n}"),
    row("id", '" {n} "', title="Linen Shirt {n}"),
    row("id", '"00{n}"', title="Linen Shirt {n}"),
    refused("id", "{n}.5", NO_ID),
    refused("id", "-{n}", NO_ID),
    refused("id", '"-{n}"', NO_ID),
    refused("id", "0", NO_ID),
    refused("id", "true", NO_ID),
    refused("id", "null", NO_ID),
    refused("id", '""', NO_ID),
    refused("id", '"abc"', NO_ID),
    refused("id", "[{n}]", NO_ID),
    refused("id", '{"id": {n}}', NO_ID),
    refused("id", "12345678901234567890", NO_ID),
    refused("id", '"12345678901234567890"', NO_ID),
    refused("id", "9" * 100_000, NO_ID),
    refused("id", "NaN", NO_ID),
    refused("id", "Infinity", NO_ID),
    refused("id", "1e400", NO_ID),
    # A float of this size stands for two integers.
    refused("id", "9007199254740993.0", NO_ID),
    refused("id", '"\u0661\u0662"', NO_ID),
    refused("x\": 1, \"id", "false", NO_ID),
    # --- duplicate keys and unknown fields: the last one counts, the rest is not ours ---
    row("name\": \"first\", \"name", '"second"', title="second"),
    row("unknown", DEEP, title="Linen Shirt {n}"),
    row("unknown", "9" * 100_000, title="Linen Shirt {n}"),
    row("unknown", "[NaN, -Infinity, 1e999]", title="Linen Shirt {n}"),
    row("\\ud800\\u0000", '"\\udfff"', title="Linen Shirt {n}"),
    row("variations", json.dumps(list(range(1000))), title="Linen Shirt {n}"),
    row("meta_data", json.dumps([{"id": n, "value": "x" * 50} for n in range(2000)]), sku="LS-{n}"),
    # --- text ---
    row("name", '"<script>alert(1)</script>Shirt &amp; <b>Co</b>"', title="Shirt & Co"),
    row("name", '"a\\u0000b\\ud800c"', title="a\ufffdb\ufffdc"),
    row("name", '"\\u202egnp.exe"', title="\u202egnp.exe"),
    row("name", '""', title=""),
    row("name", "7", title="7"),
    row("name", f'"{"x" * 200_000}"', title="x" * 1000),
    row("name", '"Caf\u00e9 \U0001f45a"', title="Caf\u00e9 \U0001f45a"),
    refused("name", "null", "is not text"),
    refused("name", '["a"]', "is not text"),
    refused("name", "true", "is not text"),
    row("description", "null", description=""),
    row("description", f'"{"<p>" * 100_000}x"', description="x"),
    row("sku", "false", sku=None),
    row("sku", '"\\u0000"', sku="\ufffd"),
    refused("type", "null", "is not text"),
    refused("type", '""', "is empty or longer than 32 characters"),
    refused("status", f'"{"s" * 99}"', "is empty or longer than 32 characters"),
    row("status", '"wc-odd"', status="wc-odd", left_out_by="status:wc-odd"),
    row("catalog_visibility", "null", visibility="visible"),
    row("categories", "null", categories=[]),
    row("categories", '{"3": {"name": "Hats", "slug": "hats"}}', categories=[{"name": "Hats", "slug": "hats"}]),
    row("tags", '[1, "x", null, {"name": null}]', tags=[]),
    row("permalink", '"javascript:alert(1)"', product_url=None),
    row("permalink", '"https://user:word@evil.example/"', product_url=None),
    row("stock_status", "7", in_stock=False),
    row("on_sale", '"yes"', on_sale=True),
    row("on_sale", "{}", on_sale=False),
    # --- prices ---
    row("price", '"1,99"', price=Decimal("1.99")),
    row("price", '"1.234,50"', price=Decimal("1234.50")),
    row("price", '"<span class=\\"amount\\">12,50&nbsp;kr.</span>"', price=Decimal("12.50")),
    row("price", "null", price=None),
    row("price", "false", price=None),
    row("price", '""', price=None),
    row("price", "5.5", price=Decimal("5.5")),
    row("price", '"1e3"', price=Decimal(1000)),
    row("price", '"0.00000000000000000001"', price=Decimal("1E-20")),
    refused("price", '"-1.00"', "is negative"),
    refused("price", "-5", "is negative"),
    refused("price", '"1,999"', "can be read in two ways"),
    refused("price", '"ask us"', "is not a number"),
    refused("price", '"10 - 20"', "holds more than one number"),
    refused("price", "1e400", "is not a number"),
    refused("price", '"1e400"', "has too many digits"),
    refused("price", '"1e999999999999999999999"', "holds more than one number"),
    refused("price", '"NaN"', "is not a number"),
    refused("price", '"Infinity"', "is not a number"),
    refused("price", f'"0.{"1" * 5000}"', "has too many digits"),
    refused("price", "9" * 100_000, "is not a number"),
    refused("price", "true", "is not a number"),
    refused("price", '{"amount": 5}', "is not a number"),
    # --- dates ---
    row("date_modified_gmt", "null", updated_at=None),
    row("date_modified_gmt", '"2999-01-01T00:00:00"', updated_at=at(2999, 1, 1)),
    row("date_modified_gmt", '"0000-00-00T00:00:00"', updated_at=None),
    row("date_modified_gmt", '"0001-01-01T00:00:00+14:00"', updated_at=None),
    row("date_modified_gmt", '"9999-12-31T23:59:59-14:00"', updated_at=None),
    row("date_modified_gmt", '"2026-02-30T00:00:00"', updated_at=None),
    row("date_modified_gmt", "1763600000", updated_at=None),
    row("date_modified_gmt", '"2001-01-01T00:00:00"', updated_at=at(2001, 1, 1), created_at=at(2025, 10, 14, 18)),
    row("date_created_gmt", '"2026-01-01T02:00:00+02:00"', created_at=at(2026, 1, 1)),
    # --- pictures ---
    row("images", "null", pictures=[]),
    row("images", "false", pictures=[]),
    row("images", '""', pictures=[]),
    row("images", "[]", pictures=[]),
    row("images", '"https://cdn.example/a.jpg"', pictures=[]),
    row("images", images("null", "7", "[]"), pictures=[]),
    row("images", images(src("null")), pictures=[], image_url=None),
    row("images", images(src("false"), src('"https://cdn.example/2.jpg"')), pictures=[(1, f"{SHOP}/2.jpg")], image_url=None),
    row("images", images(src('"//cdn.example/a.jpg"')), pictures=[(0, "http://cdn.example/a.jpg")]),
    row("images", images(src('"https://cdn.example/\u00fc b.jpg"')), pictures=[(0, f"{SHOP}/%C3%BC%20b.jpg")]),
    row("images", images(src('"data:image/png;base64,iVBORw0KGgo="')), pictures=[]),
    row("images", images(src('"javascript:alert(1)"')), pictures=[]),
    row("images", images(src('"file:///etc/passwd"')), pictures=[]),
    row("images", images(src('"https://[::1"')), pictures=[]),
    row("images", images(src(f'"https://cdn.example/{"a" * 10_000}"')), pictures=[]),
    row("images", images('{"id": "x", "src": "https://cdn.example/a.jpg"}'), pictures=[(0, f"{SHOP}/a.jpg")]),
    row("images", images(*[src(f'"https://cdn.example/{n}.jpg"') for n in range(500)]), pictures=[(n, f"{SHOP}/{n}.jpg") for n in range(200)]),
]  # fmt: skip
NUMBERED = [(FIRST + index, case) for index, case in enumerate(CASES)]


def hostile(number: int, case: Case) -> str:
    """The product as JSON."""
    whole = product(number)
    whole.pop(case.field, None)
    if case.field.endswith('"id') or case.field.endswith('"name'):
        whole.pop(case.field.rsplit('"', 1)[1])
    others = json.dumps(whole)
    written = case.written.replace("{n}", str(number))
    return f'{others[:-1]}, "{case.field}": {written}}}'


@pytest.fixture(scope="module")
def outcome(room: Room) -> Outcome:
    """All cases, walked and read."""
    entries = [literal(hostile(number, case)) for number, case in NUMBERED]
    with HostileStore(entries).serving() as shop, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANARY_KEY", KEY)
        patch.setenv("CANARY_SECRET", SECRET)
        config = room.new_store(shop)
        report = room.walk(config, FakeTime())
    room.sync(config)
    pictures: dict[Any, list[tuple[int, str]]] = {}
    for found in room.rows(config, product_images):
        pictures.setdefault(found["product_id"], []).append((found["position"], found["url"]))
    return Outcome(
        report,
        {found["external_id"]: found for found in room.rows(config, products)},
        pictures,
        room.rows(config, quarantine),
    )


@pytest.mark.parametrize(
    ("number", "case"),
    NUMBERED,
    ids=[f"{case.field.split(chr(34))[0]} {case.written[:40]}" for case in CASES],
)
def test_a_product_has_its_verdict(number: int, case: Case, outcome: Outcome) -> None:
    stored = outcome.rows.get(str(number))
    kept = [entry for entry in outcome.refused if f'"Linen Shirt {number}"' in entry["raw"]]
    kept += [entry for entry in outcome.refused if entry["external_id"] == str(number)]
    if case.row is None:
        assert stored is None
        assert {entry["reason"] for entry in kept} == {case.reason.rsplit('"', 1)[-1]}
        assert len({entry["external_id"] for entry in kept}) == 1
        return
    assert kept == []
    assert stored is not None
    found = {**stored, "pictures": outcome.pictures.get(stored["product_id"], [])}
    expected = {
        name: value.replace("{n}", str(number)) if isinstance(value, str) else value
        for name, value in case.row.items()
    }
    assert {name: found[name] for name in expected} == expected


def test_no_case_takes_another_with_it(outcome: Outcome) -> None:
    assert len(outcome.rows) == sum(case.row is not None for case in CASES)
    assert len(outcome.refused) == sum(case.row is None for case in CASES)
    assert outcome.report.records == outcome.report.readings * len(CASES)
    assert outcome.report.complete
