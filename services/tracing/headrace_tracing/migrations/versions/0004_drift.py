"""What is watched of each request, and each day's profiles of it."""

from alembic import op

revision = "0004"
down_revision = "0003"

_COLUMNS = (
    "input_chars integer", "language text NOT NULL DEFAULT ''", "topic smallint", "refused smallint",
    "groundedness double precision", "retrieval_score double precision",
)  # fmt: skip


def upgrade() -> None:
    """Add the columns and the tables."""
    op.execute(f"ALTER TABLE tracing.traces {', '.join(f'ADD COLUMN {column}' for column in _COLUMNS)}")
    op.execute("""
        CREATE TABLE tracing.profiles (
            day integer NOT NULL,
            tenant text NOT NULL,
            model text NOT NULL,
            collection text NOT NULL,
            feature text NOT NULL,
            counts jsonb NOT NULL,
            PRIMARY KEY (day, tenant, model, collection, feature)
        )
    """)
    # A day that is not final is counted once more, for what came in late.
    op.execute("CREATE TABLE tracing.profiled (day integer PRIMARY KEY, final boolean NOT NULL)")


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TABLE tracing.profiled")
    op.execute("DROP TABLE tracing.profiles")
    op.execute(f"ALTER TABLE tracing.traces {', '.join(f'DROP COLUMN {column.split()[0]}' for column in _COLUMNS)}")
