"""Whether a store's rows are as they should be: quarantine, removals, currency, prices.

Only the database is asked. Limits are those at which a person should look, not those at which
something is certainly wrong.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Float, and_, cast, func, or_, select

from catalog_pipeline.catalog.removal_approvals import (
    Stage,
    has_open_approval,
    waiting_removals,
)
from catalog_pipeline.catalog.schema import products, store_states
from catalog_pipeline.catalog.verdicts import StoreVerdict
from catalog_pipeline.catalog.wanted import is_live
from catalog_pipeline.products.owed import count_store
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.vectors.guard import held_back

MOST_FREE = 0.5
# Prices of one shop lie within this of their median, each way: cents taken for euros do not, nor
# does what was typed with its separator lost.
FARTHEST = 100
# Fewer prices have no median worth the name.
_FEWEST_PRICES = 10
_MOST_EXAMPLES = 10


def few_are_quarantined(connection: Connection, store: StoreConfig) -> StoreVerdict:
    """Whether no more of a store's records are in quarantine than a person should let pass."""
    found = count_store(connection, store.id)
    name = "records in quarantine"
    many = found.are_many_quarantined
    reasons = [
        f"{reason} (such as {examples})" for reason, examples in found.quarantined_examples.items()
    ]
    return StoreVerdict(
        store.id,
        not many,
        {name: found.quarantined, "records": found.records},
        {name: reasons[:_MOST_EXAMPLES]} if many else {},
    )


def no_removals_wait(
    connection: Connection, store: StoreConfig, *, model_version: str, collection: str
) -> StoreVerdict:
    """Whether nothing that is held back by the removal guard waits for a person.

    What was approved and has not gone yet waits for nobody.
    """
    of_products = [
        f"{one.external_id} {one.title} ({one.reason})"
        for one in waiting_removals(connection, store.id)
    ]
    of_points = [
        f"{one.external_id or one.point_id} {one.title or ''} ({one.reason})"
        for one in held_back(connection, store, collection, model_version).points
    ]
    counts: dict[str, int] = {}
    examples: dict[str, list[str]] = {}
    stages: dict[Stage, list[str]] = {"products": of_products, "points": of_points}
    for stage, waiting in stages.items():
        name = f"{stage} wait to be removed"
        counts[name] = len(waiting)
        if waiting and not has_open_approval(connection, store.id, stage):
            examples[name] = waiting[:_MOST_EXAMPLES]
    return StoreVerdict(store.id, not examples, counts, examples)


def currency_is_the_stores(connection: Connection, store: StoreConfig) -> StoreVerdict:
    """Whether every live product's price is in the store's currency."""
    expected = store.currency or connection.scalar(
        select(store_states.c.currency).where(store_states.c.store_id == store.id)
    )
    name = f"prices not in {expected}"
    if expected is None:
        return StoreVerdict(store.id, passed=True)
    other = and_(
        _of_store(store),
        products.c.price.is_not(None),
        or_(products.c.currency.is_(None), products.c.currency != expected),
    )
    return _verdict(connection, store, {name: other}, products.c.currency)


def prices_are_plausible(connection: Connection, store: StoreConfig) -> StoreVerdict:
    """Whether no price is negative or far from the store's others, and not most are missing."""
    price = cast(products.c.price, Float)
    of_store = _of_store(store)
    priced = and_(of_store, price > 0)
    live, positive = (
        connection.scalar(select(func.count()).select_from(products).where(which)) or 0
        for which in (of_store, priced)
    )
    wrong: dict[str, ColumnElement[bool]] = {"negative prices": and_(of_store, price < 0)}
    if positive >= _FEWEST_PRICES:
        middle = select(price).where(priced).order_by(price).offset(positive // 2).limit(1)
        median = float(connection.scalar(middle) or 0.0)
        wrong[f"prices at least {FARTHEST:,} times the median"] = and_(
            of_store, price >= median * FARTHEST
        )
        wrong[f"prices at most the median over {FARTHEST:,}"] = and_(
            priced, price <= median / FARTHEST
        )
    if live >= _FEWEST_PRICES and live - positive > MOST_FREE * live:
        wrong["products without a price"] = and_(of_store, or_(price.is_(None), price == 0))
    return _verdict(connection, store, wrong, products.c.price)


def _of_store(store: StoreConfig) -> ColumnElement[bool]:
    return and_(products.c.store_id == store.id, is_live())


def _verdict(
    connection: Connection,
    store: StoreConfig,
    wrong: dict[str, ColumnElement[bool]],
    shown: ColumnElement[object],
) -> StoreVerdict:
    """Count what is wrong of the products, with a few ids and what each of them has."""
    counts: dict[str, int] = {}
    examples: dict[str, list[str]] = {}
    for name, which in wrong.items():
        counts[name] = (
            connection.scalar(select(func.count()).select_from(products).where(which)) or 0
        )
        if counts[name]:
            found = connection.execute(
                select(products.c.external_id, shown)
                .where(which)
                .order_by(products.c.external_id)
                .limit(_MOST_EXAMPLES)
            )
            examples[name] = [f"{external_id}: {value}" for external_id, value in found]
    return StoreVerdict(store.id, not examples, counts, examples)
