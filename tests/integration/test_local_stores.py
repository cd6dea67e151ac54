"""The embedded PostgreSQL and Valkey: nothing acknowledged is lost, and nothing stays behind."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import redis

from headrace_kit.stores.postgres import Postgres
from headrace_local import processes
from headrace_local.platform import AlreadyRunning, Platform
from headrace_local.ports import PortInUse, free_port_base, listening
from headrace_local.settings import Settings

STORES = ("postgres", "valkey")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The stores alone, running; tests leave them so."""
    yield from running(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Platform]:
    """The stores alone, running, for one test to stop."""
    yield from running(tmp_path)


def running(folder: Path) -> Iterator[Platform]:
    platform = Platform(Settings(data_dir=folder / "data", port_base=free_port_base()))
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
    role = "postgres-superuser-dsn"
    sql(platform, "DROP TABLE IF EXISTS public.notes", role=role)
    sql(platform, "CREATE TABLE public.notes (id int PRIMARY KEY, v vector(3))", role=role)
    with psycopg.connect(secret(platform, role), autocommit=True) as connection:
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


def test_acknowledged_rows_survive_kill_9_of_postgres(shared: Platform):
    fill(shared)
    shared.kill("postgres")
    shared.wait_ready("postgres", restarts=1)
    assert notes(shared) == 200


async def test_a_connection_that_the_server_ended_is_replaced_before_it_is_used(shared: Platform):
    role = "postgres-superuser-dsn"
    pool = Postgres(secret(shared, role), "public", max_size=1)
    await pool.open()
    try:
        ((first,),) = await pool.fetch("SELECT pg_backend_pid()")
        assert await pool.fetch("SELECT pg_backend_pid()") == [(first,)]
        assert sql(shared, "SELECT pg_terminate_backend(%s, 10000)", first, role=role) == [(True,)]
        ((second,),) = await pool.fetch("SELECT pg_backend_pid()")
        assert second != first
    finally:
        await pool.close()


async def test_a_pipelined_transaction_is_whole_or_not_at_all_and_leaves_its_connection_usable(shared: Platform):
    fill(shared)
    pool = Postgres(secret(shared, "postgres-superuser-dsn"), "public", max_size=1)
    await pool.open()

    async def failing(statement: str, *, fetched: bool) -> None:
        async with pool.transaction(pipelined=True) as connection:
            await connection.execute("DELETE FROM notes WHERE id = 1")
            cursor = await connection.execute(statement)
            if fetched:
                await cursor.fetchall()
            if not statement.startswith("SELECT 1/"):
                raise LookupError

    try:
        async with pool.transaction(pipelined=True) as connection:
            await connection.execute("DELETE FROM notes WHERE id = 0")
            cursor = await connection.execute("SELECT count(*) FROM notes")
        assert await cursor.fetchall() == [(199,)], "rows are there when the transaction is over"
        for fetched in (True, False):
            with pytest.raises(psycopg.errors.DivisionByZero):
                await failing("SELECT 1/0", fetched=fetched)
            with pytest.raises(LookupError):
                await failing("SELECT 1", fetched=fetched)
        asleep = asyncio.create_task(failing("SELECT pg_sleep(60)", fetched=True))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asleep, 0.5)
        assert await pool.fetch("SELECT count(*) FROM notes") == [(199,)]
        assert notes(shared) == 199
    finally:
        await pool.close()


def test_acknowledged_writes_survive_kill_9_of_valkey(shared: Platform):
    client = valkey(shared)
    for n in range(200):
        client.set(f"key-{n}", n)
    client.execute_command("WAITAOF", 1, 0, 5000)
    shared.kill("valkey")
    shared.wait_ready("valkey", restarts=1)
    assert valkey(shared).dbsize() == 200


def test_everything_is_there_after_kill_9_of_the_supervisor_and_another_start(own: Platform):
    fill(own)
    before = set(members(own))
    own.kill_supervisor()
    own.start(STORES, bound=True)
    assert notes(own) == 200
    assert before.isdisjoint(members(own))


