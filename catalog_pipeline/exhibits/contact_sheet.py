"""The gate's verdicts as pictures: a sheet of accepted and rejected ones, and histograms.

Verdicts and measurements are read, never made here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from PIL import Image
from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import digest
from catalog_pipeline.catalog.schema import (
    image_attempts,
    image_overrides,
    image_verdicts,
    images,
    products,
)
from catalog_pipeline.catalog.wanted import (
    Scope,
    in_force,
    is_accepted,
    is_of_wanted_image,
    wanted_images,
)
from catalog_pipeline.drawing.plots import Histogram, draw_histograms
from catalog_pipeline.drawing.sheet import Section, Tile, draw_sheet
from catalog_pipeline.exhibits.exhibit import Exhibit
from catalog_pipeline.exhibits.thumbnails import side_by_side, thumbnail
from catalog_pipeline.files import DataFolder
from catalog_pipeline.stores import StoreConfig

MOST_ACCEPTED = 14
MOST_REJECTED = 14
MOST_OF_A_REASON = 6
# Among the newest rejected pictures, in which a reason that is not seen has become rare.
_REJECTED_READ = 1_000
# A uniform sample, as pictures are taken in the order of their hashes.
MOST_MEASURED = 20_000
SHEET_BYTES = 32_000
HISTOGRAM_BYTES = 9_000
BY_A_PERSON = "by a person"


@dataclass(frozen=True)
class Judged:
    """One picture with its verdict, as far as a tile shows it."""

    image_sha256: str
    accepted: bool
    lines: tuple[str, ...]
    decodable: bool


def judged_tile(files: DataFolder, one: Judged) -> Tile:
    """The picture, framed by its verdict."""
    picture = thumbnail(files, one.image_sha256) if one.decodable else None
    return Tile(picture, one.lines, "good" if one.accepted else "bad")


def reason_lines(issues: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """The issue that counts, and what was measured against which threshold."""
    if not issues:
        return BY_A_PERSON, ""
    found = issues[0]
    measured, threshold = found.get("measured"), found.get("threshold")
    if measured is None or threshold is None:
        return found["issue"], "" if measured is None else str(measured)
    return found["issue"], f"{measured:.4g} {'<' if measured < threshold else '>'} {threshold:g}"


def contact_sheet(database: Database, files: DataFolder, store: StoreConfig) -> Exhibit | None:
    """The newest accepted and rejected pictures of a store; None while none is judged."""
    with database.read() as connection:
        state = _state(connection, store)
        if not state["judged"]:
            return None
        accepted = _newest_accepted(connection, store)
        rejected = _newest_rejected(connection, store)
    chosen = _few_of_each(rejected)

    def draw() -> Image.Image:
        return draw_sheet(
            [
                Section(
                    _title("Accepted", state["accepted"], len(accepted)),
                    side_by_side(partial(judged_tile, files), accepted),
                ),
                Section(
                    _title("Rejected", state["judged"] - state["accepted"], len(chosen)),
                    side_by_side(partial(judged_tile, files), chosen),
                ),
            ]
        )

    return Exhibit(
        f"Newest of {state['judged']:,} judged pictures", digest(state), SHEET_BYTES, draw
    )


def measurement_histograms(database: Database, store: StoreConfig) -> Exhibit | None:
    """Size and sharpness of a store's pictures with its thresholds; None while none is judged."""
    with database.read() as connection:
        state = _state(connection, store)
    if not state["judged"]:
        return None

    def draw() -> Image.Image:
        with database.read() as connection:
            found = list(connection.scalars(_measurements(store)))
        sides = [min(one["width"], one["height"]) for one in found if one["width"]]
        sharpness = [one["sharpness"] for one in found if one["sharpness"] is not None]
        return draw_histograms(
            [
                Histogram("shorter side, pixels", sides, store.quality.min_side, logarithmic=True),
                Histogram("sharpness", sharpness, store.quality.min_sharpness),
            ]
        )

    title = f"Size and sharpness of {min(state['judged'], MOST_MEASURED):,} pictures"
    thresholds = [store.quality.min_side, store.quality.min_sharpness]
    return Exhibit(title, digest([state, thresholds]), HISTOGRAM_BYTES, draw)


