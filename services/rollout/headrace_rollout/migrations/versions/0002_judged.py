"""Decisions, analyses and how far the event log was read; steps that hold, wait for people, and are rolled back."""

from alembic import op

revision = "0002"
down_revision = "0001"

_STATES = ("pending", "running", "promoted", "rolled_back", "aborted", "superseded")


def upgrade() -> None:
    """Create the tables."""
    states = ", ".join(f"'{state}'" for state in _STATES)
    op.execute("ALTER TABLE rollout.rollouts DROP CONSTRAINT rollouts_state_check")
    op.execute(f"ALTER TABLE rollout.rollouts ADD CONSTRAINT rollouts_state_check CHECK (state IN ({states}))")
    op.execute("""
        ALTER TABLE rollout.rollouts
            ADD COLUMN holds text NOT NULL DEFAULT '',
            ADD COLUMN held_s double precision NOT NULL DEFAULT 0,
            ADD COLUMN missing_s double precision NOT NULL DEFAULT 0,
            ADD COLUMN approved integer NOT NULL DEFAULT -1
    """)
    op.execute("""
        CREATE OR REPLACE FUNCTION rollout.stay_ended() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.state NOT IN ('pending', 'running') AND NEW.state IN ('pending', 'running') THEN
                RAISE EXCEPTION 'rollout % has ended', OLD.id;
            END IF;
            RETURN NEW;
        END $$
    """)
    op.execute("""
        CREATE TABLE rollout.decisions (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            rollout_id text NOT NULL REFERENCES rollout.rollouts (id),
            at timestamptz NOT NULL,
            step integer NOT NULL,
            action text NOT NULL CHECK (action IN ('advance', 'promote', 'hold', 'roll_back')),
            reason text NOT NULL,
            verdicts jsonb NOT NULL
        )
    """)
    op.execute("CREATE INDEX decisions_of_rollout ON rollout.decisions (rollout_id, number)")
    op.execute("REVOKE UPDATE, DELETE, TRUNCATE ON rollout.decisions FROM headrace_app")
    # What people are still to be told.
    op.execute("""
        CREATE TABLE rollout.news (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            told jsonb NOT NULL
        )
    """)
    # One row: how far the event log was read into the analyses.
    op.execute("""
        CREATE TABLE rollout.heard (
            one boolean PRIMARY KEY DEFAULT true CHECK (one),
            revision bigint NOT NULL,
            cursor text NOT NULL,
            logs jsonb NOT NULL
        )
    """)
    op.execute("""
        CREATE TABLE rollout.analyses (
            rollout_id text PRIMARY KEY REFERENCES rollout.rollouts (id),
            state json NOT NULL,
            verdicts jsonb NOT NULL,
            updated_at timestamptz NOT NULL DEFAULT now()
        )
    """)


def downgrade() -> None:
    """Drop the tables; what was rolled back becomes aborted."""
    for table in ("analyses", "heard", "news", "decisions"):
        op.execute(f"DROP TABLE rollout.{table}")
    op.execute("UPDATE rollout.rollouts SET state = 'aborted' WHERE state = 'rolled_back'")
    op.execute("ALTER TABLE rollout.rollouts DROP CONSTRAINT rollouts_state_check")
    old = ", ".join(f"'{state}'" for state in _STATES if state != "rolled_back")
    op.execute(f"ALTER TABLE rollout.rollouts ADD CONSTRAINT rollouts_state_check CHECK (state IN ({old}))")
    op.execute("ALTER TABLE rollout.rollouts DROP holds, DROP held_s, DROP missing_s, DROP approved")
