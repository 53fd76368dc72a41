"""`catalog search`: the products nearest to a picture or to another product."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import click

from catalog_pipeline.cli.deployment import as_json, named_product
from catalog_pipeline.cli.output import print_json, table, terminal
from catalog_pipeline.embeddings.encode import Embedder
from catalog_pipeline.search import MAX_LIMIT, Hit
from catalog_pipeline.search import search as find
from catalog_pipeline.settings import Settings, load_settings
from catalog_pipeline.vectors.open import open_index


@click.command()
@click.option(
    "--image", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A picture."
)
@click.option("--product", help="A product: its id, or STORE:EXTERNAL_ID.")
@click.option("--store", help="Only this store's products.")
@click.option("--min-price", type=float, help="Only products that cost at least this.")
@click.option("--max-price", type=float, help="Only products that cost at most this.")
@click.option("--currency", help="Only prices in this currency, an ISO 4217 code.")
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=10, show_default=True)
@as_json
def search(
    image: Path | None,
    product: str | None,
    store: str | None,
    min_price: float | None,
    max_price: float | None,
    currency: str | None,
    limit: int,
    as_json: bool,
) -> None:
    r"""Find the products that look most like a picture or a product.

    \b
    Examples:
      catalog search --image dress.jpg --store atelier --max-price 100
      catalog search --product atelier:1042
    """
    if (image is None) == (product is None):
        raise click.UsageError("give one of --image and --product")
    query = image if image is not None else named_product(str(product), "--product")
    hits = run_search(
        load_settings(),
        query,
        store=store,
        min_price=min_price,
        max_price=max_price,
        currency=currency,
        limit=limit,
    )
    if as_json:
        print_json({"hits": hits})
    else:
        show(hits)


def run_search(settings: Settings, query: bytes | Path | UUID, **filters: Any) -> list[Hit]:
    """Search by the settings; the model is loaded only for a picture."""
    encoder = None
    if not isinstance(query, UUID):
        encoder = Embedder(
            settings.model,
            device=settings.device,
            precision=settings.precision,
            batch_size=settings.batch_size,
        )
    with open_index(settings, run="catalog search") as index:
        return find(index, settings.collection, query, encoder=encoder, **filters)


def show(hits: list[Hit]) -> None:
    """Print the hits as a table."""
    if not hits:
        click.echo("Nothing matches.")
        return
    rows = [
        [
            hit.score,
            hit.payload["store_id"],
            hit.payload["external_id"],
            hit.payload["title"],
            _price(hit.payload),
            hit.payload["product_url"],
        ]
        for hit in hits
    ]
    columns = ["score", "store", "id", "title", "price", "page"]
    terminal().print(table(columns, rows, numbers=["score", "price"]))


def _price(payload: Any) -> str | None:
    if "price" not in payload:
        return None
    return f"{payload['price']:,.2f} {payload.get('currency', '')}".strip()
