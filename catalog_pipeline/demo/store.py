"""The handle by which tests and the demo edit a sample store, break it and watch it.

What an edit does to a product's dates follows measurements of a real server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from catalog_pipeline.demo.catalogue import ID_STEP, Catalogue
from catalog_pipeline.demo.clock import SampleClock
from catalog_pipeline.demo.faults import Faults
from catalog_pipeline.demo.garments import Attributes
from catalog_pipeline.demo.keys import Keyring
from catalog_pipeline.demo.media import Drawing, Media
from catalog_pipeline.demo.parameters import STATUSES
from catalog_pipeline.demo.render import (
    CURRENCIES,
    Json,
    image_json,
    slug_of,
)
from catalog_pipeline.demo.specs import ImageSpec, ProductSpec
from catalog_pipeline.demo.state import STATUS_CODES, StoreState, UnknownProductError
from catalog_pipeline.demo.traffic import Traffic


class WooStore(StoreState):
    """A store that can be edited while it is served.

    `faults` breaks and slows the store, `traffic` counts what was asked of it, `keyring` says
    which API keys it knows.
    """

    def __init__(self, catalogue: Catalogue, clock: SampleClock, keyring: Keyring) -> None:
        super().__init__(catalogue, clock)
        self.keyring = keyring
        self.faults = Faults()
        self.traffic = Traffic()
        self._restores_to: dict[int, str] = {}

    def set_currency(self, code: str) -> None:
        """Change the currency of every price; as in a real shop, no product's date moves."""
        if code not in CURRENCIES:
            raise ValueError(f"{code!r} is not one of {', '.join(CURRENCIES)}")
        self._site = replace(self._site, currency=code)

    def edit(self, product_id: int, **fields: object) -> Json:
        """Set fields of a product by their WooCommerce names, valid or not; its date moves.

        `regular_price` and `sale_price` carry `price` and `on_sale` along. Returns the product.
        """
        return self.write(product_id, fields)

    def write(self, product_id: int, fields: Mapping[str, object], *, touch: bool = True) -> Json:
        """As `edit`; `touch=False` leaves the date alone, as a plugin that bypasses WooCommerce."""
        with self.lock:
            self._set(product_id, fields)
            if touch:
                self._touch(product_id)
            return self.product(product_id)

    def edit_variation(self, variation_id: int, **fields: object) -> None:
        """Set fields of a variation; its date and its parent's move."""
        with self.lock:
            parent = self._parent_of(variation_id)
            self._variation_edits.setdefault(variation_id, {}).update(fields)
            self._variation_modified[variation_id] = self.clock.seconds()
            self._touch(parent)

    def trash(self, product_id: int) -> None:
        """Put a product into the trash, where only `status=trash` and its id find it."""
        with self.lock:
            at = self._position(product_id)
            if STATUSES[int(self._status[at])] != "trash":
                self._restores_to[product_id] = STATUSES[int(self._status[at])]
                self._status[at] = STATUS_CODES["trash"]
                self._touch(product_id)

    def restore(self, product_id: int) -> None:
        """Take a product out of the trash with the status that it had (`publish` if unknown)."""
        with self.lock:
            at = self._position(product_id)
            self._status[at] = STATUS_CODES[self._restores_to.pop(product_id, "publish")]
            self._touch(product_id)

    def delete(self, product_id: int) -> None:
        """Delete a product for good; its pictures stay in the uploads folder."""
        with self.lock:
            at = self._position(product_id)
            self._ids = np.delete(self._ids, at)
            self._created = np.delete(self._created, at)
            self._modified = np.delete(self._modified, at)
            self._status = np.delete(self._status, at)
            self._added.pop(product_id, None)
            self._edits.pop(product_id, None)

    def add(
        self,
        attributes: Attributes | None = None,
        *,
        media: Media | None = None,
        name: str | None = None,
        price: str = "100.00",
        **fields: object,
    ) -> int:
        """Add a simple, published product; returns its id.

        Without `media` its picture is drawn from the attributes. Further fields are set as by
        `edit`.
        """
        with self.lock:
            look = attributes or Attributes("dress", "blue", "striped")
            product_id, now = self._new_id(), self.clock.seconds()
            title = name if name is not None else look.title
            spec = ProductSpec(
                id=product_id,
                attributes=look,
                name=title,
                slug=f"{slug_of(title)}-{product_id}",
                sku=f"{self.profile.sku_prefix}-{product_id:06d}",
                type="simple",
                status="publish",
                visibility="visible",
                regular_price=price,
                sale_price="",
                in_stock=True,
                fabric="organic cotton",
                tags=(),
                created=now,
                modified=now,
                images=(self._attach(look, media, slug_of(title)),),
            )
            self._added[product_id] = spec
            self._ids = np.append(self._ids, product_id)
            self._created = np.append(self._created, now)
            self._modified = np.append(self._modified, now)
            self._status = np.append(self._status, np.uint8(STATUS_CODES["publish"]))
            if fields:
                self._set(product_id, fields)
            return product_id

    def change_picture(
        self, product_id: int, media: Media | None = None, *, same_url: bool = False
    ) -> str:
        """Give a product another main picture; returns its URL.

        A new picture is a new attachment under a new URL, and the product's date moves.
        `same_url` replaces the file on the disk instead, which no date of the product shows.
        Without `media`, the same garment is drawn anew.
        """
        with self.lock:
            spec = self.spec(product_id)
            if same_url:
                if not spec.images:
                    raise ValueError(f"product {product_id} has no picture to replace")
                old = spec.images[0]
                new = media or self._drawn(spec.attributes)
                self._replaced[old.path] = replace(old, media=new, uploaded=self.clock.seconds())
                return f"{self._site.root}/{old.path}"
            image = self._attach(spec.attributes, media, spec.slug)
            self._images[product_id] = (image, *spec.images[1:])
            self._edits.get(product_id, {}).pop("images", None)
            self._touch(product_id)
            return f"{self._site.root}/{image.path}"

    def remove_pictures(self, product_id: int) -> None:
        """Leave a product without any picture."""
        with self.lock:
            self._position(product_id)
            self._images[product_id] = ()
            self._edits.get(product_id, {}).pop("images", None)
            self._touch(product_id)

    def change_variation_picture(self, variation_id: int, media: Media | None = None) -> str:
        """Give a variation another picture; its parent's date moves. Returns its URL."""
        with self.lock:
            parent = self._parent_of(variation_id)
            variation = next(v for v in self.spec(parent).variations if v.id == variation_id)
            image = self._attach(variation.attributes, media, f"variation-{variation_id}")
            self._variation_images[variation_id] = image
            self._variation_edits.get(variation_id, {}).pop("image", None)
            self._variation_modified[variation_id] = self.clock.seconds()
            self._touch(parent)
            return str(image_json(self._site, image, with_sizes=False)["src"])

    # --- inside ----------------------------------------------------------------------------

    def _parent_of(self, variation_id: int) -> int:
        index = self.catalogue.index_of(variation_id)
        if index is not None:
            product_id = int(self.catalogue.ids[index])
            self._position(product_id)
            if any(v.id == variation_id for v in self._original(product_id).variations):
                return product_id
        raise UnknownProductError(self.id, variation_id)

    def _set(self, product_id: int, changes: Mapping[str, object]) -> None:
        at = self._position(product_id)
        fields = dict(changes)
        status = fields.pop("status", None)
        if status is not None:
            if status not in STATUS_CODES:
                raise ValueError(f"{status!r} is not one of {', '.join(STATUS_CODES)}")
            self._status[at] = STATUS_CODES[str(status)]
        if not fields:
            return
        edits = {**self._edits.get(product_id, {}), **fields}
        if "price" not in fields and {"regular_price", "sale_price"} & set(fields):
            now = {**self.product(product_id), **edits}
            edits["price"] = now["sale_price"] or now["regular_price"]
            edits["on_sale"] = bool(now["sale_price"])
        self._edits[product_id] = edits

    def _touch(self, product_id: int) -> None:
        """Move a product's date, save a scheduled one's, whose date is when it goes live."""
        at = self._position(product_id)
        now = self.clock.seconds()
        if not (STATUSES[int(self._status[at])] == "future" and self._modified[at] > now):
            self._modified[at] = now
        self._touched.add(product_id)

    def _new_id(self) -> int:
        self._next_id += ID_STEP
        return self._next_id - ID_STEP

    def _drawn(self, look: Attributes) -> Drawing:
        """A picture of this garment that was never drawn before."""
        return Drawing(look, self._new_id(), self.catalogue.size)

    def _attach(self, look: Attributes, media: Media | None, stem: str) -> ImageSpec:
        image_id = self._new_id()
        media = media or self._drawn(look)
        image = ImageSpec(image_id, f"{stem}-{image_id}", media, look.title, self.clock.seconds())
        self._uploads[image.path] = image
        return image
