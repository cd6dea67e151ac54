"""Rollouts and their audit trail."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.execute("""
        CREATE TABLE rollout.rollouts (
            id text PRIMARY KEY,
            model text NOT NULL,
            spec jsonb NOT NULL,
            source text NOT NULL CHECK (source IN ('config', 'api', 'resource')),
            salt text NOT NULL,
            state text NOT NULL CHECK (state IN ('pending', 'running', 'promoted', 'aborted', 'superseded')),
            reason text NOT NULL,
            created_at timestamptz NOT NULL,
            step_started_at timestamptz NOT NULL,
            step integer NOT NULL,
            served_s double precision NOT NULL,
            counted_at timestamptz,
            overlay boolean NOT NULL CHECK (NOT overlay OR state = 'promoted')
        )
    """)
    # Whatever a controller thinks: one rollout of a model at a time, and one overlay.
    op.execute("CREATE UNIQUE INDEX one_live ON rollout.rollouts (model) WHERE state IN ('pending', 'running')")
    op.execute("CREATE UNIQUE INDEX one_overlay ON rollout.rollouts (model) WHERE overlay")
    op.execute("CREATE INDEX rollouts_by_time ON rollout.rollouts (created_at)")
    op.execute("""
        CREATE TABLE rollout.transitions (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            rollout_id text NOT NULL REFERENCES rollout.rollouts (id),
            at timestamptz NOT NULL,
            was text,
            state text NOT NULL,
            step integer NOT NULL,
            weight integer NOT NULL,
            overlay boolean NOT NULL,
            source text NOT NULL,
            reason text NOT NULL,
            actor text NOT NULL
        )
    """)
    op.execute("CREATE INDEX transitions_of_rollout ON rollout.transitions (rollout_id, number)")
    # The trail is only ever added to, and an ended rollout is never made to run again.
    op.execute("REVOKE UPDATE, DELETE, TRUNCATE ON rollout.transitions FROM headrace_app")
    op.execute("REVOKE DELETE, TRUNCATE ON rollout.rollouts FROM headrace_app")
    op.execute("""
        CREATE FUNCTION rollout.stay_ended() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.state IN ('promoted', 'aborted', 'superseded') AND NEW.state IN ('pending', 'running') THEN
                RAISE EXCEPTION 'rollout % has ended', OLD.id;
            END IF;
            RETURN NEW;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER stay_ended BEFORE UPDATE ON rollout.rollouts
        FOR EACH ROW EXECUTE FUNCTION rollout.stay_ended()
    """)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE rollout.transitions")
    op.execute("DROP TABLE rollout.rollouts")
    op.execute("DROP FUNCTION rollout.stay_ended()")
