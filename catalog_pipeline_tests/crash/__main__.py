"""`python -m catalog_pipeline_tests.crash`: many kills, a line for each round; 1 on a loss."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from catalog_pipeline_tests.crash.harness import world
from catalog_pipeline_tests.crash.servers import kill_servers


def main() -> int:
    """Kill until as many died as asked for."""
    parser = argparse.ArgumentParser(prog="python -m catalog_pipeline_tests.crash")
    parser.add_argument("--kills", type=int, default=50, help="how often to kill")
    parser.add_argument("--seed", type=int, default=1, help="decides edits and moments")
    parser.add_argument(
        "--servers",
        action="store_true",
        help="kill the code server and the daemon of a deployment instead of its command lines",
    )
    asked = parser.parse_args()
    began = time.monotonic()
    kill = kill_servers if asked.servers else kill_syncs
    with tempfile.TemporaryDirectory(prefix="catalog-crash-") as folder:
        kills, compared, differed = kill(Path(folder), asked.kills, asked.seed)
    seconds = time.monotonic() - began
    print(f"{kills} kills, {compared} comparisons, {differed} with a difference, {seconds:.0f} s")
    return 1 if differed else 0


def kill_syncs(folder: Path, wanted: int, seed: int) -> tuple[int, int, int]:
    """Kill command lines; how many died, and of how many comparisons how many told a difference."""
    kills = compared = differed = 0
    with world(folder, seed) as made:
        made.start_in_step()
        while kills < wanted:
            store_id = made.random.choice(made.store_ids)
            outcome = made.disturb(store_id)
            kills += outcome.kills
            compared += 1
            print(f"{kills:3} {store_id}: {outcome}", flush=True)
            if outcome.problems:
                differed += 1
                made.start_in_step()
    return kills, compared, differed


if __name__ == "__main__":
    sys.exit(main())
