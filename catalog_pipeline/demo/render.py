"""Products, variations and pictures in WooCommerce's words: same keys, same order, same types.

Follows the answers of WooCommerce 11.0.1. What a product is comes from elsewhere; nothing here is
remembered.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from catalog_pipeline.demo.dates import attachment_local_text, gmt_text, local_text
from catalog_pipeline.demo.garments import KINDS
from catalog_pipeline.demo.specs import ImageSpec, ProductSpec, VariationSpec

Json = dict[str, object]

CURRENCIES: Final[dict[str, tuple[str, str]]] = {
    "DKK": ("Danish krone", "kr."),
    "EUR": ("Euro", "&euro;"),
    "GBP": ("Pound sterling", "&pound;"),
    "JPY": ("Japanese yen", "&yen;"),
    "KWD": ("Kuwaiti dinar", "&#x62f;.&#x643;"),
    "NOK": ("Norwegian krone", "&#107;&#114;"),
    "SEK": ("Swedish krona", "&#107;&#114;"),
    "USD": ("United States (US) dollar", "&#36;"),
}
_WRITABLE: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]
_THUMBNAILS: Final = ((300, 300), (150, 150), (768, 768), (600, 600), (100, 100))


@dataclass(frozen=True, slots=True)
class Site:
    """Where a store is: its root address without a slash at the end, time zone and currency."""

    root: str
    zone: ZoneInfo
    currency: str

    @property
    def api(self) -> str:
        """The root of the REST API."""
        return f"{self.root}/wp-json/wc/v3"


def product_json(site: Site, spec: ProductSpec, status: str, created: int, modified: int) -> Json:
    """The product as `/products/<id>` answers it."""
    price = spec.sale_price or spec.regular_price
    if spec.variations:
        price = spec.variations[0].regular_price
    trashed = status == "trash"
    slug = f"{spec.slug}__trashed" if trashed else spec.slug
    public = status in ("publish", "private")
    category = KINDS[spec.attributes.kind][0]
    return {
        "id": spec.id,
        "name": spec.name,
        "slug": slug,
        "permalink": f"{site.root}/product/{quote(slug)}/"
        if public
        else f"{site.root}/?post_type=product&p={spec.id}",
        **_dates(site, "created", created),
        **_dates(site, "modified", modified),
        "type": spec.type,
        "status": status,
        "featured": "bestseller" in spec.tags,
        "catalog_visibility": spec.visibility,
        "description": _description(spec),
        "short_description": f"<p>{spec.attributes.title} in {spec.fabric}.</p>\n",
        "sku": spec.sku,
        "price": price,
        "regular_price": spec.regular_price,
        "sale_price": spec.sale_price,
        "date_on_sale_from": None,
        "date_on_sale_from_gmt": None,
        "date_on_sale_to": None,
        "date_on_sale_to_gmt": None,
        "on_sale": bool(spec.sale_price),
        "purchasable": bool(price) and spec.type not in ("grouped", "external"),
        "total_sales": 0,
        "virtual": False,
        "downloadable": False,
        "downloads": [],
        "download_limit": -1,
        "download_expiry": -1,
        "external_url": f"https://example.com/{spec.slug}" if spec.type == "external" else "",
        "button_text": "Buy at the maker's" if spec.type == "external" else "",
        "tax_status": "taxable",
        "tax_class": "",
        "manage_stock": False,
        "stock_quantity": None,
        "backorders": "no",
        "backorders_allowed": False,
        "backordered": False,
        "low_stock_amount": None,
        "sold_individually": False,
        "weight": "",
        "dimensions": {"length": "", "width": "", "height": ""},
        "shipping_required": True,
        "shipping_taxable": True,
        "shipping_class": "",
        "shipping_class_id": 0,
        "reviews_allowed": True,
        "average_rating": "0.00",
        "rating_count": 0,
        "upsell_ids": [],
        "cross_sell_ids": [],
        "parent_id": 0,
        "purchase_note": "",
        "categories": [_term(16 + list(KINDS).index(spec.attributes.kind), category)],
        "brands": [],
        "tags": [_term(40 + len(tag), tag) for tag in spec.tags],
        "images": [image_json(site, image, with_sizes=True) for image in spec.images],
        "attributes": [_colours(spec)],
        "default_attributes": [],
        "variations": [variation.id for variation in spec.variations],
        "grouped_products": list(spec.grouped),
        "menu_order": 0,
        "price_html": _price_html(site, price),
        "related_ids": [],
        "meta_data": [{"id": spec.id * 10, "key": "_fabric", "value": spec.fabric}],
        "stock_status": "instock" if spec.in_stock else "outofstock",
        "has_options": bool(spec.variations),
        "post_password": "",
        "global_unique_id": "",
        "_links": {
            "self": [_link(f"{site.api}/products/{spec.id}", _WRITABLE)],
            "collection": [{"href": f"{site.api}/products"}],
        },
        **spec.broken,
    }


def variation_json(site: Site, parent: ProductSpec, spec: VariationSpec, modified: int) -> Json:
    """The variation as `/products/<id>/variations` answers it."""
    colour = spec.attributes.colour.capitalize()
    address = f"{site.api}/products/{parent.id}/variations"
    shop_page = f"{site.root}/product/{quote(parent.slug)}/"
    return {
        "id": spec.id,
        "type": "variation",
        **_dates(site, "created", parent.created),
        **_dates(site, "modified", modified),
        "description": "",
        "permalink": f"{shop_page}?attribute_pa_color={colour.lower()}",
        "sku": f"{parent.sku}-{colour.upper()}",
        "global_unique_id": "",
        "price": spec.regular_price,
        "regular_price": spec.regular_price,
        "sale_price": "",
        "date_on_sale_from": None,
        "date_on_sale_from_gmt": None,
        "date_on_sale_to": None,
        "date_on_sale_to_gmt": None,
        "on_sale": False,
        "status": "publish",
        "purchasable": bool(spec.regular_price),
        "virtual": False,
        "downloadable": False,
        "downloads": [],
        "download_limit": -1,
        "download_expiry": -1,
        "tax_status": "taxable",
        "tax_class": "",
        "manage_stock": False,
        "stock_quantity": None,
        "stock_status": "instock" if spec.in_stock else "outofstock",
        "backorders": "no",
        "backorders_allowed": False,
        "backordered": False,
        "low_stock_amount": None,
        "weight": "",
        "dimensions": {"length": "", "width": "", "height": ""},
        "shipping_class": "",
        "shipping_class_id": 0,
        "image": image_json(site, spec.image, with_sizes=False),
        "gallery_image_ids": [],
        "attributes": [{"id": 1, "name": "Color", "slug": "pa_color", "option": colour}],
        "menu_order": 0,
        "meta_data": [],
        "name": colour,
        "parent_id": parent.id,
        "_links": {
            "self": [_link(f"{address}/{spec.id}", _WRITABLE)],
            "collection": [{"href": address}],
            "up": [{"href": f"{site.api}/products/{parent.id}"}],
        },
    }


def image_json(site: Site, image: ImageSpec, *, with_sizes: bool) -> Json:
    """One picture; a product's pictures say their sizes, a variation's does not."""
    src = f"{site.root}/{image.path}"
    answer: Json = {
        "id": image.id,
        "date_created": attachment_local_text(image.uploaded, site.zone),
        "date_created_gmt": gmt_text(image.uploaded),
        "date_modified": attachment_local_text(image.uploaded, site.zone),
        "date_modified_gmt": gmt_text(image.uploaded),
        "src": src,
        "name": image.stem,
        "alt": image.alt,
    }
    if with_sizes:
        stem, dot, ending = src.rpartition(".")
        sized = [f"{stem}-{w}x{h}{dot}{ending} {w}w" for w, h in _THUMBNAILS]
        answer["srcset"] = ", ".join([f"{src} 800w", *sized])
        answer["sizes"] = "(max-width: 800px) 100vw, 800px"
        answer["thumbnail"] = f"{stem}-300x300{dot}{ending}"
    return answer


def currency_json(site: Site, code: str) -> Json:
    """One currency as `/data/currencies/<code>` answers it."""
    name, symbol = CURRENCIES[code]
    return {
        "code": code,
        "name": name,
        "symbol": symbol,
        "_links": {
            "self": [_link(f"{site.api}/data/currencies/{code}", ["GET"])],
            "collection": [{"href": f"{site.api}/data/currencies"}],
        },
    }


def currency_setting_json(site: Site) -> Json:
    """The setting that says which currency the store's prices are in."""
    told = (
        "This controls what currency prices are listed at in the catalog and which currency "
        "gateways will take payments in."
    )
    address = f"{site.api}/settings/general"
    return {
        "id": "woocommerce_currency",
        "label": "Currency",
        "description": told,
        "type": "select",
        "default": "USD",
        "options": {c: f"{name} ({sign}) — {c}" for c, (name, sign) in CURRENCIES.items()},
        "tip": told,
        "value": site.currency,
        "group_id": "general",
        "_links": {
            "self": [_link(f"{address}/woocommerce_currency", _WRITABLE[:-1])],
            "collection": [{"href": address}],
        },
    }


