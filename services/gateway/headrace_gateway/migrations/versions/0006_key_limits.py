"""Limits of a single key.

Revision ID: 0006
"""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; a gateway of the version before goes on making keys without limits."""
    op.execute(
        "ALTER TABLE gateway.api_keys ADD COLUMN requests_per_minute bigint CHECK (requests_per_minute > 0), "
        "ADD COLUMN tokens_per_minute bigint CHECK (tokens_per_minute > 0), "
        "ADD COLUMN concurrent_requests bigint CHECK (concurrent_requests > 0)"
    )


def downgrade() -> None:
    """Drop them."""
    op.execute(
        "ALTER TABLE gateway.api_keys DROP COLUMN requests_per_minute, DROP COLUMN tokens_per_minute, "
        "DROP COLUMN concurrent_requests"
    )
