"""What people may decide about a picture, and what no decision makes of one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import func, select

from catalog_pipeline.catalog.bulk import upsert
from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.catalog.overrides import (
    Decision,
    OverrideError,
    all_overrides,
    judge_image,
)
from catalog_pipeline.catalog.schema import (
    audit,
    image_attempts,
    image_overrides,
    image_verdicts,
    images,
    product_images,
    products,
)
from catalog_pipeline.catalog.wanted import Scope, accepted_images, is_accepted, with_verdicts
from catalog_pipeline.images.measure import DECODER, Measurements, Problem
from catalog_pipeline_tests.rows import product_row

SHA = "a" * 64
NOW = datetime(2026, 11, 20, tzinfo=UTC)
WHY = Decision("ann", "it is the only one")
SCOPE = Scope("atelier")
PROBLEMS: list[Problem] = ["corrupt", "unsupported", "too many pixels"]


def shown(database: Database, problem: Problem | None, *, judged: bool = True) -> None:
    """A product of the store whose picture the gate rejected."""
    reason = problem and "decoding killed its process (exit code -11)"
    key, url = product_id("atelier", "1"), "https://shop.example.com/1.jpg"
    of_image = {"store_id": "atelier", "url": url, "image_id": "1", "modified_at": None}
    measured = Measurements(1_000, "jpeg", problem=problem, reason=reason)
    rows: list[tuple[Any, dict[str, Any]]] = [
        (products, product_row("atelier", "1")),
        (product_images, of_image | {"product_id": key, "position": 0}),
        (
            image_attempts,
            of_image
            | {"outcome": "fetched", "image_sha256": SHA, "failures": 0, "attempted_at": NOW},
        ),
        (
            images,
            {
                "image_sha256": SHA,
                "bytes": 1_000,
                "measurements": measured.as_json(),
                "decoder": DECODER,
                "measured_at": NOW,
            },
        ),
    ]
    if judged:
        verdict = {
            "store_id": "atelier",
            "image_sha256": SHA,
            "gate_version": "g",
            "accepted": False,
            "issues": [{"issue": "too small", "measured": 1, "threshold": 2}],
            "judged_at": NOW,
        }
        rows.append((image_verdicts, verdict))
    with database.write() as connection:
        for table, row in rows:
            upsert(connection, table, [row])


def accepted(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.scalars(accepted_images(SCOPE)))


def recorded(database: Database, *, accepts: bool) -> None:
    """An override that was made before the picture had a problem, or by another hand."""
    row = {
        "image_sha256": SHA,
        "accepted": accepts,
        "reason": WHY.reason,
        "who": WHY.who,
        "created_at": NOW,
    }
    with database.write() as connection:
        upsert(connection, image_overrides, [row])


def test_a_picture_that_the_gate_rejected_may_be_accepted(any_database: Database) -> None:
    shown(any_database, None)
    assert accepted(any_database) == []
    judge_image(any_database, SHA, WHY, accepted=True)
    assert accepted(any_database) == [SHA]
    judge_image(any_database, SHA, WHY, accepted=False)
    assert accepted(any_database) == []


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_picture_that_could_not_be_decoded_cannot_be_accepted(
    database: Database, problem: Problem
) -> None:
    shown(database, problem)
    said = f"{SHA} cannot be accepted, since it was not decoded: {problem}, decoding killed"
    with pytest.raises(OverrideError, match=said):
        judge_image(database, SHA, WHY, accepted=True)
    with database.read() as connection:
        assert all_overrides(connection) == []
        assert connection.scalar(select(func.count()).select_from(audit)) == 0
    judge_image(database, SHA, WHY, accepted=False)
    with database.read() as connection:
        assert [one.action for one in all_overrides(connection)] == ["reject"]


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("judged", [True, False])
def test_no_record_makes_a_picture_of_what_could_not_be_decoded(
    any_database: Database, problem: Problem, judged: bool
) -> None:
    shown(any_database, problem, judged=judged)
    recorded(any_database, accepts=True)
    assert accepted(any_database) == []
    statement = select(is_accepted()).select_from(with_verdicts(image_attempts, "atelier"))
    with any_database.read() as connection:
        # As the gate says: rejected, or not judged yet.
        assert connection.scalars(statement).all() == [False if judged else None]
