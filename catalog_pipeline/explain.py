"""Why one product is, or is not, in the collection: its way through every stage, and what is next.

Only facts that the stages recorded are told, and what is owed is asked of the stages' own
questions, so that an explanation cannot differ from what the next sync does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, and_, func, literal, select, union_all

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import digest
from catalog_pipeline.catalog.lookup import find_products
from catalog_pipeline.catalog.overrides import Override, overrides_of
from catalog_pipeline.catalog.schema import (
    embeddings,
    gates,
    image_attempts,
    image_verdicts,
    images,
    points,
    product_images,
    products,
    quarantine,
    variation_images,
)
from catalog_pipeline.catalog.wanted import Scope, is_accepted, wanted_images, with_verdicts
from catalog_pipeline.errors import PermanentError
from catalog_pipeline.images.owed import Ask, owed_fetches
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.seen import last_walk_with
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.owed import point_id, unwanted_points, wanted_points
from catalog_pipeline.vectors.payload import point_payload


class UnknownProductError(PermanentError):
    """Nothing in the catalogue is named so."""


@dataclass(frozen=True)
class ImageTrace:
    """One picture that a product lists.

    `slot` is None where the store's settings do not ask for it. `issues` hold the gate's findings,
    each with what was measured and the threshold; `accepted` is the word that counts, a person's
    or the gate's. `vector` names part and row.
    """

    image_id: str
    variation_id: str | None
    position: int | None
    url: str
    slot: str | None
    outcome: str | None
    failure: str | None
    failures: int
    attempted_at: datetime | None
    next_attempt_at: datetime | None
    image_sha256: str | None
    width: int | None
    height: int | None
    bytes: int | None
    gate_version: str | None
    thresholds: Mapping[str, Any] | None
    measurements: Mapping[str, Any] | None
    issues: list[dict[str, Any]]
    accepted: bool | None
    vector: str | None


@dataclass(frozen=True)
class PointTrace:
    """One point on record, and the reason it is to go for, if there is one."""

    point_id: UUID
    slot: str
    image_sha256: str
    reason_to_go: str | None


@dataclass(frozen=True)
class Owed:
    """What the next sync does about the product, and why; `at` is None for at once."""

    stage: str
    what: str
    why: str
    at: datetime | None = None


@dataclass(frozen=True)
class Explanation:
    """A product's way through the stages.

    `state` is live, removed, left out or hidden, with its reason. `last_walk` is the newest walk in
    the archive that saw the product, None where there is none or no archive was given;
    `changed_in` is the one that the row is from. `quarantined` is why the source's newest version
    is refused.
    """

    product_id: UUID
    store_id: str
    external_id: str
    sku: str | None
    title: str
    state: str
    first_walk: str
    changed_in: str
    last_walk: str | None
    quarantined: str | None
    overrides: list[Override]
    images: list[ImageTrace]
    points: list[PointTrace]
    owed: list[Owed]


def explain(
    database: Database,
    stores: Mapping[str, StoreConfig],
    name: str,
    *,
    model_version: str,
    collection: str,
    archive: Archive | None = None,
    store_id: str | None = None,
) -> list[Explanation]:
    """Trace the products that a text names; a SKU may name several.

    Args:
        database: the catalogue.
        stores: the stores of stores.yaml, by id.
        name: as `find_products` takes it.
        model_version: whose vectors are asked for.
        collection: whose points are asked for.
        archive: to look for the last walk that saw the product; leave it out to save the time.
        store_id: only this store's products.

    Raises:
        ArchiveError: a file of the archive is damaged.
        UnknownProductError: no row and no quarantined record is named so.
    """
    with database.read() as connection:
        found = find_products(connection, name, store_id)
        refused = None if found else _refusal(connection, name, store_id)
    if refused is not None:
        raise UnknownProductError(
            f"{name} never became a row: its record is in quarantine since walk "
            f"{refused.walk_id}: {refused.reason}"
        )
    if not found:
        raise UnknownProductError(
            f"no product is known as {name}: give its id, store:id, SKU, page or picture URL, and "
            "sync its store if it is new"
        )
    return [_explain(database, stores, key, model_version, collection, archive) for key in found]


def _explain(
    database: Database,
    stores: Mapping[str, StoreConfig],
    product_id: UUID,
    model_version: str,
    collection: str,
    archive: Archive | None,
) -> Explanation:
    with database.read() as connection:
        row = connection.execute(select(products).where(products.c.product_id == product_id)).one()
        store = stores.get(row.store_id)
        scope = Scope(row.store_id, store.images if store else "main", (product_id,))
        refused = _refusal(connection, f"{row.store_id}:{row.external_id}", None)
        overrides = [one for one in overrides_of(connection, product_id) if one.in_force]
        traces = _images(connection, scope, model_version)
        for trace in traces:
            if trace.image_sha256 is not None:
                people = overrides_of(connection, trace.image_sha256)
                overrides += [one for one in people if one.in_force and one not in overrides]
        loaded = _points(connection, scope, collection, model_version)
        owed = _owed_points(connection, scope, collection, model_version)
    fetches: list[Owed] = []
    if store is not None:
        asked = owed_fetches(database, Ask(store, scope, datetime.now(UTC)))
        fetches = [
            Owed("product_images", f"fetch {one.url}", _why(traces, one.url)) for one in asked
        ]
    last = None
    if archive is not None and store is not None:
        last = last_walk_with(archive, store, row.external_id)
    return Explanation(
        product_id=product_id,
        store_id=row.store_id,
        external_id=row.external_id,
        sku=row.sku,
        title=row.title,
        state=_state(row, overrides),
        first_walk=row.first_walk_id,
        changed_in=row.walk_id,
        last_walk=last,
        quarantined=None if refused is None else refused.reason,
        overrides=overrides,
        images=traces,
        points=loaded,
        owed=[*fetches, *_owed_later(traces, fetches, model_version), *owed],
    )


def _refusal(connection: Connection, name: str, store_id: str | None) -> Any:
    store, separator, external_id = name.partition(":")
    if not separator:
        if store_id is None:
            return None
        store, external_id = store_id, name
    return connection.execute(
        select(quarantine.c.walk_id, quarantine.c.reason).where(
            quarantine.c.store_id == store, quarantine.c.external_id == external_id
        )
    ).one_or_none()


def _state(row: Any, overrides: list[Override]) -> str:
    if row.removed_by is not None:
        return f"removed: {row.removed_by} in walk {row.removed_in}"
    if row.left_out_by is not None:
        return f"left out by {row.left_out_by}"
    for one in overrides:
        if one.action == "hide":
            return f"hidden by {one.who}: {one.reason}"
    return "live"


def _images(connection: Connection, scope: Scope, model_version: str) -> list[ImageTrace]:
    (product_id,) = scope.products or ()
    listed = union_all(
        select(
            product_images.c.image_id,
            literal(None, variation_images.c.variation_id.type).label("variation_id"),
            product_images.c.position,
            product_images.c.url,
        ).where(product_images.c.product_id == product_id),
        select(
            variation_images.c.image_id,
            variation_images.c.variation_id,
            literal(None, product_images.c.position.type),
            variation_images.c.url,
        ).where(variation_images.c.product_id == product_id),
    ).subquery()
    wanted = wanted_images(scope).subquery()
    slots = select(wanted.c.url, func.min(wanted.c.slot).label("slot")).group_by(wanted.c.url)
    shown = slots.subquery()
    source = listed.outerjoin(shown, shown.c.url == listed.c.url).outerjoin(
        image_attempts,
        and_(image_attempts.c.store_id == scope.store_id, image_attempts.c.url == listed.c.url),
    )
    source = (
        with_verdicts(source, scope.store_id)
        .outerjoin(images, images.c.image_sha256 == image_attempts.c.image_sha256)
        .outerjoin(gates, gates.c.gate_version == image_verdicts.c.gate_version)
        .outerjoin(
            embeddings,
            and_(
                embeddings.c.image_sha256 == image_attempts.c.image_sha256,
                embeddings.c.model_version == model_version,
            ),
        )
    )
    statement = (
        select(
            *listed.c,
            shown.c.slot,
            image_attempts.c.outcome,
            image_attempts.c.reason,
            image_attempts.c.failures,
            image_attempts.c.attempted_at,
            image_attempts.c.next_attempt_at,
            image_attempts.c.image_sha256,
            images.c.width,
            images.c.height,
            images.c.bytes,
            images.c.measurements,
            image_verdicts.c.gate_version,
            gates.c.thresholds,
            image_verdicts.c.issues,
            is_accepted().label("accepted"),
            embeddings.c.part,
            embeddings.c.row,
        )
        .select_from(source)
        .order_by(listed.c.variation_id, listed.c.position)
    )
    return [
        ImageTrace(
            image_id=row.image_id,
            variation_id=row.variation_id,
            position=row.position,
            url=row.url,
            slot=row.slot,
            outcome=row.outcome,
            failure=row.reason,
            failures=row.failures or 0,
            attempted_at=row.attempted_at,
            next_attempt_at=row.next_attempt_at,
            image_sha256=row.image_sha256,
            width=row.width,
            height=row.height,
            bytes=row.bytes,
            gate_version=row.gate_version,
            thresholds=row.thresholds,
            measurements=row.measurements,
            issues=row.issues or [],
            accepted=None if row.accepted is None else bool(row.accepted),
            vector=None if row.part is None else f"{row.part}#{row.row}",
        )
        for row in connection.execute(statement)
    ]


def _points(
    connection: Connection, scope: Scope, collection: str, model_version: str
) -> list[PointTrace]:
    going = {
        row.point_id: row.reason
        for row in connection.execute(unwanted_points(collection, scope, model_version))
    }
    found = connection.execute(
        select(points.c.point_id, points.c.slot, points.c.image_sha256)
        .where(points.c.collection == collection, points.c.product_id.in_(scope.products or ()))
        .order_by(points.c.slot)
    )
    return [PointTrace(key, slot, sha, going.get(key)) for key, slot, sha in found]


def _owed_points(
    connection: Connection, scope: Scope, collection: str, model_version: str
) -> list[Owed]:
    owed: list[Owed] = []
    for row in connection.execute(wanted_points(collection, scope, model_version)):
        key = point_id(row.product_id, row.slot)
        sha = row.image_sha256 or row.loaded_sha256
        payload = point_payload(
            row, store_id=scope.store_id, image_sha256=sha, model_version=model_version
        )
        if row.loaded_sha256 is None:
            owed.append(Owed("qdrant_points", f"load point {key}", "it has a vector and no point"))
        elif sha != row.loaded_sha256:
            owed.append(Owed("qdrant_points", f"load point {key}", "its picture is a new one"))
        elif digest(payload) != row.payload_hash:
            owed.append(Owed("qdrant_points", f"refresh point {key}", "its payload has changed"))
    owed += [
        Owed("qdrant_points", f"remove point {row.point_id}, if the guard lets it", row.reason)
        for row in connection.execute(unwanted_points(collection, scope, model_version))
    ]
    return owed


def _why(traces: list[ImageTrace], url: str) -> str:
    for trace in traces:
        if trace.url == url and trace.outcome is not None:
            if trace.outcome == "fetched":
                return "it changed at the source, or a full walk asks whether it did"
            return f"the last attempt ended as {trace.outcome}: {trace.failure}"
    return "it was never asked for"


def _owed_later(traces: list[ImageTrace], fetches: list[Owed], model_version: str) -> list[Owed]:
    """What is owed of pictures that are not to be fetched at once."""
    at_once = {one.what for one in fetches}
    owed: list[Owed] = []
    for trace in traces:
        if trace.slot is None:
            continue
        if trace.next_attempt_at is not None and f"fetch {trace.url}" not in at_once:
            why = f"the last attempt ended as {trace.outcome}: {trace.failure}"
            what = f"fetch {trace.url}"
            owed.append(Owed("product_images", what, why, trace.next_attempt_at))
        if trace.image_sha256 is not None and trace.accepted is None:
            owed.append(Owed("product_images", f"judge {trace.image_sha256}", "it has no verdict"))
        if trace.accepted and trace.vector is None:
            what = f"embed {trace.image_sha256}"
            owed.append(Owed("image_embeddings", what, f"no vector by {model_version}"))
    return owed
