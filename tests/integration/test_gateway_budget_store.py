"""Leases of budgets and shares of limits in a real Valkey, and what the ledger says of them."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import uuid_utils
from redis.asyncio import Redis

from headrace_gateway.adapters.postgres_budgets import PostgresSpending
from headrace_gateway.adapters.postgres_ledger import PostgresLedger
from headrace_gateway.adapters.valkey_budgets import ValkeyLeases
from headrace_gateway.adapters.valkey_rates import ValkeyRates
from headrace_gateway.budgets.fakes import FakeLeases
from headrace_gateway.budgets.period import DAY_NS, period_of
from headrace_gateway.budgets.ports import Ask, Grant, Spent, Unknown
from headrace_kit.errors import NotReady
from headrace_kit.stores.postgres import Postgres
from headrace_kit.stores.valkey import connect
from headrace_protos.common.v1.event_pb2 import RequestEvent

CONFIG = "tenants: {dev: {}}\n"
SERVICES = ("valkey",)
BUDGETS = "headrace:budgets"


@pytest.fixture
async def valkey(part):
    client: Redis = connect((part.platform.layout.secrets / "valkey-url").read_text().strip())
    yield client
    await client.aclose()


@pytest.fixture
async def postgres(part):
    store = Postgres(part.dsn, "gateway")
    await store.open()
    yield store
    await store.close()


def comparable(answer, eras):
    """An answer without the names of eras, which differ."""
    era = eras.setdefault(answer.era, len(eras))
    if isinstance(answer, Unknown):
        return ("unknown", era)
    return replace(answer, era=str(era), holders=tuple(answer.holders))


@pytest.mark.parametrize("seed", range(40))
async def test_the_script_does_what_its_model_does(valkey, seed):
    """Whatever is asked in whatever order, late and repeated messages included."""
    dice = random.Random(seed)
    await valkey.delete(BUDGETS)
    real, model = ValkeyLeases(valkey), FakeLeases()
    eras: list[dict[str, int]] = [{}, {}]
    known = ["", ""]
    sent: list[tuple[Ask, tuple[str, str]]] = []
    sequence = 0
    for _ in range(60):
        act = dice.choices(("lease", "late", "begin", "close", "flush", "drop"), (60, 10, 15, 12, 2, 1))[0]
        name, holder = dice.choice(("dev/a", "dev/b")), dice.choice("xyz")
        if act in ("lease", "late"):
            sequence += 1
            spent = dice.randrange(0, 3 * 10**14)
            granted = dice.randrange(0, 3 * 10**14)
            ask = Ask(name, "dev/a" if name == "dev/b" else "dev/none", 10**15, holder, sequence, spent, granted,
                      granted + dice.choice((0, 0, 10**13, 4 * 10**14)),
                      granted + dice.choice((0, 0, 10**13, 4 * 10**14)), "")  # fmt: skip
            told = dice.choice((("", ""), tuple(known), tuple(known), tuple(known)))
            if act == "late" and sent:
                ask, told = dice.choice(sent)
            sent.append((ask, told))
            answers = [await store.lease(replace(ask, era=era)) for store, era in zip((real, model), told, strict=True)]
            assert comparable(answers[0], eras[0]) == comparable(answers[1], eras[1])
            known = [answer.era for answer in answers]
        elif act == "begin":
            spent, holders = dice.randrange(0, 10**14), {name: dice.randrange(10**13) for name in dice.sample("xyz", 2)}
            for store, era in zip((real, model), known, strict=True):
                await store.begin(name, era, spent, holders)
        elif act == "close":
            at, spent, finished = dice.choice((0, sequence, sequence - 1)), dice.randrange(10**14), dice.random() < 0.5
            for store in (real, model):
                await store.close(name, holder, at, spent, finished=finished)
        elif act == "drop":
            for store in (real, model):
                await store.drop([name])
        else:
            await valkey.delete(BUDGETS)
            model.flush()
        assert bool(await real.era()) == bool(await model.era())


async def test_amounts_are_exact_up_to_a_million_dollars(valkey):
    await valkey.delete(BUDGETS)
    store = ValkeyLeases(valkey)
    much = 10**15
    ask = Ask("t/month:2026-11", "t/month:2026-10", much, "h", 1, 0, 0, much, 0, "")
    unknown = await store.lease(ask)
    await store.begin(ask.name, unknown.era, 123_456_789_012_345, {})
    grant = await store.lease(replace(ask, era=unknown.era))
    assert isinstance(grant, Grant)
    assert (grant.granted, grant.settled, grant.room) == (much - 123_456_789_012_345, 123_456_789_012_345, 0)


async def test_a_server_that_was_restarted_is_not_believed(valkey):
    await valkey.delete(BUDGETS)
    store = ValkeyLeases(valkey)
    ask = Ask("t/day:1", "t/day:0", 100, "h", 1, 0, 0, 50, 0, "")
    unknown = await store.lease(ask)
    await store.begin(ask.name, unknown.era, 0, {})
    grant = await store.lease(replace(ask, era=unknown.era))
    assert grant.granted == 50
    await valkey.hset(BUDGETS, "run", "of another server")
    assert await store.era() == ""
    again = await store.lease(replace(ask, sequence=2, granted=50, spent=10, era=unknown.era))
    assert isinstance(again, Unknown)
    assert again.era != unknown.era


async def test_replicas_learn_of_each_other_s_demand(valkey):
    await valkey.delete("headrace:rates")
    store = ValkeyRates(valkey)
    assert await store.tell("a", {"": 0, "dev": 2.5}) == {"": {"a": 0}, "dev": {"a": 2.5}}
    assert await store.tell("b", {"": 0, "dev": 1}) == {"": {"a": 0, "b": 0}, "dev": {"a": 2.5, "b": 1}}
    await valkey.hset("headrace:rates", "dev", "a:9.0:1000 b:1.0:1000")
    assert await store.tell("b", {"dev": 3}) == {"dev": {"b": 3}}


async def test_stores_that_are_away_say_so():
    client = connect("redis://127.0.0.1:1", 0.2)
    leases, rates = ValkeyLeases(client), ValkeyRates(client)
    for call in (
        leases.lease(Ask("n", "m", 1, "h", 1, 0, 0, 0, 0, "")),
        leases.begin("n", "e", 0, {}),
        leases.era(),
        leases.close("n", "h", 1, 0, finished=True),
        leases.drop(["n"]),
        rates.tell("h", {"": 0}),
    ):
        with pytest.raises(NotReady):
            await call
    await client.aclose()


async def test_the_ledger_tells_what_each_replica_has_spent(postgres):
    ledger, spending = PostgresLedger(postgres), PostgresSpending(postgres)
    tenant = f"b-{uuid_utils.uuid7()}"
    day = datetime.now(UTC).timestamp() * 10**9 // DAY_NS
    month = period_of("month", int(day))

    def row(holder, cost, on=day):
        made = RequestEvent(
            kind=RequestEvent.KIND_CLOSED, request_id=str(uuid_utils.uuid7()), tenant=tenant, cost_nano_usd=cost,
            budget_day=int(on), budget_holder=holder,
        )  # fmt: skip
        made.time.GetCurrentTime()
        return made

    gone, there, silent = (str(uuid_utils.uuid7()) for _ in range(3))
    await ledger.write([row(gone, 5), row(gone, 6), row(there, 7), row(there, 9, month.end), row("", 2)], {})
    for holder in (gone, there, silent):
        await spending.register(holder)
    await spending.finish([gone])
    found = await spending.spent(tenant, month)
    assert {name: found[name] for name in (gone, there, silent, "")} == {
        gone: Spent(11, True), there: Spent(7, False), silent: Spent(0, False), "": Spent(2, True),
    }  # fmt: skip
    await postgres.fetch("UPDATE replicas SET alive_at = now() - interval '2 days' WHERE id = %s", there)
    assert (await spending.spent(tenant, month))[there] == Spent(7, finished=False, lost=True)
    await spending.register(there)
    assert (await spending.spent(tenant, month))[there] == Spent(7, finished=False)
