"""How a store's wanted pictures stand: what a run leaves, counted by what became of each URL.

What is still to be done about them is `owed.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, func, select

from catalog_pipeline.catalog.schema import image_attempts, image_verdicts, products
from catalog_pipeline.catalog.wanted import (
    MAIN_SLOT,
    Scope,
    in_scope,
    is_accepted,
    is_hidden,
    is_live,
    wanted_images,
    with_verdicts,
)
from catalog_pipeline.images.owed import wanted_urls
from catalog_pipeline.images.quality import Issue

# The reason that is counted where a person rejected what the gate accepts.
_OVERRIDDEN = "rejected by a person"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a store's wanted images stand, in distinct URLs.

    Each is waiting, gone, refused, failed or has a verdict. Those refused or failed for which an
    earlier picture still stands have its verdict too and are counted as `stale`. `rejected` counts
    by the first issue of the verdict, `refused` and `failed` by the reason of the last attempt.
    """

    wanted: int
    waiting: int
    accepted: int
    rejected: dict[str, int]
    gone: int
    refused: dict[str, int]
    failed: dict[str, int]
    stale: int
    products_without_image: int


def standing(connection: Connection, scope: Scope) -> Standing:
    """Count how the store's wanted images stand."""
    wanted = wanted_urls(scope)
    source = wanted.outerjoin(
        image_attempts,
        and_(image_attempts.c.store_id == scope.store_id, image_attempts.c.url == wanted.c.url),
    )
    each = (
        select(
            image_attempts.c.outcome,
            image_attempts.c.reason,
            image_attempts.c.image_sha256.is_not(None).label("has_content"),
            is_accepted().label("accepted"),
            func.coalesce(image_verdicts.c.issues[(0, "issue")].as_string(), _OVERRIDDEN).label(
                "issue"
            ),
        )
        .select_from(with_verdicts(source, scope.store_id))
        .subquery()
    )
    counts = connection.execute(select(*each.c, func.count()).group_by(*each.c)).all()
    shown = wanted_images(scope).subquery()
    main = select(shown.c.product_id).where(shown.c.slot == MAIN_SLOT)
    without = select(func.count()).where(
        in_scope(scope), is_live(), ~is_hidden(), products.c.product_id.not_in(main)
    )
    return _standing(counts, products_without_image=connection.scalar(without) or 0)


def _standing(counts: Any, *, products_without_image: int) -> Standing:
    wanted = waiting = accepted = gone = stale = 0
    rejected: dict[str, int] = {}
    refused: dict[str, int] = {}
    failed: dict[str, int] = {}
    for outcome, reason, has_content, accepts, issue, number in counts:
        wanted += number
        if outcome is None:
            waiting += number
        elif outcome == "gone":
            gone += number
        elif reason is not None and reason.startswith(Issue.TOO_MANY_BYTES):
            _add(rejected, Issue.TOO_MANY_BYTES, number)
        elif outcome in ("refused", "failed"):
            _add(refused if outcome == "refused" else failed, reason, number)
            stale += number if has_content else 0
        if has_content and accepts:
            accepted += number
        elif has_content and accepts is not None:
            _add(rejected, issue, number)
    return Standing(
        wanted, waiting, accepted, rejected, gone, refused, failed, stale, products_without_image
    )


def _add(counts: dict[str, int], reason: str, number: int) -> None:
    counts[str(reason)] = counts.get(str(reason), 0) + number
