"""What an installation's jobs do to a real PostgreSQL: roles, schemas, and waiting for them."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from headrace_kit.errors import NotReady
from headrace_kit.install import database
from headrace_kit.install.names import APP
from headrace_kit.stores.migrations import migrate, pending, wait
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings

MIGRATED = ("gateway", "retrieval", "guardrails", "tracing", "rollout")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    platform = Platform(Settings(data_dir=tmp_path_factory.mktemp("install") / "data", port_base=free_port_base()))
    platform.start(["postgres"], bound=True)
    names = ("postgres-superuser-dsn", "postgres-admin-dsn", "postgres-dsn")
    yield {name: (platform.layout.secrets / name).read_text().strip() for name in names}
    platform.stop()


def test_services_wait_until_their_schemas_are_there(server):
    assert sorted(pending(server["postgres-dsn"])) == sorted(MIGRATED)
    with pytest.raises(NotReady, match=r"not migrated yet: .*gateway"):
        wait(server["postgres-dsn"], patience_s=0)
    migrate(server["postgres-admin-dsn"])
    assert pending(server["postgres-dsn"]) == []
    wait(server["postgres-dsn"], patience_s=0)
    with psycopg.connect(server["postgres-admin-dsn"], autocommit=True) as connection:
        connection.execute("UPDATE gateway.alembic_version SET version_num = 'of-a-newer-release'")
    assert pending(server["postgres-dsn"]) == [], "a newer schema will do: old pods go on beside an upgrade"


def test_a_database_that_is_away_is_said(server):
    away = "postgresql://headrace_app:x@127.0.0.1:9/headrace"
    with pytest.raises(NotReady, match="the database cannot be reached"):
        wait(away, patience_s=0)


def test_setting_up_again_changes_passwords_and_nothing_else(server):
    database.set_up(server["postgres-superuser-dsn"], {APP: "fresh"})
    fresh = server["postgres-dsn"].split("@", 1)[1]
    with psycopg.connect(f"postgresql://headrace_app:fresh@{fresh}") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("headrace_app",)
