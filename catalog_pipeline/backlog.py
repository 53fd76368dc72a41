"""Pictures and vectors that a store is still owed: who waits for them, and when a run goes on.

A change of prices must not wait behind hours of embedding. So a change is read by the light job
where a whole run would be slow, and what that leaves, as well as what a bounded or failed run left,
is taken up by a run of its own once nothing else is to be done. Decided from records alone; asking
for the runs is the scheduler's part.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, select

from catalog_pipeline.catalog.schema import image_attempts, models
from catalog_pipeline.catalog.syncs import Sync
from catalog_pipeline.catalog.wanted import Scope, wanted_images
from catalog_pipeline.embeddings.owed import count_owed
from catalog_pipeline.images.owed import Ask, count_fetches
from catalog_pipeline.stores import StoreConfig

# Half a minute of a laptop's embedding: more than that is worth a run of its own.
MANY = 100
_PICTURE_STAGES = ("product_images", "image_embeddings")


def count_pictures(connection: Connection, store: StoreConfig, now: datetime) -> int:
    """How many pictures a store is owed a fetch or a vector of now.

    Vectors are counted by the model that was taken up last: which one the settings name can take a
    download to say, and the run itself goes by that.
    """
    scope = Scope.of(store)
    model = connection.scalar(
        select(models.c.model_version).order_by(models.c.created_at.desc()).limit(1)
    )
    return count_fetches(connection, Ask(store, scope, now)) + count_owed(connection, scope, model)


def why_light(
    pictures: int, last: Sync | None, *, limit: int | None, embedding_is_busy: bool
) -> str | None:
    """Why a change is read by the light job; None for a whole run.

    A store whose prices change at every look gets its pictures too: where it is its own backlog
    that is long, light and whole runs take turns.

    Args:
        pictures: what `count_pictures` says of the store.
        last: its last finished run.
        limit: its `max_images_per_run`.
        embedding_is_busy: another run embeds, and a whole run would wait for it.
    """
    if embedding_is_busy:
        return "another run is embedding"
    in_one_run = pictures if limit is None else min(pictures, limit)
    if in_one_run > MANY and (last is None or _did_pictures(last)):
        return f"{pictures:,} pictures are owed"
    return None


def may_have_left(last: Sync) -> bool:
    """Whether the last run of a store, by its own record, left pictures that one more would do.

    What a run could not do at all is not repeated: a picture that failed comes up again at its own
    time (`stores_with_due_attempts`), and a run that a person cancelled is theirs.
    """
    if last.status == "failure":
        return True
    if last.status != "success":
        return False
    if not _did_pictures(last):
        return True
    images, vectors = (last.counts[stage] for stage in _PICTURE_STAGES)
    done = images.get("fetched", 0) + images.get("unchanged", 0) + vectors.get("embedded", 0)
    return done > 0 and images.get("left", 0) + vectors.get("left", 0) > 0


def stores_with_due_attempts(
    connection: Connection, stores: Iterable[StoreConfig], now: datetime
) -> set[str]:
    """Those of the stores that have a failed picture, wanted still, whose next attempt has come.

    One of a product that is gone stays due for ever.
    """
    return {store.id for store in stores if _has_due_attempt(connection, store, now)}


def _has_due_attempt(connection: Connection, store: StoreConfig, now: datetime) -> bool:
    due = (
        select(image_attempts.c.url)
        .where(image_attempts.c.store_id == store.id, image_attempts.c.next_attempt_at <= now)
        .limit(1)
    )
    if connection.scalar(due) is None:
        return False
    wanted = wanted_images(Scope.of(store)).subquery()
    return connection.scalar(due.join(wanted, wanted.c.url == image_attempts.c.url)) is not None


def _did_pictures(last: Sync) -> bool:
    return all(stage in last.counts for stage in _PICTURE_STAGES)
