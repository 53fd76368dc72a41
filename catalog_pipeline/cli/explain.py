"""`catalog explain`: one product's way through every stage, and what is owed next and why."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from catalog_pipeline.cli.deployment import (
    STORE,
    as_json,
    model_at_hand,
    open_database,
    read_stores,
)
from catalog_pipeline.cli.output import jsonable, print_json, printable
from catalog_pipeline.settings import load_settings

if TYPE_CHECKING:
    from catalog_pipeline.explain import Explanation
    from catalog_pipeline.vectors.trace import ImageTrace

# What is owed there is told by the model's version.
_OF_VECTORS = ("image_embeddings", "qdrant_points")
# Measurements that are told as the picture's size, or that only say how it was measured.
_OF_THE_FILE = ("bytes", "width", "height", "pixel_limit")


@click.command()
@click.argument("product")
@click.option(
    "--store", "store_id", type=STORE, help="Only this store; PRODUCT may then be its own id."
)
@click.option("--no-archive", is_flag=True, help="Do not look for the last walk that saw it.")
@as_json
def explain(product: str, store_id: str | None, no_archive: bool, as_json: bool) -> None:
    """Trace PRODUCT: an id, STORE:ID, a SKU, or the URL of its page or of a picture.

    \b
    Examples:
      catalog explain atelier:1042
      catalog explain https://shop.example.com/product/striped-dress/
    """
    from catalog_pipeline.explain import explain as trace
    from catalog_pipeline.files import DataFolder
    from catalog_pipeline.products.archive import Archive
    from catalog_pipeline.vectors.index import collection_name

    settings = load_settings()
    stores = read_stores(settings).stores
    model = model_at_hand(settings, "Vectors and points are not told")
    # One that no vector has, where it is not known.
    model_version = model.model_version if model else ""
    with open_database(settings) as database:
        found = trace(
            database,
            stores,
            product,
            model_version=model_version,
            collection=collection_name(settings.collection, model_version),
            archive=None if no_archive else Archive(DataFolder(settings.data_dir)),
            store_id=store_id,
        )
    if model is None:
        found = [
            replace(one, points=[], owed=[it for it in one.owed if it.stage not in _OF_VECTORS])
            for one in found
        ]
    if as_json:
        untold = {} if model else {"points": None}
        print_json({"products": [jsonable(one) | untold for one in found]})
        return
    nothing = "nothing" if model else "nothing before its vectors"
    for one in found:
        for line in _lines(one, nothing):
            click.echo(printable(line))


def _lines(one: Explanation, nothing: str) -> Iterator[str]:
    yield f"{one.title or 'untitled'}  ({one.store_id}:{one.external_id}, {one.product_id})"
    yield f"  state      {one.state}"
    walks = [f"row from {one.changed_in}, first seen in {one.first_walk}"] if one.changed_in else []
    walks += [f"last seen in {one.last_walk}"] if one.last_walk else []
    if walks:
        yield f"  walks      {', '.join(walks)}"
    if one.quarantined:
        yield f"  quarantine its newest version is refused: {one.quarantined}"
    for override in one.overrides:
        until = f" until {override.until:%Y-%m-%d}" if override.until else ""
        yield f"  override   {override.action}{until}, by {override.who}: {override.reason}"
    for image in one.images:
        yield from _image_lines(image)
    for point in one.points:
        going = f", to go: {point.reason_to_go}" if point.reason_to_go else ""
        yield f"  point      {point.point_id} of {point.image_sha256[:12]}{going}"
    for owed in one.owed:
        at = f" at {owed.at:%Y-%m-%d %H:%M} UTC" if owed.at else ""
        yield f"  owed       {owed.stage}: {owed.what}{at}, as {owed.why}"
    if not one.owed:
        yield f"  owed       {nothing}"


def _image_lines(image: ImageTrace) -> Iterator[str]:
    place = f"variation {image.variation_id}" if image.variation_id else f"picture {image.position}"
    wanted = "" if image.slot is not None else ", not asked for by `images:`"
    yield f"  {place:<10} {image.url}{wanted}"
    if image.outcome is not None:
        size = f", {image.width} x {image.height}, {image.bytes:,} bytes" if image.bytes else ""
        failure = f": {image.failure}" if image.failure else ""
        when = f"{image.attempted_at:%Y-%m-%d %H:%M} UTC" if image.attempted_at else ""
        yield f"             {image.outcome}{failure}, {when}{size}"
    if image.accepted is not None:
        yield f"             {'accepted' if image.accepted else 'rejected'}"
    for issue in image.issues:
        yield (
            f"             {issue.get('issue')}: measured {issue.get('measured')}, "
            f"threshold {issue.get('threshold')}"
        )
    if image.accepted is not None:
        yield from _numbers("measured", image.measurements, without=_OF_THE_FILE)
        yield from _numbers("thresholds", image.thresholds)
    if image.vector is not None:
        yield f"             vector {image.vector}"


def _numbers(
    name: str, values: Mapping[str, Any] | None, without: Collection[str] = ()
) -> Iterator[str]:
    shown = [
        f"{key} {round(value, 3):,}"
        for key, value in (values or {}).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and key not in without
    ]
    if shown:
        yield f"             {name}: {', '.join(shown)}"
