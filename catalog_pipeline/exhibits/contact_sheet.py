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
from catalog_pipeline.drawing.sheet import Section, Tile, Tone, draw_sheet
from catalog_pipeline.exhibits.exhibit import Exhibit
from catalog_pipeline.exhibits.reasons import missed
from catalog_pipeline.exhibits.thumbnails import NOT_AT_HAND, side_by_side, thumbnail
from catalog_pipeline.files import DataFolder
from catalog_pipeline.images.owed import is_too_large
from catalog_pipeline.stores import StoreConfig

MOST_ACCEPTED = 7
MOST_REJECTED = 14
MOST_OF_A_REASON = 6
# Among the newest rejected pictures, in which a reason that is not seen has become rare.
_REJECTED_READ = 1_000
# A uniform sample, as pictures are taken in the order of their hashes.
MOST_MEASURED = 20_000
SHEET_BYTES = 34_500
HISTOGRAM_BYTES = 6_000
_UNDECODED = {
    "unsupported": "cannot be decoded",
    "corrupt": "cannot be decoded",
    "too many pixels": "too large to decode",
}


@dataclass(frozen=True)
class Judged:
    """One picture with its verdict, as far as a tile shows it.

    `undecoded` says why there is nothing to be seen; it is empty where there is. Of what was not
    stored `image_sha256` is None.
    """

    image_sha256: str | None
    accepted: bool
    lines: tuple[str, ...]
    undecoded: str = ""


def judged_tile(files: DataFolder, one: Judged) -> Tile:
    """The picture, framed by its verdict."""
    sha256 = None if one.undecoded else one.image_sha256
    picture = None if sha256 is None else thumbnail(files, sha256)
    tone: Tone = "good" if one.accepted else "bad"
    return Tile(picture, one.lines, tone, one.undecoded or NOT_AT_HAND)


def contact_sheet(database: Database, files: DataFolder, store: StoreConfig) -> Exhibit | None:
    """The newest accepted and rejected pictures of a store; None while none is judged."""
    with database.read() as connection:
        judged, accepted = connection.execute(
            _judged(store, func.count(), func.count(case((is_accepted(), 1))))
        ).one()
        unstored = connection.scalar(_too_large(store, func.count())) or 0
        if not judged + unstored:
            return None
        good = _newest_accepted(connection, store)
        bad = _few_of_each(
            [*_newest_rejected(connection, store), *_newest_too_large(connection, store)]
        )
    pictures, rejected = judged + unstored, judged + unstored - accepted
    shown = [
        (_title("Accepted", accepted, good, f"the newest {len(good)}"), good),
        (_title("Rejected", rejected, bad, "the newest of each reason"), bad),
    ]

    def draw() -> Image.Image:
        tile = partial(judged_tile, files)
        return draw_sheet([Section(title, side_by_side(tile, found)) for title, found in shown])

    title = f"Accepted and rejected ones of {pictures:,} different pictures"
    # Of what is drawn and nothing else: a picture that is judged again alike is no news.
    return Exhibit(title, digest(shown), SHEET_BYTES, draw)


def measurement_histograms(database: Database, store: StoreConfig) -> Exhibit | None:
    """Size and sharpness of a store's pictures with its thresholds; None while none is measured."""
    with database.read() as connection:
        pictures = _which_pictures(connection, store)
    count = pictures["count"]
    if not count:
        return None

    def draw() -> Image.Image:
        with database.read() as connection:
            found = list(connection.scalars(_measurements(store)))
        sides = [min(one["width"], one["height"]) for one in found]
        sharpness = [one["sharpness"] for one in found if one["sharpness"] is not None]
        least_side, least_sharpness = store.quality.min_side, store.quality.min_sharpness
        return draw_histograms(
            [
                Histogram("shorter side in pixels", sides, least_side, logarithmic=True),
                Histogram("sharpness", sharpness, least_sharpness),
            ],
            counted="pictures",
        )

    title = f"Size and sharpness of {min(count, MOST_MEASURED):,} pictures"
    thresholds = [store.quality.min_side, store.quality.min_sharpness]
    return Exhibit(title, digest([pictures, thresholds]), HISTOGRAM_BYTES, draw)


def _which_pictures(connection: Connection, store: StoreConfig) -> dict[str, Any]:
    """What changes whenever other pictures are measured, or the same ones anew: cheap to ask."""
    found = connection.execute(
        _judged(
            store,
            func.count().label("count"),
            func.sum(images.c.bytes).label("bytes"),
            func.min(images.c.image_sha256).label("first"),
            func.max(images.c.image_sha256).label("last"),
            func.max(images.c.measured_at).label("measured_at"),
        ).where(_has_size())
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
            lines=(
                titles.get(row.image_sha256, ""),
                # A picture that the gate refused stands here by somebody's word.
                *(["accepted by a person"] if row.issues else []),
            ),
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
            lines=_why(row.issues),
            undecoded=_UNDECODED.get(row.measurements.get("problem"), ""),
        )
        for row in connection.execute(statement)
    ]


def _newest_too_large(connection: Connection, store: StoreConfig) -> list[Judged]:
    """Rejected as they came, by their address: their bytes were not read to the end, nor kept."""
    attempts = image_attempts.c
    statement = (
        _too_large(store, attempts.reason)
        .order_by(attempts.attempted_at.desc(), attempts.url)
        .limit(MOST_OF_A_REASON)
    )
    return [
        Judged(None, accepted=False, lines=_told_too_large(reason), undecoded="not stored")
        for reason in connection.scalars(statement)
    ]


def _told_too_large(reason: str) -> tuple[str, ...]:
    issue, _, limit = reason.partition(": over ")
    return (issue, f"over {int(limit) / 1_000_000:,g} MB") if limit.isdecimal() else (issue,)


def _too_large(store: StoreConfig, *columns: ColumnElement[Any]) -> Select[Any]:
    return select(*columns).where(is_of_wanted_image(Scope.of(store)), is_too_large())


def _why(issues: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The issue that counts, and by how much the picture missed what was asked of it."""
    if not issues:
        return ("rejected by a person",)
    first = issues[0]
    detail = missed(first["issue"], first.get("measured"), first.get("threshold"))
    return (first["issue"], detail) if detail else (first["issue"],)


def _measurements(store: StoreConfig) -> Select[Any]:
    return (
        _judged(store, images.c.measurements)
        .where(_has_size())
        .order_by(images.c.image_sha256)
        .limit(MOST_MEASURED)
    )


def _has_size() -> ColumnElement[bool]:
    """Not so for what cannot be decoded, of which there is nothing to plot."""
    width: ColumnElement[str] = images.c.measurements["width"].as_string()
    return width.is_not(None)


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


def _title(verdict: str, count: int, shown: Sequence[Judged], which: str) -> str:
    # One that lies under several addresses is one here, and several in the stage's counts.
    pictures = f"{verdict}: {count:,} {'picture' if count == 1 else 'different pictures'}"
    return pictures if len(shown) >= count else f"{pictures}, {which}"


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
