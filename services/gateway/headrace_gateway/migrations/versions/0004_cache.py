"""What an answer from the cache did not cost again.

Revision ID: 0004
"""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; a gateway of the version before goes on writing rows without it."""
    op.execute("ALTER TABLE gateway.ledger ADD COLUMN saved_nano_usd bigint NOT NULL DEFAULT 0")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE gateway.ledger DROP COLUMN saved_nano_usd")
