"""Which job builds an index version."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """What is being built already has no job that could be told."""
    op.execute("ALTER TABLE retrieval.indexes ADD COLUMN job_id uuid REFERENCES retrieval.jobs ON DELETE SET NULL")
