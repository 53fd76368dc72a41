"""Which vector an image has, wherever it stands"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column: vectors from before have no digest until they are made again."""
    op.add_column("embeddings", sa.Column("vector_digest", sa.String(length=16), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("embeddings", "vector_digest")
