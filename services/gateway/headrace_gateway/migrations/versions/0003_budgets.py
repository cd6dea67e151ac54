"""Which budgets pay for a row, which gateways there are, and the audit table.

Revision ID: 0003
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STATEMENTS = (
    "ALTER TABLE gateway.ledger ADD COLUMN budget_day integer NOT NULL DEFAULT 0, "
    "ADD COLUMN budget_holder text NOT NULL DEFAULT ''",
    "UPDATE gateway.ledger SET budget_day = floor(extract(epoch FROM started_at) / 86400)",
    "CREATE INDEX ledger_budget_idx ON gateway.ledger (tenant, budget_day) INCLUDE (budget_holder, cost_nano_usd)",
    """
    CREATE TABLE gateway.replicas (
        id text PRIMARY KEY,
        started_at timestamptz NOT NULL DEFAULT now(),
        alive_at timestamptz NOT NULL DEFAULT now(),
        finished_at timestamptz
    )
    """,
    """
    CREATE TABLE gateway.audit (
        id uuid PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT now(),
        actor text NOT NULL,
        action text NOT NULL,
        tenant text NOT NULL,
        subject text NOT NULL,
        before jsonb,
        after jsonb,
        once text UNIQUE
    )
    """,
    "CREATE INDEX audit_tenant_idx ON gateway.audit (tenant, id)",
    # What was noted stays as it is.
    "REVOKE UPDATE, DELETE ON gateway.audit FROM headrace_app",
    """
    ALTER TABLE gateway.api_keys
        ADD COLUMN previous_digest bytea UNIQUE,
        ADD COLUMN previous_until timestamptz,
        ADD COLUMN rotated_at timestamptz
    """,
)


def upgrade() -> None:
    """Add them; a gateway of the version before goes on writing rows without them."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    op.execute(
        "ALTER TABLE gateway.api_keys DROP COLUMN previous_digest, DROP COLUMN previous_until, DROP COLUMN rotated_at"
    )
    op.execute("DROP TABLE gateway.audit")
    op.execute("DROP TABLE gateway.replicas")
    op.execute("ALTER TABLE gateway.ledger DROP COLUMN budget_day, DROP COLUMN budget_holder")
