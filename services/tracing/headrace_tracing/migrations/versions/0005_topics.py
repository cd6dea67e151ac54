"""Vectors of a sample of each day's questions, and how each day's were spread over topics."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the tables."""
    # They go with their traces: by age, and when somebody is erased.
    op.execute("""
        CREATE TABLE tracing.topic_vectors (
            day integer NOT NULL,
            trace_id bytea NOT NULL,
            tenant text NOT NULL,
            version text NOT NULL,
            model text NOT NULL,
            collections text[] NOT NULL,
            -- float16, little-endian
            vector bytea NOT NULL,
            PRIMARY KEY (day, trace_id, tenant, version)
        )
    """)
    op.execute("ALTER TABLE tracing.topic_vectors ALTER COLUMN vector SET STORAGE EXTERNAL")
    op.execute("""
        CREATE TABLE tracing.topic_profiles (
            -- The day for whose look the topics were learned.
            learned integer NOT NULL,
            day integer NOT NULL,
            tenant text NOT NULL,
            model text NOT NULL,
            collection text NOT NULL,
            counts jsonb NOT NULL,
            PRIMARY KEY (learned, day, tenant, model, collection)
        )
    """)
    op.execute("""
        CREATE TABLE tracing.topics_learned (
            day integer PRIMARY KEY,
            version text NOT NULL,
            claimed_until timestamptz NOT NULL,
            ended boolean NOT NULL DEFAULT false
        )
    """)


def downgrade() -> None:
    """Drop them."""
    for table in ("topics_learned", "topic_profiles", "topic_vectors"):
        op.execute(f"DROP TABLE tracing.{table}")
