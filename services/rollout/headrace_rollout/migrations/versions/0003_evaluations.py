"""Suites that candidates are put to, and the items of them that are done."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables."""
    op.execute("""
        CREATE TABLE rollout.evaluations (
            rollout_id text NOT NULL REFERENCES rollout.rollouts (id),
            step integer NOT NULL,
            suite text NOT NULL,
            digest text NOT NULL,
            total integer NOT NULL,
            state text NOT NULL CHECK (state IN ('running', 'passed', 'failed')),
            why text NOT NULL DEFAULT '',
            checks jsonb NOT NULL DEFAULT '[]',
            owner text NOT NULL,
            owned_until timestamptz NOT NULL,
            started_at timestamptz NOT NULL DEFAULT now(),
            ended_at timestamptz,
            PRIMARY KEY (rollout_id, step)
        )
    """)
    op.execute("""
        CREATE TABLE rollout.evaluation_items (
            rollout_id text NOT NULL,
            step integer NOT NULL,
            item text NOT NULL,
            graded jsonb NOT NULL,
            PRIMARY KEY (rollout_id, step, item),
            FOREIGN KEY (rollout_id, step) REFERENCES rollout.evaluations (rollout_id, step)
        )
    """)
    # A verdict is for good: a suite that was passed or failed is not run again.
    op.execute("""
        CREATE FUNCTION rollout.stay_judged() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.state <> 'running' THEN
                RAISE EXCEPTION 'the evaluation of step % of rollout % has ended', OLD.step, OLD.rollout_id;
            END IF;
            RETURN NEW;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER stay_judged BEFORE UPDATE ON rollout.evaluations
        FOR EACH ROW EXECUTE FUNCTION rollout.stay_judged()
    """)


def downgrade() -> None:
    """Drop the tables."""
    op.execute("DROP TABLE rollout.evaluation_items")
    op.execute("DROP TABLE rollout.evaluations")
    op.execute("DROP FUNCTION rollout.stay_judged()")
