"""Which pictures a store's products are to be shown by, and which of those are good enough.

Settings, overrides and the gate's verdicts meet here and nowhere else, so that every stage wants
the same pictures. What a stage has still to do about them is in that stage's `owed.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    FromClause,
    Select,
    String,
    and_,
    case,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)

from catalog_pipeline.catalog.schema import (
    image_attempts,
    image_overrides,
    image_verdicts,
    images,
    product_images,
    product_overrides,
    products,
    variation_images,
)
from catalog_pipeline.stores import ImageChoice, StoreConfig

# The slot of the picture that stands for the product; every other slot names its picture.
MAIN_SLOT = ""
# Plug-ins give it to every picture that they hold elsewhere, so it names none.
_NO_IMAGE_ID = "0"
# Behind every picture of the product's own list.
_AFTER_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Scope:
    """A store's products, or some of them, and which of their pictures are wanted."""

    store_id: str
    images: ImageChoice = "main"
    products: tuple[UUID, ...] | None = None

    @classmethod
    def of(cls, store: StoreConfig, product_id: UUID | None = None) -> Scope:
        """What a store's settings ask for."""
        return cls(store.id, store.images, None if product_id is None else (product_id,))


def is_live() -> ColumnElement[bool]:
    """A product that is neither removed nor left out by a rule."""
    return and_(products.c.removed_by.is_(None), products.c.left_out_by.is_(None))


def is_hidden() -> ColumnElement[bool]:
    """A product that a person has hidden."""
    return exists().where(
        product_overrides.c.product_id == products.c.product_id,
        product_overrides.c.action == "hide",
        in_force(product_overrides.c.until),
    )


def in_force(until: ColumnElement[Any]) -> ColumnElement[bool]:
    """An override that has no end, or whose end is yet to come when the statement is made."""
    return or_(until.is_(None), until > datetime.now(UTC))


def in_scope(scope: Scope) -> ColumnElement[bool]:
    """A product that the scope covers, whatever its state."""
    of_store = products.c.store_id == scope.store_id
    if scope.products is None:
        return of_store
    return and_(of_store, products.c.product_id.in_(scope.products))


def wanted_images(scope: Scope) -> Select[Any]:
    """The pictures that live products, hidden ones left out, are to be shown by.

    A slot is one picture of one product and appears once. The main picture is the product's first
    one, unless a person chose another of its list; if it is absent, none stands in for it.

    Columns: product_id, slot, image_id, url, modified_at, and `place`, the order in which pictures
    of a product come.
    """
    if scope.images == "main":
        return _main_images(scope)
    shown = _all_images(scope).subquery()
    turn = func.row_number().over(
        partition_by=(shown.c.product_id, shown.c.slot),
        order_by=(shown.c.place, shown.c.variation_id),
    )
    numbered = select(shown, turn.label("turn")).subquery()
    return select(
        numbered.c.product_id,
        numbered.c.slot,
        numbered.c.image_id,
        numbered.c.url,
        numbered.c.modified_at,
        numbered.c.place,
    ).where(numbered.c.turn == 1)


def accepted_images(scope: Scope) -> Select[Any]:
    """The distinct contents that are good enough for live products of a store.

    Column: image_sha256.
    """
    return (
        select(image_attempts.c.image_sha256)
        .distinct()
        .select_from(with_verdicts(image_attempts, scope.store_id))
        .where(is_of_wanted_image(scope), is_accepted())
    )


def is_of_wanted_image(scope: Scope) -> ColumnElement[bool]:
    """An attempt at the URL of a picture that is wanted.

    As a list of URLs, which a database makes once: joined, it may take the attempts for the fewer
    and look for the pictures of each.
    """
    wanted = wanted_images(scope).subquery()
    return and_(
        image_attempts.c.store_id == scope.store_id,
        image_attempts.c.url.in_(select(wanted.c.url)),
    )


