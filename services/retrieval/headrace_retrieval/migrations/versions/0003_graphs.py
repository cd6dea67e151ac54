"""Graphs (HNSW) over the vectors of large index versions, the mean vector of each, and the search that uses both."""

from alembic import op

revision = "0003"
down_revision = "0002"

TABLES = """
-- `settled`: the graph of the index version has it. New rows are not, so storing never waits for a graph.
ALTER TABLE retrieval.vectors ADD COLUMN settled boolean NOT NULL DEFAULT false;
CREATE INDEX vectors_unsettled ON retrieval.vectors (index_id) WHERE NOT settled;
CREATE INDEX vectors_readers ON retrieval.vectors USING gin (readers);
CREATE INDEX vectors_terms ON retrieval.vectors USING gin (filter_terms);

-- `mean` (float32, little-endian) is of a sample, when `measured` passages were there.
ALTER TABLE retrieval.indexes
    ADD COLUMN graph boolean NOT NULL DEFAULT false,
    ADD COLUMN mean bytea,
    ADD COLUMN measured bigint NOT NULL DEFAULT 0;
"""

# Services may not change the schema; these do it for them, and nothing else. A graph is made while no row is settled,
# so the table is locked against writes for one scan and not for the making of a graph. Half precision: half the memory,
# and up to 4000 dimensions; what is returned is scored again by the stored vectors.
GRAPHS = """
CREATE FUNCTION retrieval.make_graph(wanted bigint, width integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    IF width NOT BETWEEN 1 AND 4000 THEN RAISE EXCEPTION 'no graph with % dimensions', width; END IF;
    SET LOCAL lock_timeout = '2s';
    EXECUTE format(
        'CREATE INDEX IF NOT EXISTS vectors_graph_%1$s ON retrieval.vectors '
        'USING hnsw ((embedding::halfvec(%2$s)) halfvec_cosine_ops) WHERE index_id = %1$s AND settled', wanted, width);
END $$;

CREATE FUNCTION retrieval.drop_graphs() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE lost record;
BEGIN
    SET LOCAL lock_timeout = '2s';
    FOR lost IN
        SELECT indexname AS name FROM pg_indexes
        WHERE schemaname = 'retrieval' AND tablename = 'vectors' AND indexname ~ '^vectors_graph_[0-9]+$'
          AND NOT EXISTS (SELECT FROM retrieval.indexes i WHERE indexname = 'vectors_graph_' || i.id)
    LOOP
        EXECUTE format('DROP INDEX retrieval.%I', lost.name);
    END LOOP;
END $$;
"""

# The nearest passages of some index versions. It runs as the tables' owner, whom row-level security does not bind: the
# policies' conditions could not be used to find rows, only to throw them away. So it states them itself, from the
# same settings that the policies read, and what it returns is read again under the policies before anyone sees it.
#
# An index version with a graph is searched by it, and its unsettled rows are looked at one by one; so is everything
# when `one_by_one` says that few rows can match: that is faster and exact. Where the graph gives up before it has
# enough rows that the caller may read, they are looked at one by one as well: a filtered search finds what there is.
NEAREST = """
CREATE FUNCTION retrieval.nearest(
    wanted bigint[], query real[], terms text[], most integer, one_by_one bigint[], effort integer)
RETURNS TABLE (chunk_id uuid, score double precision)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    one record;
    conditions text;
    term text;
    v vector := query::vector;
    ids uuid[] := '{}';
    scores double precision[] := '{}';
    some_ids uuid[];
    some_scores double precision[];
    enough boolean;
BEGIN
    PERFORM set_config('hnsw.iterative_scan', 'relaxed_order', true),
            set_config('hnsw.ef_search', effort::text, true);
    FOR one IN
        SELECT i.id, i.graph, i.dimensions, c.tenant = retrieval.setting('tenant') AS own
        FROM retrieval.indexes i JOIN retrieval.collections c ON c.id = i.collection_id
        WHERE i.id = ANY (wanted) AND i.dimensions = array_length(query, 1) AND c.deleted_at IS NULL
          AND (c.tenant = retrieval.setting('tenant') OR retrieval.setting('tenant') = ANY (c.shared_with))
    LOOP
        conditions := '';
        IF NOT (one.own AND coalesce(retrieval.setting('whole'), '') = 'on') THEN
            conditions := format(' AND readers && %L::text[]', coalesce(retrieval.setting('readers'), '{}'));
        END IF;
        FOREACH term IN ARRAY terms LOOP
            conditions := conditions || format(' AND filter_terms && %L::text[]', term);
        END LOOP;
        enough := false;
        IF one.graph AND NOT one.id = ANY (one_by_one) THEN
            PERFORM set_config('enable_sort', 'off', true), set_config('enable_bitmapscan', 'off', true);
            EXECUTE format(
                'SELECT array_agg(chunk_id), array_agg(score) FROM ('
                '  SELECT chunk_id, 1 - (embedding <=> $1) AS score FROM retrieval.vectors'
                '  WHERE index_id = %s AND settled %s'
                '  ORDER BY embedding::halfvec(%s) <=> $1::halfvec(%s) LIMIT $2) AS found',
                one.id, conditions, one.dimensions, one.dimensions) INTO some_ids, some_scores USING v, most;
            PERFORM set_config('enable_sort', 'on', true), set_config('enable_bitmapscan', 'on', true);
            enough := coalesce(array_length(some_ids, 1), 0) >= most;
            IF enough THEN
                ids := ids || some_ids;
                scores := scores || some_scores;
            END IF;
        END IF;
        EXECUTE format(
            'SELECT array_agg(chunk_id), array_agg(score) FROM ('
            '  SELECT chunk_id, 1 - (embedding <=> $1) AS score FROM retrieval.vectors'
            '  WHERE index_id = %s %s %s'
            '  ORDER BY embedding <=> $1, chunk_id LIMIT $2) AS found',
            one.id, CASE WHEN enough THEN 'AND NOT settled' ELSE '' END, conditions)
        INTO some_ids, some_scores USING v, most;
        ids := ids || some_ids;
        scores := scores || some_scores;
    END LOOP;
    RETURN QUERY SELECT f.id, f.score FROM unnest(ids, scores) AS f (id, score)
                 ORDER BY f.score DESC, f.id LIMIT most;
END $$;
"""

_FUNCTIONS = (
    "make_graph(bigint, integer)",
    "drop_graphs()",
    "nearest(bigint[], real[], text[], integer, bigint[], integer)",
)


def upgrade() -> None:
    """Rows that are there already are settled in the background."""
    op.execute(TABLES)
    op.execute(GRAPHS)
    op.execute(NEAREST)
    for function in _FUNCTIONS:
        op.execute(f"REVOKE ALL ON FUNCTION retrieval.{function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION retrieval.{function} TO headrace_app")
