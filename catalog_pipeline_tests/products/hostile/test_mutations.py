"""Real products broken at random: whatever a plug-in makes of one, a walk goes on.

Each example is a shop of 90 mutated products, walked over a socket into a database. What a field's
value becomes in particular is in `test_records.py`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from catalog_pipeline.catalog.schema import products, quarantine
from catalog_pipeline.demo.catalogue import Catalogue
from catalog_pipeline.demo.profiles import DEFAULT_PROFILES
from catalog_pipeline.demo.render import Site, product_json
from catalog_pipeline.products.bodies import parse_json
from catalog_pipeline.products.models import external_id
from catalog_pipeline_tests.products.hostile.server import HostileStore, literal, written
from catalog_pipeline_tests.products.hostile.walking import Room
from catalog_pipeline_tests.products.wordpress import FakeTime, recorded_products

SHOPS = 6
PRODUCTS = 90

# JSON as it may stand in an answer, some of which no serialiser of ours would write.
VALUES = (
    *("null", "true", "false", "0", "-1", "7", '"7"', '""', "[]", "{}", "[[]]", "[null]", "[{}]"),
    *("1e400", "-1e400", "NaN", "Infinity", "-0.0", "1.5", "9" * 19, "9" * 25, "9" * 5000),
    *('"1,99"', '"1,999"', '"<b>5</b>"', '"1e999"', '"\\u0000"', '"\\ud800"', '"\\u202e"'),
    *('"0000-00-00T00:00:00"', '"9999-12-31T23:59:59"', '"2026-02-30"', '"javascript:x"'),
    *('"//"', '"https://["', '"data:,x"', '"https://\\u00fc.example/\\u0000"', '"&#99999999999;"'),
    *("[" * 100 + "]" * 100, '{"0": {"id": 1}, "7": {"src": "/x.jpg"}}', '"' + "<a " * 5000 + '"'),
)  # fmt: skip


def mutated(chance: random.Random, pool: Sequence[dict[str, Any]], number: int) -> Any:
    """A product of the pool with one to four of its parts dropped, doubled, wrapped or replaced."""
    whole = json.loads(json.dumps(chance.choice(pool)))
    whole["id"] = number
    for _ in range(chance.randint(1, 4)):
        place: Any = whole
        key = chance.choice(list(whole))
        while isinstance(place[key], (dict, list)) and place[key] and chance.random() < 0.5:
            place = place[key]
            key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        match chance.randrange(6):
            case 0:
                del place[key]
            case 1:
                place[key] = chance.choice([[place[key]], {"0": place[key]}])
            case 2:
                place[key] = [place[key]] * 3
            case 3:
                place[key] = "".join(chr(chance.randrange(0xD7FF)) for _ in range(12))
            case _:
                place[key] = literal(chance.choice(VALUES))
    return whole


def broken(seed: int, pool: Sequence[dict[str, Any]]) -> list[Any]:
    chance = random.Random(seed)
    return [mutated(chance, pool, number) for number in range(1, PRODUCTS + 1)]


def walk_and_judge(shop: HostileStore, room: Room, records: list[Any]) -> None:
    """Every record of the archive is one row, or one refused record with its reason."""
    shop.woo.products = [literal(written(record)) for record in records]
    config = room.new_store(shop)
    report = room.walk(config, FakeTime())
    assert report.records == report.readings * len(records)
    synced = room.sync(config)
    rows = {row["external_id"] for row in room.rows(config, products)}
    refused = {row["external_id"]: row["reason"] for row in room.rows(config, quarantine)}
    assert all(refused.values())
    assert rows.isdisjoint(refused)
    assert len(rows) == synced.new
    ids: set[str | None] = set()
    nameless: set[str] = set()
    newest = room.archive.open(config.id, report.walk_id)
    assert newest is not None
    for _path, body in newest.pages():
        for record in parse_json(body):
            found = external_id(record)
            ids.add(found)
            if found is None:
                nameless.add(json.dumps(record))
    ids.discard(None)
    assert rows | {one for one in refused if not one.startswith("#")} == ids
    assert sum(one.startswith("#") for one in refused) == len(nameless)


def generated() -> list[dict[str, Any]]:
    """Products as the sample stores show them, without a server."""
    found: list[dict[str, Any]] = []
    for profile in DEFAULT_PROFILES:
        catalogue = Catalogue(profile, 7, 12)
        site = Site("https://shop.example.com", ZoneInfo("Europe/Copenhagen"), "DKK")
        for index in range(12):
            spec = catalogue.product(index)
            status = catalogue.status(index)
            if status != "trash":
                made = product_json(site, spec, status, 1_700_000_000, 1_700_000_000)
                found.append(dict(made))
    return found


GENERATED = generated()
SEEDS = st.integers(0, 2**32)
CAREFUL = settings(
    max_examples=SHOPS,
    deadline=None,
    derandomize=True,
    database=None,
    # An example is a whole shop: to make a failing one smaller would take minutes.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def shop() -> Iterator[HostileStore]:
    with HostileStore([]).serving() as opened:
        yield opened


class Recorded:
    """Products of a real server; too many to be shown when an example fails."""

    def __init__(self, pool: list[dict[str, Any]]) -> None:
        self.pool = pool


@pytest.fixture(scope="module")
def real(shared_data: Path) -> Recorded:
    found = recorded_products(shared_data)
    return Recorded([one for one in found if one.get("status") != "trash"])


@CAREFUL
@given(seed=SEEDS)
def test_mutated_products_of_the_samples(seed: int, shop: HostileStore, room: Room) -> None:
    walk_and_judge(shop, room, broken(seed, GENERATED))


@CAREFUL
@given(seed=SEEDS)
def test_mutated_products_of_a_real_server(
    seed: int, shop: HostileStore, room: Room, real: Recorded
) -> None:
    walk_and_judge(shop, room, broken(seed, real.pool))
