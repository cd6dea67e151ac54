"""What a rollout compares, so that a change of it in the config is noticed."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns."""
    op.execute(
        "ALTER TABLE rollout.rollouts ADD COLUMN arms text NOT NULL DEFAULT '', "
        "ADD COLUMN arms_before text NOT NULL DEFAULT '', ADD COLUMN arms_at timestamptz"
    )


def downgrade() -> None:
    """Drop them."""
    op.execute("ALTER TABLE rollout.rollouts DROP COLUMN arms, DROP COLUMN arms_before, DROP COLUMN arms_at")
