"""The variations of a store's products: asking for them, and the pictures that they show.

A listing of products holds the ids of variations and nothing else, so their pictures cost a request
for each variable product; only a store that wants them is asked. A product's variations are taken
as one set: whatever a walk read replaces what was known of that product.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import delete, select

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.identity import digest, product_id
from catalog_pipeline.catalog.lease import StoreLease
from catalog_pipeline.catalog.schema import variation_images
from catalog_pipeline.products.answers import StoreRefusedError, Trouble
from catalog_pipeline.products.bodies import parse_json
from catalog_pipeline.products.http import StoreClient
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

_NAME = re.compile(r"variations-(\d+)")
_VARIABLE = "variable"
_PAGE_SIZE = 100
# WooCommerce itself stops making variations at 50 pages of them.
_MOST_PAGES = 50
# Products whose variations are written in one transaction.
_BATCH = 200


class VariationWalk:
    """A walk whose pages of products are each followed by their variations."""

    def __init__(self, walk: SourceWalk, client: StoreClient, path: str) -> None:
        """Prepare.

        Args:
            walk: of the products.
            client: asks the same store.
            path: of the listing of products.
        """
        self._walk = walk
        self._client = client
        self._path = path

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

    def _of(self, product: str) -> Iterator[Page]:
        for number in range(1, _MOST_PAGES + 1):
            query: dict[str, str | int] = {
                "per_page": _PAGE_SIZE,
                "page": number,
                "orderby": "id",
                "order": "asc",
                "_fields": "id,status,image",
            }
            path = f"{self._path}/{product}/variations"
            try:
                answer = self._client.get(path, query, expect=list)
            except StoreRefusedError as error:
                if error.trouble is not Trouble.DENIED or error.facts.status == 401:
                    # The key, or a firewall: the store refuses more than this product.
                    raise
                # Deleted a moment ago, say: what is known of its variations stays.
                return
            yield Page(answer.body, (), f"variations-{product}")
            if len(answer.data) < _PAGE_SIZE:
                return


class VariationRows:
    """Writes the pictures of one store's variations, for one walk."""

    def __init__(self, lease: StoreLease, store_url: str) -> None:
        """Prepare; `store_url` is what relative URLs are relative to."""
        self._lease = lease
        self._store_url = store_url
        self._found: dict[UUID, dict[str, dict[str, Any]]] = {}
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
        owner = product_id(self._lease.store_id, match[1])
        if owner not in self._found and len(self._found) >= _BATCH:
            self.flush()
        rows = self._found.setdefault(owner, {})
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
                # A second page of the same product adds to the first.
                now = {**stored[owner], **rows} if owner in self._written else rows
                stored[owner], before = now, stored[owner]
                if now == before:
                    continue
                gone = sorted(before.keys() - now.keys())
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
