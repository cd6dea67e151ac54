"""The ledger: a row per request, stage and attempt."""

from alembic import op

revision = "0001_ledger"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.execute("""
        CREATE TABLE ledger (
            request_id uuid NOT NULL,
            stage integer NOT NULL,
            attempt integer NOT NULL,
            tenant text NOT NULL,
            key_id text NOT NULL,
            unit text NOT NULL,
            model text NOT NULL,
            deployment text NOT NULL,
            rollout_id text NOT NULL,
            arm text NOT NULL,
            shadow boolean NOT NULL,
            config_hash text NOT NULL,
            trace_id text NOT NULL,
            operation text NOT NULL,
            reserved_output_tokens bigint NOT NULL,
            opened_at timestamptz NOT NULL,
            closed_at timestamptz,
            input_tokens bigint NOT NULL DEFAULT 0,
            cached_input_tokens bigint NOT NULL DEFAULT 0,
            output_tokens bigint NOT NULL DEFAULT 0,
            reasoning_tokens bigint NOT NULL DEFAULT 0,
            cost_nano_usd bigint NOT NULL DEFAULT 0,
            cache text NOT NULL DEFAULT '',
            finish_reason text NOT NULL DEFAULT '',
            error_code text NOT NULL DEFAULT '',
            verdict text NOT NULL DEFAULT '',
            confidence double precision,
            first_token_us bigint NOT NULL DEFAULT 0,
            duration_us bigint NOT NULL DEFAULT 0,
            guard_findings text[] NOT NULL DEFAULT '{}',
            PRIMARY KEY (request_id, stage, attempt)
        )
    """)
    op.execute("CREATE INDEX ledger_by_tenant ON ledger (tenant, opened_at)")
    op.execute("CREATE INDEX ledger_by_trace ON ledger (trace_id)")
    op.execute("""
        CREATE TABLE ledger_progress (
            log_id text PRIMARY KEY,
            sequence bigint NOT NULL,
            updated_at timestamptz NOT NULL DEFAULT now()
        )
    """)
    op.execute("COMMENT ON TABLE ledger_progress IS 'Sequence up to which each gateway''s log is complete in ledger.'")
    op.execute("CREATE TABLE ledger_position (one boolean PRIMARY KEY CHECK (one), position text NOT NULL)")
    op.execute("COMMENT ON TABLE ledger_position IS 'Stream position up to which ledger has every event.'")


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE ledger_position, ledger_progress, ledger")
