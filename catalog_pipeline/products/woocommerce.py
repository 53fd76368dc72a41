"""WooCommerce's REST API as a source of products: its clock, its currency and its walks.

Which requests a walk consists of, and what it proves, is in `woocommerce_walk.py`.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

from catalog_pipeline.errors import PermanentError
from catalog_pipeline.network.retry_after import http_date
from catalog_pipeline.products.answers import StoreRefusedError, Trouble
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.listing import Totals, pages_of
from catalog_pipeline.products.models import external_id
from catalog_pipeline.products.source import Sighting, SourceWalk, WalkOrder, WalkStart
from catalog_pipeline.products.variations import VariationWalk
from catalog_pipeline.products.woocommerce_walk import (
    API,
    PAGE_SIZE,
    PRODUCTS,
    WooCommerceWalk,
    listing_query,
)
from catalog_pipeline.stores import StoreConfig

_CURRENCY = re.compile(r"[A-Z]{3}")
_CLOCK_AHEAD = timedelta(days=1)


class CurrencyUnknownError(PermanentError):
    """The store's currency cannot be read, and prices without one mean nothing."""


class WooCommerceSource:
    """The products of one WooCommerce store."""

    name = "woocommerce"

    def __init__(self, store: StoreConfig, client: StoreClient) -> None:
        """Prepare; `client` asks this store."""
        self._store = store
        self._client = client
        self._currency: str | None = None
        self._just_read: dict[str, Sighting] = {}

    def currency(self) -> str:
        """The currency of `stores.yaml`, or else what the store says; asked for once.

        Raises:
            StoreUnavailableError: the store does not answer.
            CurrencyUnknownError: the currency can neither be read nor is set in `stores.yaml`.
        """
        if self._currency is None:
            self._currency = self._store.currency or self._read_currency()
        return self._currency

    def start_walk(self, order: WalkOrder) -> SourceWalk:
        """Read the totals, the server's clock and the currency.

        Raises:
            StoreRefusedError, StoreUnavailableError: the store does not answer.
            CurrencyUnknownError: the currency can neither be read nor is set in `stores.yaml`.
            PermanentError: the one product asked for has no possible id.
        """
        if order.product is not None and external_id({"id": order.product}) != order.product:
            raise PermanentError(
                f"store {self._store.id}: the id of a product is a whole number above 0, written "
                "without leading zeros"
            )
        query = {**listing_query(order), "per_page": 1, "page": 1, "_fields": "id"}
        first = self._client.get(PRODUCTS, query, expect=list)
        clock = _plausible(http_date(first.headers.get("date")))
        per_page = PAGE_SIZE if order.sample is None else _sample_page_size(order.sample)
        announced = Totals.of(first).products
        start = WalkStart(
            server_clock=clock or datetime.now(UTC),
            clock_is_the_servers=clock is not None,
            currency=self.currency(),
            announced=announced,
            announced_pages=pages_of(announced, per_page),
        )
        walk = WooCommerceWalk(
            self._store.id,
            self._client,
            order,
            start,
            per_page=per_page,
            connections=self._store.connections,
            just_read=self._just_read,
        )
        if self._store.images == "all":
            return VariationWalk(self._store.id, walk, self._client, PRODUCTS)
        return walk

    def counters(self) -> dict[str, int]:
        """Requests, retries, throttles and bytes so far."""
        return self._client.counters()

    def _read_currency(self) -> str:
        refusals = []
        for path, field in (
            (f"{API}/data/currencies/current", "code"),
            (f"{API}/settings/general/woocommerce_currency", "value"),
        ):
            try:
                value = self._client.get(path, expect=dict).data.get(field)
            except StoreRefusedError as error:
                if error.facts.status == 401 or error.trouble is Trouble.FIREWALL:
                    # The key itself is refused, or the request before WordPress saw it; what the
                    # key's user may read is not the question yet.
                    raise
                refusals.append(str(error))
                continue
            if isinstance(value, str) and _CURRENCY.fullmatch(value):
                return value
            refusals.append(f"{path} names no currency")
        raise CurrencyUnknownError(
            f"store {self._store.id}: its currency cannot be read. Give the key's user the role "
            "'Shop manager', or set `currency:` for this store in stores.yaml. "
            + "; ".join(refusals)
        )


def _plausible(clock: datetime | None) -> datetime | None:
    """A server's clock unless it is ahead of all others.

    A watermark in the future would hide every change until then; one in the past only costs a
    second look.
    """
    return clock if clock is not None and clock <= datetime.now(UTC) + _CLOCK_AHEAD else None


def _sample_page_size(sample: int) -> int:
    return math.ceil(sample / math.ceil(sample / PAGE_SIZE))
