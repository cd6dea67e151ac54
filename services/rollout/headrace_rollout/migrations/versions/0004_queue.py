"""Rollouts that wait behind others of their model."""

from alembic import op

revision = "0004"
down_revision = "0003"

_OPEN = ("queued", "pending", "running")
_STATES = (*_OPEN, "promoted", "rolled_back", "aborted", "superseded")


def upgrade() -> None:
    """Let rollouts be queued."""
    _states(_STATES)
    _trigger(_OPEN)


def downgrade() -> None:
    """Abort what is queued."""
    op.execute("UPDATE rollout.rollouts SET state = 'aborted' WHERE state = 'queued'")
    _states(_STATES[1:])
    _trigger(_OPEN[1:])


def _states(states: tuple[str, ...]) -> None:
    listed = ", ".join(f"'{state}'" for state in states)
    op.execute("ALTER TABLE rollout.rollouts DROP CONSTRAINT rollouts_state_check")
    op.execute(f"ALTER TABLE rollout.rollouts ADD CONSTRAINT rollouts_state_check CHECK (state IN ({listed}))")


def _trigger(states: tuple[str, ...]) -> None:
    listed = ", ".join(f"'{state}'" for state in states)
    op.execute(f"""
        CREATE OR REPLACE FUNCTION rollout.stay_ended() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF OLD.state NOT IN ({listed}) AND NEW.state IN ({listed}) THEN
                RAISE EXCEPTION 'rollout % has ended', OLD.id;
            END IF;
            RETURN NEW;
        END $$
    """)
