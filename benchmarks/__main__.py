"""`python -m benchmarks NAME`: one measurement, against its limit measured in the same run.

Exit code 0 when the limit holds, 1 when it is missed, 2 for a wrong call.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console
from rich.table import Table

Found = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Benchmark:
    """A module with a function `run(repeats, *, quick)`, and how often to repeat it."""

    module: str
    repeats: int
    purpose: str

    def run(self, repeats: int | None, *, quick: bool) -> Found:
        # Only now: each imports what the others must not have in memory.
        module = importlib.import_module(f"benchmarks.{self.module}")
        found: Found = module.run(repeats or self.repeats, quick=quick)
        return found


BENCHMARKS: Final = {
    "end_to_end": _Benchmark(
        "syncing",
        3,
        "first sync of 500 products, against loading the model and embedding their pictures",
    ),
    "upsert": _Benchmark(
        "upserting", 9, "product rows: SQLite against executemany, PostgreSQL against plain COPY"
    ),
    "load": _Benchmark(
        "loading", 5, "20,000 points into Qdrant Edge, against building and handing them over"
    ),
    "import": _Benchmark("importing", 5, "loading the code location: seconds, and without torch"),
    "memory": _Benchmark(
        "memory", 1, "peak memory of a first sync of 20,000 products, against that of 2,000"
    ),
    "isolation": _Benchmark(
        "isolation", 3, "nine stores beside a tenth that hangs, throttles or is poisoned"
    ),
    "unchanged": _Benchmark(
        "unchanged",
        3,
        "a nightly sync of 10,000 unchanged products, against its requests and the first sync",
    ),
    "growth": _Benchmark(
        "growth",
        1,
        "1 % of 10,000 products changed, against the first sync; memory at ten times the products",
    ),
}


def main() -> int:
    """Measure, print, and tell by the exit code whether the limit holds."""
    # A killed benchmark must not leave its processes behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    arguments = _parser().parse_args()
    benchmark = BENCHMARKS[arguments.name]
    found = {
        "benchmark": arguments.name,
        "quick": arguments.quick,
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        **benchmark.run(arguments.repeats, quick=arguments.quick),
    }
    if arguments.json:
        print(json.dumps(found))
    else:
        Console().print(_table(found))
    return 0 if found["passed"] else 1


def _parser() -> argparse.ArgumentParser:
    names = "\n".join(f"  {name:<12}{one.purpose}" for name, one in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure a part of the pipeline against the limit of the same machine.",
        epilog=f"names:\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=BENCHMARKS, metavar="NAME", help="one of the names below")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the work; its ratio proves little"
    )
    parser.add_argument(
        "--repeats", type=_positive, metavar="N", help="rounds, of which the median counts"
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number from 1 up")
    return int(text)


def _table(found: Found) -> Table:
    table = Table(show_header=False, title=found["benchmark"])
    for name, value in _flat(found):
        table.add_row(name.replace("_", " "), value)
    return table


def _flat(found: Found, prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in found.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{name} · ")
        elif name != "benchmark":
            shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            rows.append((f"{prefix}{name}", shown))
    return rows


if __name__ == "__main__":
    sys.exit(main())
