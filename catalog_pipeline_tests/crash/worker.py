"""`python -m catalog_pipeline_tests.crash.worker ORDER`: one `catalog sync`, with a fault put in.

The main module of its process, which every process that decodes pictures imports again: it imports
nothing before it is run. But for the wrappers of `faults.py` it runs the command line itself.
"""

import sys


def main(order_file: str) -> None:
    """Do what an order says; exits as the command does."""
    import json
    from pathlib import Path

    import dagster as dg

    from catalog_pipeline.cli.main import main as catalog
    from catalog_pipeline_tests.crash.faults import Saboteur, sabotage
    from catalog_pipeline_tests.crash.syncs import Order

    order = Order.model_validate_json(Path(order_file).read_text("utf-8"))
    if not order.is_patient:
        # The fault comes by number, and nobody has to wait until it is over.
        dg.RetryPolicy.calculate_delay = lambda *_: 0.0  # type: ignore[method-assign]
    saboteur = Saboteur(order.fault, order.trace)
    sabotage(saboteur)
    try:
        catalog(["sync", order.store_id, "--json", *order.options])
    finally:
        counted = {"struck": saboteur.struck, "calls": dict(saboteur.calls)}
        order.counted.write_text(json.dumps(counted), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
