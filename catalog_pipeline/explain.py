"""Why one product is, or is not, in the collection: its way through every stage, and what is next.

Only facts that the stages recorded are told, and what is owed is asked of the stages' own
questions, so that an explanation cannot differ from what the next sync does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, or_, select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.catalog.lookup import MOST_FOUND, find_products
from catalog_pipeline.catalog.overrides import Override, overrides_of
from catalog_pipeline.catalog.removal_approvals import count_waiting, has_open_approval
from catalog_pipeline.catalog.schema import products, quarantine, removal_waits
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.errors import PermanentError
from catalog_pipeline.images.owed import Ask, owed_fetches
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.owed import owed_walks
from catalog_pipeline.products.seen import ids_of, last_walk_with
from catalog_pipeline.products.source import PROVING_KINDS
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.guard import held_back
from catalog_pipeline.vectors.trace import (
    ImageTrace,
    Owed,
    PointTrace,
    image_traces,
    owed_points,
    point_traces,
)


class UnknownProductError(PermanentError):
    """Nothing in the catalogue is named so."""


@dataclass(frozen=True)
class Explanation:
    """A product's way through the stages.

    `state` is live, removed, left out or hidden, with its reason; or that it never became a row,
    and then `sku`, `title`, `first_walk` and `changed_in` are None. `last_walk` is the newest walk
    in the archive that saw the product, None where there is none or no archive was given;
    `changed_in` is the one that the row is from. `quarantined` is why the source's newest version
    is refused.
    """

    product_id: UUID
    store_id: str
    external_id: str
    sku: str | None
    title: str | None
    state: str
    first_walk: str | None
    changed_in: str | None
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
        name: as `find_products` takes it; it may name a record that never became a row.
        model_version: whose vectors are asked for.
        collection: whose points are asked for.
        archive: to look for the walks that saw the product; leave it out to save the time.
        store_id: only this store's products.

    Raises:
        ArchiveError: a file of the archive is damaged.
        UnknownProductError: no row, no quarantined record and no archived walk is named so.
    """
    tracer = _Tracer(database, stores, model_version, collection, archive)
    with database.read() as connection:
        found = find_products(connection, name, store_id)
        refused = [] if found else _refused(connection, name.strip(), store_id)
    traced = [tracer.product(key) for key in found] + [tracer.record(*key) for key in refused]
    if not traced:
        store, _, external_id = f"{store_id or ''}:{name.strip()}".lstrip(":").rpartition(":")
        if tracer.last_walk(store, external_id) is not None:
            traced = [tracer.record(store, external_id)]
    if not traced:
        raise UnknownProductError(
            f"no product is known as {name}: give its id, store:id, SKU, page or picture URL, and "
            "sync its store if it is new"
        )
    return traced


def _refused(connection: Connection, text: str, store_id: str | None) -> list[tuple[str, str]]:
    """Store and id of each record in quarantine that a text names."""
    columns = quarantine.c
    value = json.dumps(text)
    named = [columns.raw.contains(f'"sku": {value}', autoescape=True)]
    if text.startswith(("http://", "https://")):
        pages = (text.rstrip("/"), text.rstrip("/") + "/")
        named = [columns.raw.contains(json.dumps(page), autoescape=True) for page in pages]
    key = select(columns.store_id, columns.external_id)
    if store_id is not None:
        key = key.where(columns.store_id == store_id)
    by_record = connection.execute(key.where(or_(*named)).limit(MOST_FOUND)).all()
    by_id = [
        one
        for one in connection.execute(key)
        if text in (f"{one.store_id}:{one.external_id}", str(product_id(*one)))
        or (store_id is not None and text == one.external_id)
    ]
    return sorted({(store, external_id) for store, external_id in (*by_record, *by_id)})


