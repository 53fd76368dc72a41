"""`catalog search`: the products nearest to words, to a picture or to another product."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from catalog_pipeline.cli.deployment import STORE, as_json, named_product
from catalog_pipeline.cli.output import linked, notices, print_json, say, table, terminal
from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.search import MAX_LIMIT, Hit, product_payload
from catalog_pipeline.search import search as find
from catalog_pipeline.settings import Settings, load_settings
from catalog_pipeline.vectors.open import open_index

if TYPE_CHECKING:
    from catalog_pipeline.exhibits.search_page import Question

Query = str | bytes | Path | UUID

# Columns of a terminal that a hit is read well on. An address stands beside them in one piece, or
# not at all: a broken one can be neither clicked nor copied.
_READABLE = 80


@click.command()
@click.option("--text", help="Words, such as “striped blue dress”.")
@click.option(
    "--image", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A picture."
)
@click.option("--product", help="A product: its id, or STORE:EXTERNAL_ID.")
@click.option("--store", type=STORE, help="Only this store's products.")
@click.option("--category", help="Only products in this category, by its exact name.")
@click.option("--min-price", type=float, help="Only products that cost at least this.")
@click.option("--max-price", type=float, help="Only products that cost at most this.")
@click.option("--currency", help="Only prices in this currency, an ISO 4217 code.")
@click.option(
    "--in-stock/--sold-out", default=None, help="Only products that are, or are not, in stock."
)
@click.option("--limit", type=click.IntRange(1, MAX_LIMIT), default=10, show_default=True)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a page with the pictures to this file.",
)
@as_json
def search(
    text: str | None,
    image: Path | None,
    product: str | None,
    html: Path | None,
    as_json: bool,
    limit: int,
    **filters: Any,
) -> None:
    """Find the products nearest to words, to a picture or to another product.

    In a terminal a hit's title links to its page; where there is room, and in a pipe, the page's
    address stands beside it.

    \b
    Examples:
      catalog search --text "striped blue dress" --in-stock --max-price 100
      catalog search --image dress.jpg --store atelier --category Dresses
      catalog search --product atelier:1042 --limit 50 --html similar.html
    """
    query = _query(text, image, product)
    settings = load_settings()
    hits = run_search(settings, query, limit=limit, **filters)
    if html is not None:
        write_page(html, settings, _question(settings, query, filters), hits)
    if as_json:
        print_json({"hits": hits})
        return
    show(hits)
    if filters["currency"] is None and {filters["min_price"], filters["max_price"]} != {None}:
        _hint_at_currencies(hits)


def run_search(settings: Settings, query: Query, **filters: Any) -> list[Hit]:
    """Search by the settings; the model is loaded only for words and pictures."""
    encoder = None
    if not isinstance(query, UUID):
        from catalog_pipeline.embeddings.encode import Embedder

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
    console = terminal()
    columns = ["score", "store", "id", "title", "price", "in stock"]
    widest = max(len(str(hit.payload.get("product_url"))) for hit in hits)
    if not console.is_terminal or console.width - widest >= _READABLE:
        columns.append("page")
    rows = [
        [
            hit.score,
            hit.payload["store_id"],
            hit.payload["external_id"],
            linked(hit.payload["title"], hit.payload.get("product_url")),
            _price(hit.payload),
            hit.payload.get("in_stock"),
            hit.payload.get("product_url"),
        ][: len(columns)]
        for hit in hits
    ]
    console.print(table(columns, rows, numbers=["score", "price"], unbroken=["page"]))


def _hint_at_currencies(hits: list[Hit]) -> None:
    """Prices are compared as numbers, which means little between currencies."""
    currencies = sorted({str(hit.payload.get("currency")) for hit in hits} - {"None"})
    if len(currencies) > 1:
        known = ", ".join(currencies[:-1]) + f" and {currencies[-1]}"
        say(
            notices(),
            f"Prices in {known} were compared as if they were one currency; "
            f"--currency {currencies[0]} asks for one.",
        )


def write_page(path: Path, settings: Settings, question: Question, hits: list[Hit]) -> None:
    """Write the hits as a page, and say so.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    from catalog_pipeline.exhibits.search_page import search_page
    from catalog_pipeline.files import DataFolder

    models = {str(hit.payload["model_version"]) for hit in hits}
    origin = [settings.collection, *models, f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"]
    page = search_page(question, hits, DataFolder(settings.data_dir), ", ".join(origin))
    try:
        # What no encoding can hold is no character, and one bad title must not cost the page.
        path.write_bytes(page.encode("utf-8", "replace"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
    click.echo(f"Wrote {path}", err=True)


def _query(text: str | None, image: Path | None, product: str | None) -> Query:
    if sum(given is not None for given in (text, image, product)) != 1:
        raise click.UsageError("give one of --text, --image and --product")
    if text is not None:
        return text
    if image is not None:
        return image
    return named_product(str(product), "--product")


def _question(settings: Settings, query: Query, filters: dict[str, Any]) -> Question:
    from catalog_pipeline.exhibits.search_page import Question
    from catalog_pipeline.files import DataFolder
    from catalog_pipeline.images.blobs import DamagedBlobError, read_blob

    conditions = _conditions(**filters)
    if isinstance(query, str):
        return Question("Search by text", query.strip(), conditions=conditions)
    if isinstance(query, Path):
        return Question("Search by picture", query.name, query.read_bytes(), conditions)
    assert isinstance(query, UUID)
    with open_index(settings, run="catalog search") as index:
        product = product_payload(index, settings.collection, query)
    picture = None
    with suppress(FileNotFoundError, DamagedBlobError):
        picture = read_blob(DataFolder(settings.data_dir), str(product["image_sha256"]))
    return Question("Search by product", str(product["title"]), picture, conditions)


def _conditions(
    *,
    store: str | None,
    category: str | None,
    min_price: float | None,
    max_price: float | None,
    currency: str | None,
    in_stock: bool | None,
) -> list[str]:
    """The filters in words."""
    told = {
        f"store {store}": store is not None,
        f"category {category}": category is not None,
        f"from {_amount(min_price or 0)}": min_price is not None,
        f"up to {_amount(max_price or 0)}": max_price is not None,
        f"in {currency}": currency is not None,
        "in stock" if in_stock else "sold out": in_stock is not None,
    }
    return [words for words, applies in told.items() if applies]


def _amount(price: float) -> str:
    return f"{price:,.2f}".removesuffix(".00")


def _price(payload: Any) -> str | None:
    if "price" not in payload:
        return None
    return f"{payload['price']:,.2f} {payload.get('currency', '')}".strip()
