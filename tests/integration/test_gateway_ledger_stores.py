"""The ledger on real PostgreSQL and Valkey, which are killed under it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from headrace_gateway.adapters.ledger_postgres import PostgresLedger
from headrace_gateway.adapters.ledger_valkey import ValkeyStream
from headrace_gateway.ledger.service import LedgerService
from headrace_kit.stores.migrations import migrate
from headrace_kit.stores.postgres import Postgres
from headrace_kit.stores.valkey import connect
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.common.v1.event_pb2 import RequestEvent


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> Iterator[Platform]:
    platform = Platform(Settings(data_dir=tmp_path_factory.mktemp("ledger") / "data", port_base=free_port_base()))
    platform.start(["postgres", "valkey"], bound=True)
    try:
        migrate(secret(platform, "postgres-admin-dsn"), ("gateway",))
        yield platform
    finally:
        platform.stop()


def secret(platform: Platform, name: str) -> str:
    return (platform.layout.secrets / name).read_text().strip()


class World:
    def __init__(self, platform: Platform, folder) -> None:
        self.postgres = Postgres(secret(platform, "postgres-dsn"), "gateway", wait_s=2)
        self.valkey = connect(secret(platform, "valkey-url"))
        self.service = LedgerService(
            folder, ValkeyStream(self.valkey), PostgresLedger(self.postgres), CollectorRegistry()
        )

    async def serve(self, tenant: str, count: int) -> None:
        for _ in range(count):
            event = RequestEvent(request_id=str(uuid.uuid4()), tenant=tenant, model="m", started_us=0)
            await self.service.journal.opened(event)
            closed = RequestEvent()
            closed.CopyFrom(event)
            closed.usage.CopyFrom(Usage(input_tokens=10, output_tokens=5))
            closed.cost_nano_usd = 700
            closed.ended_us = 1000
            self.service.journal.closed(closed)

    async def usage(self, tenant: str, wanted: int) -> dict:
        async with asyncio.timeout(60):
            while True:
                try:
                    rows = await self.service.usage(tenant, ["model"], None, None)
                    if rows and rows[0]["requests"] >= wanted:
                        return rows[0]
                except Exception as error:
                    assert "database" in str(error)
                await asyncio.sleep(0.1)


@pytest.fixture
async def world(stores, tmp_path):
    world = World(stores, tmp_path)
    await world.postgres.open()
    await world.service.start()
    yield world
    await world.service.stop()
    await world.postgres.close()
    await world.valkey.aclose()


async def test_rows_add_up(world):
    await world.serve("plain", 120)
    assert await world.usage("plain", 120) == {
        "model": "m",
        "requests": 120,
        "input_tokens": 1200,
        "output_tokens": 600,
        "cost_usd": "0.000084",
    }
    later = datetime.now(UTC) + timedelta(hours=1)
    assert await world.service.usage("plain", [], later, None) == [
        {"requests": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": "0"}
    ]
    days = await world.service.usage("plain", ["day", "tenant", "key", "deployment", "arm", "operation"], None, later)
    assert sum(row["requests"] for row in days) == 120


@pytest.mark.parametrize("store", ["postgres", "valkey"])
async def test_a_killed_store_costs_no_row_and_doubles_none(stores, world, store):
    await world.serve(store, 100)
    stores.kill(store)
    await world.serve(store, 100)
    assert (await world.usage(store, 200))["output_tokens"] == 200 * 5


async def test_a_flushed_valkey_costs_no_row(world, monkeypatch):
    from headrace_gateway.ledger import ship

    monkeypatch.setattr(ship, "STUCK_S", 0.5)
    await world.serve("flushed", 50)
    await world.valkey.flushall()
    await world.serve("flushed", 50)
    assert (await world.usage("flushed", 100))["requests"] == 100


async def test_two_gateways_write_each_row_once(stores, world, tmp_path):
    other = World(stores, tmp_path / "other")
    await other.postgres.open()
    await other.service.start()
    await asyncio.gather(world.serve("two", 200), other.serve("two", 200))
    assert (await world.usage("two", 400))["input_tokens"] == 4000
    await other.service.stop()
    await other.postgres.close()
    await other.valkey.aclose()
