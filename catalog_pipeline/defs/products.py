"""The assets of the products room: the raw archive of a store's API, and the rows made from it."""

import time
from typing import Any

import dagster as dg
from pydantic import Field

from catalog_pipeline.catalog.contents import products_content
from catalog_pipeline.catalog.queries import newest_rows
from catalog_pipeline.catalog.removal_approvals import Approval, ApprovalRefusedError
from catalog_pipeline.defs.columns import PRODUCTS_SCHEMA, RAW_PRODUCTS_SCHEMA
from catalog_pipeline.defs.external import OWNERS, SOURCES
from catalog_pipeline.defs.lineage import PRODUCTS_LINEAGE, RAW_PRODUCTS_LINEAGE
from catalog_pipeline.defs.metadata import (
    Cells,
    how_to_approve,
    last_materialisation,
    materialised,
    of_one_product,
    report_metadata,
    table,
    with_examples,
)
from catalog_pipeline.defs.partitions import stores_partitions
from catalog_pipeline.defs.resources import DatabaseResource, FilesResource, StoresResource
from catalog_pipeline.defs.run_records import BY_HAND, KIND
from catalog_pipeline.defs.stage import RECONNECT, log_progress, stage
from catalog_pipeline.products.archive import Archive
from catalog_pipeline.products.circuit import watched_walk
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.reading import ReadRequest, WalkChoice, read_store
from catalog_pipeline.products.sync import sync_products
from catalog_pipeline.products.walk import WalkReport
from catalog_pipeline.products.woocommerce import WooCommerceSource

GROUP = "products"
FIRST = ("live", "new", "changed", "unchanged", "removed", "waiting", "left_out", "quarantined")

# Rows that a materialisation shows, newest first.
SAMPLE = 5
SAMPLE_COLUMNS = {
    "external_id": "string",
    "title": "string",
    "price": "string",
    "currency": "string",
    "in_stock": "bool",
    "updated_at": "string",
}
_LONGEST_TITLE = 80
# Dagster's own tag on a materialisation.
_DATA_VERSION = "dagster/data_version"


class WalkConfig(dg.Config):
    """What a run may ask of a walk."""

    walk: WalkChoice = Field(
        default="auto",
        description=(
            "auto reads all of a store the first time, and what changed from then on; nightly "
            "reads what changed and then sweeps all ids; full reads everything."
        ),
    )
    sample: int = Field(
        default=0,
        ge=0,
        description="Stop after this many products, to look at a new store; 0 walks all of it.",
    )
    product: str = Field(
        default="", description="The store's id of one product: read that one alone."
    )
    confirm_currency: str = Field(
        default="",
        description="The currency that the store's prices are in from now on, once it changed.",
    )

    def request(self) -> ReadRequest:
        """The same for the room that reads."""
        return ReadRequest(
            walk=self.walk,
            sample=self.sample or None,
            product=self.product or None,
            confirm_currency=self.confirm_currency or None,
        )


class RemovalConfig(dg.Config):
    """A person's word on removals that wait."""

    approve_removals: int = Field(
        default=0,
        ge=0,
        description="Let removals go that wait; names how many wait, or nothing happens.",
    )
    approved_by: str = Field(default="", description="Who approves.")
    approval_reason: str = Field(
        default="", description="Why they may go; kept with the approval, which needs one."
    )

    def approval(self, run: str) -> Approval | None:
        """The approval, if there is one; whoever gives no name is known by the run.

        Raises:
            ApprovalRefusedError: nobody says why.
        """
        if not self.approve_removals:
            return None
        if not self.approval_reason.strip():
            raise ApprovalRefusedError(
                f"approve_removals is {self.approve_removals}, and approval_reason is empty: say "
                "why they may go, which is kept with the approval"
            )
        return Approval(
            self.approve_removals, self.approved_by or f"run {run}", self.approval_reason
        )