def with_verdicts(source: FromClause, store_id: str) -> FromClause:
    """Attempts with what the gate and people say of their contents, for `is_accepted`."""
    return source.outerjoin(
        image_verdicts,
        and_(
            image_verdicts.c.store_id == store_id,
            image_verdicts.c.image_sha256 == image_attempts.c.image_sha256,
        ),
    ).outerjoin(
        image_overrides,
        and_(
            image_overrides.c.image_sha256 == image_attempts.c.image_sha256,
            in_force(image_overrides.c.until),
        ),
    )


def is_accepted() -> ColumnElement[bool]:
    """A person's word, or else the gate's; null where there is neither yet.

    No person's word makes a picture out of what was never decoded: whatever is recorded, the gate's
    rejection stands.
    """
    # Under a name of its own, so that a statement may have the table besides.
    measured = images.alias("overridden")
    is_undecoded = exists().where(
        measured.c.image_sha256 == image_overrides.c.image_sha256,
        measured.c.measurements["problem"].as_string().is_not(None),
    )
    word = case(
        (and_(image_overrides.c.accepted, is_undecoded), null()),
        else_=image_overrides.c.accepted,
    )
    return func.coalesce(word, image_verdicts.c.accepted, type_=Boolean())


def _main_images(scope: Scope) -> Select[Any]:
    chosen = _chosen_positions(scope)
    return (
        select(
            products.c.product_id,
            literal(MAIN_SLOT, String()).label("slot"),
            product_images.c.image_id,
            product_images.c.url,
            product_images.c.modified_at,
            product_images.c.position.label("place"),
        )
        .join(product_images, product_images.c.product_id == products.c.product_id)
        .outerjoin(chosen, chosen.c.product_id == products.c.product_id)
        .where(
            in_scope(scope),
            is_live(),
            ~is_hidden(),
            product_images.c.position == func.coalesce(chosen.c.position, 0),
        )
    )


def _all_images(scope: Scope) -> Select[Any]:
    """Every listed picture, and the variations' if they are asked for; slots may repeat."""
    chosen = _chosen_positions(scope)
    is_main = product_images.c.position == func.coalesce(chosen.c.position, 0)
    listed = (
        select(
            products.c.product_id,
            case((is_main, MAIN_SLOT), else_=_slot(product_images)).label("slot"),
            product_images.c.image_id,
            product_images.c.url,
            product_images.c.modified_at,
            case((is_main, -1), else_=product_images.c.position).label("place"),
            literal("", String()).label("variation_id"),
        )
        .join(product_images, product_images.c.product_id == products.c.product_id)
        .outerjoin(chosen, chosen.c.product_id == products.c.product_id)
        .where(in_scope(scope), is_live(), ~is_hidden())
    )
    if scope.images == "gallery":
        return listed
    of_variations = (
        select(
            products.c.product_id,
            _slot(variation_images).label("slot"),
            variation_images.c.image_id,
            variation_images.c.url,
            variation_images.c.modified_at,
            literal(_AFTER_ALL).label("place"),
            variation_images.c.variation_id,
        )
        .join(variation_images, variation_images.c.product_id == products.c.product_id)
        .where(in_scope(scope), is_live(), ~is_hidden())
    )
    return select(union_all(listed, of_variations).subquery())


def _slot(table: FromClause) -> ColumnElement[str]:
    return case((table.c.image_id == _NO_IMAGE_ID, table.c.url), else_=table.c.image_id)


def _chosen_positions(scope: Scope) -> Any:
    """Where in its product's list the picture stands that a person chose; it may not any more."""
    return (
        select(
            product_overrides.c.product_id,
            func.min(product_images.c.position).label("position"),
        )
        .join(
            product_images,
            and_(
                product_images.c.product_id == product_overrides.c.product_id,
                product_images.c.image_id == product_overrides.c.image_id,
            ),
        )
        .where(
            product_overrides.c.store_id == scope.store_id,
            product_overrides.c.action == "use",
            in_force(product_overrides.c.until),
        )
        .group_by(product_overrides.c.product_id)
        .subquery()
    )
