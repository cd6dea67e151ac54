"""Keys, the ledger and the progress of logs.

Revision ID: 0001
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_STATEMENTS = (
    "CREATE SEQUENCE gateway.api_keys_version",
    """
    CREATE TABLE gateway.api_keys (
        id uuid PRIMARY KEY,
        tenant text NOT NULL,
        name text NOT NULL,
        scopes text[] NOT NULL,
        digest bytea NOT NULL UNIQUE,
        created_at timestamptz NOT NULL DEFAULT now(),
        created_by text NOT NULL,
        expires_at timestamptz,
        revoked_at timestamptz,
        revoked_by text,
        version bigint NOT NULL DEFAULT nextval('gateway.api_keys_version')
    )
    """,
    "CREATE INDEX api_keys_version_idx ON gateway.api_keys (version)",
    "CREATE INDEX api_keys_tenant_idx ON gateway.api_keys (tenant, created_at)",
    """
    CREATE TABLE gateway.ledger (
        request_id uuid NOT NULL,
        stage smallint NOT NULL,
        attempt smallint NOT NULL,
        state text NOT NULL CHECK (state IN ('open', 'closed')),
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
        started_at timestamptz NOT NULL,
        started_us bigint NOT NULL,
        first_token_us bigint NOT NULL,
        ended_us bigint NOT NULL,
        input_tokens bigint NOT NULL,
        cached_input_tokens bigint NOT NULL,
        output_tokens bigint NOT NULL,
        reasoning_tokens bigint NOT NULL,
        reserved_output_tokens bigint NOT NULL,
        cost_nano_usd bigint NOT NULL,
        cache text NOT NULL,
        finish_reason text NOT NULL,
        error_code text NOT NULL,
        verdict text NOT NULL,
        confidence double precision,
        guard_findings text[] NOT NULL,
        PRIMARY KEY (request_id, stage, attempt)
    )
    """,
    "CREATE INDEX ledger_tenant_started_idx ON gateway.ledger (tenant, started_at)",
    "CREATE INDEX ledger_started_idx ON gateway.ledger USING brin (started_at)",
    """
    CREATE TABLE gateway.log_progress (
        log_id uuid PRIMARY KEY,
        sequence bigint NOT NULL DEFAULT 0,
        ahead bigint[] NOT NULL DEFAULT '{}',
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
)


def upgrade() -> None:
    """Make the tables."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables."""
    for table in ("log_progress", "ledger", "api_keys"):
        op.execute(f"DROP TABLE gateway.{table}")
    op.execute("DROP SEQUENCE gateway.api_keys_version")
