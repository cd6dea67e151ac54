"""Where the pages of a document start in its text."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Text that is there already has no pages."""
    op.execute("ALTER TABLE retrieval.revisions ADD COLUMN page_starts integer[] NOT NULL DEFAULT '{}'")
