"""What says whether a trace's spans are missed by somebody, and which spans of it are gone."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns."""
    op.execute("""
        ALTER TABLE tracing.traces
        ADD COLUMN failed integer NOT NULL DEFAULT 0,
        ADD COLUMN unsure integer NOT NULL DEFAULT 0,
        ADD COLUMN saved boolean NOT NULL DEFAULT false,
        -- 0: not looked at since its last span came.
        ADD COLUMN settled smallint NOT NULL DEFAULT 0,
        -- Ids of the spans that are gone, 8 bytes each: one that is sent again must not count again.
        ADD COLUMN thinned bytea NOT NULL DEFAULT ''
    """)
    op.execute("CREATE INDEX traces_unsettled ON tracing.traces (day) WHERE settled = 0")


def downgrade() -> None:
    """Drop the columns; spans that are gone stay gone."""
    op.execute("DROP INDEX tracing.traces_unsettled")
    op.execute("""
        ALTER TABLE tracing.traces
        DROP COLUMN failed, DROP COLUMN unsure, DROP COLUMN saved, DROP COLUMN settled, DROP COLUMN thinned
    """)