@dataclass(frozen=True)
class _Tracer:
    """What explanations are made from."""

    database: Database
    stores: Mapping[str, StoreConfig]
    model_version: str
    collection: str
    archive: Archive | None

    def last_walk(self, store_id: str, external_id: str) -> str | None:
        """The newest walk that saw a product, as far as one can look."""
        store = self.stores.get(store_id)
        if self.archive is None or store is None:
            return None
        return last_walk_with(self.archive, store, external_id)

    def record(self, store_id: str, external_id: str) -> Explanation:
        """What is known of a product by its id in the store, whether or not it has a row."""
        key = product_id(store_id, external_id)
        with self.database.read() as connection:
            if connection.scalar(select(products.c.store_id).where(products.c.product_id == key)):
                return self.product(key)
            reason = _refusal(connection, store_id, external_id)
            owed = list(self._owed_walks(connection, store_id, external_id))
        return Explanation(
            product_id=key,
            store_id=store_id,
            external_id=external_id,
            sku=None,
            title=None,
            state="never became a row",
            first_walk=None,
            changed_in=None,
            last_walk=self.last_walk(store_id, external_id),
            quarantined=reason,
            overrides=[],
            images=[],
            points=[],
            owed=owed,
        )

    def product(self, key: UUID) -> Explanation:
        """A row's way through the stages."""
        with self.database.read() as connection:
            row = connection.execute(select(products).where(products.c.product_id == key)).one()
            store = self.stores.get(row.store_id)
            scope = Scope(row.store_id, store.images if store else "main", (key,))
            overrides = [one for one in overrides_of(connection, key) if one.in_force]
            traces = image_traces(connection, scope, self.model_version)
            for trace in traces:
                if trace.image_sha256 is not None:
                    people = overrides_of(connection, trace.image_sha256)
                    overrides += [one for one in people if one.in_force and one not in overrides]
            owed = [
                *self._owed_walks(connection, row.store_id, row.external_id),
                *_owed_removal(connection, row),
            ]
            quarantined = _refusal(connection, row.store_id, row.external_id)
            loaded = point_traces(connection, scope, self.collection, self.model_version)
            held = 0
            if store is not None and any(point.reason_to_go for point in loaded):
                held = held_back(connection, store, self.collection, self.model_version).count
            points = list(
                owed_points(connection, scope, self.collection, self.model_version, held=held)
            )
        ask = Ask(store, scope, datetime.now(UTC)) if store else None
        fetches = [
            Owed("product_images", f"fetch {one.url}", _why(traces, one.url))
            for one in (owed_fetches(self.database, ask) if ask else ())
        ]
        return Explanation(
            product_id=key,
            store_id=row.store_id,
            external_id=row.external_id,
            sku=row.sku,
            title=row.title,
            state=_state(row, overrides),
            first_walk=row.first_walk_id,
            changed_in=row.walk_id,
            last_walk=self.last_walk(row.store_id, row.external_id),
            quarantined=quarantined,
            overrides=overrides,
            images=traces,
            points=loaded,
            owed=[*owed, *fetches, *_owed_later(traces, fetches, self.model_version), *points],
        )

    def _owed_walks(
        self, connection: Connection, store_id: str, external_id: str
    ) -> Iterator[Owed]:
        """The archived walks that still have a word on the product."""
        store = self.stores.get(store_id)
        if self.archive is None or store is None:
            return
        for walk in owed_walks(connection, self.archive, store_id):
            what = f"process walk {walk.walk_id}"
            if external_id in ids_of(walk, store):
                yield Owed("products", what, "it saw the product")
            elif walk.complete and walk.begin.kind in PROVING_KINDS:
                yield Owed("products", what, "it saw the whole store without the product")


def _refusal(connection: Connection, store_id: str, external_id: str) -> str | None:
    return connection.scalar(
        select(quarantine.c.reason).where(
            quarantine.c.store_id == store_id, quarantine.c.external_id == external_id
        )
    )


def _state(row: Any, overrides: list[Override]) -> str:
    if row.removed_by is not None:
        return f"removed: {row.removed_by} in walk {row.removed_in}"
    if row.left_out_by is not None:
        return f"left out by {row.left_out_by}"
    for one in overrides:
        if one.action == "hide":
            return f"hidden by {one.who}: {one.reason}"
    return "live"


def _owed_removal(connection: Connection, row: Any) -> list[Owed]:
    """The product's removal, if the guard holds it back."""
    of_product = removal_waits.c.product_id == row.product_id
    wait = connection.execute(select(removal_waits).where(of_product)).one_or_none()
    if wait is None:
        return []
    why = (
        f"{wait.reason} in walk {wait.walk_id}; {count_waiting(connection, row.store_id)} removals"
    )
    if has_open_approval(connection, row.store_id, "products"):
        why += " go if the approval that is open names their number"
    else:
        why += f" wait for an approval: catalog removals {row.store_id}"
    return [Owed("products", "remove the product", why)]


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
