"""The review queue and the audit."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.execute("""
        CREATE TABLE guardrails.reviews (
            id uuid PRIMARY KEY,
            tenant text NOT NULL,
            "user" text NOT NULL,
            policy text NOT NULL,
            version text NOT NULL,
            direction text NOT NULL,
            findings jsonb NOT NULL,
            request_id text NOT NULL,
            trace_id text NOT NULL,
            -- A keyed digest of tenant, policy, direction and text: the same text again is the same item.
            digest bytea NOT NULL,
            -- The text, sealed; null once it was erased.
            sealed bytea,
            state text NOT NULL CHECK (state IN ('open', 'claimed', 'approved', 'rejected', 'expired')),
            created_at timestamptz NOT NULL DEFAULT now(),
            expires_at timestamptz NOT NULL,
            claimed_by text,
            claimed_until timestamptz,
            decided_by text,
            decided_at timestamptz,
            reason text NOT NULL DEFAULT ''
        )
    """)
    op.execute("CREATE UNIQUE INDEX one_waiting ON guardrails.reviews (digest) WHERE state IN ('open', 'claimed')")
    op.execute("CREATE INDEX decided_by_digest ON guardrails.reviews (digest, decided_at) WHERE state = 'approved'")
    op.execute("CREATE INDEX reviews_by_state ON guardrails.reviews (state, id)")
    op.execute("""
        CREATE TABLE guardrails.audit (
            number bigint PRIMARY KEY,
            id text NOT NULL UNIQUE,
            -- Exactly the bytes that were hashed.
            body text NOT NULL,
            previous bytea NOT NULL,
            hash bytea NOT NULL
        )
    """)
    op.execute("REVOKE UPDATE, DELETE, TRUNCATE ON guardrails.audit FROM headrace_app")
    op.execute("""
        CREATE FUNCTION guardrails.only_added_to() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the audit is only ever added to';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER only_added_to BEFORE UPDATE OR DELETE ON guardrails.audit
        FOR EACH ROW EXECUTE FUNCTION guardrails.only_added_to()
    """)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE guardrails.audit")
    op.execute("DROP FUNCTION guardrails.only_added_to()")
    op.execute("DROP TABLE guardrails.reviews")
