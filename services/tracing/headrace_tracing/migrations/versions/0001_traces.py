"""Spans, the summaries that traces are listed by, and feedback."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.execute("""
        CREATE TABLE tracing.spans (
            trace_id bytea NOT NULL,
            span_id bytea NOT NULL,
            parent_span_id bytea NOT NULL,
            tenant text NOT NULL,
            service text NOT NULL,
            name text NOT NULL,
            kind smallint NOT NULL,
            start_ns bigint NOT NULL,
            end_ns bigint NOT NULL,
            status smallint NOT NULL,
            status_message text NOT NULL,
            attributes jsonb NOT NULL,
            events jsonb NOT NULL,
            PRIMARY KEY (trace_id, span_id)
        )
    """)
    op.execute("""
        CREATE TABLE tracing.traces (
            trace_id bytea NOT NULL,
            tenant text NOT NULL,
            name text NOT NULL,
            status smallint NOT NULL,
            start_ns bigint NOT NULL,
            end_ns bigint NOT NULL,
            spans integer NOT NULL,
            input_tokens bigint NOT NULL,
            output_tokens bigint NOT NULL,
            cost_nano_usd bigint NOT NULL,
            model text NOT NULL,
            model_at_ns bigint,
            last_seen timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (trace_id, tenant)
        )
    """)
    # Lists are newest first: read backwards, and one row comparison finds the next page.
    op.execute("CREATE INDEX traces_of_tenant ON tracing.traces (tenant, start_ns, trace_id)")
    op.execute("CREATE INDEX traces_of_model ON tracing.traces (tenant, model, start_ns, trace_id)")
    op.execute("CREATE INDEX traces_by_time ON tracing.traces (start_ns, trace_id, tenant)")
    op.execute("CREATE INDEX traces_by_age ON tracing.traces (last_seen)")
    op.execute("""
        CREATE TABLE tracing.feedback (
            id uuid PRIMARY KEY,
            trace_id bytea NOT NULL,
            tenant text NOT NULL,
            span_id bytea NOT NULL,
            score double precision CHECK (score BETWEEN -1 AND 1),
            label text NOT NULL,
            comment text NOT NULL,
            created_ns bigint NOT NULL,
            key_id text NOT NULL,
            user_name text NOT NULL
        )
    """)
    op.execute("CREATE INDEX feedback_of_trace ON tracing.feedback (trace_id, created_ns)")


def downgrade() -> None:
    """Drop the tables."""
    for table in ("feedback", "traces", "spans"):
        op.execute(f"DROP TABLE tracing.{table}")
