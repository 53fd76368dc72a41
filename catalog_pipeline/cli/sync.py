"""`catalog sync`: one store through all five stages, as the same job as in the UI."""

from __future__ import annotations

import sys
from typing import Any

import click
from dagster import DagsterInstance, DagsterRunStatus
from rich.console import Console

from catalog_pipeline.cli.deployment import as_json, pick_store, read_stores, use_dagster_home
from catalog_pipeline.cli.follow import Follower
from catalog_pipeline.cli.output import EXIT_FAILED, notices, print_json, terminal
from catalog_pipeline.cli.runs import execute, register_partitions
from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.settings import Settings, load_settings


@click.command()
@click.argument("store")
@click.option("--full", is_flag=True, help="Walk the whole store, whatever was read before.")
@click.option(
    "--sample",
    type=click.IntRange(1, 100_000),
    help="Stop after this many products, to look at a new store.",
)
@as_json
def sync(store: str, full: bool, sample: int | None, as_json: bool) -> None:
    r"""Bring STORE into step: products, images, embeddings, points.

    \b
    Examples:
      catalog sync atelier
      catalog sync atelier --sample 50
    """
    if full and sample:
        raise click.UsageError("--full and --sample exclude each other")
    settings = load_settings()
    outcome = sync_store(settings, store, notices() if as_json else terminal(), sample)
    if as_json:
        print_json(outcome)
    if not outcome["succeeded"]:
        sys.exit(EXIT_FAILED)


def sync_store(
    settings: Settings, store_id: str, console: Console, sample: int | None = None
) -> dict[str, Any]:
    """Run the job for one store, showing it on a console, and say how it went.

    Returns:
        store, run_id, status, succeeded, failures and the metadata of each stage.

    Raises:
        ConfigurationError: there is no such store, or it is inactive.
    """
    stores = read_stores(settings)
    if not pick_store(stores, store_id).active:
        raise ConfigurationError(f"store {store_id} is inactive in {stores.path}")
    use_dagster_home(settings)
    with DagsterInstance.get() as instance:
        register_partitions(instance, stores.stores)
        follower = Follower(instance, console)
        config = {"ops": {"raw_products": {"config": {"sample": sample or 0}}}}
        run = execute(instance, _definitions, store_id, config, follower.watch)
    succeeded = run.status == DagsterRunStatus.SUCCESS
    for failure in follower.failures:
        console.print(
            f"failed  {failure}", markup=False, style="red", soft_wrap=not console.is_terminal
        )
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
