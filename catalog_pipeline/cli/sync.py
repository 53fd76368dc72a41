"""`catalog sync`: one store through all five stages, as the same job as in the UI."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console

from catalog_pipeline.cli.deployment import (
    STORE,
    as_json,
    pick_store,
    read_stores,
)
from catalog_pipeline.cli.output import EXIT_FAILED, notices, print_json, say, terminal
from catalog_pipeline.cli.summary import INDENT
from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.settings import Settings, load_settings


@dataclass(frozen=True)
class SyncRequest:
    """What a run of the job is asked for; by default whatever is owed."""

    walk: str = "auto"
    sample: int | None = None
    product: str | None = None
    refetch: bool = False
    reembed: bool = False
    confirm_currency: str | None = None

    def run_config(self) -> dict[str, Any]:
        """The same, as the assets take it."""
        product = self.product or ""
        return {
            "ops": {
                "raw_products": {
                    "config": {
                        "walk": self.walk,
                        "sample": self.sample or 0,
                        "product": product,
                        "confirm_currency": self.confirm_currency or "",
                    }
                },
                "product_images": {"config": {"product": product, "refetch": self.refetch}},
                "image_embeddings": {"config": {"product": product, "reembed": self.reembed}},
                "qdrant_points": {"config": {"product": product, "rewrite": self.reembed}},
            }
        }


@click.command()
@click.argument("store", type=STORE)
@click.option("--full", is_flag=True, help="Walk the whole store, whatever was read before.")
@click.option("--nightly", is_flag=True, help="Read what changed, then sweep for what is gone.")
@click.option(
    "--sample",
    type=click.IntRange(1, 100_000),
    help="Stop after this many products, to look at a new store.",
)
@click.option("--product", help="Redo one product, by the store's id, through all stages.")
@click.option("--refetch", is_flag=True, help="With --product: ask for its pictures again.")
@click.option("--reembed", is_flag=True, help="With --product: embed its pictures again.")
@click.option("--confirm-currency", help="The currency that prices are in now, once it changed.")
@as_json
def sync(
    store: str,
    full: bool,
    nightly: bool,
    sample: int | None,
    product: str | None,
    refetch: bool,
    reembed: bool,
    confirm_currency: str | None,
    as_json: bool,
) -> None:
    """Bring STORE into step: products, images, embeddings, points.

    The first time all of the store is read, later what changed since. A --sample ends with its
    currency, verdicts and nearest neighbours, and with what a full sync would take; it proves no
    product gone.

    \b
    Examples:
      catalog sync atelier
      catalog sync atelier --sample 50
      catalog sync atelier --product 1042 --refetch
    """
    if full + nightly + (sample is not None) + (product is not None) > 1:
        raise click.UsageError("--full, --nightly, --sample and --product exclude each other")
    if (refetch or reembed) and product is None:
        raise click.UsageError("--refetch and --reembed are for one --product")
    request = SyncRequest(
        walk="full" if full else "nightly" if nightly else "auto",
        sample=sample,
        product=product,
        refetch=refetch,
        reembed=reembed,
        confirm_currency=confirm_currency,
    )
    settings = load_settings()
    console = notices() if as_json else terminal()
    outcome = sync_store(settings, store, console, request)
    if sample is not None and outcome["succeeded"]:
        from catalog_pipeline.cli.sample import sample_lines, summarise_sample

        config = pick_store(read_stores(settings), store)
        outcome["sample"] = found = summarise_sample(settings, config, outcome["stages"])
        if not as_json:
            click.echo()
            for line in sample_lines(store, found):
                say(console, line, indent=INDENT)
    if as_json:
        print_json(outcome)
    if not outcome["succeeded"]:
        sys.exit(EXIT_FAILED)


def sync_store(
    settings: Settings, store_id: str, console: Console, request: SyncRequest
) -> dict[str, Any]:
    """Run the job for one store, showing it on a console, and say how it went.

    Returns:
        store, run_id, status, succeeded, failures and the metadata of each stage.

    Raises:
        ConfigurationError: there is no such store, or it is inactive.
    """
    from dagster import DagsterRunStatus

    from catalog_pipeline.cli.dagster_instance import open_instance, register_partitions
    from catalog_pipeline.cli.follow import Follower
    from catalog_pipeline.cli.runs import execute

    stores = read_stores(settings)
    if not pick_store(stores, store_id).active:
        raise ConfigurationError(f"store {store_id} is inactive in {stores.path}")
    with open_instance(settings) as instance:
        register_partitions(instance, stores.stores)
        follower = Follower(instance, console)
        run = execute(instance, _definitions, store_id, request.run_config(), follower.watch)
    succeeded = run.status == DagsterRunStatus.SUCCESS
    for failure in follower.failures:
        for line in f"failed  {failure}".splitlines():
            say(console, line, style="red")
    return {
        "store": store_id,
        "run_id": run.run_id,
        "status": run.status.value.lower(),
        "succeeded": succeeded,
        "failures": follower.failures,
        "stages": follower.metadata,
    }


def _definitions() -> Any:
    # Loading the code location takes a second, which a queued run does not need here.
    from catalog_pipeline.definitions import build_defs

    return build_defs()
