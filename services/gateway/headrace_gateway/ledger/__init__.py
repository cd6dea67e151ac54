"""Who used what, exactly once: local log -> Valkey's stream -> PostgreSQL.

`frames` and `log` write events to disk before an engine starts, `ship` copies them to the stream, `write` moves the
stream into the table, `recover` closes what a crash left open, `usage` adds it up, `service` runs all of it.
"""
