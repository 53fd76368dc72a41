"""`growth`: what a sync costs follows what changed, and its memory does not follow the store.

Of 10,000 products 1 % change, half of them their price and half their picture; the sync after that
is held against the first one, with pictures and the demo's model, the API taking a quarter of a
second over each answer. The memory is that of the stages before the embedding, in stores of 10,000
and of 100,000 products; see `memory` for how it is taken.
"""

from __future__ import annotations

import math
from typing import Any, Final

from benchmarks.harness import in_fresh_process
from benchmarks.job import stage_seconds
from benchmarks.memory import peaks
from benchmarks.shop import STORE
from benchmarks.unchanged import MINUTES, PRODUCTS, make_sure, synced_once

EVERY: Final = 100
MOST_OF_FIRST: Final = 0.04
SIZES: Final = (10_000, 100_000)
SIZES_QUICK: Final = (1_000, 10_000)
MOST_MEMORY: Final = 1.2


def run(_repeats: int, *, quick: bool) -> dict[str, Any]:
    """Seconds of the first sync and of the one after 1 % changed; peaks of both sizes."""
    changes = after_changes(PRODUCTS // 10 if quick else PRODUCTS)
    memory = peaks(SIZES_QUICK if quick else SIZES, "benchmarks.job:sync_up_to_pictures")
    return {
        **changes,
        **memory,
        "most_ratio_of_first": MOST_OF_FIRST,
        "most_ratio": MOST_MEMORY,
        "passed": changes["ratio_of_first"] <= MOST_OF_FIRST and memory["ratio"] <= MOST_MEMORY,
    }


def after_changes(products: int) -> dict[str, Any]:
    """The part with the edits."""
    with synced_once(products) as (served, environment, first):
        served.pass_time(MINUTES)
        edited = served.edit(EVERY)
        served.pass_time(MINUTES)
        served.requests()
        ours = in_fresh_process("benchmarks.job:sync", STORE, environment=environment)
        # The currency, the totals, and the pages of what changed.
        pages = math.ceil(products / EVERY / 100)
        if len(asked := served.requests()) != 2 + pages:
            raise RuntimeError(f"the sync asked the store {len(asked)} times: {asked}")
        make_sure(
            ours,
            changed=edited["prices"] + edited["pictures"],
            fetched=edited["pictures"],
            embedded=edited["pictures"],
            upserted=edited["pictures"],
            payload_refreshed=edited["prices"],
        )
    return {
        "products": products,
        "pictures": first.found["pictures"],
        "edited": sum(edited.values()),
        "seconds": round(ours.found["seconds"], 2),
        "first_seconds": round(first.found["seconds"], 1),
        "stage_seconds": stage_seconds(ours.found["spans"]),
        "first_stage_seconds": stage_seconds(first.found["spans"]),
        "ratio_of_first": round(ours.found["seconds"] / first.found["seconds"], 4),
    }
