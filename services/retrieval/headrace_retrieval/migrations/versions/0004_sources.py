"""Sources: how far the synchronisation of each came, and what it has seen there."""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
-- Which sources there are stands in the config; this is what happened. `run` counts; who works on one holds the lease.
CREATE TABLE retrieval.sources (
    collection_id uuid NOT NULL REFERENCES retrieval.collections ON DELETE CASCADE,
    name          text NOT NULL COLLATE "C",
    state         text NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed')),
    run           bigint NOT NULL DEFAULT 0,
    queued_at     timestamptz NOT NULL DEFAULT now(),
    started_at    timestamptz,
    finished_at   timestamptz,
    lease_owner   uuid,
    lease_until   timestamptz,
    seen          integer NOT NULL DEFAULT 0,
    added         integer NOT NULL DEFAULT 0,
    changed       integer NOT NULL DEFAULT 0,
    unchanged     integer NOT NULL DEFAULT 0,
    removed       integer NOT NULL DEFAULT 0,
    refused       integer NOT NULL DEFAULT 0,
    error         text NOT NULL DEFAULT '',
    PRIMARY KEY (collection_id, name)
);

-- `run` is the last one that saw the entry: what the newest complete one did not see has vanished.
CREATE TABLE retrieval.source_entries (
    collection_id uuid NOT NULL,
    source        text NOT NULL COLLATE "C",
    key           text NOT NULL COLLATE "C",
    version       text NOT NULL,
    content_hash  bytea NOT NULL,
    refused       text NOT NULL,
    run           bigint NOT NULL,
    PRIMARY KEY (collection_id, source, key),
    FOREIGN KEY (collection_id, source) REFERENCES retrieval.sources ON DELETE CASCADE
);
CREATE INDEX source_entries_refused ON retrieval.source_entries (collection_id, source, key) WHERE refused <> '';
"""

OWN = """collection_id = ANY (ARRAY(SELECT c.id FROM retrieval.collections c
        WHERE c.tenant = (SELECT retrieval.setting('tenant'))))"""


def upgrade() -> None:
    """Make the tables, with the policies of jobs: their tenant reads them, and asks for synchronisations."""
    op.execute(TABLES)
    whole = f"(SELECT retrieval.setting('whole')) = 'on' AND {OWN}"
    for table in ("sources", "source_entries"):
        op.execute(f"ALTER TABLE retrieval.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY system ON retrieval.{table} USING ((SELECT retrieval.setting('system')) = 'on')")
        op.execute(f"CREATE POLICY seen ON retrieval.{table} FOR SELECT USING ({OWN})")
    op.execute(f"CREATE POLICY made ON retrieval.sources FOR INSERT WITH CHECK ({whole})")
    op.execute(f"CREATE POLICY changed ON retrieval.sources FOR UPDATE USING ({whole})")
