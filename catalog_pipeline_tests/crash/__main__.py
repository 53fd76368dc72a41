"""`python -m catalog_pipeline_tests.crash`: many kills, a line for each; exit code 1 on a loss."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from catalog_pipeline_tests.crash.harness import Outcome, world
from catalog_pipeline_tests.crash.servers import kill_servers


def main() -> int:
    """Kill syncs until as many died as asked for."""
    parser = argparse.ArgumentParser(prog="python -m catalog_pipeline_tests.crash")
    parser.add_argument("--kills", type=int, default=50, help="how many syncs to kill")
    parser.add_argument("--seed", type=int, default=1, help="decides edits and moments")
    parser.add_argument("--most-seconds", type=float, default=3600, help="begin no kill after this")
    parser.add_argument(
        "--servers", action="store_true", help="kill Dagster's code servers and daemon instead"
    )
    asked = parser.parse_args()
    if asked.servers:
        with tempfile.TemporaryDirectory(prefix="catalog-crash-") as folder:
            problems = kill_servers(Path(folder))
        print("code servers and daemon killed:", "; ".join(problems) or "equal")
        return 1 if problems else 0
    began = time.monotonic()
    kills = rounds = 0
    failed: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="catalog-crash-") as folder:
        with world(Path(folder), asked.seed) as made:
            stores = list(made.deployment.stores.stores)
            while kills < asked.kills and time.monotonic() - began < asked.most_seconds:
                rounds += 1
                store_id = made.random.choice(stores)
                outcome = made.kill_once(store_id)
                kills += outcome.kills
                print(f"{kills:3} {store_id}: {outcome}", flush=True)
                if outcome.problems:
                    failed.append(outcome)
                    made.start_anew()
                    for one in stores:
                        made.sync_well(made.disturbed, one)
    seconds = time.monotonic() - began
    print(f"{kills} kills in {rounds} rounds, {len(failed)} with a difference, {seconds:.0f} s")
    return 1 if failed or kills < asked.kills else 0


if __name__ == "__main__":
    sys.exit(main())
