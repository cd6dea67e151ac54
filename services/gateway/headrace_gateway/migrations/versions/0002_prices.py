"""Which price list a cost was counted by, and the tokens that a provider wrote to its prefix cache.

Revision ID: 0002
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; a gateway of the version before goes on writing rows without them."""
    op.execute(
        "ALTER TABLE gateway.ledger ADD COLUMN cache_write_input_tokens bigint NOT NULL DEFAULT 0, "
        "ADD COLUMN price_version text NOT NULL DEFAULT ''"
    )


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE gateway.ledger DROP COLUMN cache_write_input_tokens, DROP COLUMN price_version")
