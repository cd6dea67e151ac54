"""Memories: facts of people, their consent, and their conversations."""

from alembic import op

revision = "0005"
down_revision = "0004"

TABLES = """
ALTER TABLE retrieval.collections
    ADD COLUMN kind text NOT NULL DEFAULT 'documents' CHECK (kind IN ('documents', 'memory'));

-- A fact is a document of a memory: `person` is whose, and from `expires_at` on it is not found.
ALTER TABLE retrieval.documents
    ADD COLUMN person text COLLATE "C",
    ADD COLUMN expires_at timestamptz;
CREATE INDEX documents_person ON retrieval.documents (collection_id, person) WHERE person IS NOT NULL;
CREATE INDEX documents_expires ON retrieval.documents (expires_at) WHERE expires_at IS NOT NULL;

-- A row is a consent; taken back, it is gone. Whoever keeps a fact holds a share of its lock.
CREATE TABLE retrieval.consents (
    collection_id uuid NOT NULL REFERENCES retrieval.collections ON DELETE CASCADE,
    person        text NOT NULL COLLATE "C",
    granted_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (collection_id, person)
);

-- `summary` is of the turns up to number `summarised`; `length` counts all turns.
CREATE TABLE retrieval.conversations (
    collection_id uuid NOT NULL REFERENCES retrieval.collections ON DELETE CASCADE,
    person        text NOT NULL COLLATE "C",
    id            text NOT NULL COLLATE "C",
    length        integer NOT NULL DEFAULT 0,
    summary       text NOT NULL DEFAULT '',
    summarised    integer NOT NULL DEFAULT 0,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (collection_id, person, id)
);
CREATE INDEX conversations_updated ON retrieval.conversations (updated_at);

CREATE TABLE retrieval.turns (
    collection_id uuid NOT NULL,
    person        text NOT NULL COLLATE "C",
    conversation  text NOT NULL COLLATE "C",
    number        integer NOT NULL,
    role          text NOT NULL CHECK (role IN ('user', 'assistant')),
    text          text NOT NULL,
    tokens        integer NOT NULL,
    at            timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (collection_id, person, conversation, number),
    FOREIGN KEY (collection_id, person, conversation) REFERENCES retrieval.conversations ON DELETE CASCADE
);
"""

OWN = """collection_id = ANY (ARRAY(SELECT c.id FROM retrieval.collections c
        WHERE c.tenant = (SELECT retrieval.setting('tenant'))))"""


def upgrade() -> None:
    """Make the tables. A transaction sees the rows of the person that it is for, and no other's."""
    op.execute(TABLES)
    own = f"{OWN} AND ARRAY['u:' || person] && (SELECT retrieval.setting('readers')::text[])"
    for table in ("consents", "conversations", "turns"):
        op.execute(f"ALTER TABLE retrieval.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY system ON retrieval.{table} USING ((SELECT retrieval.setting('system')) = 'on')")
        op.execute(f"CREATE POLICY own ON retrieval.{table} USING ({own}) WITH CHECK ({own})")
