"""The variations of a store's products: asking for them, and the pictures that they show.

A listing of products holds the ids of variations and nothing else, so their pictures cost a request
for each variable product; only a store that wants them is asked. Where a product's variations were
read whole, by the store's own totals, they replace what was known of that product; what was read of
others only adds to it, since a variation that was not shown may still be there. The names of the
archived pages tell the two apart.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import delete, select

from catalog_pipeline.catalog.bulk import portions, upsert
from catalog_pipeline.catalog.identity import digest, product_id
from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.schema import variation_images
from catalog_pipeline.products.answers import Answer, StoreRefusedError, Trouble
from catalog_pipeline.products.bodies import parse_json
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.listing import Pages, Reading, StoreMisbehavedError
from catalog_pipeline.products.models import WooImage, external_id
from catalog_pipeline.products.source import (
    PRODUCTS_PAGE,
    Page,
    SeenIds,
    SourceWalk,
    Verdict,
    WalkStart,
)
from catalog_pipeline.products.text import absolute_url

logger = logging.getLogger(__name__)

# The last page of a product whose variations were all read, and any other page of variations.
_WHOLE = "variations"
_PART = "variationspart"
_NAME = re.compile(rf"({_WHOLE}|{_PART})-(\d+)")
_VARIABLE = "variable"
_PAGE_SIZE = 100
# WooCommerce itself stops making variations at 50 pages of them.
_MOST_PAGES = 50
# Products whose variations are written in one transaction.
_BATCH = 200
# Products that are named in one line.
_MOST_NAMED = 10


class VariationWalk:
    """A walk whose pages of products are each followed by their variations."""

    def __init__(self, store_id: str, walk: SourceWalk, client: StoreClient, path: str) -> None:
        """Prepare.

        Args:
            store_id: for messages.
            walk: of the products.
            client: asks the same store.
            path: of the listing of products.
        """
        self._store_id = store_id
        self._walk = walk
        self._client = client
        self._path = path
        self._not_whole: list[str] = []

    @property
    def start(self) -> WalkStart:
        """See `SourceWalk.start`."""
        return self._walk.start

    @property
    def seen(self) -> SeenIds:
        """See `SourceWalk.seen`; variations are no products."""
        return self._walk.seen

    def verdict(self) -> Verdict:
        """See `SourceWalk.verdict`."""
        return self._walk.verdict()

    def pages(self) -> Generator[Page]:
        """Every page as it came; one product's refusal costs only its variations."""
        with closing(self._walk.pages()) as pages:
            for page in pages:
                yield page
                if page.name == PRODUCTS_PAGE:
                    for record in _records(page.body):
                        if is_variable(record) and (found := external_id(record)) is not None:
                            yield from self._of(found)
        if self._not_whole:
            logger.warning(
                "store %s: the variations of %d products were not all shown, so none that is "
                "stored of them was dropped: %s",
                self._store_id,
                len(self._not_whole),
                ", ".join(self._not_whole[:_MOST_NAMED]),
            )

    def _of(self, product: str) -> Iterator[Page]:
        def ask(number: int, given_up: threading.Event) -> Answer:
            query: dict[str, str | int] = {
                "per_page": _PAGE_SIZE,
                "page": number,
                "orderby": "id",
                "order": "asc",
                "_fields": "id,status,image",
            }
            path = f"{self._path}/{product}/variations"
            return self._client.get(path, query, expect=list, given_up=given_up)

        one_by_one = Pages(ask, self._client.cut, lambda: 1, 1)
        reading = Reading(self._store_id, one_by_one, None, last_page=_MOST_PAGES)
        # Whether a page ends a whole set is known only after it.
        last: Page | None = None
        try:
            with closing(reading.pages()) as pages:
                for answer, _ids in pages:
                    if last is not None:
                        yield last
                    last = Page(answer.body, (), f"{_PART}-{product}")
            is_whole = reading.flaw() is None
        except StoreMisbehavedError:
            is_whole = False
        except StoreRefusedError as error:
            if error.trouble is not Trouble.DENIED or error.facts.status == 401:
                # The key, or a firewall: the store refuses more than this product.
                raise
            # Deleted a moment ago, say.
            is_whole = False
        if not is_whole:
            self._not_whole.append(product)
        if last is not None:
            yield replace(last, name=f"{_WHOLE}-{product}") if is_whole else last


