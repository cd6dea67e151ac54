"""Migrations of every installed service: `python -m headrace_kit.stores.migrations`.

A service that has a schema ships alembic scripts in `headrace_<service>/migrations/versions`. Each service has a
PostgreSQL schema of its own with its own version table, so services migrate independently. The role in the
`postgres-admin-dsn` secret owns the schemas; `headrace_app`, the role of the services, only uses them.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import psycopg
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import create_engine, text

from headrace_kit.config import ConfigStore, Environment, Secrets
from headrace_kit.config.ports import SERVICES
from headrace_kit.errors import HeadraceError

APP_ROLE = "headrace_app"
_LOCK = 0x68656164


def migrate(admin_dsn: str, services: tuple[str, ...] = SERVICES) -> dict[str, str]:
    """Bring every service's schema to its newest revision; returns the revision by service.

    Safe to run at the same time from several places: one does it, the others wait. All of a service's pending
    migrations are one transaction.
    """
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(admin_dsn))
    done = {}
    with engine.connect() as connection:
        connection.execute(text(f"SELECT pg_advisory_lock({_LOCK})"))
        connection.commit()
        for service in services:
            scripts = _scripts(service)
            if scripts is None:
                continue
            raw = connection.connection.driver_connection
            assert isinstance(raw, psycopg.Connection)
            schema, role = sql.Identifier(service), sql.Identifier(APP_ROLE)
            for statement in (
                sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema),
                sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, role),
                sql.SQL(
                    "ALTER DEFAULT PRIVILEGES IN SCHEMA {} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {}"
                ).format(schema, role),
                sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA {} GRANT USAGE ON SEQUENCES TO {}").format(schema, role),
                sql.SQL("SET search_path TO {}, public").format(schema),
            ):
                raw.execute(statement)
            raw.commit()
            done[service] = _upgrade(connection, service, scripts)
            connection.commit()
        connection.execute(text(f"SELECT pg_advisory_unlock({_LOCK})"))
        connection.commit()
    engine.dispose()
    return done


def _scripts(service: str) -> ScriptDirectory | None:
    spec = importlib.util.find_spec(f"headrace_{service}")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "migrations"
    scripts = ScriptDirectory(str(folder)) if (folder / "versions").is_dir() else None
    return scripts if scripts and scripts.get_current_head() else None


def _upgrade(connection: object, service: str, scripts: ScriptDirectory) -> str:
    head = scripts.get_current_head() or ""
    context = MigrationContext.configure(
        connection,  # type: ignore[arg-type]
        opts={
            "version_table_schema": service,
            "fn": lambda revision, _: scripts._upgrade_revs(head, revision),
        },
    )
    with context.begin_transaction(), Operations.context(context):
        context.run_migrations()
    return head


def main() -> None:
    """Migrate by the config and environment of this process."""
    env = Environment()
    try:
        stores = ConfigStore.from_file(env.config).current.config.stores
        dsn = Secrets(env.secrets_path, env.variables()).require(stores.postgres_admin)
        for service, revision in migrate(dsn).items():
            print(f"{service}: {revision}")
    except HeadraceError as error:
        sys.exit(f"headrace: {error}")


if __name__ == "__main__":
    main()
