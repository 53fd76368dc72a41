"""The last stage: the collection holds exactly the points that the database says it should.

A run that dies anywhere leaves at most points without a record, which the next run finds by the
collection's count and writes again. What is loaded is in `load`, what is wanted in `owed`.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from uuid import UUID

from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.removal_approvals import Approval, approved_count
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.embeddings.model import ModelSpec
from catalog_pipeline.errors import PermanentError
from catalog_pipeline.files import DataFolder
from catalog_pipeline.removals import removal_limit
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.drift import Drift, settle_drift
from catalog_pipeline.vectors.guard import guard_removals
from catalog_pipeline.vectors.index import (
    CollectionSpec,
    PointFilter,
    VectorIndex,
    collection_name,
)
from catalog_pipeline.vectors.load import BATCH, GROUP, Progress, chunks, load_wanted
from catalog_pipeline.vectors.owed import (
    count_rows,
    forget_points,
    recorded_points,
    unwanted_points,
)

_UNRECORDED = "unrecorded"


@dataclass(frozen=True)
class PointsReport:
    """What one run of the stage did, and what the collection holds of the store after it.

    Attributes:
        collection: the collection's name.
        alias: the name readers use.
        alias_target: the collection that the alias stands for, which may be another model's.
        status: the collection's: green, yellow or grey.
        points: exact number of the store's points in the collection.
        recorded: number of the store's points on record; fewer than `points` only while
            unrecorded ones wait to be removed.
        upserted: points written with vector and payload.
        payload_refreshed: points of which only the payload was written.
        unchanged: points that were as they should be.
        stale: points that keep their last good image while a new one is not ready.
        quarantined: points that show the last valid row of a product whose newest version is not.
        deleted: points taken out, by reason.
        waiting: points that have a reason to go and were kept by the removal guard, by reason.
        removal_limit: how many removals the guard lets pass in a run.
        approval_refused: why an approval that came with the run did nothing.
        withheld: points that were not written because no vector was to be loaded.
        lost: records whose point was missing from the collection; loaded again if still wanted.
        unrecorded: points found without a record.
        seconds: of the whole stage.
        points_per_second: points written over all seconds.
    """

    collection: str
    alias: str
    alias_target: str | None
    status: str
    points: int
    recorded: int
    upserted: int
    payload_refreshed: int
    unchanged: int
    stale: int
    quarantined: int
    deleted: dict[str, int]
    waiting: dict[str, int]
    removal_limit: int
    approval_refused: str | None
    withheld: int
    lost: int
    unrecorded: int
    seconds: float
    points_per_second: float


def sync_points(
    lease: StoreLease,
    files: DataFolder,
    index: VectorIndex,
    store: StoreConfig,
    model: ModelSpec,
    *,
    alias: str,
    deployment_id: UUID,
    product_id: UUID | None = None,
    rewrite: bool = False,
    withhold: bool = False,
    compare_ids: bool = False,
    approval: Approval | None = None,
    progress: Progress | None = None,
) -> PointsReport:
    """Bring a store's points in the model's collection into step with the database.

    Args:
        lease: the right to write the store.
        files: the data folder, with the vectors.
        index: where the points go.
        store: the lease's store.
        model: whose vectors are loaded.
        alias: the name readers use; created with the first collection and never moved.
        deployment_id: this database's own.
        product_id: only the points of this product.
        rewrite: write every point that is ready again, changed or not.
        withhold: load no vector; payloads are refreshed and points removed all the same.
        compare_ids: compare the collection's ids with the records even if their counts agree.
        approval: a person's word on the removals that wait.
        progress: called with points looked at and points wanted.

    Raises:
        CollectionMismatchError: the collection has another size, distance or model.
        LeaseLostError: another writer took the store over.
        MissingPartError: a vector's file is gone from the data folder.
        OwnershipError: the collection belongs to another deployment.
        PartError: a vector's file is damaged.
        PermanentError: Qdrant refuses something, or the collection is red.
        ServiceUnavailableError: Qdrant or the database cannot be reached.
    """
    if store.id != lease.store_id:
        raise ValueError(f"the lease is on store {lease.store_id}, not on {store.id}")
    started = time.monotonic()
    spec = CollectionSpec(
        name=collection_name(alias, model.model_version),
        dimensions=model.dimensions,
        model_version=model.model_version,
        deployment_id=deployment_id,
    )
    scope = Scope.of(store, product_id)
    index.ensure(spec, alias)
    held, before, drift = _settle(lease, index, spec, store, compare_ids, approval)
    counts = load_wanted(
        lease, files, index, spec, scope, progress, rewrite=rewrite, withhold=withhold
    )
    if counts.lost:
        # Points that vanished while the counts agreed; now off the record, so owed again.
        again = load_wanted(lease, files, index, spec, scope, None, withhold=withhold)
        counts.upserted += again.upserted
        counts.stale = again.stale
        counts.quarantined = again.quarantined
        counts.withheld = again.withheld
        counts.held = again.held if again.held is not None else counts.held
    removed = _remove(
        lease, index, spec, store, scope, before=before, drift=drift, approval=approval
    )
    status = _status(index, spec.name)
    seconds = time.monotonic() - started
    return PointsReport(
        collection=spec.name,
        alias=alias,
        alias_target=index.resolve(alias),
        status=status,
        points=next(count for count in (removed.held, counts.held, held) if count is not None),
        recorded=_recorded(lease, spec.name),
        upserted=counts.upserted,
        payload_refreshed=counts.payload_refreshed,
        unchanged=counts.unchanged,
        stale=counts.stale,
        quarantined=counts.quarantined,
        deleted=removed.deleted,
        waiting=removed.waiting,
        removal_limit=removed.limit,
        approval_refused=removed.refused,
        withheld=counts.withheld,
        lost=drift.lost + counts.lost,
        unrecorded=drift.unrecorded,
        seconds=seconds,
        points_per_second=(counts.upserted + counts.payload_refreshed) / max(seconds, 1e-9),
    )


@dataclass(frozen=True)
class _Removed:
    deleted: dict[str, int]
    waiting: dict[str, int]
    limit: int
    refused: str | None
    held: int | None = None


def _settle(
    lease: StoreLease,
    index: VectorIndex,
    spec: CollectionSpec,
    store: StoreConfig,
    compare_ids: bool,
    approval: Approval | None,
) -> tuple[int, int, Drift]:
    """The store's points in the collection, as many as it had or should have had, and the drift.

    Ids are compared only when the exact counts differ, or when it is asked for.
    """
    recorded = _recorded(lease, spec.name)
    with index.session(spec.name) as opened:
        held = opened.count(PointFilter(stores=(lease.store_id,)))
        before = max(held, recorded)
        if held == recorded and not compare_ids:
            return held, before, Drift()
        with lease.database.read() as connection:
            approved = approved_count(connection, lease.store_id, "points")
        # No more can be taken out: an approval that names fewer does not apply.
        most = max(
            removal_limit(before, max_share=store.max_removal_share),
            approved,
            approval.count if approval else 0,
        )
        drift = settle_drift(
            lease, opened, Scope.of(store), spec.name, spec.model_version, keep_ids=most
        )
        return held, before, drift


def _remove(
    lease: StoreLease,
    index: VectorIndex,
    spec: CollectionSpec,
    store: StoreConfig,
    scope: Scope,
    *,
    before: int,
    drift: Drift,
    approval: Approval | None,
) -> _Removed:
    """Take out what has a reason to go, if the guard lets it."""
    unwanted = unwanted_points(spec.name, scope, spec.model_version)
    with lease.database.read() as connection:
        found = connection.execute(unwanted).all()
    reasons = dict(Counter(row.reason for row in found))
    if drift.unwanted:
        reasons[_UNRECORDED] = drift.unwanted
    guarded = guard_removals(
        lease,
        spec.name,
        unwanted,
        reasons,
        before,
        max_share=store.max_removal_share,
        whole_store=scope.products is None,
        approval=approval,
    )
    limit, refused = guarded.decision.limit, guarded.refused
    if not guarded.decision.allowed:
        return _Removed({}, reasons, limit, refused)
    going = [*(row.point_id for row in found), *drift.unwanted_ids]
    held: int | None = None
    for group in chunks(going, GROUP):
        with index.session(spec.name) as opened:
            for batch in chunks(group, BATCH):
                lease.check()
                opened.delete(batch)
            held = opened.count(PointFilter(stores=(lease.store_id,)))
        with lease.write() as connection:
            forget_points(connection, spec.name, group)
    return _Removed(reasons, {}, limit, refused, held)


def _recorded(lease: StoreLease, collection: str) -> int:
    with lease.database.read() as connection:
        return count_rows(connection, recorded_points(collection, lease.store_id))


def _status(index: VectorIndex, name: str) -> str:
    info = index.info(name)
    if info is None:
        raise PermanentError(f"collection {name} vanished while it was being loaded")
    if info.status == "red":
        raise PermanentError(
            f"collection {name} is red after loading: {info.problem}; what it acknowledged is "
            "recorded, mend the server and sync again"
        )
    return info.status
