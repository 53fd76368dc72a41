"""Runs found by their state and by their last change, however many there have been"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the indexes."""
    op.create_index(op.f("ix_syncs_status"), "syncs", ["status"])
    op.create_index(op.f("ix_syncs_updated_at"), "syncs", ["updated_at"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index(op.f("ix_syncs_updated_at"), table_name="syncs")
    op.drop_index(op.f("ix_syncs_status"), table_name="syncs")
