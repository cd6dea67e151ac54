"""Claims of idempotency keys in a real Valkey."""

from __future__ import annotations

import asyncio

import pytest
import uuid_utils

from headrace_gateway.adapters.valkey_claims import ValkeyClaims
from headrace_gateway.idempotency.once import Ask, Once
from headrace_gateway.idempotency.recording import Head
from headrace_kit.config.services import Idempotency
from headrace_kit.errors import NotReady
from headrace_kit.stores.valkey import connect

CONFIG = "tenants: {dev: {}}\n"
SERVICES = ("valkey",)


@pytest.fixture
async def claims(part):
    client = connect((part.platform.layout.secrets / "valkey-url").read_text().strip())
    yield ValkeyClaims(client)
    await client.aclose()


@pytest.fixture
def name():
    return str(uuid_utils.uuid7())


async def test_one_claims_and_only_it_settles(claims, name):
    assert await claims.claim(name, b"Wmine", 60) is None
    assert await claims.claim(name, b"Wother", 60) == b"Wmine"
    await claims.release(name, b"Wother")
    await claims.keep(name, b"Wother", b"Dother", 60)
    assert await claims.claim(name, b"Wother", 60) == b"Wmine"
    await claims.keep(name, b"Wmine", b"D\x00\xff", 60)
    assert await claims.claim(name, b"Wother", 60) == b"D\x00\xff"


async def test_a_claim_lapses_unless_it_is_renewed(claims, name):
    await claims.claim(name, b"W1", 0.2)
    await claims.renew(name, b"Wother", 60)
    async with asyncio.timeout(10):
        while await claims.claim(name, b"W2", 60) is not None:
            await asyncio.sleep(0.02)
    await claims.renew(name, b"W1", 0.001)
    assert await claims.claim(name, b"W3", 60) == b"W2"
    await claims.release(name, b"W2")
    assert await claims.claim(name, b"W3", 60) is None
    await claims.keep(name, b"W3", b"D", 0.05)
    async with asyncio.timeout(10):
        while await claims.claim(name, b"W4", 60) is not None:
            await asyncio.sleep(0.02)


async def test_two_replicas_serve_a_key_once(claims, name):
    made = 0

    async def make(recording):
        nonlocal made
        made += 1
        recording.begin(Head(200, [("a", "b")], stream=True))
        for number in range(3):
            recording.add(b"%d" % number)
            await asyncio.sleep(0.05)
        recording.good = True

    async def ask(once):
        recording, _ = once.join(Ask.of("t", name, [b"q"]), make, lambda error: None)
        return (await recording.begun()).headers, [piece async for piece in recording.follow()]

    replicas = [Once(claims, Idempotency) for _ in range(3)]
    answers = await asyncio.gather(*[ask(once) for once in replicas for _ in range(2)])
    assert made == 1 and all(answer == ([("a", "b")], [b"0", b"1", b"2"]) for answer in answers)
    await asyncio.gather(*[once.stop() for once in replicas])


async def test_an_away_store_is_told(name):
    client = connect("redis://127.0.0.1:1/0", 0.2)
    try:
        with pytest.raises(NotReady):
            await ValkeyClaims(client).claim(name, b"W", 1)
    finally:
        await client.aclose()
