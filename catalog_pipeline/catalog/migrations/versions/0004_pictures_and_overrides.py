"""Pictures beyond the main one, people's overrides, the audit and files that nothing refers to"""

import sqlalchemy as sa
from alembic import op

from catalog_pipeline.catalog.types import Json, UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and tell a product's points apart by their slot."""
    with op.batch_alter_table("points", schema=None) as batch_op:
        batch_op.add_column(sa.Column("slot", sa.Text(), server_default="", nullable=False))
        batch_op.create_index(
            batch_op.f("ix_points_product_id_collection"), ["product_id", "collection"]
        )

    op.create_table(
        "variation_images",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("variation_id", sa.String(length=64), nullable=False),
        sa.Column("store_id", sa.String(length=63), nullable=False),
        sa.Column("image_id", sa.String(length=64), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("modified_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("product_id", "variation_id", name=op.f("pk_variation_images")),
    )
    op.create_index(op.f("ix_variation_images_store_id"), "variation_images", ["store_id"])
    op.create_table(
        "product_overrides",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("store_id", sa.String(length=63), nullable=False),
        sa.Column("image_id", sa.String(length=64), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("product_id", "action", name=op.f("pk_product_overrides")),
    )
    op.create_table(
        "image_overrides",
        sa.Column("image_sha256", sa.String(length=64), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("image_sha256", name=op.f("pk_image_overrides")),
    )
    op.create_table(
        "audit",
        sa.Column("audit_id", sa.Uuid(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("store_id", sa.String(length=63), nullable=True),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("details", Json, nullable=False),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_subject"), "audit", ["subject"])
    op.create_index(op.f("ix_audit_at"), "audit", ["at"])
    op.create_table(
        "unreferenced_files",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_unreferenced_files")),
    )


def downgrade() -> None:
    """Drop the tables; points of other pictures than the main one become nobody's."""
    op.drop_table("unreferenced_files")
    op.drop_index(op.f("ix_audit_at"), table_name="audit")
    op.drop_index(op.f("ix_audit_subject"), table_name="audit")
    op.drop_table("audit")
    op.drop_table("image_overrides")
    op.drop_table("product_overrides")
    op.drop_index(op.f("ix_variation_images_store_id"), table_name="variation_images")
    op.drop_table("variation_images")
    # Without a slot their records would pass for the main picture's.
    op.execute("DELETE FROM points WHERE slot != ''")
    with op.batch_alter_table("points", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_points_product_id_collection"))
        batch_op.drop_column("slot")
