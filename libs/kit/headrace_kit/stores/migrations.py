"""Migrations of every installed service: `python -m headrace_kit.stores.migrations [--wait]`.

A service that has a schema ships alembic scripts in `headrace_<service>/migrations/versions`. Each service has a
PostgreSQL schema of its own with its own version table, so services migrate independently. The role in the
`postgres-admin-dsn` secret owns the schemas; `headrace_app`, the role of the services, only uses them.

With `--wait` nothing is migrated: it returns when somebody else has, or fails when that takes too long. A service must
not start on an older schema than its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
import time
from pathlib import Path

import psycopg
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import create_engine, text

from headrace_kit.config import ConfigStore, Environment, Secrets
from headrace_kit.config.ports import SERVICES
from headrace_kit.errors import HeadraceError, NotReady

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


def pending(app_dsn: str, services: tuple[str, ...] = SERVICES) -> list[str]:
    """The installed services whose schema is not there yet, or older than their code. Newer ones will do.

    Args:
        app_dsn: of the role that services use.

    Raises:
        psycopg.OperationalError: the database cannot be reached.
    """
    late = []
    with psycopg.connect(app_dsn, autocommit=True, connect_timeout=5) as connection:
        for service in services:
            scripts = _scripts(service)
            if scripts is None:
                continue
            query = sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(service, "alembic_version"))
            try:
                row = connection.execute(query).fetchone()
            except (psycopg.errors.UndefinedTable, psycopg.errors.InsufficientPrivilege):
                row = None
            older = {script.revision for script in scripts.walk_revisions()} - {scripts.get_current_head()}
            if row is None or row[0] in older:
                late.append(service)
    return late


def wait(app_dsn: str, patience_s: float, services: tuple[str, ...] = SERVICES) -> None:
    """Return when the schemas of all installed services are there.

    Raises:
        NotReady: they are not after `patience_s` seconds, or the database cannot be reached; the message says which.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            late = pending(app_dsn, services)
            problem = f"not migrated yet: {', '.join(late)}; `headrace migrate` does it"
        except psycopg.OperationalError as error:
            late, problem = ["?"], f"the database cannot be reached: {str(error).strip()}"
        if not late:
            return
        if time.monotonic() > deadline:
            raise NotReady(problem)
        time.sleep(1)


def main() -> None:
    """Migrate, or wait for it, by the config and environment of this process."""
    parser = argparse.ArgumentParser(prog="python -m headrace_kit.stores.migrations")
    parser.add_argument("--wait", action="store_true", help="only wait until somebody else has migrated")
    parser.add_argument("--patience-s", type=float, default=600, help="longest wait, in seconds (default: 600)")
    given = parser.parse_args()
    env = Environment()
    try:
        stores = ConfigStore.from_file(env.config).current.config.stores
        found = Secrets(env.secrets_path, env.variables())
        if given.wait:
            # The first process of a container is not ended by a signal that it does not handle.
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
            wait(found.require(stores.postgres), given.patience_s)
            return
        for service, revision in migrate(found.require(stores.postgres_admin)).items():
            print(f"{service}: {revision}")
    except HeadraceError as error:
        sys.exit(f"headrace: {error}")
    except psycopg.OperationalError as error:
        sys.exit(f"headrace: the database cannot be reached: {str(error).strip()}")


if __name__ == "__main__":
    main()
