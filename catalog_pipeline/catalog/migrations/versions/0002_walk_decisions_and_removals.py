"""What each walk decided, removals that wait for a person, and what a sweep compares"""

import sqlalchemy as sa
from alembic import op

from catalog_pipeline.catalog.types import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of removals, and the columns that decisions are recorded in."""
    with op.batch_alter_table("walks", schema=None) as batch_op:
        batch_op.add_column(sa.Column("removed", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("waiting", sa.Integer(), nullable=True))
    with op.batch_alter_table("quarantine", schema=None) as batch_op:
        batch_op.add_column(sa.Column("status", sa.String(length=32), nullable=True))
        batch_op.add_column(sa.Column("updated_at", UtcDateTime(), nullable=True))
    op.create_table(
        "removal_waits",
        sa.Column("product_id", sa.Uuid(), nullable=False),
        sa.Column("store_id", sa.String(length=63), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=False),
        sa.Column("walk_id", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("product_id", name=op.f("pk_removal_waits")),
    )
    with op.batch_alter_table("removal_waits", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_removal_waits_store_id"), ["store_id"], unique=False)
    op.create_table(
        "removal_approvals",
        sa.Column("approval_id", sa.Uuid(), nullable=False),
        sa.Column("store_id", sa.String(length=63), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("approved_at", UtcDateTime(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("settled_at", UtcDateTime(), nullable=True),
        sa.Column("walk_id", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("approval_id", name=op.f("pk_removal_approvals")),
    )
    with op.batch_alter_table("removal_approvals", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_removal_approvals_store_id"), ["store_id"], unique=False
        )


def downgrade() -> None:
    """Drop them; what waits is found again by the next walk, approvals are lost."""
    op.drop_table("removal_approvals")
    op.drop_table("removal_waits")
    with op.batch_alter_table("quarantine", schema=None) as batch_op:
        batch_op.drop_column("updated_at")
        batch_op.drop_column("status")
    with op.batch_alter_table("walks", schema=None) as batch_op:
        batch_op.drop_column("waiting")
        batch_op.drop_column("removed")
