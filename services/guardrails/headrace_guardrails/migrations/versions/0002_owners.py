"""Whose an escalated text is beside who sent it first, and which other policies it has to pass."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """What is there already has one owner, and passed by one policy."""
    op.execute("""
        ALTER TABLE guardrails.reviews
            ADD COLUMN owners text[] NOT NULL DEFAULT '{}',
            ADD COLUMN also text[] NOT NULL DEFAULT '{}'
    """)


def downgrade() -> None:
    """Drop the columns."""
    op.execute("ALTER TABLE guardrails.reviews DROP COLUMN owners, DROP COLUMN also")
