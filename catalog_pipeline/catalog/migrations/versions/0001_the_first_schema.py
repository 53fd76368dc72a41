"""The first schema"""

import sqlalchemy as sa
from alembic import op

from catalog_pipeline.catalog.types import ExactDecimal, Json, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table."""
    op.create_table(
        "deployment",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("deployment_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_deployment")),
    )
    op.create_table(
        "embeddings",
        sa.Column("image_sha256", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.String(length=128), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("image_sha256", "model_version", name=op.f("pk_embeddings")),
    )
    op.create_table(
        "gates",
        sa.Column("gate_version", sa.String(length=32), nullable=False),
        sa.Column("thresholds", Json, nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("gate_version", name=op.f("pk_gates")),
    )
    op.create_table(
        "image_attempts",
        sa.Column("store_id", sa.String(length=63), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("image_sha256", sa.String(length=64), nullable=True),
        sa.Column("etag", sa.Text(), nullable=True),
        sa.Column("last_modified", sa.Text(), nullable=True),
        sa.Column("image_id", sa.String(length=64), nullable=True),
        sa.Column("modified_at", UtcDateTime(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("attempted_at", UtcDateTime(), nullable=False),
        sa.Column("next_attempt_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("store_id", "url", name=op.f("pk_image_attempts")),
    )
    with op.batch_alter_table("image_attempts", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_image_attempts_store_id_image_sha256"),
            ["store_id", "image_sha256"],
            unique=False,
        )

    op.create_table(
        "image_verdicts",
        sa.Column("store_id", sa.String(length=63), nullable=False),
        sa.Column("image_sha256", sa.String(length=64), nullable=False),
        sa.Column("gate_version", sa.String(length=32), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("issues", Json, nullable=False),
        sa.Column("judged_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "image_sha256", name=op.f("pk_image_verdicts")),
    )
    op.create_table(
        "images",
        sa.Column("image_sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("measurements", Json, nullable=False),
        sa.Column("decoder", sa.String(length=32), nullable=False),
        sa.Column("measured_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("image_sha256", name=op.f("pk_images")),
    )
    op.create_table(
        "leases",
        sa.Column("store_id", sa.String(length=63), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("heartbeat_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("store_id", name=op.f("pk_leases")),
    )
    op.create_table(
        "models",
        sa.Column("model_version", sa.String(length=128), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("checkpoint_hash", sa.String(length=64), nullable=False),
        sa.Column("preprocessing_hash", sa.String(length=64), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("model_version", name=op.f("pk_models")),
    )
    op.create_table(
        "points",
        sa.Column("collection", sa.String(length=255), nullable=False),
        sa.Column("point_id", sa.Uuid(), nullable=False),
        sa.Column("store_id", sa.String(length=63), nullable=False),
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("image_sha256", sa.String(length=64), nullable=False),
        sa.Column("payload_hash", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("collection", "point_id", name=op.f("pk_points")),
    )
    with op.batch_alter_table("points", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_points_collection_store_id"), ["collection", "store_id"], unique=False
        )

    op.create_table(
        "product_images",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("store_id", sa.String(length=63), nullable=False),
        sa.Column("image_id", sa.String(length=64), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("product_id", "position", name=op.f("pk_product_images")),
    )
    with op.batch_alter_table("product_images", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_product_images_store_id_position"),
            ["store_id", "position"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_product_images_url"), ["url"], unique=False)

    op.create_table(
        "products",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("store_id", sa.String(length=63), nullable=False),
        sa.Column("external_id", sa.String(length=64), nullable=False),
        sa.Column("sku", sa.Text(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("price", ExactDecimal(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=True),
        sa.Column("image_url", sa.Text(), nullable=True),
        sa.Column("product_url", sa.Text(), nullable=True),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("visibility", sa.String(length=32), nullable=False),
        sa.Column("categories", Json, nullable=False),
        sa.Column("tags", Json, nullable=False),
        sa.Column("in_stock", sa.Boolean(), nullable=False),
        sa.Column("on_sale", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=True),
        sa.Column("updated_at", UtcDateTime(), nullable=True),
        sa.Column("content_hash", sa.String(length=32), nullable=False),
        sa.Column("walk_id", sa.String(length=64), nullable=False),
        sa.Column("first_walk_id", sa.String(length=64), nullable=False),
        sa.Column("left_out_by", sa.String(length=64), nullable=True),
        sa.Column("removed_by", sa.String(length=64), nullable=True),
        sa.Column("removed_in", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("product_id", name=op.f("pk_products")),
    )
    with op.batch_alter_table("products", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_products_store_id_external_id"), ["store_id", "external_id"], unique=True
        )

    op.create_table(
        "quarantine",
        sa.Column("store_id", sa.String(length=63), nullable=False),
        sa.Column("external_id", sa.String(length=128), nullable=False),
        sa.Column("walk_id", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("validator", sa.String(length=32), nullable=False),
        sa.Column("quarantined_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "external_id", name=op.f("pk_quarantine")),
    )
    op.create_table(
        "store_states",
        sa.Column("store_id", sa.String(length=63), nullable=False),
        sa.Column("watermark", UtcDateTime(), nullable=True),
        sa.Column("currency", sa.String(length=3), nullable=True),
        sa.Column("rules_digest", sa.String(length=32), nullable=True),
        sa.PrimaryKeyConstraint("store_id", name=op.f("pk_store_states")),
    )
    op.create_table(
        "walks",
        sa.Column("store_id", sa.String(length=63), nullable=False),
        sa.Column("walk_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("server_clock", UtcDateTime(), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=True),
        sa.Column("announced", sa.Integer(), nullable=True),
        sa.Column("seen", sa.Integer(), nullable=False),
        sa.Column("processed_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("store_id", "walk_id", name=op.f("pk_walks")),
    )


def downgrade() -> None:
    """Drop every table."""
    op.drop_table("walks")
    op.drop_table("store_states")
    op.drop_table("quarantine")
    with op.batch_alter_table("products", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_products_store_id_external_id"))

    op.drop_table("products")
    with op.batch_alter_table("product_images", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_product_images_url"))
        batch_op.drop_index(batch_op.f("ix_product_images_store_id_position"))

    op.drop_table("product_images")
    with op.batch_alter_table("points", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_points_collection_store_id"))

    op.drop_table("points")
    op.drop_table("models")
    op.drop_table("leases")
    op.drop_table("images")
    op.drop_table("image_verdicts")
    with op.batch_alter_table("image_attempts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_image_attempts_store_id_image_sha256"))

    op.drop_table("image_attempts")
    op.drop_table("gates")
    op.drop_table("embeddings")
    op.drop_table("deployment")