class VariationRows:
    """Writes the pictures of one store's variations, for one walk."""

    def __init__(self, lease: StoreLease, store_url: str) -> None:
        """Prepare; `store_url` is what relative URLs are relative to."""
        self._lease = lease
        self._store_url = store_url
        self._found: dict[UUID, dict[str, dict[str, Any]]] = {}
        # Those of them of which nothing else is there.
        self._whole: set[UUID] = set()
        with lease.database.read() as connection:
            # Of products that had variations when the walk began; others need not be forgotten.
            self._known = set(
                connection.scalars(
                    select(variation_images.c.product_id)
                    .where(variation_images.c.store_id == lease.store_id)
                    .distinct()
                )
            )
        self._written: set[UUID] = set()

    def take(self, kind: str, body: bytes) -> bool:
        """Take in a page of this kind; False if it holds no variations."""
        match = _NAME.fullmatch(kind)
        if match is None:
            return False
        owner = product_id(self._lease.store_id, match[2])
        if owner not in self._found and len(self._found) >= _BATCH:
            self.flush()
        rows = self._found.setdefault(owner, {})
        if match[1] == _WHOLE:
            self._whole.add(owner)
        for record in _records(body):
            row = self._row(owner, record)
            if row is not None:
                rows[row["variation_id"]] = row
        return True

    def saw(self, record: Any) -> None:
        """Take note of a product: one that is not variable any more has no variations."""
        found = external_id(record)
        if found is None or is_variable(record):
            return
        owner = product_id(self._lease.store_id, found)
        if owner in self._known:
            self._found[owner] = {}
            self._whole.add(owner)

    def flush(self) -> None:
        """Write what was taken in since the last time, where it differs from what is stored."""
        if not self._found:
            return
        owners = list(self._found)
        with self._lease.write() as connection:
            stored: dict[UUID, dict[str, dict[str, Any]]] = {owner: {} for owner in owners}
            for row in connection.execute(
                select(variation_images).where(variation_images.c.product_id.in_(owners))
            ):
                stored[row.product_id][row.variation_id] = dict(row._mapping)
            for owner, rows in self._found.items():
                # What a walk read of a product before, it has not read again in full.
                replaces = owner in self._whole and owner not in self._written
                now = rows if replaces else {**stored[owner], **rows}
                stored[owner], before = now, stored[owner]
                if now == before:
                    continue
                for gone in portions(sorted(before.keys() - now.keys())):
                    connection.execute(
                        delete(variation_images).where(
                            variation_images.c.product_id == owner,
                            variation_images.c.variation_id.in_(gone),
                        )
                    )
                changed = [row for key, row in now.items() if before.get(key) != row]
                upsert(connection, variation_images, changed)
        self._written.update(owners)
        self._found.clear()
        self._whole.clear()

    def _row(self, owner: UUID, record: Any) -> dict[str, Any] | None:
        variation = external_id(record)
        if variation is None or record.get("status") not in (None, "publish"):
            return None
        try:
            image = WooImage.model_validate(record.get("image"))
        except ValidationError:
            # A variation without a picture of its own shows its product's.
            return None
        url = absolute_url(image.src, self._store_url)
        if url is None:
            return None
        return {
            "product_id": owner,
            "variation_id": variation,
            "store_id": self._lease.store_id,
            "image_id": f"url-{digest(url)}" if image.id is None else str(image.id),
            "url": url,
            "modified_at": image.date_modified_gmt,
        }


def is_variable(record: Any) -> bool:
    """Whether a product, as its store lists it, has variations."""
    return isinstance(record, dict) and record.get("type") == _VARIABLE


def _records(body: bytes) -> list[Any]:
    try:
        value = parse_json(body)
    except ValueError:
        # The stage that reads products says what is wrong with such a page.
        return []
    return value if isinstance(value, list) else []
