"""`isolation`: nine stores beside a tenth that hangs, throttles or is poisoned, or is well.

Every store's whole job is a process of its own, four at a time and the bad one first, as the run
queue of a deployment starts them; database, data folder, collection and Dagster instance are one.
What counts is when the last of the nine is through.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.harness import in_fresh_process
from benchmarks.poison import HANGS, KILLS
from catalog_pipeline.demo.faults import Fault
from catalog_pipeline.demo.messages import Request, Response
from catalog_pipeline.demo.profiles import ATELIER
from catalog_pipeline.demo.samples import SampleStores
from catalog_pipeline.demo.stores_file import KEY_VARIABLE, SECRET_VARIABLE, stores_document

PROFILES: Final = [replace(ATELIER, id=f"store-{number}") for number in range(10)]
STORES: Final = [profile.id for profile in PROFILES]
BAD: Final = STORES[0]
GOOD: Final = STORES[1:]
PRODUCTS: Final = 100
PRODUCTS_QUICK: Final = 10
# As `max_concurrent_runs` of dagster.yaml.
AT_ONCE: Final = 4
MOST_RATIO: Final = 1.10
_SIDE: Final = 400
_CACHE_BYTES: Final = 256 * 2**20


def prepare() -> None:
    """In a fresh process: make the instance and the schema, which a deployment has before runs."""
    from dagster import DagsterInstance

    from catalog_pipeline.catalog.database import Database
    from catalog_pipeline.defs.partitions import STORES as PARTITIONS
    from catalog_pipeline.instance import ensure_dagster_home
    from catalog_pipeline.settings import load_settings

    settings = load_settings()
    ensure_dagster_home(settings)
    Database(settings.database).migrate()
    with DagsterInstance.get() as instance:
        instance.add_dynamic_partitions(PARTITIONS, STORES)
    print(json.dumps({}))


def run(repeats: int, *, quick: bool) -> dict[str, Any]:
    """Seconds until the nine are through, beside each kind of tenth, which take turns."""
    products = PRODUCTS_QUICK if quick else PRODUCTS
    seconds: dict[str, list[float]] = {name: [] for name in _TENTHS}
    points: dict[str, dict[str, int]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="catalog-bench-") as name,
        SampleStores(
            products_per_store=products,
            picture_size=_SIDE,
            profiles=PROFILES,
            cache_bytes=_CACHE_BYTES,
        ) as samples,
    ):
        samples.draw_pictures()
        for repeat in range(repeats):
            for tenth, spoil in _TENTHS.items():
                folder = Path(name) / f"{tenth}-{repeat}"
                with spoil(samples) as release:
                    taken, points[tenth] = _nine(samples, folder, release)
                seconds[tenth].append(taken)
    if any(found != points["well"] for found in points.values()):
        raise RuntimeError(f"the nine did not end alike: {points}")
    medians = {tenth: statistics.median(taken) for tenth, taken in seconds.items()}
    ratios = {
        tenth: round(taken / medians["well"], 3)
        for tenth, taken in medians.items()
        if tenth != "well"
    }
    return {
        "stores": len(STORES),
        "products_per_store": products,
        "points_of_the_nine": sum(points["well"].values()),
        "seconds_of_the_nine": {tenth: round(taken, 1) for tenth, taken in medians.items()},
        "ratios": ratios,
        "most_ratio": MOST_RATIO,
        "passed": max(ratios.values()) <= MOST_RATIO,
    }


def _nine(
    samples: SampleStores, folder: Path, release: Callable[[], None]
) -> tuple[float, dict[str, int]]:
    """How long it takes until the nine are through, and how many points each then has."""
    environment = _deployment(samples, folder)
    in_fresh_process("benchmarks.isolation:prepare", environment=environment)

    def sync(store: str) -> tuple[float, int]:
        found = in_fresh_process("benchmarks.poison:sync", store, environment=environment).found
        return time.perf_counter(), found["told"]["qdrant_points"]["points"]

    with ThreadPoolExecutor(AT_ONCE) as threads:
        began = time.perf_counter()
        runs = {store: threads.submit(sync, store) for store in STORES}
        try:
            found = {store: runs[store].result() for store in GOOD}
        finally:
            # The bad one's run ends as badly as it may, but now.
            release()
            runs[BAD].exception()
    ended = max(moment for moment, _ in found.values())
    return ended - began, {store: count for store, (_, count) in found.items()}


def _deployment(samples: SampleStores, folder: Path) -> dict[str, str]:
    home = folder / "dagster"
    home.mkdir(parents=True)
    document = stores_document(samples.base_url, PROFILES)
    document["defaults"] = {"requests_per_second": 1_000}
    stores_file = folder / "stores.yaml"
    stores_file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return {
        "CATALOG_DATA_DIR": str(folder / "data"),
        "CATALOG_STORES_FILE": str(stores_file),
        "DAGSTER_HOME": str(home),
        KEY_VARIABLE: samples.key,
        SECRET_VARIABLE: samples.secret,
    }


@contextmanager
def _well(_samples: SampleStores) -> Iterator[Callable[[], None]]:
    yield lambda: None


@contextmanager
def _hung(samples: SampleStores) -> Iterator[Callable[[], None]]:
    """Takes every request to its API and answers none, until it is released: then it refuses."""
    over = threading.Event()

    def answer(_: Request) -> Response:
        over.wait()
        return Response(401)

    yield from _spoilt(samples, Fault("wp-json", respond=answer), over)


@contextmanager
def _throttled(samples: SampleStores) -> Iterator[Callable[[], None]]:
    """Answers 429 to every request to its API, and asks for a pause each time."""

    def answer(_: Request) -> Response:
        return Response(429, headers={"Retry-After": "15"})

    yield from _spoilt(samples, Fault("wp-json", respond=answer), threading.Event())


@contextmanager
def _poisoned(samples: SampleStores) -> Iterator[Callable[[], None]]:
    """Every tenth of its pictures kills the decoder, and one hangs it."""
    lock = threading.Lock()
    number = 0

    def change(response: Response) -> Response:
        nonlocal number
        with lock:
            number += 1
            poison = HANGS if number == 2 else KILLS if number % 10 == 1 else b""
        return replace(response, payload=poison + response.body())

    yield from _spoilt(samples, Fault("uploads", change=change), threading.Event())


def _spoilt(
    samples: SampleStores, fault: Fault, over: threading.Event
) -> Iterator[Callable[[], None]]:
    faults = samples.stores[BAD].faults
    faults.insert(fault)
    try:
        yield over.set
    finally:
        over.set()
        faults.remove(fault)


_TENTHS: Final = {"well": _well, "hung": _hung, "throttled": _throttled, "poisoned": _poisoned}