def slug_of(name: str) -> str:
    """A slug as WordPress makes one of a title."""
    plain = html.unescape(re.sub(r"<[^>]*>", "", name)).lower()
    return re.sub(r"[^\w]+", "-", plain).strip("-")


def _dates(site: Site, what: str, seconds: int) -> Json:
    return {
        f"date_{what}": local_text(seconds, site.zone),
        f"date_{what}_gmt": gmt_text(seconds),
    }


def _link(address: str, allowed: list[str]) -> Json:
    return {"href": address, "targetHints": {"allow": allowed}}


def _term(term_id: int, name: str) -> Json:
    return {"id": term_id, "name": html.escape(name, quote=False), "slug": slug_of(name)}


def _colours(spec: ProductSpec) -> Json:
    options = [variation.attributes.colour.capitalize() for variation in spec.variations]
    return {
        "id": 1,
        "name": "Color",
        "slug": "pa_color",
        "position": 0,
        "visible": True,
        "variation": bool(options),
        "options": options or [spec.attributes.colour.capitalize()],
    }


def _description(spec: ProductSpec) -> str:
    look = spec.attributes
    return (
        f"<p>{look.title} made of {spec.fabric}, cut for everyday wear.</p>\n"
        f"<p>Colour: <strong>{look.colour}</strong> &amp; pattern: {look.pattern}. "
        "Wash at 30&deg;C with similar colours; do not tumble dry.</p>\n"
        "<p><!-- wp:paragraph --></p>\n<p>Model is 178 cm and wears size M.</p>\n"
        "<p><!-- /wp:paragraph --></p>\n"
    )


def _price_html(site: Site, price: str) -> str:
    if not price:
        return ""
    symbol = CURRENCIES[site.currency][1]
    return (
        '<span class="woocommerce-Price-amount amount"><bdi>'
        f'<span class="woocommerce-Price-currencySymbol" translate="no">{symbol}</span>'
        f"{price}</bdi></span>"
    )
