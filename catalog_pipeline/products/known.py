"""The stored products of a store, as a walk or a probe compares them with what the store shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from sqlalchemy import select

from catalog_pipeline.catalog.bulk import portions
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import products, quarantine
from catalog_pipeline.products.source import Sighting

_PAGE = 5_000


class StoredProducts:
    """What the database holds of one store; every question is a short read of its own."""

    def __init__(self, database: Database, store_id: str) -> None:
        """Prepare; nothing is read yet."""
        self._database = database
        self._store_id = store_id

    def sightings(self, ids: Sequence[str]) -> Mapping[str, Sighting]:
        """Those of the ids that are stored, as they are stored.

        A record in quarantine is newer than the row that stays beside it, so it counts.
        """
        found: dict[str, Sighting] = {}
        with self._database.read() as connection:
            for table, some in product((products, quarantine), portions(ids)):
                statement = select(table.c.external_id, table.c.status, table.c.updated_at).where(
                    table.c.store_id == self._store_id, table.c.external_id.in_(some)
                )
                if table is products:
                    statement = statement.where(products.c.removed_by.is_(None))
                for row in connection.execute(statement):
                    found[row.external_id] = Sighting(row.external_id, row.status, row.updated_at)
        return found

    def ids(self) -> Iterator[str]:
        """The id of every row that is not removed."""
        last = ""
        while True:
            with self._database.read() as connection:
                found = connection.scalars(
                    select(products.c.external_id)
                    .where(
                        products.c.store_id == self._store_id,
                        products.c.removed_by.is_(None),
                        products.c.external_id > last,
                    )
                    .order_by(products.c.external_id)
                    .limit(_PAGE)
                ).all()
            yield from found
            if len(found) < _PAGE:
                return
            last = found[-1]
