"""`memory`: the peak of a first sync must not grow with the store.

Two stores, one ten times the other, are synced in fresh processes by the whole job, with made-up
vectors in place of a model's. A few hundred pictures are shared by all products, each time as other
bytes under another URL, so that every product's picture is fetched, stored and measured.

The limit holds for the stages before the embedding. What follows is told beside it: Qdrant Edge is
a database in this process, which maps its files and keeps its indexes in memory, so it grows.
"""

from __future__ import annotations

import tempfile
from math import inf
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import FreshRun, in_fresh_process
from benchmarks.job import stage_seconds
from benchmarks.shop import STORE, draw, serving, set_up

SIZES: Final = (2_000, 20_000)
SIZES_QUICK: Final = (200, 2_000)
MOST_RATIO: Final = 1.2
_PICTURES: Final = 200
_SIDE: Final = 256
_OWN: Final = 0
_FAMILY: Final = 1


def run(_repeats: int, *, quick: bool) -> dict[str, Any]:
    """Peaks of both sizes, once each whatever the repeats: they hardly vary."""
    found = peaks(SIZES_QUICK if quick else SIZES, "benchmarks.job:sync_without_model")
    return {**found, "most_ratio": MOST_RATIO, "passed": found["ratio"] <= MOST_RATIO}


def peaks(sizes: tuple[int, int], job: str) -> dict[str, Any]:
    """The peak memory of a first sync of a small and a large store, and the ratio of the two.

    Args:
        sizes: how many products each store has.
        job: of `benchmarks.job`; what it does from the embedding on is told apart.
    """
    found: dict[int, FreshRun] = {}
    with tempfile.TemporaryDirectory(prefix="catalog-bench-") as name:
        work = Path(name)
        draw(work / "pictures", _PICTURES, _SIDE)
        for products in sizes:
            with serving(work / "pictures", products) as address:
                environment = set_up(work / f"{products}", address, "none")
                found[products] = in_fresh_process(job, STORE, environment=environment)
            accepted = found[products].found["told"]["product_images"]["accepted"]
            if accepted != products:
                raise RuntimeError(f"{accepted} pictures instead of {products}")
    before = [_peak_before_embedding(found[products]) for products in sizes]
    whole = [found[products].peak_bytes()[_FAMILY] for products in sizes]
    large = found[sizes[1]]
    return {
        "memory_of_products": list(sizes),
        "peak_mebibytes": [_mebibytes(one[_FAMILY]) for one in before],
        "peak_mebibytes_without_children": [_mebibytes(one[_OWN]) for one in before],
        "peak_mebibytes_of_whole_job": [_mebibytes(one) for one in whole],
        "products_per_second": round(sizes[1] / large.seconds, 1),
        "memory_stage_seconds": stage_seconds(large.found["spans"]),
        "ratio": round(before[1][_FAMILY] / before[0][_FAMILY], 3),
    }


def _peak_before_embedding(run: FreshRun) -> tuple[int, int]:
    return run.peak_bytes(until=run.found["spans"].get("image_embeddings", [inf])[0])


def _mebibytes(number: int) -> int:
    return round(number / 2**20)
