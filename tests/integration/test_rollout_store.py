"""Rollouts over a real database: the controller is killed, the database is killed, and both at once lose nothing."""

from __future__ import annotations

import asyncio
import json

import psycopg
import pytest
from prometheus_client import CollectorRegistry

from headrace_kit.config import parse
from headrace_kit.errors import BadInput, Conflict, HeadraceError, NotFound
from headrace_kit.rpc import Identity, Outbound
from headrace_kit.stores.postgres import Postgres
from headrace_protos.rollout.v1 import messages_pb2, service_pb2_grpc
from headrace_rollout.adapters.memory import MemoryEvents
from headrace_rollout.adapters.postgres import PostgresRolloutStore
from headrace_rollout.domain.controller import Controller
from headrace_rollout.domain.desired import Desired
from headrace_rollout.domain.grants import Grants
from headrace_rollout.domain.hearing import Hearing
from headrace_rollout.domain.machine import ask
from headrace_rollout.metrics import Metrics

SERVICES = ("rollout",)
LEASE_S = 3
MODELS = ("walks", "edited", "killed", "held", "api", "raced")
# Nothing of these is loaded: there is no inference here.
OUTSIDE = (
    "{engine: openai, address: 'http://127.0.0.1:9/v1', model: there, max_output_tokens: 16, "
    "price: {output_usd_per_million: 1}}"
)
CONFIG = f"""
deployments:
  small: {OUTSIDE}
  large: {OUTSIDE}
  other: {OUTSIDE}
models: {{{", ".join(f"{model}: {{deployment: small}}" for model in MODELS)}}}
services: {{rollout: {{lease: {LEASE_S}s}}}}
"""
ADMIN = Outbound(Identity("gateway", key_id="key-1", scopes=frozenset({"admin"})))
LARGE = {"deployment": "large"}


def steps(*weights: str, at_least: str = "1s") -> list[dict]:
    return [{"weight": weight, "at_least": at_least} for weight in weights]


class Gateway:
    """What a gateway does with the rollout service."""

    def __init__(self, part) -> None:
        self._part = part
        self._peer = part.peer("rollout")
        self._stub = self._peer.stub(service_pb2_grpc.RolloutServiceStub)

    async def ask(self, method: str, **fields):
        inputs = {"Start": "StartRequest", "Abort": "AbortRequest", "Promote": "PromoteRequest"}
        kind = getattr(messages_pb2, inputs.get(method, f"{method}Request"))
        return await self._peer.unary(getattr(self._stub, method), kind(**fields), ADMIN.within(30))

    async def start(self, model: str, *weights: str, at_least: str = "1s"):
        spec = {"candidate": LARGE, "steps": steps(*weights, at_least=at_least)}
        return await self.ask("Start", model=model, spec_json=json.dumps(spec))

    async def grants(self):
        """Grants for ever, as a gateway that connects again whenever it was cut off."""
        while True:
            watch = self._peer.stream(self._stub.Watch, messages_pb2.WatchRequest(watcher="test"), ADMIN)
            try:
                async for grant in watch:
                    yield grant
            except HeadraceError:
                await asyncio.sleep(0.05)

    async def until(self, model: str, weight: int | None) -> messages_pb2.Grant:
        """The first grant with this weight for the model; None: with no split of it."""
        async with asyncio.timeout(60):
            async for grant in self.grants():
                if {split.model: split.weight for split in grant.splits}.get(model) == weight:
                    return grant
        raise AssertionError

    async def close(self) -> None:
        await self._peer.close()

    def wants(self, config: str = CONFIG, **rollouts: dict) -> None:
        """Change the config file."""
        path = self._part.platform.settings.config
        path.write_text(config + f"rollouts: {json.dumps(rollouts)}\n")


@pytest.fixture
async def gateway(part):
    gateway = Gateway(part)
    yield gateway
    await gateway.close()


async def trail(part, id_: str) -> list[tuple[str, int, int]]:
    """State, step and weight after each transition of a rollout."""
    async with await psycopg.AsyncConnection.connect(part.dsn) as connection:
        rows = await connection.execute(
            "SELECT state, step, weight FROM rollout.transitions WHERE rollout_id = %s ORDER BY number", (id_,)
        )
        return await rows.fetchall()


