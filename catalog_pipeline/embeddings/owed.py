"""Which images still have no vector, asked of the database."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, Select, and_, func, select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import embeddings
from catalog_pipeline.catalog.wanted import Scope, accepted_images


def count_owed(connection: Connection, scope: Scope, model_version: str | None) -> int:
    """How many accepted images have no vector by this model; all of them if it is None."""
    owed = _owed(scope, model_version).subquery()
    return connection.scalar(select(func.count()).select_from(owed)) or 0


def owed_images(
    database: Database, scope: Scope, model_version: str | None, page: int = 10_000
) -> Iterator[str]:
    """The SHA-256 of each image that is owed a vector, each once, in order; all for no model.

    Read by pages in transactions of their own: embedding takes hours, and a transaction left open
    for so long keeps the database from cleaning up.
    """
    after = ""
    while True:
        owed = _owed(scope, model_version).subquery()
        statement = (
            select(owed.c.image_sha256)
            .where(owed.c.image_sha256 > after)
            .order_by(owed.c.image_sha256)
            .limit(page)
        )
        with database.read() as connection:
            found = list(connection.scalars(statement))
        yield from found
        if len(found) < page:
            return
        after = found[-1]


def _owed(scope: Scope, model_version: str | None) -> Select[tuple[str]]:
    accepted = accepted_images(scope).subquery()
    if model_version is None:
        return select(accepted.c.image_sha256)
    done = and_(
        embeddings.c.image_sha256 == accepted.c.image_sha256,
        embeddings.c.model_version == model_version,
    )
    return (
        select(accepted.c.image_sha256)
        .outerjoin_from(accepted, embeddings, done)
        .where(embeddings.c.image_sha256.is_(None))
    )
