"""The tables. What is owed is derived from them: each `done` record is written after its thing.

Only the shape of the data belongs here; how rows come and go is in the rooms that own a stage.
Clocks of our own (`*_at` filled from this machine) are bookkeeping and never identity.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
)

from catalog_pipeline.catalog.types import ExactDecimal, Json, UtcDateTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

deployment = Table(
    "deployment",
    metadata,
    # One row, key 1: the id that collections of this database carry.
    Column("key", Integer, primary_key=True),
    Column("deployment_id", Uuid, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    # One writer per store: `epoch` grows with every holder and fences out the one before.
    Column("store_id", String(63), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("owner", Text, nullable=True),
    Column("heartbeat_at", UtcDateTime, nullable=True),
)

walks = Table(
    "walks",
    metadata,
    # Archived walks whose rows are committed; written in the last transaction of a walk.
    Column("store_id", String(63), primary_key=True),
    Column("walk_id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("server_clock", UtcDateTime, nullable=False),
    Column("currency", String(3), nullable=True),
    Column("announced", Integer, nullable=True),
    Column("seen", Integer, nullable=False),
    # Live products that it removed, and those that it would have but for the guard; null where it
    # decided on none, because it could not prove that anything is gone.
    Column("removed", Integer, nullable=True),
    Column("waiting", Integer, nullable=True),
    Column("processed_at", UtcDateTime, nullable=False),
)

store_states = Table(
    "store_states",
    metadata,
    # What the products stage has committed to for a store.
    Column("store_id", String(63), primary_key=True),
    Column("watermark", UtcDateTime, nullable=True),
    Column("currency", String(3), nullable=True),
    # Digest of statuses, include and exclude under which `products.left_out_by` was decided.
    Column("rules_digest", String(32), nullable=True),
)

products = Table(
    "products",
    metadata,
    Column("product_id", Uuid, primary_key=True),
    Column("store_id", String(63), nullable=False),
    Column("external_id", String(64), nullable=False),
    Column("sku", Text, nullable=True),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("price", ExactDecimal, nullable=True),
    Column("currency", String(3), nullable=True),
    Column("image_url", Text, nullable=True),
    Column("product_url", Text, nullable=True),
    Column("type", String(32), nullable=False),
    Column("status", String(32), nullable=False),
    Column("visibility", String(32), nullable=False),
    Column("categories", Json, nullable=False),
    Column("tags", Json, nullable=False),
    Column("in_stock", Boolean, nullable=False),
    Column("on_sale", Boolean, nullable=False),
    # The source's dates.
    Column("created_at", UtcDateTime, nullable=True),
    Column("updated_at", UtcDateTime, nullable=True),
    # Bookkeeping.
    Column("content_hash", String(32), nullable=False),
    Column("walk_id", String(64), nullable=False),
    Column("first_walk_id", String(64), nullable=False),
    Column("left_out_by", String(64), nullable=True),
    Column("removed_by", String(64), nullable=True),
    Column("removed_in", String(64), nullable=True),
    Index(None, "store_id", "external_id", unique=True),
)

product_images = Table(
    "product_images",
    metadata,
    # Every picture a product lists, in the source's order; position 0 is the main one.
    Column("product_id", Uuid, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("store_id", String(63), nullable=False),
    Column("image_id", String(64), nullable=False),
    Column("url", Text, nullable=False),
    Column("modified_at", UtcDateTime, nullable=True),
    Index(None, "store_id", "position"),
    # From a picture back to its products: without it SQLite joins every picture to every product.
    Index(None, "url"),
)

variation_images = Table(
    "variation_images",
    metadata,
    # The picture of each variation of a product, where stores.yaml asks for them.
    Column("product_id", Uuid, primary_key=True),
    Column("variation_id", String(64), primary_key=True),
    Column("store_id", String(63), nullable=False),
    Column("image_id", String(64), nullable=False),
    Column("url", Text, nullable=False),
    Column("modified_at", UtcDateTime, nullable=True),
    Index(None, "store_id"),
)

quarantine = Table(
    "quarantine",
    metadata,
    # Records of the source that did not validate; the last valid row of the product stays.
    Column("store_id", String(63), primary_key=True),
    # The source's id, or "<page>#<index>" for a record that has none.
    Column("external_id", String(128), primary_key=True),
    Column("walk_id", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("raw", Text, nullable=False),
    Column("validator", String(32), nullable=False),
    # Of the record, as far as they can be read: what a sweep compares.
    Column("status", String(32), nullable=True),
    Column("updated_at", UtcDateTime, nullable=True),
    Column("quarantined_at", UtcDateTime, nullable=False),
)

removal_waits = Table(
    "removal_waits",
    metadata,
    # Live products that the newest complete walk did not find, held back by the removal guard.
    Column("product_id", Uuid, primary_key=True),
    Column("store_id", String(63), nullable=False),
    # absent | trash
    Column("reason", String(64), nullable=False),
    Column("walk_id", String(64), nullable=False),
    Index(None, "store_id"),
)

removal_approvals = Table(
    "removal_approvals",
    metadata,
    # A person's word that as many as were waiting may go; kept for good.
    Column("approval_id", Uuid, primary_key=True),
    Column("store_id", String(63), nullable=False),
    # Whose removals: products | points
    Column("stage", String(16), nullable=False),
    Column("count", Integer, nullable=False),
    Column("who", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("approved_at", UtcDateTime, nullable=False),
    # applied | void, when something else was waiting by then; null while it is open.
    Column("outcome", String(16), nullable=True),
    Column("settled_at", UtcDateTime, nullable=True),
    # The walk whose removals it let through.
    Column("walk_id", String(64), nullable=True),
    Index(None, "store_id"),
)

image_attempts = Table(
    "image_attempts",
    metadata,
    # The last attempt at each image URL of a store and what it brought.
    Column("store_id", String(63), primary_key=True),
    Column("url", Text, primary_key=True),
    # fetched | gone | refused | failed; `refused` is an answer no retry can change.
    Column("outcome", String(16), nullable=False),
    Column("reason", Text, nullable=True),
    # The bytes last fetched; kept while later attempts fail.
    Column("image_sha256", String(64), nullable=True),
    Column("etag", Text, nullable=True),
    Column("last_modified", Text, nullable=True),
    # The source's own identity of what was fetched: another one means a new picture.
    Column("image_id", String(64), nullable=True),
    Column("modified_at", UtcDateTime, nullable=True),
    Column("failures", Integer, nullable=False),
    Column("attempted_at", UtcDateTime, nullable=False),
    Column("next_attempt_at", UtcDateTime, nullable=True),
    Index(None, "store_id", "image_sha256"),
)

images = Table(
    "images",
    metadata,
    # One row for each distinct content, whatever stores it came from.
    Column("image_sha256", String(64), primary_key=True),
    Column("bytes", Integer, nullable=False),
    Column("format", String(16), nullable=True),
    Column("width", Integer, nullable=True),
    Column("height", Integer, nullable=True),
    # All that the gate judges by; null values where the picture could not be decoded.
    Column("measurements", Json, nullable=False),
    Column("decoder", String(32), nullable=False),
    Column("measured_at", UtcDateTime, nullable=False),
)

image_verdicts = Table(
    "image_verdicts",
    metadata,
    # The gate's word on an image in a store, by that store's thresholds.
    Column("store_id", String(63), primary_key=True),
    Column("image_sha256", String(64), primary_key=True),
    Column("gate_version", String(32), nullable=False),
    Column("accepted", Boolean, nullable=False),
    # [{"issue", "measured", "threshold"}], the first one being the reason counted.
    Column("issues", Json, nullable=False),
    Column("judged_at", UtcDateTime, nullable=False),
)

gates = Table(
    "gates",
    metadata,
    # The thresholds behind each gate version.
    Column("gate_version", String(32), primary_key=True),
    Column("thresholds", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

models = Table(
    "models",
    metadata,
    # The models whose vectors this database knows.
    Column("model_version", String(128), primary_key=True),
    Column("name", Text, nullable=False),
    Column("checkpoint_hash", String(64), nullable=False),
    Column("preprocessing_hash", String(64), nullable=False),
    Column("dimensions", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

embeddings = Table(
    "embeddings",
    metadata,
    # Where an image's vector stands; belongs to no store.
    Column("image_sha256", String(64), primary_key=True),
    Column("model_version", String(128), primary_key=True),
    Column("part", Text, nullable=False),
    Column("row", Integer, nullable=False),
    # Another one where the image was embedded again, and not where its vector was only moved.
    Column("vector_digest", String(16)),
)

points = Table(
    "points",
    metadata,
    # What Qdrant has acknowledged.
    Column("collection", String(255), primary_key=True),
    Column("point_id", Uuid, primary_key=True),
    Column("store_id", String(63), nullable=False),
    Column("product_id", Uuid, nullable=False),
    # Which of the product's pictures, as `catalog/wanted.py` names them; empty for the main one.
    Column("slot", Text, nullable=False, server_default=""),
    Column("image_sha256", String(64), nullable=False),
    Column("payload_hash", String(32), nullable=False),
    Index(None, "collection", "store_id"),
    Index(None, "product_id", "collection"),
)

product_overrides = Table(
    "product_overrides",
    metadata,
    # A person's word on a product; one of each action is in force at most.
    Column("product_id", Uuid, primary_key=True),
    # hide | use
    Column("action", String(16), primary_key=True),
    Column("store_id", String(63), nullable=False),
    # The picture that serves as the main one, for `use`.
    Column("image_id", String(64), nullable=True),
    Column("reason", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Not in force from then on; null is for good.
    Column("until", UtcDateTime, nullable=True),
)

image_overrides = Table(
    "image_overrides",
    metadata,
    # A person's word on a content, above every store's gate.
    Column("image_sha256", String(64), primary_key=True),
    Column("accepted", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("until", UtcDateTime, nullable=True),
)

audit = Table(
    "audit",
    metadata,
    # Decisions that people or settings made about the catalogue; never changed, never deleted.
    Column("audit_id", Uuid, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", String(32), nullable=False),
    Column("store_id", String(63), nullable=True),
    # What was decided on: a product's id, an image's SHA-256, a gate.
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=True),
    Column("details", Json, nullable=False),
    Index(None, "subject"),
    Index(None, "at"),
)

unreferenced_files = Table(
    "unreferenced_files",
    metadata,
    # Files of the data folder that nothing referred to when they were last looked for.
    Column("name", Text, primary_key=True),
    Column("since", UtcDateTime, nullable=False),
)
