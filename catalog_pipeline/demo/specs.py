"""What a sample product, its variations and its pictures are, before any edit.

Plain values; how they come about and how WooCommerce words them are decided elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

from catalog_pipeline.demo.garments import Attributes
from catalog_pipeline.demo.media import Media


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """An attachment: `id` within its site, file `stem`, when it was `uploaded` (Unix seconds)."""

    id: int
    stem: str
    media: Media
    alt: str
    uploaded: int

    @property
    def path(self) -> str:
        """Where it lies below the store, such as `wp-content/uploads/2024/05/hat-108.jpg`."""
        if self.id == 0:
            return f"wp-content/uploads/{self.stem}{self.media.extension}"
        month = datetime.fromtimestamp(self.uploaded, UTC).strftime("%Y/%m")
        return f"wp-content/uploads/{month}/{self.stem}{self.media.extension}"


@dataclass(frozen=True, slots=True)
class VariationSpec:
    """One colour of a variable product."""

    id: int
    attributes: Attributes
    regular_price: str
    image: ImageSpec
    in_stock: bool


@dataclass(frozen=True, slots=True)
class ProductSpec:
    """Everything that a sample product is, before any edit."""

    id: int
    attributes: Attributes
    name: str
    slug: str
    sku: str
    type: str
    status: str
    visibility: str
    regular_price: str
    sale_price: str
    in_stock: bool
    fabric: str
    tags: tuple[str, ...]
    created: int
    modified: int
    images: tuple[ImageSpec, ...]
    variations: tuple[VariationSpec, ...] = ()
    grouped: tuple[int, ...] = ()
    # Fields of the answer as some plugin left them, in place of what WooCommerce itself would say.
    broken: dict[str, object] = field(default_factory=dict)
