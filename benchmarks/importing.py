"""`import`: seconds to load the code location in a new interpreter, which must not load torch."""

from __future__ import annotations

import statistics
from typing import Any, Final

from benchmarks.harness import in_fresh_process

LIMIT_SECONDS: Final = 2.0


def load() -> None:
    """In the fresh process: import the code location and say how long it took."""
    import json
    import sys
    import time

    started = time.perf_counter()
    import catalog_pipeline.definitions  # noqa: F401

    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "torch": "torch" in sys.modules}))


def dagster_alone() -> None:
    """In the fresh process: import Dagster, the part of it that is not ours."""
    import json
    import time

    started = time.perf_counter()
    import dagster  # noqa: F401

    print(json.dumps({"seconds": time.perf_counter() - started}))


def run(repeats: int, *, quick: bool) -> dict[str, Any]:
    """The median over fresh interpreters, after one that leaves the files in memory."""
    del quick
    in_fresh_process("benchmarks.importing:load")
    ours, base = [], []
    for _ in range(repeats):
        ours.append(in_fresh_process("benchmarks.importing:load").found)
        base.append(in_fresh_process("benchmarks.importing:dagster_alone").found)
    seconds = statistics.median(one["seconds"] for one in ours)
    loads_torch = any(one["torch"] for one in ours)
    return {
        "seconds": round(seconds, 3),
        "dagster_alone_seconds": round(statistics.median(one["seconds"] for one in base), 3),
        "loads_torch": loads_torch,
        "limit_seconds": LIMIT_SECONDS,
        "passed": seconds <= LIMIT_SECONDS and not loads_torch,
    }
