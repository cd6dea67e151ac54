"""The embedded PostgreSQL and Valkey: nothing acknowledged is lost, and nothing stays behind."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import redis

from headrace_local import processes
from headrace_local.platform import AlreadyRunning, Platform
from headrace_local.ports import PortInUse, free_port_base, listening
from headrace_local.settings import Settings

STORES = ("postgres", "valkey")


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """The stores alone, running."""
    platform = Platform(Settings(data_dir=tmp_path / "data", port_base=free_port_base()))
    platform.start(STORES, bound=True)
    yield platform
    platform.stop()


def secret(platform: Platform, name: str) -> str:
    return (platform.layout.secrets / name).read_text().strip()


def sql(platform: Platform, statement: str, *values: object, role: str = "postgres-admin-dsn") -> list[tuple]:
    with psycopg.connect(secret(platform, role), autocommit=True) as connection:
        cursor = connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


def valkey(platform: Platform) -> redis.Redis:
    return redis.Redis.from_url(secret(platform, "valkey-url"), socket_timeout=5)


def fill(platform: Platform) -> None:
    sql(
        platform,
        "CREATE TABLE IF NOT EXISTS public.notes (id int PRIMARY KEY, v vector(3))",
        role="postgres-superuser-dsn",
    )
    with psycopg.connect(secret(platform, "postgres-superuser-dsn"), autocommit=True) as connection:
        for n in range(200):
            connection.execute("INSERT INTO public.notes VALUES (%s, '[1,2,3]')", [n])


def notes(platform: Platform) -> int:
    return sql(platform, "SELECT count(*) FROM public.notes", role="postgres-superuser-dsn")[0][0]


def members(platform: Platform) -> dict[int, dict[str, str]]:
    """Processes of this data directory; PostgreSQL's own children, which hide their environment, by their parent."""
    import psutil

    found = processes.of_data_dir(platform.layout.identity)
    for pid in list(found):
        for child in psutil.Process(pid).children(recursive=True):
            found.setdefault(child.pid, {})
    return found


def test_acknowledged_rows_survive_kill_9_of_postgres(platform: Platform):
    fill(platform)
    platform.kill("postgres")
    platform.wait_ready("postgres", restarts=1)
    assert notes(platform) == 200


def test_acknowledged_writes_survive_kill_9_of_valkey(platform: Platform):
    client = valkey(platform)
    for n in range(200):
        client.set(f"key-{n}", n)
    client.execute_command("WAITAOF", 1, 0, 5000)
    platform.kill("valkey")
    platform.wait_ready("valkey", restarts=1)
    assert valkey(platform).dbsize() == 200


def test_everything_is_there_after_kill_9_of_the_supervisor_and_another_start(platform: Platform):
    fill(platform)
    before = set(members(platform))
    platform.kill_supervisor()
    platform.start(STORES, bound=True)
    assert notes(platform) == 200
    assert before.isdisjoint(members(platform))


def test_stop_leaves_no_process_port_or_shared_memory(platform: Platform):
    fill(platform)
    pids = set(members(platform))
    assert {"postgres", "valkey"} <= {variables.get(processes.UNIT) for variables in members(platform).values()}
    ports = [port for _, port in listening(pids)]
    assert {platform.port("postgres"), platform.port("valkey")} <= set(ports)
    platform.stop()
    assert members(platform) == {}
    assert [pid for pid in pids if processes.started(pid) is not None] == []
    for port in ports:
        with socket.socket() as caller:
            assert caller.connect_ex(("127.0.0.1", port)) != 0
    segments = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    assert not [line for line in segments if int(line.split()[4]) in pids]
    assert not [path for path in Path("/dev/shm").iterdir() if path.name.startswith("PostgreSQL")]
    assert not platform.layout.state.exists()
    assert not [path for path in platform.layout.data_dir.rglob("*") if path.is_socket()]


def test_only_loopback_is_listened_on(platform: Platform):
    addresses = listening(members(platform))
    assert len(addresses) >= 3  # both stores and the control channel
    assert {ipaddress.ip_address(address).is_loopback for address, _ in addresses} == {True}


def test_a_long_path_below_a_private_folder_will_do(tmp_path: Path):
    private = tmp_path / ("private-" + "x" * 60)
    private.mkdir(mode=0o700)
    platform = Platform(Settings(data_dir=private / ("y" * 80) / "data", port_base=free_port_base()))
    assert len(str(platform.layout.data_dir)) > 150
    platform.start(STORES, bound=True)
    try:
        fill(platform)
        assert valkey(platform).ping()
    finally:
        platform.stop()


def test_two_platforms_run_side_by_side_and_stop_alone(platform: Platform, tmp_path: Path):
    other = Platform(Settings(data_dir=tmp_path / "other", port_base=free_port_base()))
    other.start(STORES, bound=True)
    try:
        fill(platform)
        assert sql(other, "SELECT to_regclass('public.notes')") == [(None,)]
    finally:
        other.stop()
    assert members(other) == {}
    assert notes(platform) == 200


def test_a_second_start_is_refused_and_harmless(platform: Platform):
    with pytest.raises(AlreadyRunning, match="a platform runs in"):
        Platform(platform.settings).start(STORES)
    assert platform.status().ready


def test_a_taken_port_is_named_before_anything_starts(platform: Platform, tmp_path: Path):
    other = Platform(replace(platform.settings, data_dir=tmp_path / "other"))
    with pytest.raises(PortInUse) as caught:
        other.start(STORES)
    message = str(caught.value)
    assert f"port {platform.port('postgres')} (postgres) is in use by postgres (pid " in message
    assert f"port {platform.port('valkey')} (valkey) is in use by valkey-server (pid " in message
    assert str(platform.layout.data_dir) in message, "it is another platform of ours"
    assert "HEADRACE_PORT_BASE=" in message
    assert members(other) == {}


def test_a_platform_moves_to_other_ports_with_its_data(platform: Platform):
    fill(platform)
    platform.stop()
    moved = Platform(replace(platform.settings, port_base=free_port_base()))
    moved.start(STORES, bound=True)
    try:
        assert notes(moved) == 200
        assert str(moved.port("valkey")) in secret(moved, "valkey-url")
    finally:
        moved.stop()


def test_the_data_directory_may_vanish_under_a_running_platform(platform: Platform, tmp_path: Path):
    (tmp_path / "data").rename(tmp_path / "gone")
    platform.stop()
    assert members(platform) == {}


def test_nobody_gets_in_without_the_password(platform: Platform):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(secret(platform, "postgres-dsn").replace(secret(platform, "postgres-app-password"), "guess"))
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=platform.port("valkey")).ping()


def test_the_services_role_may_do_no_more_than_it_needs(platform: Platform):
    rows = sql(platform, "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls FROM pg_roles")
    rights = {name: any(rest) for name, *rest in rows}
    assert rights["headrace_app"] is rights["headrace_owner"] is False
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sql(platform, "CREATE SCHEMA mine", role="postgres-dsn")
    sql(platform, "CREATE SCHEMA theirs", role="postgres-admin-dsn")


def test_vectors_and_letters_work_as_on_every_machine(platform: Platform):
    assert sql(platform, "SELECT '[1,0]'::vector <=> '[0,1]'::vector") == [(1.0,)]
    assert sql(platform, "SELECT lower('ÄÖÉ'), 'B' < 'a'") == [("äöé", True)]
