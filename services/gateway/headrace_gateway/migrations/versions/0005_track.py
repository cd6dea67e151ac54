"""Which group of gateway pods served a request.

Revision ID: 0005
"""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; a gateway of the version before goes on writing rows without it."""
    op.execute("ALTER TABLE gateway.ledger ADD COLUMN track text NOT NULL DEFAULT ''")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE gateway.ledger DROP COLUMN track")