async def test_a_change_of_the_file_is_walked_step_by_step(part, gateway):
    gateway.wants(walks={"candidate": LARGE, "steps": steps("5%", "25%", "100%")})
    first = await gateway.until("walks", 500)
    (split,) = first.splits
    assert (split.shadow, json.loads(split.candidate_json)) == (0, LARGE)
    assert 0 < first.lease_ms <= LEASE_S * 1000
    await gateway.until("walks", 10_000)
    async with asyncio.timeout(30):
        while (rollout := await gateway.ask("GetRollout", id=split.rollout_id)).state != "promoted":
            await asyncio.sleep(0.1)
    assert rollout.source == "config"
    assert await trail(part, split.rollout_id) == [
        ("pending", 0, 0),
        ("running", 0, 500),
        ("running", 1, 2500),
        ("running", 2, 10_000),
        ("promoted", 2, 10_000),
    ]
    gateway.wants()
    await gateway.until("walks", None)
    assert (await gateway.ask("GetRollout", id=split.rollout_id)).state == "aborted"


async def test_a_baseline_edited_in_the_middle_begins_it_anew(part, gateway):
    wanted = {"candidate": LARGE, "steps": [*steps("5%"), *steps("25%", "100%", at_least="10m")]}
    gateway.wants(edited=wanted)
    first = await gateway.until("edited", 2500)
    id_ = next(split.rollout_id for split in first.splits if split.model == "edited")
    gateway.wants(CONFIG.replace("edited: {deployment: small}", "edited: {deployment: other}"), edited=wanted)
    await gateway.until("edited", 500)
    await gateway.until("edited", 2500)
    assert await trail(part, id_) == [
        ("pending", 0, 0),
        ("running", 0, 500),
        ("running", 1, 2500),
        ("pending", 0, 0),
        ("running", 0, 500),
        ("running", 1, 2500),
    ]
    gateway.wants()
    await gateway.until("edited", None)


async def test_a_controller_killed_in_the_middle_of_steps_goes_on(part, gateway):
    rollout = await gateway.start("killed", "5%", "25%", "100%", at_least="2s")
    salts = set()
    for weight in (500, 10_000):
        grant = await gateway.until("killed", weight)
        salts |= {split.salt for split in grant.splits if split.model == "killed"}
        restarts = part.platform.status().units["rollout"].restarts
        part.platform.kill("rollout")
        part.platform.wait_ready("rollout", restarts=restarts + 1)
    await gateway.until("killed", 10_000)
    async with asyncio.timeout(60):
        while (await gateway.ask("GetRollout", id=rollout.id)).state != "promoted":
            await asyncio.sleep(0.1)
    assert len(salts) == 1
    assert [(state, step) for state, step, _ in await trail(part, rollout.id)] == [
        ("pending", 0),
        ("running", 0),
        ("running", 1),
        ("running", 2),
        ("promoted", 2),
    ]


async def test_it_holds_without_the_database_and_grants_lapse(part, gateway):
    rollout = await gateway.start("held", "50%", "100%", at_least="1h")
    await gateway.until("held", 5000)
    part.platform.stop_unit("postgres")
    loop = asyncio.get_running_loop()
    stopped = loop.time()
    grants = gateway.grants()
    last_end = 0.0
    try:
        while True:  # until a whole lease went by without a grant
            async with asyncio.timeout(LEASE_S + 1):
                grant = await anext(grants)
            last_end = max(last_end, loop.time() + grant.lease_ms / 1000)
    except TimeoutError:
        pass
    await grants.aclose()
    assert last_end <= stopped + LEASE_S + 1, "no gateway stays on a truth that is older than a lease"
    with pytest.raises(HeadraceError):
        await gateway.ask("Abort", id=rollout.id)
    part.platform.start_unit("postgres")
    await gateway.until("held", 5000)
    part.platform.kill("postgres")
    part.platform.wait_ready("postgres")
    await gateway.until("held", 5000)
    async with asyncio.timeout(30):
        while True:
            try:
                assert (await gateway.ask("Abort", id=rollout.id, reason="enough")).state == "aborted"
                break
            except Conflict:
                break  # an earlier try had been stored when its answer was lost
            except HeadraceError:
                await asyncio.sleep(0.1)
    await gateway.until("held", None)
    assert [state for state, _, _ in await trail(part, rollout.id)] == ["pending", "running", "aborted"]


