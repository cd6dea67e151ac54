"""The gateway's ledger and keys on a real PostgreSQL and Valkey."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import uuid_utils
from redis.asyncio import Redis

from headrace_gateway.adapters.postgres_audit import PostgresAudit
from headrace_gateway.adapters.postgres_keys import PostgresKeys
from headrace_gateway.adapters.postgres_ledger import PostgresLedger
from headrace_gateway.adapters.valkey_stream import STREAM, ValkeyEvents
from headrace_gateway.admission.keys import KeyLimits, KeyRing
from headrace_gateway.audit import PLATFORM, Entry
from headrace_gateway.budgets.alerts import ALERT, shaped
from headrace_gateway.ledger.log import EventLog
from headrace_gateway.ledger.ship import Shipper
from headrace_gateway.ledger.usage import Group, UsageQuery
from headrace_gateway.ledger.writer import LedgerWriter
from headrace_kit.config.services import Notify
from headrace_kit.errors import BadInput, Conflict, NotFound, Unauthenticated
from headrace_kit.stores.postgres import Postgres
from headrace_kit.stores.valkey import connect
from headrace_kit.telling import Teller
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.common.v1.event_pb2 import RequestEvent

CONFIG = "tenants: {dev: {}}\n"
SERVICES = ("valkey",)


@pytest.fixture
async def postgres(part):
    store = Postgres(part.dsn, "gateway")
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def valkey(part):
    client: Redis = connect((part.platform.layout.secrets / "valkey-url").read_text().strip())
    yield client
    await client.aclose()


@pytest.fixture
async def log(tmp_path):
    made = EventLog(tmp_path, 0.001)
    await made.start()
    yield made
    await made.stop()


def event(kind, tenant, request_id, **more):
    made = RequestEvent(kind=kind, tenant=tenant, request_id=request_id, model="m", deployment="d", **more)
    made.time.GetCurrentTime()
    return made


async def serve(log, tenant, requests):
    """Opened and closed events as the pipeline writes them; returns the request ids."""
    ids = [str(uuid_utils.uuid7()) for _ in range(requests)]
    for request_id in ids:
        await log.opened(event(RequestEvent.KIND_OPENED, tenant, request_id, reserved_output_tokens=64))
        end = event(
            RequestEvent.KIND_CLOSED,
            tenant,
            request_id,
            cost_nano_usd=7,
            reserved_output_tokens=64,
            ended_us=5,
            guard_findings=["pii.email:mask"],
            price_version="2026-11",
        )
        end.usage.CopyFrom(Usage(input_tokens=10, output_tokens=3, cache_write_input_tokens=4))
        await log.append(end)
    return ids


async def used(ledger, tenant):
    now = datetime.now(UTC)
    query = UsageQuery((Group.MODEL,), now - timedelta(hours=1), now + timedelta(hours=1), tenant)
    return await ledger.usage(query)


async def settle(ledger, writers, shipper, log):
    """Ship, write and confirm until everything is written."""
    async with asyncio.timeout(20):
        while (await ledger.progress([log.log_id])).get(log.log_id, 0) < log.durable:
            await shipper.ship()
            for writer in writers:
                await writer.step()
            await shipper.confirm()


async def test_a_row_for_every_attempt_whatever_is_lost_or_repeated(postgres, valkey, log):
    ledger = PostgresLedger(postgres)
    streams = [ValkeyEvents(valkey, name) for name in ("one", "two")]
    writers = [LedgerWriter(stream, ledger) for stream in streams]
    shipper = Shipper(log, asyncio.Event(), [], streams[0], ledger.progress, lambda _: None, lost_s=-1)
    tenant = f"t-{log.log_id[:8]}"
    await serve(log, tenant, 20)
    await settle(ledger, writers, shipper, log)

    await serve(log, tenant, 20)
    await shipper.ship()
    await valkey.delete(STREAM)  # with its groups
    with contextlib.suppress(Exception):
        await writers[0].step()
    await settle(ledger, writers, shipper, log)

    everything = [payload for _, payload in log.segments.read(0, 1000)]
    await streams[0].add(everything)  # all of it again
    while await writers[1].step():
        pass

    [row] = await used(ledger, tenant)
    assert (row.keys, row.requests, row.input_tokens, row.output_tokens, row.cost_nano_usd) == (
        ("m",),
        40,
        400,
        120,
        280,
    )
    states = await postgres.fetch(
        "SELECT DISTINCT state, reserved_output_tokens, guard_findings, cache_write_input_tokens, price_version "
        "FROM ledger WHERE tenant = %s",
        tenant,
    )
    assert states == [("closed", 64, ["pii.email:mask"], 4, "2026-11")]


async def test_two_writers_at_once_write_each_row_once(postgres, valkey, log):
    ledger = PostgresLedger(postgres)
    streams = [ValkeyEvents(valkey, name) for name in ("one", "two", "three")]
    shipper = Shipper(log, asyncio.Event(), [], streams[0], ledger.progress, lambda _: None)
    tenant = f"u-{log.log_id[:8]}"
    writers = [LedgerWriter(stream, ledger) for stream in streams]
    for writer in writers:
        writer.start()
    await serve(log, tenant, 100)
    await shipper.ship()
    async with asyncio.timeout(20):
        while (await ledger.progress([log.log_id])).get(log.log_id, 0) < 200:
            await asyncio.sleep(0.05)
    for writer in writers:
        await writer.stop()
    [row] = await used(ledger, tenant)
    assert (row.requests, row.cost_nano_usd) == (100, 700)


async def test_limits_of_a_key_are_kept_and_changed_everywhere(postgres):
    here, there = KeyRing(None), KeyRing(None)
    keys, other = PostgresKeys(postgres, here), PostgresKeys(postgres, there)
    limits = KeyLimits(requests_per_minute=60, concurrent_requests=4)
    key, secret = await keys.create("dev", "n", frozenset(), None, limits, "who-made-it")
    await other.refresh()
    assert there.by_secret(secret).limits == limits
    rotated, second = await keys.rotate(key.id, 0, "who-rotated-it")
    assert rotated.limits == limits
    fewer = KeyLimits(tokens_per_minute=1000)
    assert (await keys.limit(key.id, fewer, "who-limited-it")).limits == fewer
    await other.refresh()
    assert there.by_secret(second).limits == fewer
    assert (await keys.limit(key.id, None, "who-limited-it")).limits is None
    [latest, *_] = [
        found.entry
        for found in await PostgresAudit(postgres).list("dev", "key.limited", None, 100)
        if found.entry.subject == key.id
    ]
    assert latest.before["limits"] == {"tokens_per_minute": 1000}
    assert "limits" not in latest.after
    await keys.revoke(key.id, "who-ended-it")
    with pytest.raises(Conflict, match="revoked"):
        await keys.limit(key.id, fewer, "who-limited-it")
    with pytest.raises(NotFound):
        await keys.limit(str(uuid_utils.uuid7()), fewer, "who-limited-it")


async def test_a_key_that_is_rotated_has_two_secrets_for_a_while(postgres):
    ring = KeyRing(None)
    keys, audit = PostgresKeys(postgres, ring), PostgresAudit(postgres)
    key, first = await keys.create("dev", "n", frozenset(), None, None, "who-made-it")
    rotated, second = await keys.rotate(key.id, 3600, "who-rotated-it")
    assert rotated.id == key.id
    assert {ring.authenticate(f"Bearer {secret}").id for secret in (first, second)} == {key.id}
    _, third = await keys.rotate(key.id, 0, "who-rotated-it")
    assert ring.authenticate(f"Bearer {third}").id == key.id
    with pytest.raises(Unauthenticated, match="not known"):
        ring.authenticate(f"Bearer {first}")
    with pytest.raises(Unauthenticated, match="replaced"):
        ring.authenticate(f"Bearer {second}")
    await keys.revoke(key.id, "who-ended-it")
    with pytest.raises(Conflict, match="revoked"):
        await keys.rotate(key.id, 3600, "who-rotated-it")
    with pytest.raises(NotFound):
        await keys.rotate(str(uuid_utils.uuid7()), 3600, "who-rotated-it")

    noted = [found.entry for found in await audit.list("dev", "key.", None, 100) if found.entry.subject == key.id]
    assert [(entry.action, entry.actor) for entry in noted] == [
        ("key.revoked", "who-ended-it"),
        ("key.rotated", "who-rotated-it"),
        ("key.rotated", "who-rotated-it"),
        ("key.created", "who-made-it"),
    ]
    assert noted[3].before is None
    assert noted[3].after["name"] == "n"
    assert "revoked_at" in noted[0].after
    assert "revoked_at" not in noted[0].before
    text = str(noted)
    assert not any(secret in text for secret in (first, second, third))
    for change in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await postgres.fetch(change)


async def test_what_is_noted_once_is_noted_once(postgres):
    audit = PostgresAudit(postgres)
    alert = Entry("gateway", "budget.alert", "t", "day:1", None, {"threshold": "80%"}, str(uuid_utils.uuid7()))
    assert [await audit.note(alert) for _ in range(2)] == [True, False]
    first, other = (Entry("gateway", "config.activated", "", name, None, {}) for name in ("c1", "c2"))
    assert [await audit.note_config(entry) for entry in (first, first, other, other, first)] == [
        True, False, True, False, True,
    ]  # fmt: skip
    page = await audit.list(None, "config.activated", None, 2)
    following = await audit.list(None, "config.activated", page[-1].id, 100)
    assert [found.entry.subject for found in (*page, *following)][:3] == ["c1", "c2", "c1"]
    with pytest.raises(BadInput):
        await audit.list(None, None, "no id", 1)


async def test_a_key_is_good_on_all_replicas_as_soon_as_its_maker_has_it(postgres):
    there = KeyRing(None)
    admin, _ = PostgresKeys(postgres, KeyRing(None)), PostgresKeys(postgres, there)
    for number in range(20):
        _, secret = await admin.create("dev", f"n{number}", frozenset(), None, None, "bootstrap")
        with pytest.raises(Unauthenticated):
            there.authenticate(f"Bearer {secret}")
        await asyncio.gather(*(there.learn() for _ in range(3)))
        assert there.authenticate(f"Bearer {secret}").name == f"n{number}"


async def test_keys_that_nobody_knows_cost_few_looks(postgres, monkeypatch):
    ring = KeyRing(None)
    keys = PostgresKeys(postgres, ring)
    looks = []
    monkeypatch.setattr(keys, "_refresh", _counted(keys._refresh, looks))
    await asyncio.gather(*(ring.learn() for _ in range(500)))
    assert len(looks) <= 2


def _counted(real, calls):
    async def counted():
        calls.append(1)
        await real()

    return counted


async def test_a_key_made_or_revoked_by_one_replica_reaches_another(postgres):
    here, there = KeyRing(None), KeyRing(None)
    admin, other = PostgresKeys(postgres, here), PostgresKeys(postgres, there)
    other.start()
    try:
        key, secret = await admin.create("dev", "n", frozenset({"read_all"}), None, None, "bootstrap")
        assert here.authenticate(f"Bearer {secret}").tenant == "dev"

        async def known(expected):
            async with asyncio.timeout(1):
                while True:
                    with contextlib.suppress(Unauthenticated):
                        there.authenticate(f"Bearer {secret}")
                        if expected:
                            return
                        await asyncio.sleep(0.02)
                        continue
                    if not expected:
                        return
                    await asyncio.sleep(0.02)

        await known(True)
        assert there.authenticate(f"Bearer {secret}").scopes == {"read_all"}
        await admin.revoke(key.id, "bootstrap")
        with pytest.raises(Unauthenticated):
            here.authenticate(f"Bearer {secret}")
        await known(False)
        [listed] = [entry for entry in await admin.list("dev") if entry.id == key.id]
        assert listed.revoked_at is not None
        assert await postgres.fetch("SELECT 1 FROM api_keys WHERE digest = %s", secret.encode()) == []
        for missing in ("nope", str(uuid_utils.uuid7())):
            with pytest.raises(NotFound):
                await admin.revoke(missing, "bootstrap")
    finally:
        await other.stop()


async def test_an_alert_is_kept_until_somebody_was_told_and_told_once(postgres):
    """Two gateways note the same alert; a teller that dies tells again; where nobody is told nothing is kept."""
    one, other = PostgresAudit(postgres, lambda: True), PostgresAudit(postgres, lambda: True)
    once = f"day:{uuid_utils.uuid7()}"
    entry = Entry(PLATFORM, ALERT, "dev", "day:2026-11-28", None, {"threshold": "80%"}, once)
    assert [await one.note(entry), await other.note(entry)] == [True, False]
    with pytest.raises(RuntimeError):
        async with one.news() as news:
            assert news == {"type": "budget_alert", "tenant": "dev", "period": "day:2026-11-28", "threshold": "80%"}
            async with other.news() as also:
                assert also is None, "the other tells it"
            raise RuntimeError
    posted, ended = [], []

    async def post(url, body, headers):
        posted.append((url, json.loads(body)["threshold"]))

    targets = [Notify(url="https://ops.example.com/hook")]
    teller = Teller(other.news, shaped, lambda: targets, post, {}.get, ended.append)
    assert [await teller.tell(), await teller.tell()] == [True, False]
    assert (posted, ended) == ([("https://ops.example.com/hook", "80%")], ["sent"])
    silent = PostgresAudit(postgres)
    assert await silent.note(dataclasses.replace(entry, once=f"{once}:2"))
    async with silent.news() as news:
        assert news is None
