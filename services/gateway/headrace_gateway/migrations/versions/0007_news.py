"""Alerts that somebody is still to be told of.

Revision ID: 0007
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table."""
    op.execute(
        "CREATE TABLE gateway.news (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, told jsonb NOT NULL)"
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP TABLE gateway.news")
