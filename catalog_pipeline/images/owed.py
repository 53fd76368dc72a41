"""What the images stage has still to do for a store, asked of the tables in pages.

Every question is answered from what is wanted and what is recorded as done. Doing it, and recording
it, is `sync.py`; how the store's pictures stand then is `standing.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, and_, cast, func, or_, select
from sqlalchemy.sql.selectable import ScalarSelect, Subquery

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import (
    image_attempts,
    image_verdicts,
    images,
    walks,
)
from catalog_pipeline.catalog.wanted import (
    Scope,
    is_of_wanted_image,
    wanted_images,
)
from catalog_pipeline.images.download import (
    PRIVATE_ADDRESS,
    allowed_ports,
    refused_port,
    too_many_bytes,
)
from catalog_pipeline.images.measure import DECODER, Measurements
from catalog_pipeline.images.quality import Issue, names_placeholder
from catalog_pipeline.stores import StoreConfig

# Rows of a few hundred bytes; each page joins the store's images anew, so not too few.
_PAGE = 2_000
_PIXEL_LIMIT = images.c.measurements["pixel_limit"].as_integer()
# A header may announce more pixels than an INTEGER holds.
_PIXELS = cast(images.c.width, BigInteger) * cast(images.c.height, BigInteger)

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Ask:
    """Which URLs are in question.

    Attributes:
        store: whose settings free URLs that were refused.
        scope: the pictures that are wanted.
        now: attempts that are due by then are owed again.
        refetch: every URL last asked before `now` is owed again.
    """

    store: StoreConfig
    scope: Scope
    now: datetime
    refetch: bool = False


@dataclass(frozen=True, slots=True)
class OwedFetch:
    """A URL to ask, and what its last attempt left."""

    url: str
    image_id: str
    modified_at: datetime | None
    etag: str | None
    last_modified: str | None
    image_sha256: str | None
    failures: int


@dataclass(frozen=True, slots=True)
class JudgedImage:
    """An image whose verdict is missing or may have changed, with the verdict that there is."""

    image_sha256: str
    measurements: Measurements
    gate_version: str | None
    issues: list[dict[str, Any]] | None


def wanted_urls(scope: Scope) -> Subquery:
    """One row for each distinct URL; where products disagree on it, the same one always speaks."""
    shown = wanted_images(scope).subquery()
    return (
        select(
            shown.c.url,
            func.min(shown.c.image_id).label("image_id"),
            func.max(shown.c.modified_at).label("modified_at"),
        )
        .group_by(shown.c.url)
        .subquery()
    )


def count_fetches(connection: Connection, ask: Ask) -> int:
    """How many URLs `owed_fetches` would give."""
    owed = _owed_fetches(ask).subquery()
    return connection.scalar(select(func.count()).select_from(owed)) or 0


def owed_fetches(database: Database, ask: Ask) -> Iterator[OwedFetch]:
    """Wanted URLs never asked, changed at the source, due again, or freed by a new setting.

    A full walk that ended after a URL was asked makes it due again if its server gave it a
    validator: a file replaced under the same URL shows in no list of products.
    """
    statement = _owed_fetches(ask).limit(_PAGE)

    def page(connection: Connection, after: str) -> list[OwedFetch]:
        found = connection.execute(statement.where(statement.selected_columns.url > after))
        return [OwedFetch(*row) for row in found]

    return _pages(database, page, lambda row: row.url)


def owed_measurements(database: Database, store: StoreConfig, scope: Scope) -> Iterator[str]:
    """Stored images that another decoder measured, or that a lower pixel limit left undecoded."""
    wanted = _wanted_contents(scope)
    statement = (
        select(images.c.image_sha256)
        .join(wanted, wanted.c.image_sha256 == images.c.image_sha256)
        .where(
            or_(
                images.c.decoder != DECODER,
                and_(
                    store.quality.max_pixels > _PIXEL_LIMIT,
                    store.quality.max_pixels >= _PIXELS,
                ),
            )
        )
        .order_by(images.c.image_sha256)
        .limit(_PAGE)
    )

    def page(connection: Connection, after: str) -> list[str]:
        return list(connection.scalars(statement.where(images.c.image_sha256 > after)))

    return _pages(database, page, lambda sha256: sha256)


def is_too_large() -> ColumnElement[bool]:
    """An attempt that was given up since the picture has more bytes than its store lets pass.

    The gate's rejection of a picture that was never stored, so that no verdict names it.
    """
    return image_attempts.c.reason.startswith(Issue.TOO_MANY_BYTES.value)


def is_measured(connection: Connection, sha256: str, max_pixels: int) -> bool:
    """Whether decoding these bytes again would teach nothing."""
    row = connection.execute(
        select(_PIXEL_LIMIT, _PIXELS).where(
            images.c.image_sha256 == sha256, images.c.decoder == DECODER
        )
    ).one_or_none()
    if row is None:
        return False
    limit, pixels = row
    return limit is None or pixels > max_pixels or limit >= max_pixels


def owed_verdicts(
    database: Database, scope: Scope, gate: str, placeholders: frozenset[str]
) -> Iterator[list[JudgedImage]]:
    """Pages of wanted images without a verdict of this gate, or taken for the placeholder since."""
    wanted = _wanted_contents(scope)
    statement = (
        select(
            images.c.image_sha256,
            images.c.measurements,
            image_verdicts.c.gate_version,
            image_verdicts.c.issues,
        )
        .join(wanted, wanted.c.image_sha256 == images.c.image_sha256)
        .outerjoin(
            image_verdicts,
            and_(
                image_verdicts.c.store_id == scope.store_id,
                image_verdicts.c.image_sha256 == images.c.image_sha256,
            ),
        )
        .where(
            or_(
                image_verdicts.c.gate_version.is_distinct_from(gate),
                images.c.image_sha256.in_(sorted(placeholders)),
            )
        )
        .order_by(images.c.image_sha256)
        .limit(_PAGE)
    )
    after = ""
    while True:
        with database.read() as connection:
            rows = connection.execute(statement.where(images.c.image_sha256 > after)).all()
        if not rows:
            return
        after = rows[-1].image_sha256
        yield [
            JudgedImage(sha256, Measurements.from_json(values), version, issues)
            for sha256, values, version, issues in rows
            if version != gate
            or Issue.PLACEHOLDER not in [issue["issue"] for issue in issues or []]
        ]


def count_verdicts(connection: Connection, scope: Scope, gate: str) -> int:
    """How many wanted images have no verdict of this gate."""
    wanted = _wanted_contents(scope)
    statement = (
        select(func.count())
        .select_from(wanted)
        .outerjoin(
            image_verdicts,
            and_(
                image_verdicts.c.store_id == scope.store_id,
                image_verdicts.c.image_sha256 == wanted.c.image_sha256,
            ),
        )
        .where(image_verdicts.c.gate_version.is_distinct_from(gate))
    )
    return connection.scalar(statement) or 0


def placeholder_images(connection: Connection, store_id: str) -> frozenset[str]:
    """The contents that the store has ever served as its placeholder."""
    found = connection.execute(
        select(image_attempts.c.url, image_attempts.c.image_id, image_attempts.c.image_sha256)
        .where(
            image_attempts.c.store_id == store_id,
            image_attempts.c.image_sha256.is_not(None),
            image_attempts.c.url.icontains("placeholder"),
        )
        .distinct()
    )
    return frozenset(sha256 for url, image_id, sha256 in found if names_placeholder(url, image_id))


def _wanted_contents(scope: Scope) -> Subquery:
    return (
        select(image_attempts.c.image_sha256)
        .distinct()
        .where(is_of_wanted_image(scope), image_attempts.c.image_sha256.is_not(None))
        .subquery()
    )


def _owed_fetches(ask: Ask) -> Select[Any]:
    store, scope = ask.store, ask.scope
    wanted = wanted_urls(scope)
    last = image_attempts.c
    reasons = [
        last.url.is_(None),
        last.image_id.is_distinct_from(wanted.c.image_id),
        last.modified_at.is_distinct_from(wanted.c.modified_at),
        last.next_attempt_at <= ask.now,
        last.reason.in_([refused_port(port) for port in sorted(allowed_ports(store))]),
        and_(
            is_too_large(),
            last.reason != too_many_bytes(store.quality.max_bytes),
        ),
        and_(
            last.outcome == "fetched",
            or_(last.etag.is_not(None), last.last_modified.is_not(None)),
            last.attempted_at < _last_full_walk(store.id, ask.now),
        ),
    ]
    if store.allow_private_addresses:
        reasons.append(last.reason == PRIVATE_ADDRESS)
    if ask.refetch:
        reasons.append(last.attempted_at < ask.now)
    return (
        select(
            wanted.c.url,
            wanted.c.image_id,
            wanted.c.modified_at,
            last.etag,
            last.last_modified,
            last.image_sha256,
            func.coalesce(last.failures, 0),
        )
        .outerjoin(
            image_attempts,
            and_(last.store_id == store.id, last.url == wanted.c.url),
        )
        .where(or_(*reasons))
        .order_by(wanted.c.url)
    )


def _last_full_walk(store_id: str, now: datetime) -> ScalarSelect[Any]:
    """When the rows of the store's last complete full walk were committed.

    One of a clock that ran ahead is none, or every run until then would look at each picture again.
    """
    return (
        select(func.max(walks.c.processed_at))
        .where(
            walks.c.store_id == store_id,
            walks.c.kind == "full",
            walks.c.complete,
            walks.c.processed_at <= now,
        )
        .scalar_subquery()
    )


def _pages(
    database: Database,
    page: Callable[[Connection, str], list[Row]],
    key: Callable[[Row], str],
) -> Iterator[Row]:
    """Rows page by page, each in a short read transaction of its own."""
    after = ""
    while True:
        with database.read() as connection:
            rows = page(connection, after)
        if not rows:
            return
        yield from rows
        after = key(rows[-1])
