"""Which walks a run makes of a store, by what is stored of it and what was asked for.

The decision is pure; how a walk is made is in `walk.py`, and what becomes of it in `sync.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import digest
from catalog_pipeline.catalog.schema import store_states, walks
from catalog_pipeline.errors import PermanentError
from catalog_pipeline.products.archive import Archive, walk_kind
from catalog_pipeline.products.known import StoredProducts
from catalog_pipeline.products.source import (
    WATERMARK_KINDS,
    KnownProducts,
    ProductSource,
    WalkOrder,
)
from catalog_pipeline.products.walk import Progress, WalkReport, walk_store
from catalog_pipeline.stores import ImageChoice, StoreConfig

# auto: all of the store the first time, and what changed from then on. nightly: what changed, and
# then a sweep.
WalkChoice = Literal["auto", "incremental", "full", "sweep", "nightly"]


class CurrencyChangedError(PermanentError):
    """The store's prices are in another currency than at the last walk, and nobody confirmed it."""


@dataclass(frozen=True)
class ReadRequest:
    """What a run asks for.

    Attributes:
        walk: how much of the store.
        sample: stop at this many products, to look at a new store.
        product: read this one product alone.
        confirm_currency: the currency that prices are known to be in from now on.
    """

    walk: WalkChoice = "auto"
    sample: int | None = None
    product: str | None = None
    confirm_currency: str | None = None

    def __post_init__(self) -> None:
        if self.sample is not None and self.product is not None:
            raise ValueError("a sample and one product exclude each other")


@dataclass(frozen=True)
class ReadState:
    """What is known of a store before it is read.

    `currency` is that of all its rows, as the last complete full walk left them;
    `last_currency` that of its last walk.
    """

    watermark: datetime | None = None
    currency: str | None = None
    last_currency: str | None = None


def read_state(database: Database, store_id: str) -> ReadState:
    """Look up what is known of a store."""
    with database.read() as connection:
        state = connection.execute(
            select(store_states.c.watermark, store_states.c.currency).where(
                store_states.c.store_id == store_id
            )
        ).one_or_none()
        last = connection.scalar(
            select(walks.c.currency)
            .where(walks.c.store_id == store_id, walks.c.currency.is_not(None))
            .order_by(walks.c.walk_id.desc())
            .limit(1)
        )
    watermark, currency = state or (None, None)
    return ReadState(watermark, currency, last)


def lacks_variations(archive: Archive, store: StoreConfig) -> bool:
    """Whether a store wants its variations, and its last walk was made when it did not.

    Changes only bring the variations of what changed, so a full walk is owed. It suffices to look
    at the last complete walk that a watermark stands on: no incremental one is made before that
    full walk is complete.

    Raises:
        ArchiveError: the records of a walk are damaged.
    """
    if store.images != "all":
        return False
    for walk_id in reversed(archive.walk_ids(store.id)):
        if walk_kind(walk_id) in WATERMARK_KINDS:
            walk = archive.open(store.id, walk_id)
            if walk is not None and walk.complete:
                return walk.begin.images != store.images
    return True


def plan_walks(
    request: ReadRequest,
    state: ReadState,
    currency: str,
    known: KnownProducts,
    *,
    images: ImageChoice | None = None,
    whole: bool = False,
) -> tuple[WalkOrder, ...]:
    """The walks to make, in order.

    Prices without their currency mean nothing, so a store whose rows are in another currency is
    read whole whatever was asked for, and so is one that was never read whole.

    Args:
        request: what the run asks for.
        state: what is known of the store.
        currency: of its prices now.
        known: what is stored.
        images: the store's setting, to be kept with the walks.
        whole: a walk of what changed would not bring all that the settings ask for.
    """
    orders = _orders(request, state, currency, known, whole=whole)
    return tuple(replace(order, images=images) for order in orders)


def _orders(
    request: ReadRequest, state: ReadState, currency: str, known: KnownProducts, *, whole: bool
) -> tuple[WalkOrder, ...]:
    in_another_currency = state.currency is not None and state.currency != currency
    if request.sample is not None:
        return (WalkOrder(sample=request.sample),)
    if in_another_currency or (state.watermark is None and request.product is None):
        return (WalkOrder(known=known),)
    if request.product is not None:
        return (WalkOrder("product", product=request.product, known=known),)
    if whole:
        return (WalkOrder(known=known),)
    incremental = WalkOrder("incremental", since=state.watermark, known=known)
    choices: dict[WalkChoice, tuple[WalkOrder, ...]] = {
        "auto": (incremental,),
        "incremental": (incremental,),
        "full": (WalkOrder(known=known),),
        "sweep": (WalkOrder("sweep", known=known),),
        "nightly": (incremental, WalkOrder("sweep", known=known)),
    }
    return choices[request.walk]


def read_store(
    database: Database,
    source: ProductSource,
    archive: Archive,
    store: StoreConfig,
    request: ReadRequest | None = None,
    *,
    progress: Progress | None = None,
) -> WalkReport:
    """Read a store into the archive, as much of it as is needed or asked for.

    Args:
        database: what is stored of the store.
        source: asks the store.
        archive: where the pages go.
        store: the store.
        request: what the run asks for.
        progress: called with the records so far and the records announced (0: unknown).

    Raises:
        CurrencyChangedError: the prices are in another currency than at the last walk.
        CatalogError: whatever kept a walk from its end, as the source raised it.
    """
    request = request or ReadRequest()
    state = read_state(database, store.id)
    currency = source.currency()
    confirmed = {store.currency, request.confirm_currency, state.last_currency}
    if state.last_currency is not None and currency not in confirmed:
        raise CurrencyChangedError(
            f"store {store.id}: its prices are in {currency} now, and were in "
            f"{state.last_currency} at the last walk. If that is right, confirm it once with "
            f"confirm_currency: {currency} in the run config of raw_products, or set currency: "
            f"{currency} for the store in stores.yaml; every product is then read anew"
        )
    known = StoredProducts(database, store.id)
    orders = plan_walks(
        request,
        state,
        currency,
        known,
        images=store.images,
        whole=lacks_variations(archive, store),
    )
    return together(
        [walk_store(source, archive, store, order, progress=progress) for order in orders]
    )


def together(reports: list[WalkReport]) -> WalkReport:
    """Several walks of one run as one report: work is summed, the last walk's result stands."""
    last = reports[-1]
    if len(reports) == 1:
        return last
    news = [report.news for report in reports]
    return replace(
        last,
        kind=" + ".join(report.kind for report in reports),
        complete=all(report.complete for report in reports),
        reason="; ".join(report.reason for report in reports if report.reason) or None,
        server_clock=reports[0].server_clock,
        watermark=reports[0].watermark,
        pages=sum(report.pages for report in reports),
        records=sum(report.records for report in reports),
        bytes=sum(report.bytes for report in reports),
        digest=digest([report.digest for report in reports]),
        news=None if None in news else sum(filter(None, news)),
        requests=sum(report.requests for report in reports),
        retries=sum(report.retries for report in reports),
        throttles=sum(report.throttles for report in reports),
    )
