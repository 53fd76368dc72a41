"""What each check last said of each store"""

import sqlalchemy as sa
from alembic import op

from catalog_pipeline.catalog.types import Json, UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table: nothing was checked yet."""
    op.create_table(
        "check_verdicts",
        sa.Column("check_name", sa.String(length=64), nullable=False),
        sa.Column("store_id", sa.String(length=63), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("counts", Json, nullable=False),
        sa.Column("examples", Json, nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("checked_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("check_name", "store_id", name=op.f("pk_check_verdicts")),
    )


def downgrade() -> None:
    """Drop the table: every store is to be checked again."""
    op.drop_table("check_verdicts")
