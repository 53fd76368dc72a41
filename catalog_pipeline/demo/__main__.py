"""`python -m catalog_pipeline.demo serve`: the sample stores by themselves, until interrupted."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import click

from catalog_pipeline.demo.pictures import DEFAULT_SIZE
from catalog_pipeline.demo.samples import DEFAULT_SEED, SampleStores
from catalog_pipeline.demo.stores_file import KEY_VARIABLE, SECRET_VARIABLE, write_stores_file


@click.group()
def main() -> None:
    """Sample WooCommerce stores on loopback."""


@main.command()
@click.option("--port", type=click.IntRange(0, 65_535), default=18_080, show_default=True)
@click.option("--products", type=click.IntRange(0, 1_000_000), default=200, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=DEFAULT_SEED, show_default=True)
@click.option("--size", type=click.IntRange(64, 4000), default=DEFAULT_SIZE, show_default=True)
@click.option(
    "--stores-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a stores.yaml for these stores.",
)
@click.option(
    "--while-input-open",
    is_flag=True,
    help="End when standard input is closed, as it is when the process at its other end dies.",
)
def serve(
    port: int,
    products: int,
    seed: int,
    size: int,
    stores_file: Path | None,
    while_input_open: bool,
) -> None:
    """Serve the sample stores until interrupted."""
    samples = SampleStores(seed=seed, products_per_store=products, port=port, picture_size=size)
    try:
        samples.open()
    except OSError as error:
        raise click.ClickException(
            f"port {port} is not free ({error.strerror}); choose another with --port"
        ) from error
    for store in samples.stores.values():
        click.echo(f"{store.url}  ({len(store.product_ids())} products, {store.site.currency})")
    click.echo(f"{KEY_VARIABLE}={samples.key}\n{SECRET_VARIABLE}={samples.secret}")
    write = samples.write_key
    click.echo(f"To edit over the API: {write.key}:{write.secret}")
    if stores_file is not None:
        write_stores_file(stores_file, samples.base_url)
        click.echo(f"Wrote {stores_file}")
    try:
        if while_input_open:
            sys.stdin.read()
        else:
            threading.Event().wait()
    except KeyboardInterrupt:
        pass
    samples.close()


if __name__ == "__main__":
    main()
