"""Spans and contents by day, columns for what is asked for, full text, and what was said beyond a score."""

from alembic import op

revision = "0002"
down_revision = "0001"

_TEXTS = (
    "deployment",
    "arm",
    "operation",
    "provider",
    "cache",
    "key_id",
    "config_hash",
    "rollout",
    "user_digest",
    "question",
    "error",
    "session",
)
_NUMBERS = ("ttft_us integer", "attempts integer", "stages integer", "capture smallint")
_REPORTED = ("reported_input_tokens", "reported_output_tokens", "reported_nano_usd")


def upgrade() -> None:
    """Make the tables of days, and move what is there."""
    columns = [f"ADD COLUMN {name} text NOT NULL DEFAULT ''" for name in _TEXTS]
    columns += [f"ADD COLUMN {name} NOT NULL DEFAULT 0" for name in _NUMBERS]
    columns += [f"ADD COLUMN {name} bigint NOT NULL DEFAULT 0" for name in _REPORTED]
    columns += [f"ADD COLUMN {name} text[] NOT NULL DEFAULT '{{}}'" for name in ("findings", "collections", "services")]
    columns += [
        "ADD COLUMN score_sum double precision NOT NULL DEFAULT 0",
        "ADD COLUMN scores integer NOT NULL DEFAULT 0",
        "ADD COLUMN said integer NOT NULL DEFAULT 0",
        "ADD COLUMN labels text[] NOT NULL DEFAULT '{}'",
        # What an older replica writes meanwhile belongs to today.
        "ADD COLUMN day integer NOT NULL DEFAULT floor(extract(epoch FROM now()) / 86400)",
    ]
    op.execute(f"ALTER TABLE tracing.traces {', '.join(columns)}")
    op.execute("UPDATE tracing.traces SET day = floor(extract(epoch FROM last_seen) / 86400), attempts = spans")
    op.execute("DROP INDEX tracing.traces_of_model")
    op.execute("DROP INDEX tracing.traces_by_age")
    op.execute("CREATE INDEX traces_of_day ON tracing.traces (day)")
    op.execute("CREATE INDEX traces_of_session ON tracing.traces (tenant, session, start_ns) WHERE session <> ''")
    # A trace belongs to the day on which its first span came in, whatever clocks say, and all its spans with it.
    # The table `spans` of before stays, empty, for replicas of the version before; the next migration may drop it.
    op.execute("""
        CREATE TABLE tracing.day_spans (
            trace_id bytea NOT NULL,
            span_id bytea NOT NULL,
            start_ns bigint NOT NULL,
            end_ns bigint NOT NULL,
            day integer NOT NULL,
            kind smallint NOT NULL,
            status smallint NOT NULL,
            parent_span_id bytea NOT NULL,
            tenant text NOT NULL,
            service text NOT NULL,
            name text NOT NULL,
            body bytea NOT NULL,
            PRIMARY KEY (trace_id, span_id, tenant, day)
        ) PARTITION BY LIST (day)
    """)
    for table in ("day_contents", "day_sealed"):
        op.execute(f"""
            CREATE TABLE tracing.{table} (
                trace_id bytea NOT NULL,
                span_id bytea NOT NULL,
                day integer NOT NULL,
                tenant text NOT NULL,
                body bytea NOT NULL,
                PRIMARY KEY (trace_id, span_id, tenant, day)
            ) PARTITION BY LIST (day)
        """)
    op.execute("""
        CREATE TABLE tracing.day_texts (
            trace_id bytea NOT NULL,
            day integer NOT NULL,
            tenant text NOT NULL,
            words tsvector NOT NULL
        ) PARTITION BY LIST (day)
    """)
    op.execute("CREATE INDEX texts_by_word ON tracing.day_texts USING gin (words)")
    op.execute("CREATE INDEX texts_of_trace ON tracing.day_texts (trace_id)")
    # Services may not change the schema; these two do it for them, and nothing else.
    op.execute("""
        CREATE FUNCTION tracing.make_day(wanted integer) RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        DECLARE name text;
        BEGIN
            IF wanted NOT BETWEEN 0 AND 100000 THEN RAISE EXCEPTION 'no such day: %', wanted; END IF;
            PERFORM pg_advisory_xact_lock(1751474532);
            FOREACH name IN ARRAY ARRAY['day_spans', 'day_contents', 'day_sealed', 'day_texts'] LOOP
                EXECUTE format(
                    'CREATE TABLE IF NOT EXISTS tracing.%I PARTITION OF tracing.%I FOR VALUES IN (%s)',
                    name || '_' || wanted, name, wanted);
            END LOOP;
        END $$
    """)
    op.execute("""
        CREATE FUNCTION tracing.drop_day(wanted integer, parts text[]) RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        DECLARE name text;
        BEGIN
            SET LOCAL lock_timeout = '2s';
            FOREACH name IN ARRAY parts LOOP
                IF name NOT IN ('day_spans', 'day_contents', 'day_sealed', 'day_texts') THEN
                    RAISE EXCEPTION 'no such table: %', name;
                END IF;
                EXECUTE format('DROP TABLE IF EXISTS tracing.%I', name || '_' || wanted);
            END LOOP;
        END $$
    """)
    for function in ("make_day(integer)", "drop_day(integer, text[])"):
        op.execute(f"REVOKE ALL ON FUNCTION tracing.{function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION tracing.{function} TO headrace_app")
    op.execute("SELECT tracing.make_day(day) FROM (SELECT DISTINCT day FROM tracing.traces) days")
    # Body 0 is plain JSON; the service writes newer ones.
    op.execute(r"""
        INSERT INTO tracing.day_spans
        SELECT s.trace_id, s.span_id, s.start_ns, s.end_ns, t.day, s.kind, s.status, s.parent_span_id, s.tenant,
               s.service, s.name,
               '\x00'::bytea || convert_to(
                   jsonb_build_array(s.attributes, s.events, '[]'::jsonb, s.status_message)::text, 'UTF8')
        FROM tracing.spans s JOIN tracing.traces t USING (trace_id, tenant)
    """)
    op.execute("TRUNCATE tracing.spans")
    op.execute("ALTER TABLE tracing.feedback ADD COLUMN correction text NOT NULL DEFAULT ''")
    op.execute("ALTER TABLE tracing.feedback ADD COLUMN source text NOT NULL DEFAULT 'person'")
    op.execute("CREATE INDEX feedback_of_time ON tracing.feedback (tenant, created_ns)")


def downgrade() -> None:
    """Drop what was added, the spans that came in since with it."""
    for table in ("day_texts", "day_sealed", "day_contents", "day_spans"):
        op.execute(f"DROP TABLE tracing.{table}")
    op.execute("DROP FUNCTION tracing.make_day(integer)")
    op.execute("DROP FUNCTION tracing.drop_day(integer, text[])")
    op.execute("DROP INDEX tracing.feedback_of_time")
    op.execute("ALTER TABLE tracing.feedback DROP COLUMN correction, DROP COLUMN source")
    names = [*_TEXTS, *(number.split()[0] for number in _NUMBERS), *_REPORTED]
    names += ["findings", "collections", "services", "score_sum", "scores", "said", "labels", "day"]
    op.execute(f"ALTER TABLE tracing.traces {', '.join(f'DROP COLUMN {name}' for name in names)}")
    op.execute("CREATE INDEX traces_of_model ON tracing.traces (tenant, model, start_ns, trace_id)")
    op.execute("CREATE INDEX traces_by_age ON tracing.traces (last_seen)")