def _state(connection: Connection, store: StoreConfig) -> dict[str, Any]:
    """What changes whenever a verdict does: cheap to ask, and small."""
    found = connection.execute(
        _judged(
            store,
            func.count().label("judged"),
            func.count(case((is_accepted(), 1))).label("accepted"),
            func.max(image_verdicts.c.judged_at).label("judged_at"),
        )
    ).one()
    return dict(found._mapping)


def _newest_accepted(connection: Connection, store: StoreConfig) -> list[Judged]:
    statement = _newest(store, image_verdicts.c.issues).where(is_accepted()).limit(MOST_ACCEPTED)
    found = connection.execute(statement).all()
    titles = _titles(connection, store, [row.image_sha256 for row in found])
    return [
        Judged(
            row.image_sha256,
            accepted=True,
            # A picture that the gate refused stands here by somebody's word.
            lines=(BY_A_PERSON if row.issues else titles.get(row.image_sha256, ""),),
            decodable=True,
        )
        for row in found
    ]


def _newest_rejected(connection: Connection, store: StoreConfig) -> list[Judged]:
    statement = (
        _newest(store, image_verdicts.c.issues, images.c.measurements)
        .where(~is_accepted())
        .limit(_REJECTED_READ)
    )
    return [
        Judged(
            row.image_sha256,
            accepted=False,
            lines=reason_lines(row.issues),
            decodable=row.measurements.get("problem") is None,
        )
        for row in connection.execute(statement)
    ]


def _measurements(store: StoreConfig) -> Select[Any]:
    return (
        _judged(store, images.c.measurements).order_by(images.c.image_sha256).limit(MOST_MEASURED)
    )


def _newest(store: StoreConfig, *columns: ColumnElement[Any]) -> Select[Any]:
    return _judged(store, image_verdicts.c.image_sha256, *columns).order_by(
        image_verdicts.c.judged_at.desc(), image_verdicts.c.image_sha256
    )


def _judged(store: StoreConfig, *columns: ColumnElement[Any]) -> Select[Any]:
    """The store's judged pictures that are wanted now, each content once, with `is_accepted`."""
    wanted = select(image_attempts.c.image_sha256).where(is_of_wanted_image(Scope.of(store)))
    return (
        select(*columns)
        .select_from(
            image_verdicts.join(
                images, images.c.image_sha256 == image_verdicts.c.image_sha256
            ).outerjoin(
                image_overrides,
                and_(
                    image_overrides.c.image_sha256 == image_verdicts.c.image_sha256,
                    in_force(image_overrides.c.until),
                ),
            )
        )
        .where(image_verdicts.c.store_id == store.id, image_verdicts.c.image_sha256.in_(wanted))
    )


def _titles(connection: Connection, store: StoreConfig, shas: Sequence[str]) -> dict[str, str]:
    """The name of a product that each picture belongs to."""
    wanted = wanted_images(Scope.of(store)).subquery()
    found = connection.execute(
        select(image_attempts.c.image_sha256, func.min(products.c.title).label("title"))
        .join(wanted, wanted.c.url == image_attempts.c.url)
        .join(products, products.c.product_id == wanted.c.product_id)
        .where(image_attempts.c.store_id == store.id, image_attempts.c.image_sha256.in_(shas))
        .group_by(image_attempts.c.image_sha256)
    )
    return {row.image_sha256: row.title for row in found}


def _title(verdict: str, count: int, shown: int) -> str:
    pictures = f"{verdict}: {count:,} {'picture' if count == 1 else 'pictures'}"
    return pictures if shown >= count else f"{pictures}, the newest {shown}"


def _few_of_each(rejected: Iterable[Judged]) -> list[Judged]:
    """The newest of each reason, reason by reason."""
    seen: Counter[str] = Counter()
    kept: list[Judged] = []
    for one in rejected:
        seen[one.lines[0]] += 1
        if seen[one.lines[0]] <= MOST_OF_A_REASON:
            kept.append(one)
    # The first of every reason before the second of any.
    turn: Counter[str] = Counter()
    order: list[tuple[int, int]] = []
    for place, one in enumerate(kept):
        order.append((turn[one.lines[0]], place))
        turn[one.lines[0]] += 1
    shown = [kept[place] for _, place in sorted(order)[:MOST_REJECTED]]
    return sorted(shown, key=lambda one: one.lines[0])
