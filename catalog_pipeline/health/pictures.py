"""Whether a store's pictures are as they should be: accepted as usual, and embedded."""

from __future__ import annotations

from datetime import datetime, timedelta
from statistics import median

from sqlalchemy import Connection

from catalog_pipeline.catalog.queries import count_accepted
from catalog_pipeline.catalog.verdicts import StoreVerdict
from catalog_pipeline.catalog.wanted import Scope
from catalog_pipeline.embeddings.owed import count_owed
from catalog_pipeline.health.history import days
from catalog_pipeline.images.standing import standing
from catalog_pipeline.stores import StoreConfig

HISTORY = timedelta(days=30)
# Of all pictures; the share of a store that changes its catalogue moves by a few hundredths.
LARGEST_FALL = 0.15
# A share of fewer pictures jumps by itself.
_FEWEST = 10
_MOST_EXAMPLES = 5


def acceptance_is_usual(connection: Connection, store: StoreConfig, now: datetime) -> StoreVerdict:
    """Whether the share of accepted pictures has not fallen below the store's own.

    Held against the median of the days before today, a day being its last run, so that neither a
    bad day nor many runs in one make it usual. Without a day before there is nothing to go by.
    """
    found = standing(connection, Scope.of(store))
    judged = found.accepted + sum(found.rejected.values())
    counts = {"judged pictures": judged, "accepted pictures": found.accepted}
    before = [
        day.acceptance
        for day in days(connection, now - HISTORY, [store.id])
        if day.acceptance is not None and day.at.date() < now.date()
    ]
    if not before or judged < _FEWEST:
        return StoreVerdict(store.id, passed=True, counts=counts)
    usual, share = median(before), found.accepted / judged
    name = "share of accepted pictures below usual"
    if share >= usual - LARGEST_FALL:
        return StoreVerdict(store.id, passed=True, counts=counts | {name: 0})
    reasons = sorted(found.rejected.items(), key=lambda item: -item[1])[:_MOST_EXAMPLES]
    told = [
        f"{share:.0%} of {judged:,}, usually {usual:.0%}",
        *(f"{count:,} {reason}" for reason, count in reasons),
    ]
    return StoreVerdict(store.id, passed=False, counts=counts | {name: 1}, examples={name: told})


def accepted_have_vectors(
    connection: Connection, store: StoreConfig, model_version: str
) -> StoreVerdict:
    """Whether every accepted picture has a vector by the model.

    A store whose runs are bounded is told apart: its pictures are owed, and come by themselves.
    """
    scope = Scope.of(store)
    owed = count_owed(connection, scope, model_version)
    counts = {
        "accepted pictures": count_accepted(connection, scope),
        "pictures without a vector": owed,
    }
    if not owed:
        return StoreVerdict(store.id, passed=True, counts=counts)
    limit = store.max_images_per_run
    why = (
        "no run has embedded them"
        if limit is None
        else f"owed: each run embeds {limit:,} at most, by max_images_per_run"
    )
    return StoreVerdict(
        store.id, passed=False, counts=counts, examples={"pictures without a vector": [why]}
    )