async def test_errors_say_what_is_wrong(gateway):
    with pytest.raises(NotFound):
        await gateway.ask("GetRollout", id="0123456789abcdef")
    with pytest.raises(BadInput) as caught:
        await gateway.ask("Start", model="api", spec_json='{"candidate": {"deployment": "lage"}, "steps": []}')
    assert caught.value.param == "spec_json.steps"
    rollout = await gateway.start("api", "5%", "100%", at_least="1h")
    assert rollout.state == "running"
    assert rollout.id in {listed.id for listed in (await gateway.ask("ListRollouts")).rollouts}
    assert (await gateway.ask("Promote", id=rollout.id)).weight == 10_000
    assert (await gateway.ask("Abort", id=rollout.id, reason="not so good")).reason == "not so good"
    with pytest.raises(Conflict):
        await gateway.ask("Abort", id=rollout.id)
    with pytest.raises(Conflict):
        await gateway.start("api", "5%", "100%", at_least="1h")
    assert rollout.id not in {listed.id for listed in (await gateway.ask("ListRollouts")).rollouts}
    assert rollout.id in {listed.id for listed in (await gateway.ask("ListRollouts", all=True)).rollouts}


async def test_a_cut_off_change_leaves_nothing_and_the_trail_cannot_be_rewritten(part):
    pool = Postgres(part.dsn, "rollout")
    store = PostgresRolloutStore(pool)
    spec = {"candidate": LARGE, "steps": steps("50%", "100%")}
    config = parse(CONFIG + f"rollouts: {{raced: {json.dumps(spec)}}}")
    (wanted,) = Desired(config).by_model.values()
    await pool.open()
    try:
        with pytest.raises(ZeroDivisionError):
            async with store.changing() as work:
                for transition in ask(wanted, [], "api", "test", work.now, lambda: "salt"):
                    await work.apply(transition)
                raise ZeroDivisionError
        assert await store.find(wanted.id) is None
        for statement in ("UPDATE rollout.transitions SET actor = 'x'", "DELETE FROM rollout.transitions"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                await pool.fetch(statement)
        with pytest.raises(psycopg.errors.RaiseException):
            await pool.fetch("UPDATE rollout.rollouts SET state = 'running' WHERE state = 'aborted'")
    finally:
        await pool.close()


async def test_two_controllers_make_each_move_once(part):
    config = parse(CONFIG + f"rollouts: {{raced: {json.dumps({'candidate': LARGE, 'steps': steps('1%', '100%')})}}}")
    pools = [Postgres(part.dsn, "rollout") for _ in range(2)]
    metrics = [Metrics(CollectorRegistry()) for _ in pools]
    controllers = [
        Controller(
            PostgresRolloutStore(pool),
            Grants(lambda: 15, own),
            lambda: Desired(config),
            lambda: 15,
            own,
            Hearing(MemoryEvents(), own),
        )
        for pool, own in zip(pools, metrics, strict=True)
    ]
    part.platform.stop_unit("rollout")  # it follows another config
    try:
        for pool in pools:
            await pool.open()
        (wanted,) = Desired(config).by_model.values()
        async with asyncio.timeout(60):
            while ("promoted", 1, 10_000) not in await trail(part, wanted.id):
                await asyncio.gather(*(controller.tick() for controller in controllers for _ in range(3)))
        states = [(state, step) for state, step, _ in await trail(part, wanted.id)]
        assert states == [("pending", 0), ("running", 0), ("running", 1), ("promoted", 1)]
    finally:
        for pool in pools:
            await pool.close()
