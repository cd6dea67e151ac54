"""The gateway's cache in a real Valkey."""

from __future__ import annotations

import asyncio

import pytest
import uuid_utils
from redis.asyncio import Redis

from headrace_gateway.adapters.valkey_cache import ValkeyCache
from headrace_gateway.cache.ports import Room
from headrace_kit.errors import NotReady
from headrace_kit.stores.valkey import connect

CONFIG = "tenants: {dev: {}}\n"
SERVICES = ("valkey",)
ROOM = Room(ttl_s=60, entries=3, questions=2)


@pytest.fixture
async def valkey(part):
    client: Redis = connect((part.platform.layout.secrets / "valkey-url").read_text().strip())
    yield client
    await client.aclose()


@pytest.fixture
def pool():
    return str(uuid_utils.uuid7())


async def test_an_answer_is_kept_for_its_time(valkey, pool):
    store = ValkeyCache(valkey)
    await store.put(pool, "a", b"\x00answer", ROOM, "", b"")
    assert await store.get(pool, "a") == b"\x00answer"
    assert await store.get("elsewhere", "a") is None
    await store.put(pool, "brief", b"answer", Room(1, 3, 0), "", b"")
    async with asyncio.timeout(10):
        while await store.get(pool, "brief") is not None:
            await asyncio.sleep(0.05)


async def test_the_oldest_go_where_there_is_no_room(valkey, pool):
    store = ValkeyCache(valkey)
    for name in "abcd":
        await store.put(pool, name, name.encode(), ROOM, "s", name.encode() * 8)
    assert [await store.get(pool, name) for name in "abcd"] == [None, b"b", b"c", b"d"]
    assert {(known.exact, known.vector) for known in await store.questions(pool, "s")} == {
        ("c", b"c" * 8),
        ("d", b"d" * 8),
    }


async def test_another_replica_sees_what_is_new_and_what_was_forgotten(valkey, pool):
    here, there = ValkeyCache(valkey), ValkeyCache(valkey)
    await here.put(pool, "a", b"a", ROOM, "s", b"\x00 \n\xff")
    assert [known.vector for known in await there.questions(pool, "s")] == [b"\x00 \n\xff"]
    await here.put(pool, "b", b"b", ROOM, "s", b"b")
    assert {known.exact for known in await there.questions(pool, "s")} == {"a", "b"}
    await there.forget(pool, "s", "a")
    assert [known.exact for known in await here.questions(pool, "s")] == ["b"]
    assert await here.questions(pool, "other") == ()


async def test_a_store_that_is_away_says_so():
    client = connect("redis://127.0.0.1:1", 0.2)
    store = ValkeyCache(client)
    for call in (store.get("p", "a"), store.questions("p", "s"), store.put("p", "a", b"", ROOM, "", b"")):
        with pytest.raises(NotReady):
            await call
    await client.aclose()
