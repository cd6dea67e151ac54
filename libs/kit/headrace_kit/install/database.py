"""Roles, database and extension in a PostgreSQL server of ours; where you bring one, these are yours to make."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

from headrace_kit.install.names import DATABASE, OWNER


def set_up(superuser_dsn: str, passwords: Mapping[str, str]) -> None:
    """Make the two roles, the database and the extension `vector`; harmless to repeat.

    Args:
        superuser_dsn: URL of the superuser that ends with a database's name; any database may be named.
        passwords: of `OWNER` and `APP`; roles that are there get these.

    Raises:
        psycopg.Error: the server cannot be reached, or refuses.
    """
    server = superuser_dsn.rpartition("/")[0]
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        for role, password in passwords.items():
            there = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
            command = "ALTER" if there else "CREATE"
            connection.execute(
                sql.SQL(command + " ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD {}").format(
                    sql.Identifier(role), sql.Literal(password)
                )
            )
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(DATABASE), sql.Identifier(OWNER))
            )
    with psycopg.connect(f"{server}/{DATABASE}", autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
