"""Tables of retrieval, and the row-level security that stands behind every query."""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;

-- Epochs come from one sequence, so a collection that is made again under an old name never repeats an old epoch.
CREATE SEQUENCE retrieval.epochs;

CREATE TABLE retrieval.collections (
    id          uuid PRIMARY KEY,
    tenant      text NOT NULL,
    name        text NOT NULL COLLATE "C",
    acl         text NOT NULL CHECK (acl IN ('required', 'none')),
    shared_with text[] NOT NULL DEFAULT '{}',
    source      text NOT NULL CHECK (source IN ('config', 'api')),
    epoch       bigint NOT NULL DEFAULT nextval('retrieval.epochs'),
    created_at  timestamptz NOT NULL DEFAULT now(),
    deleted_at  timestamptz
);
CREATE UNIQUE INDEX collections_name ON retrieval.collections (tenant, name) WHERE deleted_at IS NULL;

-- An index version: how a collection is cut and embedded. A new one is built beside the active one, then takes over.
CREATE TABLE retrieval.indexes (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection_id  uuid NOT NULL REFERENCES retrieval.collections ON DELETE CASCADE,
    embedding      text NOT NULL,
    max_tokens     integer NOT NULL,
    overlap_tokens integer NOT NULL,
    dimensions     integer,
    state          text NOT NULL CHECK (state IN ('active', 'building')),
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX indexes_state ON retrieval.indexes (collection_id, state);

-- `latest` is the revision accepted last, `published` the one that searches see (NULL: none yet).
-- `readers` holds `public`, `u:<user>` and `g:<group>`; who holds one of them may read.
CREATE TABLE retrieval.documents (
    pk            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection_id uuid NOT NULL REFERENCES retrieval.collections ON DELETE CASCADE,
    id            text NOT NULL COLLATE "C",
    latest        bigint,
    published     bigint,
    readers       text[] NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    UNIQUE (collection_id, id)
);

CREATE TABLE retrieval.revisions (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    document_pk   bigint NOT NULL REFERENCES retrieval.documents ON DELETE CASCADE,
    collection_id uuid NOT NULL,
    title         text NOT NULL,
    text          text NOT NULL,
    content_type  text NOT NULL,
    metadata      jsonb NOT NULL,
    filter_terms  text[] NOT NULL,
    acl           jsonb,
    readers       text[] NOT NULL,
    content_hash  bytea NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX revisions_document ON retrieval.revisions (document_pk);
CREATE INDEX revisions_collection ON retrieval.revisions (collection_id);

CREATE TABLE retrieval.chunks (
    id            uuid PRIMARY KEY,
    index_id      bigint NOT NULL REFERENCES retrieval.indexes ON DELETE CASCADE,
    collection_id uuid NOT NULL,
    document_pk   bigint NOT NULL REFERENCES retrieval.documents ON DELETE CASCADE,
    revision_id   bigint NOT NULL REFERENCES retrieval.revisions ON DELETE CASCADE,
    ordinal       integer NOT NULL,
    span_start    integer NOT NULL,
    span_end      integer NOT NULL,
    page          integer,
    headings      text[] NOT NULL,
    text          text NOT NULL,
    readers       text[] NOT NULL,
    filter_terms  text[] NOT NULL,
    CHECK (0 <= span_start AND span_start < span_end)
);
CREATE INDEX chunks_index ON retrieval.chunks (index_id, document_pk);
CREATE INDEX chunks_document ON retrieval.chunks (document_pk);
CREATE INDEX chunks_revision ON retrieval.chunks (revision_id);

-- Apart from the text, so that a row fits a page and a scan reads nothing else. Any number of dimensions.
CREATE TABLE retrieval.vectors (
    chunk_id      uuid PRIMARY KEY REFERENCES retrieval.chunks ON DELETE CASCADE,
    index_id      bigint NOT NULL,
    collection_id uuid NOT NULL,
    document_pk   bigint NOT NULL,
    readers       text[] NOT NULL,
    filter_terms  text[] NOT NULL,
    embedding     vector NOT NULL
);
ALTER TABLE retrieval.vectors ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE INDEX vectors_index ON retrieval.vectors (index_id);
CREATE INDEX vectors_document ON retrieval.vectors (document_pk);

CREATE TABLE retrieval.jobs (
    id            uuid PRIMARY KEY,
    tenant        text NOT NULL,
    collection_id uuid NOT NULL REFERENCES retrieval.collections ON DELETE CASCADE,
    kind          text NOT NULL CHECK (kind IN ('ingest', 'reindex')),
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX jobs_collection ON retrieval.jobs (collection_id);

-- The queue. An item is a revision to be put into an index; who works on it holds the lease and renews it.
CREATE TABLE retrieval.job_items (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id        uuid NOT NULL REFERENCES retrieval.jobs ON DELETE CASCADE,
    tenant        text NOT NULL,
    collection_id uuid NOT NULL,
    document_id   text NOT NULL,
    revision_id   bigint NOT NULL,
    index_id      bigint NOT NULL,
    state         text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'done', 'failed')),
    attempts      integer NOT NULL DEFAULT 0,
    failures      integer NOT NULL DEFAULT 0,
    run_after     timestamptz NOT NULL DEFAULT now(),
    lease_owner   uuid,
    lease_until   timestamptz,
    error         text,
    finished_at   timestamptz
);
CREATE INDEX job_items_job ON retrieval.job_items (job_id);
CREATE INDEX job_items_queue ON retrieval.job_items (id) WHERE state = 'queued';
CREATE INDEX job_items_index ON retrieval.job_items (index_id) WHERE state <> 'done';

-- Says which document of which index changed (NULL: the index as a whole); readers fetch what is true now.
CREATE TABLE retrieval.outbox (
    id            bigint PRIMARY KEY,
    collection_id uuid NOT NULL,
    index_id      bigint NOT NULL,
    document_pk   bigint,
    at            timestamptz NOT NULL DEFAULT now()
);
CREATE SEQUENCE retrieval.outbox_id;
-- Rows up to `upto` were removed; who has not read that far starts over.
CREATE TABLE retrieval.outbox_trimmed (upto bigint NOT NULL);
INSERT INTO retrieval.outbox_trimmed VALUES (0);
"""

# Ids must become visible in their order, or a reader that remembers the last one it saw would miss a row that commits
# late. So whoever writes holds this lock from the first id to the end of its transaction; it is written to last.
OUTBOX_ORDER = """
CREATE FUNCTION retrieval.outbox_in_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7021932481);
    NEW.id := nextval('retrieval.outbox_id');
    RETURN NEW;
