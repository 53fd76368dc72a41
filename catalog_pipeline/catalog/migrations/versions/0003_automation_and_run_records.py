"""Accepted versions of stores.yaml, and a record of every run of a store"""

import sqlalchemy as sa
from alembic import op

from catalog_pipeline.catalog.types import Json, UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the two tables."""
    op.create_table(
        "accepted_stores",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("accepted_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_accepted_stores")),
    )
    op.create_table(
        "syncs",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("store_id", sa.String(length=63), nullable=False),
        sa.Column("job", sa.String(length=128), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=32), nullable=False),
        sa.Column("walk_kind", sa.String(length=32), nullable=True),
        sa.Column("counts", Json, nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("retries", sa.Integer(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("completed_at", UtcDateTime(), nullable=True),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "store_id", name=op.f("pk_syncs")),
    )
    op.create_index(op.f("ix_syncs_store_id_updated_at"), "syncs", ["store_id", "updated_at"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index(op.f("ix_syncs_store_id_updated_at"), table_name="syncs")
    op.drop_table("syncs")
    op.drop_table("accepted_stores")
