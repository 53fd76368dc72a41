"""Source, database and collection held against each other, id by id, for one store.

Looking changes nothing. A repair puts the records right and leaves the rest to the stage itself,
so that it is bound by the collection's owner, the lease and the removal guard as any sync is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import select, update

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.schema import points, products, quarantine
from catalog_pipeline.catalog.verdicts import StoreVerdict
from catalog_pipeline.catalog.wanted import Scope, is_live
from catalog_pipeline.embeddings.model import ModelSpec
from catalog_pipeline.files import DataFolder
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.drift import product_of
from catalog_pipeline.vectors.index import (
    OwnershipError,
    Payload,
    PointFilter,
    StoredPoint,
    VectorIndex,
    collection_name,
)
from catalog_pipeline.vectors.load import chunks
from catalog_pipeline.vectors.owed import (
    forget_points,
    point_id,
    wanted_points,
)
from catalog_pipeline.vectors.payload import point_payload
from catalog_pipeline.vectors.sync import PointsReport, sync_points

# The name of the check that keeps what comparisons find.
CHECK = "everything_agrees"
# Payloads in memory at a time.
_PAGE = 1_000
_MOST_EXAMPLES = 10
_VECTOR_FIELDS = ("image_sha256", "model_version")


@dataclass(frozen=True)
class SourceIds:
    """The ids that a walk which saw everything brought, and the walk."""

    walk_id: str
    ids: Collection[str]


@dataclass(frozen=True)
class Reconciliation:
    """Where source, database and collection differ; every id, in order.

    Attributes:
        store_id: the store.
        collection: the collection's name.
        source: products in the newest walk that saw everything; None if there is none to go by.
        live: live products in the database.
        wanted: points that should be in the collection.
        held: points of the store that are in it.
        missing_rows: the source's ids that neither a row nor the quarantine knows.
        orphaned_rows: ids of live rows that the source no longer has.
        missing: points that should be in the collection and are not.
        orphaned: points in the collection that nothing wants; some may wait for an approval.
        stale_payload: points whose payload differs from what the database says.
        stale_vector: points that carry another image's or another model's vector.
    """

    store_id: str
    collection: str
    source: int | None
    live: int
    wanted: int
    held: int
    missing_rows: Sequence[str]
    orphaned_rows: Sequence[str]
    missing: Sequence[UUID]
    orphaned: Sequence[UUID]
    stale_payload: Sequence[UUID]
    stale_vector: Sequence[UUID]

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return not any(self.differences.values())

    @property
    def differences(self) -> Mapping[str, int]:
        """How many ids there are of each kind of difference."""
        return {
            "missing rows": len(self.missing_rows),
            "orphaned rows": len(self.orphaned_rows),
            "missing points": len(self.missing),
            "orphaned points": len(self.orphaned),
            "stale payloads": len(self.stale_payload),
            "stale vectors": len(self.stale_vector),
        }

    def verdict(self) -> StoreVerdict:
        """The same as a check keeps it."""
        each = zip(
            self.differences,
            (
                self.missing_rows,
                self.orphaned_rows,
                self.missing,
                self.orphaned,
                self.stale_payload,
                self.stale_vector,
            ),
            strict=True,
        )
        return StoreVerdict(
            self.store_id,
            self.agrees,
            {**self.differences, "wanted points": self.wanted, "held points": self.held},
            {name: [str(one) for one in ids[:_MOST_EXAMPLES]] for name, ids in each if ids},
        )


def reconcile(
    database: Database,
    index: VectorIndex,
    store: StoreConfig,
    model: ModelSpec,
    *,
    alias: str,
    source: SourceIds | None = None,
) -> Reconciliation:
    """Compare a store's ids everywhere, changing nothing.

    A run that writes the store at the same time shows as differences.

    Args:
        database: the catalogue.
        index: where the points are.
        store: the store.
        model: whose collection is compared.
        alias: the name readers use.
        source: what the store last showed, if that is known.

    Raises:
        OwnershipError: the collection belongs to another deployment.
        PermanentError: Qdrant refuses something.
        ServiceUnavailableError: Qdrant or the database cannot be reached.
    """
    name = collection_name(alias, model.model_version)
    scope = Scope.of(store)
    found = _Found(store.id, name, model.model_version)
    held: list[UUID] = []
    if _is_there(database, index, name):
        with index.session(name) as opened:
            for page in opened.ids(PointFilter(stores=(store.id,))):
                held += page
        for some in chunks(held, _PAGE):
            with index.session(name) as opened:
                stored = opened.retrieve(some, payload=True)
            found.compare(database, scope, stored)
    present = set(held)
    wanted = 0
    with database.read() as connection:
        columns = wanted_points(name, scope, model.model_version)
        for row in connection.execution_options(yield_per=_PAGE).execute(columns):
            wanted += 1
            if (key := point_id(row.product_id, row.slot)) not in present:
                found.missing.append(key)
    missing_rows, orphaned_rows, live = _rows(database, store.id, source)
    return Reconciliation(
        store_id=store.id,
        collection=name,
        source=None if source is None else len(source.ids),
        live=live,
        wanted=wanted,
        held=len(held),
        missing_rows=missing_rows,
        orphaned_rows=orphaned_rows,
        missing=sorted(found.missing),
        orphaned=sorted(found.orphaned),
        stale_payload=sorted(found.stale_payload),
        stale_vector=sorted(found.stale_vector),
    )


def repair(
    lease: StoreLease,
    files: DataFolder,
    index: VectorIndex,
    store: StoreConfig,
    model: ModelSpec,
    differences: Reconciliation,
    *,
    alias: str,
    deployment_id: UUID,
) -> PointsReport:
    """Load what is missing or stale, and take out what nothing wants if the guard lets it.

    Rows that are missing or orphaned are a full walk's to mend.

    Args:
        lease: the right to write the store.
        files: the data folder, with the vectors.
        index: where the points are.
        store: the lease's store.
        model: whose collection it is.
        differences: what `reconcile` found just before.
        alias: the name readers use.
        deployment_id: this database's own.

    Raises:
        OwnershipError: the collection belongs to another deployment; nothing was changed.
        CatalogError: as `sync_points`.
    """
    name = differences.collection
    _is_there(lease.database, index, name)
    with lease.write() as connection:
        forget_points(connection, name, differences.missing)
        for ids, columns in (
            (differences.stale_payload, {"payload_hash": ""}),
            (differences.stale_vector, {"payload_hash": "", "image_sha256": ""}),
        ):
            for some in chunks(ids, _PAGE):
                key = (points.c.collection == name, points.c.point_id.in_(some))
                connection.execute(update(points).where(*key).values(**columns))
    return sync_points(
        lease,
        files,
        index,
        store,
        model,
        alias=alias,
        deployment_id=deployment_id,
        compare_ids=True,
    )


class _Found:
    """The ids that differ, page by page."""

    def __init__(self, store_id: str, collection: str, model_version: str) -> None:
        self._store_id = store_id
        self._collection = collection
        self._model_version = model_version
        self.missing: list[UUID] = []
        self.orphaned: list[UUID] = []
        self.stale_payload: list[UUID] = []
        self.stale_vector: list[UUID] = []

    def compare(self, database: Database, scope: Scope, stored: Sequence[StoredPoint]) -> None:
        claimed = {product for point in stored if (product := product_of(point.payload))}
        # A payload may name the wrong product, or none: the record says whose point it is.
        recorded = select(points.c.product_id).where(
            points.c.collection == self._collection,
            points.c.point_id.in_([point.point_id for point in stored]),
        )
        expected: dict[UUID, tuple[Payload, bool]] = {}
        with database.read() as connection:
            some = replace(scope, products=tuple(claimed.union(connection.scalars(recorded))))
            query = wanted_points(self._collection, some, self._model_version)
            for row in connection.execute(query):
                payload = point_payload(
                    row,
                    store_id=self._store_id,
                    image_sha256=row.image_sha256 or row.loaded_sha256,
                    model_version=self._model_version,
                )
                key = point_id(row.product_id, row.slot)
                expected[key] = payload, row.image_sha256 is not None
        for point in stored:
            if point.point_id not in expected:
                self.orphaned.append(point.point_id)
                continue
            payload, is_ready = expected[point.point_id]
            held = point.payload or {}
            if is_ready and any(held.get(name) != payload[name] for name in _VECTOR_FIELDS):
                self.stale_vector.append(point.point_id)
            elif held != payload:
                self.stale_payload.append(point.point_id)


def _is_there(database: Database, index: VectorIndex, name: str) -> bool:
    """Whether the collection exists, and is ours.

    Raises:
        OwnershipError: it is not.
    """
    info = index.info(name)
    if info is None:
        return False
    if info.owner != database.deployment_id():
        raise OwnershipError(
            f"collection {name} belongs to deployment {info.owner}, not to this database: point "
            "CATALOG_DATABASE_URL at the database that filled it, or, if that is gone for good: "
            f"catalog adopt {name}"
        )
    return True


def _rows(
    database: Database, store_id: str, source: SourceIds | None
) -> tuple[list[str], list[str], int]:
    """Ids of missing and of orphaned rows, and how many products are live."""
    of_store = select(products.c.external_id).where(products.c.store_id == store_id)
    refused = select(quarantine.c.external_id).where(quarantine.c.store_id == store_id)
    with database.read() as connection:
        live = {
            row.external_id: row.walk_id
            for row in connection.execute(of_store.add_columns(products.c.walk_id).where(is_live()))
        }
        if source is None:
            return [], [], len(live)
        # One that is removed, and that a later walk saw, is missing; no walk sees what it removes.
        there = of_store.where(
            products.c.removed_in.is_(None) | (products.c.removed_in > source.walk_id)
        )
        known = {*connection.scalars(there), *connection.scalars(refused)}
    ids = set(source.ids)
    # What a later walk brought is no concern of this one.
    orphaned = [key for key, walk in live.items() if key not in ids and walk <= source.walk_id]
    return sorted(ids - known), sorted(orphaned), len(live)
