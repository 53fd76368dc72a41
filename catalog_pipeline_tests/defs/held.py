"""What the database holds of a store, in the numbers that materialisations tell.

Plain SQL of its own: the pipeline's questions would be compared with themselves. For stores that
want main pictures, and for one model.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.types import utc_text

LIVE = "p.store_id = :store AND p.removed_by IS NULL AND p.left_out_by IS NULL"
SHOWN = f"""{LIVE} AND NOT EXISTS (
    SELECT * FROM product_overrides o WHERE o.product_id = p.product_id AND o.action = 'hide')"""
# Each URL with its attempt, if there is one, and the verdict on what it brought.
WANTED = f"""
    SELECT w.url, a.outcome, a.image_sha256, a.attempted_at, v.accepted FROM (
        SELECT DISTINCT i.url FROM product_images i JOIN products p ON p.product_id = i.product_id
        WHERE {SHOWN} AND i.position = 0
    ) w
    LEFT JOIN image_attempts a ON a.store_id = :store AND a.url = w.url
    LEFT JOIN image_verdicts v ON v.store_id = :store AND v.image_sha256 = a.image_sha256
"""
LOADED = """
    SELECT t.point_id, p.external_id, a.image_sha256 AS now, v.accepted FROM points t
    JOIN products p ON p.product_id = t.product_id
    LEFT JOIN product_images i ON i.product_id = p.product_id AND i.position = 0
    LEFT JOIN image_attempts a ON a.store_id = :store AND a.url = i.url
    LEFT JOIN image_verdicts v ON v.store_id = :store AND v.image_sha256 = a.image_sha256
    WHERE t.store_id = :store
"""
QUARANTINED = "SELECT external_id FROM quarantine WHERE store_id = :store"
NUMBERS = {
    "products": {
        "new": """SELECT count(*) FROM products p WHERE p.store_id = :store AND EXISTS (
            SELECT * FROM walks w WHERE w.store_id = :store AND w.walk_id = p.first_walk_id
            AND w.processed_at >= :since)""",
        "changed": """SELECT count(*) FROM products p WHERE p.store_id = :store
            AND p.removed_by IS NULL AND p.walk_id <> p.first_walk_id AND EXISTS (
            SELECT * FROM walks w WHERE w.store_id = :store AND w.walk_id = p.walk_id
            AND w.processed_at >= :since)""",
        "live": f"SELECT count(*) FROM products p WHERE {LIVE}",
        "stale": f"SELECT count(*) FROM products p WHERE {LIVE} AND external_id IN ({QUARANTINED})",
        "quarantined": f"SELECT count(*) FROM ({QUARANTINED}) q",
        "waiting": "SELECT count(*) FROM removal_waits WHERE store_id = :store",
    },
    "product_images": {
        "wanted": f"SELECT count(*) FROM ({WANTED}) x",
        "waiting": f"SELECT count(*) FROM ({WANTED}) x WHERE outcome IS NULL",
        "asked": f"""SELECT count(*) FROM ({WANTED}) x
            WHERE outcome = 'fetched' AND attempted_at >= :since""",
        "accepted": f"SELECT count(*) FROM ({WANTED}) x WHERE accepted",
        "accepted_distinct": f"""SELECT count(DISTINCT image_sha256) FROM ({WANTED}) x
            WHERE accepted""",
        "rejected": f"SELECT count(*) FROM ({WANTED}) x WHERE NOT accepted",
        "judged": """SELECT count(*) FROM image_verdicts
            WHERE store_id = :store AND judged_at >= :since""",
        "gone": f"SELECT count(*) FROM ({WANTED}) x WHERE outcome = 'gone'",
        "refused": f"SELECT count(*) FROM ({WANTED}) x WHERE outcome = 'refused'",
        "failed": f"SELECT count(*) FROM ({WANTED}) x WHERE outcome = 'failed'",
        "stale": f"""SELECT count(*) FROM ({WANTED}) x
            WHERE outcome IN ('failed', 'refused') AND image_sha256 IS NOT NULL""",
        "products_without_image": f"""SELECT count(*) FROM products p WHERE {SHOWN}
            AND NOT EXISTS (SELECT * FROM product_images i
            WHERE i.product_id = p.product_id AND i.position = 0)""",
    },
    "image_embeddings": {
        "accepted": f"SELECT count(DISTINCT image_sha256) FROM ({WANTED}) x WHERE accepted",
        "embedded": f"""SELECT count(*) FROM embeddings e WHERE e.image_sha256 IN (
            SELECT image_sha256 FROM ({WANTED}) x WHERE accepted)""",
    },
    "qdrant_points": {
        "recorded": f"SELECT count(*) FROM ({LOADED}) x",
        "stale": f"""SELECT count(*) FROM ({LOADED}) x
            WHERE now IS NULL OR accepted IS NULL""",
        "quarantined": f"SELECT count(*) FROM ({LOADED}) x WHERE external_id IN ({QUARANTINED})",
    },
}


BYTES = f"""SELECT coalesce(sum(i.bytes), 0) FROM ({WANTED}) x
    JOIN images i ON i.image_sha256 = x.image_sha256 WHERE outcome = 'fetched'"""


def fetched_bytes(database: Database, store_id: str) -> int:
    """The bytes of all pictures that a store's URLs brought, as after its first sync."""
    with database.read() as connection:
        return int(connection.execute(text(BYTES), {"store": store_id}).scalar_one())


def held(database: Database, store_id: str, since: datetime) -> dict[str, dict[str, int]]:
    """The numbers by stage, those of a run being of all that was done since a moment."""
    given = {"store": store_id, "since": utc_text(since)}
    with database.read() as connection:
        return {
            stage: {
                name: int(connection.execute(text(statement), given).scalar_one())
                for name, statement in numbers.items()
            }
            for stage, numbers in NUMBERS.items()
        }


def told(metadata: dict[str, dict[str, object]]) -> dict[str, dict[str, int]]:
    """The same numbers as materialisations tell them; counts by reason in sum."""
    found = {
        stage: {name: total(metadata[stage][name]) for name in numbers if name in metadata[stage]}
        for stage, numbers in NUMBERS.items()
    }
    images, vectors = metadata["product_images"], metadata["image_embeddings"]
    found["product_images"]["asked"] = total(images["fetched"]) + total(images["unchanged"])
    found["image_embeddings"] = dict.fromkeys(
        ("accepted", "embedded"), total(vectors["embedded"]) + total(vectors["reused"])
    )
    return found


def total(value: object) -> int:
    """A count, or the sum of counts by reason, which may be a table's rows."""
    if isinstance(value, dict):
        return sum(int(count) for count in value.values())
    assert isinstance(value, int)
    return value
