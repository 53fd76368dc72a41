"""Jobs, and the one way in which sensors and schedules ask for them.

When something is asked for is in `sensors.py` and `schedules.py`.
"""

from collections.abc import Mapping
from typing import Literal

import dagster as dg

from catalog_pipeline.defs.embeddings import image_embeddings
from catalog_pipeline.defs.images import product_images
from catalog_pipeline.defs.products import products, raw_products
from catalog_pipeline.defs.run_records import BY_HAND, KIND
from catalog_pipeline.defs.soundness import NEW_VECTORS
from catalog_pipeline.defs.vectors import qdrant_points

STAGES = [raw_products, products, product_images, image_embeddings, qdrant_points]

Kind = Literal["incremental", "prices", "decision", "nightly", "full", "first", "backlog"]
PRICES: Kind = "prices"
DECISION: Kind = "decision"

_PRIORITY = "dagster/priority"
# The run queue takes the highest first: a person waits, a first sync can.
PRIORITIES: dict[str, int] = {
    BY_HAND: 10,
    "incremental": 5,
    "prices": 5,
    "decision": 5,
    "nightly": 0,
    "full": 0,
    "backlog": -3,
    "first": -5,
}
_WALKS: dict[Kind, str] = {
    "incremental": "incremental",
    "prices": "incremental",
    "nightly": "nightly",
    "full": "full",
    "first": "full",
    # What has changed meanwhile goes with it.
    "backlog": "incremental",
}
# What starts from the UI or a command line; a sensor's request overrides it.
_TAGS_BY_HAND = {KIND: BY_HAND, _PRIORITY: str(PRIORITIES[BY_HAND])}

sync_store = dg.define_asset_job(
    name="sync_store",
    selection=dg.AssetSelection.assets(*STAGES).without_checks()
    | dg.AssetSelection.checks(NEW_VECTORS.key),
    tags=_TAGS_BY_HAND,
    description="One store from its API to the collection: all five stages, whatever is owed.",
)

sync_prices = dg.define_asset_job(
    name="sync_prices",
    selection=dg.AssetSelection.assets(raw_products, products, qdrant_points).without_checks(),
    tags=_TAGS_BY_HAND,
    description=(
        "One store's prices, stock and removals, from its API to the payloads of its points, "
        "without waiting for pictures and embeddings; those stay owed."
    ),
)

carry_out = dg.define_asset_job(
    name="carry_out",
    selection=dg.AssetSelection.assets(products, qdrant_points).without_checks(),
    tags=_TAGS_BY_HAND,
    description=(
        "What people decided over one store's products, pictures and removals, taken to the "
        "collection. The store itself is not asked, and may be down or inactive; pictures stay "
        "owed."
    ),
)
_JOBS = {PRICES: sync_prices, DECISION: carry_out}


def sync_request(
    store_id: str,
    kind: Kind,
    moment: str,
    *,
    light: bool = False,
    tags: Mapping[str, str] | None = None,
) -> dg.RunRequest:
    """Ask for a run of `sync_store`, or of a light job where the kind has one.

    Args:
        store_id: the partition.
        kind: what the run is for; decides its job, its walk and its place in the queue.
        moment: of the request. A key that came once never starts anything again, so it must tell
            this attempt from every other.
        light: have `sync_prices` do it, with this kind's walk and place.
        tags: more of them.
    """
    job = sync_prices if light else _JOBS.get(kind, sync_store)
    walk = {"raw_products": {"config": {"walk": _WALKS[kind]}}} if kind in _WALKS else {}
    return dg.RunRequest(
        run_key=f"{kind}/{store_id}/{moment}",
        job_name=job.name,
        partition_key=store_id,
        run_config={"ops": walk} if walk else {},
        tags={
            # Whoever reads records of pictures passes a light run over by its kind.
            KIND: kind if job is sync_store else PRICES,
            _PRIORITY: str(PRIORITIES[kind]),
            **(tags or {}),
        },
    )
