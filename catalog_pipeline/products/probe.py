"""Asks many stores at once, with one cheap request each, which products changed.

What the answers lead to is `polling.py`. A probe is never retried: the next one comes anyway.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import httpx
from sqlalchemy import Connection, Table, func, select, union

from catalog_pipeline.catalog.bulk import portions
from catalog_pipeline.catalog.schema import products, quarantine
from catalog_pipeline.errors import CatalogError
from catalog_pipeline.products.answers import Answer as Found
from catalog_pipeline.products.answers import StoreRefusedError, StoreUnavailableError
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.models import external_id
from catalog_pipeline.products.polling import Answer, Known, Pair
from catalog_pipeline.products.source import WalkOrder
from catalog_pipeline.products.text import utc_moment
from catalog_pipeline.products.woocommerce_walk import (
    OVERLAP,
    PAGE_SIZE,
    PRODUCTS,
    listing_query,
)
from catalog_pipeline.stores import StoreConfig

PATIENCE_SECONDS = 10.0
WORKERS = 32
# An answer is read in the process that serves all stores. The fields of 100 products take 6 kB; a
# store that sends whole ones all the same takes some 300 kB.
MAX_BYTES = 1024 * 1024


def probe_store(
    store: StoreConfig, watermark: datetime, *, transport: httpx.BaseTransport | None = None
) -> Answer:
    """Ask a store for the ids and dates of what changed since its watermark.

    Whatever goes wrong is the answer's `problem`: one store must not stop the others.
    """
    since = watermark - OVERLAP
    # The very question of an incremental walk, with less in the answer and in another order.
    query = {
        **listing_query(WalkOrder("incremental", since=watermark)),
        "per_page": PAGE_SIZE,
        "page": 1,
        "_fields": "id,date_modified_gmt",
    }
    try:
        with StoreClient(
            store,
            transport=transport,
            retry_waits=(),
            patience=PATIENCE_SECONDS,
            max_bytes=MAX_BYTES,
        ) as client:
            found = _newest_first(client, query)
    except (StoreRefusedError, StoreUnavailableError) as error:
        # Whatever answered with a status was reached, and so is our network.
        is_away = error.facts.status is None
        return Answer(store.id, since, problem=str(error), store_failed=True, out_of_reach=is_away)
    except CatalogError as error:
        return Answer(store.id, since, problem=str(error))
    except Exception as error:  # noqa: BLE001 - and its text might hold anything
        return Answer(store.id, since, problem=f"unexpected {type(error).__name__}")
    pairs = tuple(pair for record in found.data if (pair := _pair(record)) is not None)
    return Answer(store.id, since, pairs, announced=found.number("x-wp-total"))


def _newest_first(client: StoreClient, query: Mapping[str, str | int]) -> Found:
    """The changes in an order that shows the newest of them, however many there are.

    What is judged by number alone must not change once more unseen.
    """
    try:
        return client.get(PRODUCTS, {**query, "orderby": "modified", "order": "desc"}, expect=list)
    except StoreRefusedError as error:
        # An old store knows no such order; that of a walk it knows.
        if error.facts.code != "rest_invalid_param":
            raise
        return client.get(PRODUCTS, query, expect=list)


def probe_all(
    due: Sequence[str],
    probe: Callable[[str], Answer],
    *,
    deadline: float,
    longest: float = PATIENCE_SECONDS,
    workers: int = WORKERS,
    clock: Callable[[], float] = time.monotonic,
) -> list[Answer]:
    """Probe stores in their order, as many as can be over by the deadline.

    Args:
        due: the stores, the most urgent first.
        probe: asks one of them; never raises.
        deadline: on the clock; no probe is begun that might outlast it.
        longest: seconds that a probe may take.
        workers: how many are asked at once.
        clock: a monotonic clock in seconds.
    """
    waiting = deque(due)
    answers: list[Answer] = []
    lock = threading.Lock()

    def work() -> None:
        while clock() + longest <= deadline:
            with lock:
                if not waiting:
                    return
                store = waiting.popleft()
            answer = probe(store)
            with lock:
                answers.append(answer)

    count = min(workers, len(due))
    if count == 0:
        return []
    with ThreadPoolExecutor(count, thread_name_prefix="probe") as pool:
        for finished in [pool.submit(work) for _ in range(count)]:
            finished.result()
    return answers


def known_products(connection: Connection, answers: Sequence[Answer]) -> Mapping[str, Known]:
    """What is stored of the products that each answer names."""
    return {
        answer.store_id: _known(connection, answer)
        for answer in answers
        if answer.problem is None and (answer.pairs or answer.announced)
    }


def _known(connection: Connection, answer: Answer) -> Known:
    stored = _versions(connection, products, answer)
    if any(pair not in stored for pair in answer.pairs):
        # Versions that were refused: reading them again would bring the same refusal.
        stored |= _versions(connection, quarantine, answer)
    newer = 0
    if answer.announced is not None and answer.announced > len(answer.pairs):
        newer = _count_newer(connection, answer)
    return Known(frozenset(stored), newer)


def _count_newer(connection: Connection, answer: Answer) -> int:
    """How many of a store's records, stored or refused, changed after the answer's `since`."""
    rows = select(products.c.external_id).where(
        products.c.store_id == answer.store_id,
        products.c.removed_by.is_(None),
        products.c.updated_at > answer.since,
    )
    refused = select(quarantine.c.external_id).where(
        quarantine.c.store_id == answer.store_id, quarantine.c.updated_at > answer.since
    )
    # A refused version may stand beside the last valid one.
    newer = union(rows, refused).subquery()
    return connection.scalar(select(func.count()).select_from(newer)) or 0


def _versions(connection: Connection, table: Table, answer: Answer) -> set[Pair]:
    """The versions in a table of the products that an answer names."""
    found: set[Pair] = set()
    for ids in portions([pair[0] for pair in answer.pairs]):
        rows = connection.execute(
            select(table.c.external_id, table.c.updated_at).where(
                table.c.store_id == answer.store_id, table.c.external_id.in_(ids)
            )
        )
        found.update((row.external_id, row.updated_at) for row in rows)
    return found


def _pair(record: object) -> Pair | None:
    found = external_id(record)
    if found is None or not isinstance(record, dict):
        return None
    return found, utc_moment(record.get("date_modified_gmt"))