def test_stop_leaves_no_process_port_or_shared_memory(own: Platform):
    fill(own)
    pids = set(members(own))
    assert {"postgres", "valkey"} <= {variables.get(processes.UNIT) for variables in members(own).values()}
    ports = [port for _, port in listening(pids)]
    assert {own.port("postgres"), own.port("valkey")} <= set(ports)
    own.stop()
    assert members(own) == {}
    assert [pid for pid in pids if processes.started(pid) is not None] == []
    for port in ports:
        with socket.socket() as caller:
            assert caller.connect_ex(("127.0.0.1", port)) != 0
    segments = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    assert not [line for line in segments if int(line.split()[4]) in pids]
    assert not [path for path in Path("/dev/shm").iterdir() if path.name.startswith("PostgreSQL")]
    assert not own.layout.state.exists()
    assert not [path for path in own.layout.data_dir.rglob("*") if path.is_socket()]


def test_only_loopback_is_listened_on(shared: Platform):
    addresses = listening(members(shared))
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


def test_two_platforms_run_side_by_side_and_stop_alone(shared: Platform, tmp_path: Path):
    other = Platform(Settings(data_dir=tmp_path / "other", port_base=free_port_base()))
    other.start(STORES, bound=True)
    try:
        fill(shared)
        assert sql(other, "SELECT to_regclass('public.notes')") == [(None,)]
    finally:
        other.stop()
    assert members(other) == {}
    assert notes(shared) == 200


def test_a_second_start_is_refused_and_harmless(shared: Platform):
    with pytest.raises(AlreadyRunning, match="a platform runs in"):
        Platform(shared.settings).start(STORES)
    assert shared.status().ready


def test_a_taken_port_is_named_before_anything_starts(shared: Platform, tmp_path: Path):
    other = Platform(replace(shared.settings, data_dir=tmp_path / "other"))
    with pytest.raises(PortInUse) as caught:
        other.start(STORES)
    message = str(caught.value)
    numbers = f"{shared.port('postgres')} (postgres), {shared.port('valkey')} (valkey)"
    assert f"ports {numbers} in use by the headrace platform in {shared.layout.data_dir}" in message
    assert "HEADRACE_PORT_BASE=" in message
    assert members(other) == {}


def test_a_platform_moves_to_other_ports_with_its_data(own: Platform):
    fill(own)
    own.stop()
    moved = Platform(replace(own.settings, port_base=free_port_base()))
    moved.start(STORES, bound=True)
    try:
        assert notes(moved) == 200
        assert str(moved.port("valkey")) in secret(moved, "valkey-url")
    finally:
        moved.stop()


def test_the_data_directory_may_vanish_under_a_running_platform(own: Platform, tmp_path: Path):
    (tmp_path / "data").rename(tmp_path / "gone")
    own.stop()
    assert members(own) == {}


def test_nobody_gets_in_without_the_password(shared: Platform):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(secret(shared, "postgres-dsn").replace(secret(shared, "postgres-app-password"), "guess"))
    with pytest.raises(redis.AuthenticationError):
        redis.Redis(port=shared.port("valkey")).ping()


def test_the_services_role_may_do_no_more_than_it_needs(shared: Platform):
    rows = sql(shared, "SELECT rolname, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls FROM pg_roles")
    rights = {name: any(rest) for name, *rest in rows}
    assert rights["headrace_app"] is rights["headrace_owner"] is False
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sql(shared, "CREATE SCHEMA mine", role="postgres-dsn")
    sql(shared, "CREATE SCHEMA theirs", role="postgres-admin-dsn")


def test_vectors_and_letters_work_as_on_every_machine(shared: Platform):
    assert sql(shared, "SELECT '[1,0]'::vector <=> '[0,1]'::vector") == [(1.0,)]
    assert sql(shared, "SELECT lower('ÄÖÉ'), 'B' < 'a'") == [("äöé", True)]
