"""Keys, identity, limits."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from headrace_gateway.admission.identity import identity_of
from headrace_gateway.admission.keys import ApiKey, KeyRing, digest_of, new_secret
from headrace_gateway.context import Arrival
from headrace_kit.errors import BadInput, Busy, Forbidden, NotReady, Unauthenticated


def test_the_bootstrap_key_works_before_any_store():
    ring = KeyRing("secret")
    assert ring.authenticate("Bearer secret").scopes == {"admin"}
    assert not ring.loaded


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("", "missing_api_key"),
        ("hr_dev", "missing_api_key"),
        ("Basic hr_dev", "missing_api_key"),
        ("Bearer ", "missing_api_key"),
        ("Bearer hr_unknown", "invalid_api_key"),
        ("Bearer hr_revoked", "revoked_api_key"),
        ("Bearer hr_expired", "expired_api_key"),
        ("Bearer \udcff", "invalid_api_key"),
    ],
)
def test_bad_keys_are_refused(rig, authorization, code):
    with pytest.raises(Unauthenticated) as caught:
        rig.ring.authenticate(authorization)
    assert caught.value.code == code
    assert "hr_unknown" not in caught.value.message


def test_a_newer_state_of_a_key_replaces_the_older():
    ring = KeyRing(None)
    key = ApiKey("1", "dev", "n", frozenset(), digest_of("a"))
    ring.update([key])
    ring.authenticate("Bearer a")
    ring.update([ApiKey("1", "dev", "n", frozenset(), digest_of("b"))])
    with pytest.raises(Unauthenticated):
        ring.authenticate("Bearer a")
    ring.authenticate("bearer b")


def test_secrets_are_long_and_never_the_same():
    assert new_secret() != new_secret()
    assert new_secret().startswith("hr_") and len(new_secret()) > 40


def test_a_person_is_named_with_the_scope_only(rig):
    keys = rig.ring
    plain, asserting = keys.authenticate("Bearer hr_dev"), keys.authenticate("Bearer hr_asserting")
    with pytest.raises(Forbidden):
        identity_of(plain, user="ana")
    with pytest.raises(Forbidden):
        identity_of(plain, groups=("g",))
    made = identity_of(asserting, "ana", ("a", "b", "a"))
    assert (made.tenant, made.user, made.groups, made.key_id) == ("dev", "ana", ("a", "b"), "k-as")
    with pytest.raises(BadInput):
        identity_of(asserting, "x" * 300)


async def enter(rig, key="dev", **arrival):
    visit = rig.door.open(Arrival("r", f"Bearer hr_{key}", **arrival))
    try:
        await rig.door.admit(visit)
    except Exception as error:
        visit.leave(400, error)
        raise
    return visit


async def test_a_tenant_has_so_many_places_and_gets_them_back(rig):
    visits = [await enter(rig) for _ in range(3)]
    with pytest.raises(Busy) as caught:
        await enter(rig)
    assert caught.value.retry_after_s and caught.value.code == "concurrency_limit_exceeded"
    (await enter(rig, "narrow")).leave(200)
    visits.pop().leave(200)
    visits.append(await enter(rig))
    for visit in visits:
        visit.leave(200)
        visit.leave(200)
    assert rig.in_flight.total == 0


async def test_the_whole_gateway_has_so_many_places(rig):
    rig.max_in_flight = 1
    visit = await enter(rig)
    with pytest.raises(Busy) as caught:
        await enter(rig)
    assert caught.value.code == "overloaded"
    visit.leave(200)
    (await enter(rig)).leave(200)


async def test_draining_lets_nobody_in_and_waits_for_those_inside(rig):
    visit = await enter(rig)
    draining = asyncio.create_task(rig.in_flight.drain())
    await asyncio.sleep(0)
    with pytest.raises(NotReady):
        await enter(rig)
    assert not draining.done()
    visit.leave(200)
    await draining


async def test_a_valid_trace_context_is_kept_and_a_bad_one_replaced(rig):
    trace = "0af7651916cd43dd8448eb211c80319c"
    ctx = (await enter(rig, traceparent=f"00-{trace}-b7ad6b7169203331-01")).ctx
    assert (ctx.trace_id, ctx.parent_span_id, ctx.sampled) == (trace, "b7ad6b7169203331", True)
    assert not (await enter(rig, traceparent=f"00-{trace}-b7ad6b7169203331-00")).ctx.sampled
    for bad in (
        "",
        "x",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{trace}-{'0' * 16}-01",
        f"ff-{trace}-b7ad6b7169203331-01",
    ):
        visit = rig.door.open(Arrival("r", traceparent=bad))
        assert visit.ctx.trace_id != trace and visit.ctx.parent_span_id == "" and len(visit.ctx.trace_id) == 32
    assert not rig.door.open(Arrival("r", traced=False)).ctx.sampled


async def test_a_tenant_has_a_share_of_traces_of_its_own_and_callers_decide_before_it(rig):
    def shared(platform: int, tenant: int | None) -> None:
        config = rig.table.config
        tenants = {**config.tenants, "dev": config.tenants["dev"].model_copy(update={"trace_sample": tenant})}
        telemetry = config.telemetry.model_copy(update={"sample": platform})
        rig.table = replace(rig.table, config=config.model_copy(update={"tenants": tenants, "telemetry": telemetry}))

    async def sampled(key: str = "dev", **arrival) -> bool:
        visit = await enter(rig, key, **arrival)
        visit.leave(200)
        return visit.ctx.sampled

    trace = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
    shared(10_000, 0)
    assert not await sampled()
    assert await sampled("narrow"), "another tenant"
    assert await sampled(traceparent=f"00-{trace}-01")
    shared(0, 10_000)
    assert await sampled()
    assert not await sampled("narrow")
    assert not await sampled(traceparent=f"00-{trace}-00")
    assert not await sampled(traced=False)
    shared(10_000, 5_000)
    assert {await sampled() for _ in range(64)} == {True, False}
    shared(0, None)
    assert not await sampled()


async def test_a_key_that_another_replica_made_a_moment_ago_is_looked_for_once(rig):
    asked = []

    async def learn():
        asked.append(1)
        if len(asked) == 2:
            rig.ring.update([ApiKey("k-new", "dev", "new", frozenset(), digest_of("hr_new"))])

    rig.ring.learn = learn
    with pytest.raises(Unauthenticated, match="not known"):
        await enter(rig, "new")
    assert rig.in_flight.total == 0
    visit = await enter(rig, "new")
    assert visit.ctx.identity.key_id == "k-new"
    visit.leave(200)
    assert len(asked) == 2
