"""Rollouts whose candidate was made ready, and is still to be unloaded."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column."""
    op.execute("ALTER TABLE rollout.rollouts ADD COLUMN warm boolean NOT NULL DEFAULT false")
    op.execute("CREATE INDEX rollouts_warm ON rollout.rollouts (id) WHERE warm")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE rollout.rollouts DROP COLUMN warm")
