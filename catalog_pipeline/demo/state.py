"""What a sample store holds and shows: its generated products with everything edited since.

Memory holds a few numbers per product and whatever was edited, never pictures. The edits
themselves, and what they do to dates, are made in `store.py`.
"""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from catalog_pipeline.demo.catalogue import PLACEHOLDER_IMAGE, Catalogue
from catalog_pipeline.demo.clock import SampleClock
from catalog_pipeline.demo.parameters import STATUSES
from catalog_pipeline.demo.render import (
    Json,
    Site,
    product_json,
    variation_json,
)
from catalog_pipeline.demo.specs import ImageSpec, ProductSpec
from catalog_pipeline.errors import CatalogError

STATUS_CODES: Final = {status: code for code, status in enumerate(STATUSES)}
_LAST_NUMBER: Final = re.compile(r"-(\d{1,12})\.\w+$")


class UnknownProductError(CatalogError):
    """The store has no product, or no variation, with this id."""

    def __init__(self, store_id: str, product_id: int) -> None:
        super().__init__(f"sample store {store_id} has no product {product_id}")


class StoreState:
    """A store to read from. Every method may be called from any thread while the server runs."""

    def __init__(self, catalogue: Catalogue, clock: SampleClock) -> None:
        self.id = catalogue.profile.id
        self.profile = catalogue.profile
        self.catalogue = catalogue
        self.clock = clock
        self.lock = threading.RLock()
        self._site = Site(
            f"http://127.0.0.1/{self.id}",
            ZoneInfo(catalogue.profile.time_zone),
            catalogue.profile.currency,
        )
        self._ids: npt.NDArray[np.int64] = catalogue.ids.copy()
        self._created: npt.NDArray[np.int64] = catalogue.created.copy()
        self._modified: npt.NDArray[np.int64] = catalogue.modified.copy()
        self._status: npt.NDArray[np.uint8] = np.array(
            [STATUS_CODES[catalogue.status(i)] for i in range(catalogue.count)], dtype=np.uint8
        )
        self._next_id = catalogue.next_id
        self._added: dict[int, ProductSpec] = {}
        self._edits: dict[int, Json] = {}
        self._variation_edits: dict[int, Json] = {}
        self._variation_modified: dict[int, int] = {}
        self._images: dict[int, tuple[ImageSpec, ...]] = {}
        self._variation_images: dict[int, ImageSpec] = {}
        self._uploads: dict[str, ImageSpec] = {}
        self._replaced: dict[str, ImageSpec] = {}
        self._touched: set[int] = set()

    @property
    def site(self) -> Site:
        """Address, time zone and currency."""
        return self._site

    @property
    def url(self) -> str:
        """What `stores.yaml` calls the store's `url`."""
        return self._site.root

    def open_at(self, root: str) -> None:
        """Tell the store at which address it is served."""
        self._site = replace(self._site, root=root)

    def columns(
        self,
    ) -> tuple[
        npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]
    ]:
        """Ids ascending, created and modified (Unix seconds), status (position in `STATUSES`)."""
        with self.lock:
            return self._ids, self._created.copy(), self._modified.copy(), self._status.copy()

    def product_ids(self, *statuses: str) -> list[int]:
        """Ids of the products with one of these statuses; without any, of all but the trash."""
        wanted = [STATUS_CODES[s] for s in statuses or STATUSES[:-1]]
        with self.lock:
            return [int(i) for i in self._ids[np.isin(self._status, wanted)]]

    def spec(self, product_id: int) -> ProductSpec:
        """What the product is, its pictures as they are now.

        Raises:
            UnknownProductError: there is none with this id.
        """
        with self.lock:
            self._position(product_id)
            spec = self._original(product_id)
            if product_id in self._touched and spec.broken:
                # Saving a product gives it the dates that it lacked.
                kept = {n: v for n, v in spec.broken.items() if not n.startswith("date_")}
                spec = replace(spec, broken=kept)
            images = self._images.get(product_id)
            return spec if images is None else replace(spec, images=images)

    def product(self, product_id: int) -> Json:
        """The product as the REST API answers it.

        Raises:
            UnknownProductError: there is none with this id.
        """
        with self.lock:
            at = self._position(product_id)
            answer = product_json(
                self._site,
                self.spec(product_id),
                self.status(product_id),
                int(self._created[at]),
                int(self._modified[at]),
            )
            edits = self._edits.get(product_id)
            return {**answer, **edits} if edits else answer

    def status(self, product_id: int) -> str:
        """The product's status."""
        with self.lock:
            return STATUSES[int(self._status[self._position(product_id)])]

    def variations(self, product_id: int) -> list[Json]:
        """The product's variations as the REST API answers them, newest first."""
        with self.lock:
            try:
                parent = self.spec(product_id)
            except UnknownProductError:
                return []
            answers = []
            for variation in reversed(parent.variations):
                image = self._variation_images.get(variation.id, variation.image)
                modified = self._variation_modified.get(variation.id, parent.created)
                shown = replace(variation, image=image)
                answer = variation_json(self._site, parent, shown, modified)
                answers.append({**answer, **self._variation_edits.get(variation.id, {})})
            return answers

    def upload(self, path: str) -> ImageSpec | None:
        """The file at this path below the store's root, or None; sized copies are not found."""
        with self.lock:
            found = self._replaced.get(path) or self._uploads.get(path)
            return found or self._generated_upload(path)

    # --- inside ----------------------------------------------------------------------------

    def _position(self, product_id: int) -> int:
        at = int(np.searchsorted(self._ids, product_id))
        if at == len(self._ids) or self._ids[at] != product_id:
            raise UnknownProductError(self.id, product_id)
        return at

    def _original(self, product_id: int) -> ProductSpec:
        if product_id in self._added:
            return self._added[product_id]
        index = self.catalogue.index_of(product_id)
        if index is None:
            raise UnknownProductError(self.id, product_id)
        return self.catalogue.product(index)

    def _generated_upload(self, path: str) -> ImageSpec | None:
        if path == PLACEHOLDER_IMAGE.path:
            return PLACEHOLDER_IMAGE
        number = _LAST_NUMBER.search(path)
        index = self.catalogue.index_of(int(number[1])) if number else None
        if index is None:
            return None
        spec = self.catalogue.product(index)
        everything = (*spec.images, *(variation.image for variation in spec.variations))
        return next((image for image in everything if image.path == path), None)
