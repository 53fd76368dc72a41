"""Stores that failed when they were last asked"""

import sqlalchemy as sa
from alembic import op

from catalog_pipeline.catalog.types import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table: every store counts as one that answers."""
    op.create_table(
        "circuits",
        sa.Column("store_id", sa.String(length=63), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failed", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("failed_at", UtcDateTime(), nullable=False),
        sa.Column("opened_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("store_id", name=op.f("pk_circuits")),
    )


def downgrade() -> None:
    """Drop the table: every store is asked as if it had never failed."""
    op.drop_table("circuits")
