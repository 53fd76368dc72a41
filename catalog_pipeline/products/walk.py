"""Stage 1: a walk of a store's API into the raw archive. Needs no database and judges no record."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from catalog_pipeline.errors import CatalogError
from catalog_pipeline.products.archive import Archive, WalkManifest, WalkWriter
from catalog_pipeline.products.listing import StoreMisbehavedError
from catalog_pipeline.products.source import ProductSource, SourceWalk, Verdict, WalkOrder
from catalog_pipeline.products.text import storable
from catalog_pipeline.stores import StoreConfig

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

# All stores share the archive's disk, so what one walk may put there is bounded. A product takes
# 3 kB, with a page builder's markup 200 kB, and a listing may be read three times.
_BYTES_IN_ANY_CASE = 256 * 2**20
_BYTES_EACH = 256 * 2**10
_MOST_BYTES = 16 * 2**30


@dataclass(frozen=True)
class WalkReport:
    """What a walk brought: `products` are different ids, `reason` says why it is not complete.

    `readings` says how often the listing was read, `unshown` how many products the store counts
    and does not show. `watermark` is the one that the walk began at, None where it covers all;
    `digest` is of the pages' bytes, `news` as in `Verdict`.
    """

    walk_id: str
    kind: str
    complete: bool
    reason: str | None
    server_clock: str
    watermark: str | None
    currency: str | None
    announced: int | None
    pages: int
    records: int
    products: int
    duplicates: int
    unreadable_ids: int
    readings: int
    unshown: int
    bytes: int
    digest: str
    news: int | None
    requests: int
    retries: int
    throttles: int


def walk_store(
    source: ProductSource,
    archive: Archive,
    store: StoreConfig,
    order: WalkOrder | None = None,
    *,
    progress: Progress | None = None,
) -> WalkReport:
    """Walk a store and archive every page as it comes.

    A walk that fails on the way leaves what it has, with a manifest that says why it is not
    complete; a process that is killed leaves no manifest. Both prove nothing, and neither is ever
    resumed.

    Args:
        source: asks the store.
        archive: where the pages go.
        store: the store.
        order: what the walk covers; all of the store by default.
        progress: called with the records so far and the records announced (0: unknown).

    Raises:
        StoreMisbehavedError: the store sends far more than the products that it announces can take.
        CatalogError: whatever else kept the walk from its end, as the source raised it.
    """
    order = order or WalkOrder()
    before = source.counters()
    walk = source.start_walk(order)
    writer = archive.begin(store.id, source.name, order, walk.start)
    records = 0

    def finish(verdict: Verdict) -> WalkManifest:
        manifest = _manifest(writer, walk, verdict, records, _spent(before, source))
        writer.finish(manifest)
        return manifest

    try:
        # Closed at once: pages that are being read ahead must not outlive the walk.
        with closing(walk.pages()) as pages:
            for page in pages:
                _check_room(store.id, writer.bytes + len(page.body), walk.start.announced)
                writer.add(page)
                records += len(page.ids)
                if progress is not None:
                    progress(records, walk.start.announced or 0)
    except BaseException as error:
        logger.warning(
            "walk %s stopped after %d records: %s", writer.begin.walk_id, records, _reason(error)
        )
        # The error that stopped the walk matters, not one that a full disk adds to it.
        with suppress(OSError):
            finish(Verdict(complete=False, reason=_reason(error), announced=walk.start.announced))
        raise
    verdict = walk.verdict()
    manifest = finish(verdict)
    if not manifest.complete:
        logger.info("walk %s proves nothing: %s", manifest.walk_id, manifest.reason)
    return _report(manifest, writer.digest, verdict.news)


def _check_room(store_id: str, size: int, announced: int | None) -> None:
    most = _MOST_BYTES
    if announced is not None:
        most = min(most, _BYTES_IN_ANY_CASE + announced * _BYTES_EACH)
    if size > most:
        raise StoreMisbehavedError(
            f"store {store_id}: sent more than {most // 2**20} MiB in one walk, far more than the "
            "products that it announces can take"
        )


def _spent(before: Mapping[str, int], source: ProductSource) -> dict[str, int]:
    return {name: number - before.get(name, 0) for name, number in source.counters().items()}


def _reason(error: BaseException) -> str:
    # Only our own messages are known to hold no secret.
    if isinstance(error, CatalogError):
        return storable(f"{type(error).__name__}: {error}")
    if isinstance(error, OSError):
        return f"{type(error).__name__}: {error.strerror}"
    return type(error).__name__


def _manifest(
    writer: WalkWriter, walk: SourceWalk, verdict: Verdict, records: int, spent: dict[str, int]
) -> WalkManifest:
    return WalkManifest(
        **writer.begin.model_dump(),
        finished_at=datetime.now(UTC),
        complete=verdict.complete,
        reason=verdict.reason,
        announced_at_end=verdict.announced,
        readings=verdict.readings,
        unshown=verdict.unshown,
        unshown_ids=verdict.unshown_ids,
        pages=writer.pages,
        records=records,
        ids=len(walk.seen),
        duplicates=walk.seen.duplicates,
        unreadable_ids=walk.seen.unreadable,
        bytes=writer.bytes,
        requests=spent["requests"],
        retries=spent["retries"],
        throttles=spent["throttles"],
    )


def _report(manifest: WalkManifest, digest: str, news: int | None) -> WalkReport:
    return WalkReport(
        walk_id=manifest.walk_id,
        kind=manifest.kind,
        complete=manifest.complete,
        reason=manifest.reason,
        server_clock=manifest.server_clock.isoformat(),
        watermark=manifest.since.isoformat() if manifest.since else None,
        currency=manifest.currency,
        announced=manifest.announced_at_end,
        pages=manifest.pages,
        records=manifest.records,
        products=manifest.ids,
        duplicates=manifest.duplicates,
        unreadable_ids=manifest.unreadable_ids,
        readings=manifest.readings,
        unshown=manifest.unshown,
        bytes=manifest.bytes,
        digest=digest,
        news=news,
        requests=manifest.requests,
        retries=manifest.retries,
        throttles=manifest.throttles,
    )