END $$;
CREATE TRIGGER in_order BEFORE INSERT ON retrieval.outbox
    FOR EACH ROW EXECUTE FUNCTION retrieval.outbox_in_order();
"""

# Every transaction says for whom it is; one that says nothing sees nothing.
#   headrace.tenant   the caller's tenant
#   headrace.readers  text[] of what the caller may stand for: public, u:<user>, g:<group>
#   headrace.whole    `on`: all documents of the tenant's own collections (writes, and keys that may read all)
#   headrace.system   `on`: the service's own work, never a caller's
# The settings stand in sub-selects so that they are read once a query, not once a row.
SECURITY = """
CREATE FUNCTION retrieval.setting(name text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE
    RETURN NULLIF(current_setting('headrace.' || name, true), '');

ALTER TABLE retrieval.collections ENABLE ROW LEVEL SECURITY;
CREATE POLICY system ON retrieval.collections USING ((SELECT retrieval.setting('system')) = 'on');
CREATE POLICY seen ON retrieval.collections FOR SELECT USING (
    deleted_at IS NULL
    AND (tenant = (SELECT retrieval.setting('tenant')) OR (SELECT retrieval.setting('tenant')) = ANY (shared_with)));
CREATE POLICY made ON retrieval.collections FOR INSERT WITH CHECK (tenant = (SELECT retrieval.setting('tenant')));
CREATE POLICY changed ON retrieval.collections FOR UPDATE
    USING (tenant = (SELECT retrieval.setting('tenant')) AND (SELECT retrieval.setting('whole')) = 'on');
"""

OWN = """collection_id = ANY (ARRAY(SELECT c.id FROM retrieval.collections c
        WHERE c.tenant = (SELECT retrieval.setting('tenant'))))"""
SEEN = "collection_id = ANY (ARRAY(SELECT c.id FROM retrieval.collections c))"


def _protect(table: str, seen: str, written: str) -> str:
    return f"""
    ALTER TABLE retrieval.{table} ENABLE ROW LEVEL SECURITY;
    CREATE POLICY system ON retrieval.{table} USING ((SELECT retrieval.setting('system')) = 'on');
    CREATE POLICY seen ON retrieval.{table} FOR SELECT USING ({seen});
    CREATE POLICY made ON retrieval.{table} FOR INSERT WITH CHECK ({written});
    CREATE POLICY changed ON retrieval.{table} FOR UPDATE USING ({written});
    CREATE POLICY removed ON retrieval.{table} FOR DELETE USING ({written});
    """


def upgrade() -> None:
    """Make everything."""
    op.execute(TABLES)
    op.execute(OUTBOX_ORDER)
    op.execute(SECURITY)
    whole = f"(SELECT retrieval.setting('whole')) = 'on' AND {OWN}"
    read = f"""({SEEN} AND readers && (SELECT retrieval.setting('readers')::text[])) OR ({whole})"""
    for table in ("documents", "revisions", "chunks", "vectors"):
        op.execute(_protect(table, read, whole))
    op.execute(_protect("indexes", SEEN, whole))
    op.execute(_protect("jobs", OWN, whole))
    op.execute(_protect("job_items", OWN, whole))
    op.execute("""
    ALTER TABLE retrieval.outbox ENABLE ROW LEVEL SECURITY;
    CREATE POLICY system ON retrieval.outbox USING ((SELECT retrieval.setting('system')) = 'on');
    """)
    op.execute(f"CREATE POLICY made ON retrieval.outbox FOR INSERT WITH CHECK ({whole})")
