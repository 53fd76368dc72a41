"""`unchanged`: a store in which nothing happened must cost next to nothing.

One store, each of whose answers takes a quarter of a second. After a first sync with pictures and
the demo's model, a nightly run (an incremental walk, then a sweep of all ids) goes through all five
stages and finds nothing to do. It is held against two limits: the same requests with the bodies
thrown away, and the first sync.

The contender that throws away asks in the same order: one after the other what the walk must know
before it can go on, and as many pages at once as the store's `connections`. Against it stands what
the walks and their rows take, which is `raw_products` and `products`. The stages after them ask the
store nothing: what they take, and what Dagster takes to write its events, is told beside it and
counts in the ratio to the first sync, which is of the whole job. All is timed without the start of
a process: a schedule's run takes place in one that is up.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.harness import FreshRun, in_fresh_process
from benchmarks.job import stage_seconds
from benchmarks.shop import REQUESTS_PER_SECOND, STORE, Shop, set_up, shop, usual_pictures
from catalog_pipeline.demo.model import DEMO_MODEL
from catalog_pipeline.stores import StoreConfig

PRODUCTS: Final = 10_000
PAGE_SECONDS: Final = 0.25
MOST_OF_REQUESTS: Final = 1.3
MOST_OF_FIRST: Final = 0.03
# Longer than the overlap of two walks, so that the first sync's products are no news.
MINUTES: Final = 60
_CONNECTIONS: Final[int] = StoreConfig.model_fields["connections"].default


def run(repeats: int, *, quick: bool) -> dict[str, Any]:
    """Seconds of an unchanged sync, of its requests alone, and of the first sync."""
    products = PRODUCTS // 10 if quick else PRODUCTS
    ours: list[FreshRun] = []
    limit: list[FreshRun] = []
    with synced_once(products) as (served, environment, first), TemporaryDirectory() as folder:
        for _ in range(repeats):
            served.pass_time(MINUTES)
            served.requests()
            nightly = ("benchmarks.job:sync", STORE, "nightly")
            ours.append(in_fresh_process(*nightly, environment=environment))
            make_sure(ours[-1], fetched=0, embedded=0, upserted=0, payload_refreshed=0)
            asked = Path(folder, "asked")
            asked.write_text("\n".join(served.requests()))
            address = served.address
            limit.append(
                in_fresh_process(
                    "benchmarks.unchanged:throw_away",
                    *(address["base_url"], address["key"], address["secret"], str(asked)),
                )
            )
    walked = statistics.median(map(_walk_seconds, ours))
    whole = statistics.median(one.found["seconds"] for one in ours)
    requests_alone = statistics.median(one.found["seconds"] for one in limit)
    stages = stage_seconds(ours[-1].found["spans"])
    of_requests, of_first = walked / requests_alone, whole / first.found["seconds"]
    return {
        "products": products,
        "pictures": first.found["pictures"],
        "page_seconds": PAGE_SECONDS,
        "requests": limit[-1].found["requests"],
        "requests_per_second": REQUESTS_PER_SECOND,
        "connections": _CONNECTIONS,
        "walk_seconds": round(walked, 2),
        "requests_alone_seconds": round(requests_alone, 2),
        "whole_job_seconds": round(whole, 2),
        "first_seconds": round(first.found["seconds"], 1),
        "cpu_seconds": round(statistics.median(one.cpu_seconds for one in ours), 2),
        "first_cpu_seconds": round(first.cpu_seconds, 1),
        "stage_seconds": stages,
        "between_stages_seconds": round(ours[-1].found["seconds"] - sum(stages.values()), 2),
        "first_stage_seconds": stage_seconds(first.found["spans"]),
        "ratio": round(of_requests, 3),
        "most_ratio": MOST_OF_REQUESTS,
        "ratio_of_whole_job": round(whole / requests_alone, 3),
        "ratio_of_first": round(of_first, 4),
        "most_ratio_of_first": MOST_OF_FIRST,
        "passed": of_requests <= MOST_OF_REQUESTS and of_first <= MOST_OF_FIRST,
    }


@contextmanager
def synced_once(products: int) -> Iterator[tuple[Shop, dict[str, str], FreshRun]]:
    """A slow store, the variables of a deployment, and its first sync with pictures and a model.

    The store's clock has gone on enough before it for its products to be no news after it.
    """
    with TemporaryDirectory(prefix="catalog-bench-") as name:
        folder, of = usual_pictures(Path(name, "pictures"))
        with shop(folder, products, page_seconds=PAGE_SECONDS) as served:
            served.pass_time(MINUTES)
            environment = set_up(Path(name, "ours"), served.address, DEMO_MODEL)
            first = in_fresh_process("benchmarks.job:sync", STORE, environment=environment)
            make_sure(first, fetched=products, embedded=products, upserted=products)
            first.found["pictures"] = of
            yield served, environment, first


def _walk_seconds(run: FreshRun) -> float:
    """From the start of the first stage to the end of the second."""
    spans = run.found["spans"]
    return float(spans["products"][1] - spans["raw_products"][0])


def throw_away(base_url: str, key: str, secret: str, asked: str) -> None:
    """In a fresh process: the requests of a file, at the walk's concurrency; no body is kept."""
    import json
    import time
    from concurrent.futures import ThreadPoolExecutor
    from itertools import groupby

    import httpx

    requests = Path(asked).read_text().splitlines()

    def is_page(request: str) -> bool:
        return "per_page=100" in request

    def ask(request: str) -> None:
        with client.stream("GET", f"{base_url}/{STORE}/{request}") as answer:
            answer.raise_for_status()
            for _ in answer.iter_bytes():
                pass

    limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
    with (
        httpx.Client(auth=(key, secret), limits=limits, timeout=60, trust_env=False) as client,
        ThreadPoolExecutor(_CONNECTIONS) as threads,
    ):
        started = time.perf_counter()
        for at_once, group in groupby(requests, is_page):
            do = threads.map if at_once else map
            list(do(ask, group))
        seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "requests": len(requests)}))


def make_sure(run: FreshRun, **expected: int) -> None:
    """A sync that does less, or more, than it should would measure something else."""
    told = {name: number for stage in run.found["told"].values() for name, number in stage.items()}
    found = {name: told[name] for name in expected}
    if found != expected:
        raise RuntimeError(f"the sync did {found} instead of {expected}")