@dg.asset(
    deps=SOURCES.values(),
    partitions_def=stores_partitions,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"woocommerce", "json"},
    tags={"stage": "extract"},
    retry_policy=RECONNECT,
    metadata={
        "dagster/uri": "$CATALOG_DATA_DIR/archive/<store>/<walk>/",
        "dagster/column_schema": RAW_PRODUCTS_SCHEMA,
        "dagster/column_lineage": RAW_PRODUCTS_LINEAGE,
    },
)
def raw_products(
    context: dg.AssetExecutionContext,
    config: WalkConfig,
    stores: StoresResource,
    database: DatabaseResource,
    files: FilesResource,
) -> dg.MaterializeResult[None]:
    """Every page of the store's product API, as it came, in the raw archive.

    A walk reads `/wp-json/wc/v3/products` by ascending id, 100 a page, and keeps each answer
    compressed and unchanged under `archive/<store>/<walk>/`, with a manifest that says whether the
    walk saw everything the store announced. The first walk reads all of the store, later ones what
    changed since the watermark; a nightly run sweeps all ids besides, which alone shows what is
    gone.

    **When it fails**: the message says what the store answered. `catalog stores check STORE` tells
    a wrong key from a missing right, a wrong address and a closed API. What was archived before
    the failure is still used; running the partition again starts a new walk. A store that failed
    three times in a row is left alone for a while, which grows from 15 minutes to 6 hours: runs
    that nobody started by hand fail at once then, and `catalog stores resume STORE` ends it.
    """
    with stage(context, database) as lease:
        store = stores.get(lease.store_id)
        archive = Archive(files.get())
        by_hand = context.run.tags.get(KIND, BY_HAND) == BY_HAND
        with (
            watched_walk(lease.database, store.id, by_hand=by_hand) as failed,
            StoreClient(store) as client,
        ):
            started = time.monotonic()
            report = read_store(
                lease.database,
                WooCommerceSource(store, client),
                archive,
                store,
                config.request(),
                progress=log_progress(context, "products"),
            )
            seconds = time.monotonic() - started
    return materialised(
        context,
        {
            **of_one_product(config.product),
            **report_metadata(
                report,
                first=("kind", "complete", "reason", "products", "announced"),
                moments=("server_clock", "watermark"),
                without=("digest", "news"),
            ),
            "seconds": round(seconds, 3),
            "store": dg.MetadataValue.url(store.url),
            **({"circuit": f"closed after {failed.failures} failures in a row"} if failed else {}),
            "dagster/uri": files.get().uri(f"archive/{store.id}/{report.walk_id}"),
            "dagster/partition_row_count": report.products,
        },
        _version(context, report),
    )


def _version(context: dg.AssetExecutionContext, report: WalkReport) -> str:
    """Of the bytes that were read; the last one's while a store has nothing new to say."""
    last = last_materialisation(context) if report.news == 0 else None
    kept = last and last.asset_materialization and last.asset_materialization.tags
    return (kept or {}).get(_DATA_VERSION) or report.digest


@dg.asset(
    deps=[raw_products],
    partitions_def=stores_partitions,
    group_name=GROUP,
    owners=OWNERS,
    kinds={"pydantic", "sql", "table"},
    tags={"stage": "transform"},
    retry_policy=RECONNECT,
    metadata={
        "dagster/table_name": "products",
        "dagster/column_schema": PRODUCTS_SCHEMA,
        "dagster/column_lineage": PRODUCTS_LINEAGE,
    },
)
def products(
    context: dg.AssetExecutionContext,
    config: RemovalConfig,
    stores: StoresResource,
    database: DatabaseResource,
    files: FilesResource,
) -> dg.MaterializeResult[None]:
    """One validated row for each product of the store.

    Reads the archived walks that are not processed yet, validates every record, and writes the
    rows whose content changed. A record that does not validate goes to the `quarantine` table with
    the reason; the product's last valid row stays. Rows left out by the statuses or rules of
    stores.yaml are kept and marked. Products that a complete walk did not find are marked as
    removed, unless so many are gone that a person has to approve it first.

    **When it fails**: nothing of the archive is lost; running the partition again takes up where
    the last committed batch ended. A large `quarantined` count names its reasons in the metadata.
    """
    with stage(context, database) as lease:
        report = sync_products(
            lease,
            Archive(files.get()),
            stores.stored(lease.store_id),
            approval=config.approval(context.run.run_id),
            progress=log_progress(context, "records"),
        )
        with lease.database.read() as connection:
            newest = newest_rows(connection, lease.store_id, SAMPLE)
        content = products_content(lease.database, lease.store_id)
    return materialised(
        context,
        {
            **report_metadata(
                report,
                first=FIRST,
                moments=("watermark",),
                without=("quarantined_examples",),
            ),
            "quarantined_by_reason": with_examples(
                report.quarantined_by_reason, report.quarantined_examples
            ),
            **how_to_approve("products", lease.store_id, report.waiting),
            "sample": table([_shown(row) for row in newest], SAMPLE_COLUMNS),
            "dagster/partition_row_count": report.live,
        },
        content.digest,
    )


def _shown(row: Any) -> Cells:
    return {
        "external_id": row.external_id,
        "title": row.title[:_LONGEST_TITLE],
        "price": None if row.price is None else str(row.price),
        "currency": row.currency,
        "in_stock": row.in_stock,
        "updated_at": None if row.updated_at is None else f"{row.updated_at:%Y-%m-%d %H:%M:%S}",
    }
