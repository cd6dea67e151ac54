"""Loading, warming, taking over and unloading, over fake engines."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from pathlib import Path

import pytest
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry

from headrace_inference.domain.deployments import Deployments
from headrace_inference.domain.inference import Inference
from headrace_inference.domain.lifecycle import FIRST_PAUSE_S, PATIENCE_S, Lifecycle
from headrace_inference.fake import FakeEngine
from headrace_inference.metrics import Metrics
from headrace_inference.ports import EngineState, EngineStats, Generation
from headrace_kit.config import parse
from headrace_kit.config.snapshot import Snapshot
from headrace_kit.errors import BadInput, HeadraceError, NotFound, NotReady, Upstream

WEIGHTS = {
    "format": "gguf",
    "licence": "MIT",
    "files": [{"name": "m.gguf", "sha256": "0" * 64, "size": 1, "sources": [{"path": "x"}]}],
}
HELLO = Generation(messages=({"role": "user", "content": "hello"},))


class SharedEngine(FakeEngine):
    """As Triton: a load puts the new version in the old one's place."""

    takes_over = True


class Preparations:
    """Artefacts that are counted only."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.changed = True
        self.error: HeadraceError | None = None

    async def prepare(self, snapshot, name, *, anew):
        self.log.append(f"prepare {name}{' anew' if anew else ''}")
        if self.error is not None:
            raise self.error
        return self

    async def keep(self) -> None:
        self.log.append("keep")

    async def undo(self) -> None:
        self.log.append("undo")

    async def remove(self, name: str) -> None:
        self.log.append(f"remove {name}")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def snapshot(models: dict | None = None, **deployments) -> Snapshot:
    made = {name: {"engine": "llamacpp", "model": "weights", "slots": 2, **more} for name, more in deployments.items()}
    tree = {"catalogue": {"weights": WEIGHTS}, "deployments": made, "models": models or {}}
    return Snapshot(parse(json.dumps(tree)), Path("headrace.yaml"))


class World:
    """A life cycle whose engines a test decides about: `make` is called for each."""

    def __init__(self, first: Snapshot, engine=FakeEngine) -> None:
        self.made: dict[str, list[FakeEngine]] = {}
        self.kind = engine
        self.next: FakeEngine | None = None
        self.registry = CollectorRegistry()
        self.deployments = Deployments(self.make, Metrics(self.registry))
        self.inference = Inference(self.deployments, NoOpTracer())
        self.prepared = Preparations()
        self.clock = Clock()
        self.lifecycle = Lifecycle(self.deployments, first, self.prepared, 30, grace_s=0, clock=self.clock)

    def make(self, name, config) -> FakeEngine:
        engine, self.next = self.next or self.kind(), None
        if not engine.loads:
            engine.now = EngineState("unloaded")
        self.made.setdefault(name, []).append(engine)
        return engine

    async def __aenter__(self) -> World:
        self.lifecycle.start()
        return self

    async def __aexit__(self, *ended) -> None:
        await self.lifecycle.stop()

    async def settled(self) -> None:
        async with asyncio.timeout(10):
            await self.lifecycle.until_settled()

    def state(self, name: str) -> str:
        return self.deployments.get(name).shown_state.state

    def loads(self, name: str, outcome: str) -> float:
        labels = {"deployment": name, "outcome": outcome}
        return self.registry.get_sample_value("headrace_inference_loads_total", labels) or 0

    async def text(self, name: str) -> str:
        async with aclosing(self.inference.generate(name, HELLO)) as chunks:
            return "".join([chunk.text async for chunk in chunks])


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_a_start_loads_one_after_the_other_in_order_and_warms_each_with_its_prompts():
    warmup = {"warmup": {"system_prompt": "You are kind."}}
    async with World(snapshot(b=warmup, a={"warmup": {"prompt": None}})) as world:
        gate = world.made["b"][0].load_gate = asyncio.Event()
        await until(lambda: world.made["b"][0].loads)
        assert (world.state("b"), world.state("a")) == ("loading", "loading")
        assert world.made["a"][0].loads == 0, "one at a time"
        gate.set()
        await world.settled()
        assert (world.state("b"), world.state("a")) == ("ready", "ready")
        hello, system = world.made["b"][0].served
        assert hello.messages == ({"role": "user", "content": "Hello"},)
        assert [message["content"] for message in system.messages] == ["You are kind.", "Hello"]
        assert hello.tenant == system.tenant == "", "everybody may use what this leaves in the cache"
        assert world.made["a"][0].served == []
        assert world.deployments.get("a").version == 1


async def test_a_model_that_is_ready_in_triton_is_only_warmed():
    world = World(snapshot(a={}), SharedEngine)
    world.prepared.changed = False
    world.made["a"][0].now = EngineState("ready")
    async with world:
        await world.settled()
        (engine,) = world.made["a"]
        assert (engine.loads, len(engine.served), world.state("a")) == (0, 1, "ready")


async def test_one_that_fails_takes_nothing_else_down_and_is_tried_again_after_a_pause():
    world = World(snapshot(bad={}, good={}))
    world.made["bad"][0].load_error = Upstream("no such file")
    async with world:
        await world.settled()
        assert (world.state("bad"), world.state("good")) == ("failed", "ready")
        assert world.deployments.get("bad").shown_state.detail == "no such file"
        assert world.loads("bad", "failed") == 1
        await world.lifecycle.refresh()
        assert world.loads("bad", "failed") == 1, "not before its time"
        world.clock.now += FIRST_PAUSE_S
        await world.lifecycle.refresh()
        await until(lambda: world.loads("bad", "failed") == 2)
        world.clock.now += FIRST_PAUSE_S
        await world.lifecycle.refresh()
        assert not world.made["bad"][0].load_gate
        assert world.loads("bad", "failed") == 2, "pauses grow"
        world.made["bad"][0].load_error = None
        world.clock.now += FIRST_PAUSE_S
        await world.lifecycle.refresh()
        await until(lambda: world.state("bad") == "ready")


async def test_a_warm_up_that_fails_is_a_load_that_failed():
    world = World(snapshot(a={}))
    world.made["a"][0].error = Upstream("it says nothing")
    async with world:
        await world.settled()
        assert world.deployments.get("a").shown_state == EngineState("failed", "it says nothing")
        assert world.made["a"][0].unloads == 1
        assert "undo" in world.prepared.log


async def test_a_new_version_loads_beside_the_old_one_which_ends_its_streams_first():
    async with World(snapshot(a={})) as world:
        await world.settled()
        (old,) = world.made["a"]
        gate = old.gate = asyncio.Event()
        stream = asyncio.create_task(world.text("a"))
        await until(lambda: old.open)
        new = world.next = FakeEngine(["new"])
        loading = new.load_gate = asyncio.Event()
        world.lifecycle.apply(snapshot(a={"slots": 4}))
        await until(lambda: new.loads)
        assert world.state("a") == "ready", "the old one serves"
        assert world.deployments.get("a").admission.slots == 2
        loading.set()
        await world.settled()
        assert world.deployments.get("a").admission.slots == 4
        assert await world.text("a") == "new"
        assert (old.unloads, old.open) == (0, 1)
        gate.set()
        assert await stream == "ab"
        await until(lambda: old.unloads == 1)
        assert new.unloads == 0
        assert world.deployments.get("a").version == 2


async def test_a_load_that_fails_beside_leaves_the_old_serving_and_says_why():
    async with World(snapshot(a={})) as world:
        await world.settled()
        bad = world.next = FakeEngine()
        bad.load_error = Upstream("the file is cut off")
        world.lifecycle.apply(snapshot(a={"slots": 4}))
        await world.settled()
        deployment = world.deployments.get("a")
        assert (deployment.shown_state.state, deployment.version) == ("ready", 1)
        assert deployment.load_error == "the file is cut off"
        assert bad.unloads == 1
        assert await world.text("a") == "ab"
        world.clock.now += 1000
        await world.lifecycle.refresh()
        assert world.loads("a", "failed") == 1, "only a change or a person tries again"
        world.lifecycle.apply(snapshot(a={}))
        await world.settled()
        assert (deployment.load_error, deployment.version) == ("", 1), "what serves is wanted again"


async def test_in_triton_a_failed_version_is_undone_and_the_old_model_is_never_unloaded():
    async with World(snapshot(a={}), SharedEngine) as world:
        await world.settled()
        bad = world.next = SharedEngine()
        bad.error = Upstream("it loads and does not answer")
        world.lifecycle.apply(snapshot(a={"slots": 4}))
        await world.settled()
        assert world.prepared.log[-2:] == ["prepare a", "undo"]
        assert bad.loads == 2, "the second load brings the old version back"
        assert bad.unloads == world.made["a"][0].unloads == 0
        world.lifecycle.apply(snapshot(a={"slots": 5}))
        await world.settled()
        assert world.deployments.get("a").version == 2
        assert world.made["a"][0].unloads == 0


async def test_loading_what_serves_loads_it_anew():
    async with World(snapshot(a={})) as world:
        await world.settled()
        assert (await world.lifecycle.load("a")).version == 2
        assert world.prepared.log[-2:] == ["prepare a anew", "keep"]
        assert len(world.made["a"]) == 2
        world.prepared.error = Upstream("no source gave the file")
        with pytest.raises(Upstream, match="no source"):
            await world.lifecycle.load("a")
        assert (world.state("a"), world.deployments.get("a").load_error) == ("ready", "no source gave the file")
        with pytest.raises(NotFound, match="did you mean 'a'"):
            await world.lifecycle.load("aa")


async def test_a_load_goes_on_when_whoever_asked_leaves():
    async with World(snapshot(a={})) as world:
        await world.settled()
        new = world.next = FakeEngine()
        gate = new.load_gate = asyncio.Event()
        asked = asyncio.create_task(world.lifecycle.load("a"))
        await until(lambda: new.loads)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        gate.set()
        await until(lambda: world.deployments.get("a").version == 2)


async def test_a_price_needs_no_load():
    async with World(snapshot(a={})) as world:
        await world.settled()
        world.lifecycle.apply(snapshot(a={"price": {"input_usd_per_million": "3"}}))
        await world.settled()
        assert len(world.made["a"]) == 1
        assert str(world.deployments.get("a").config.price.input_usd_per_million) == "3"


async def test_a_new_config_is_held_back_until_its_deployments_were_tried_but_not_for_ever():
    async with World(snapshot(a={})) as world:
        await world.settled()
        after = snapshot(a={}, b={})
        new = world.next = FakeEngine()
        gate = new.load_gate = asyncio.Event()
        world.lifecycle.apply(after)
        await until(lambda: new.loads)
        assert not world.lifecycle.has(after.hash)
        assert world.lifecycle.has(snapshot(a={}).hash)
        world.clock.now += PATIENCE_S
        assert world.lifecycle.has(after.hash)
        world.clock.now -= PATIENCE_S
        gate.set()
        await world.settled()
        assert world.lifecycle.has(after.hash)
        assert world.state("b") == "ready"


async def test_what_leaves_the_config_ends_its_work_and_goes():
    async with World(snapshot(a={}, b={})) as world:
        await world.settled()
        (engine,) = world.made["b"]
        gate = engine.gate = asyncio.Event()
        stream = asyncio.create_task(world.text("b"))
        await until(lambda: engine.open)
        world.lifecycle.apply(snapshot(a={}))
        await until(lambda: world.state("b") == "draining")
        gate.set()
        assert await stream == "ab"
        await until(lambda: world.deployments.find("b") is None)
        assert (engine.unloads, world.prepared.log[-1]) == (1, "remove b")
        assert await world.text("a") == "ab"


async def test_what_leaves_the_config_and_comes_back_goes_on():
    async with World(snapshot(a={}, b={})) as world:
        await world.settled()
        world.lifecycle.apply(snapshot(a={}))
        world.lifecycle.apply(snapshot(a={}, b={}))
        await world.settled()
        assert world.state("b") == "ready"
        assert world.made["b"][0].unloads == 0


async def test_what_was_unloaded_stays_so_until_a_model_needs_it():
    async with World(snapshot(a={}, b={})) as world:
        await world.settled()
        await world.lifecycle.unload("b")
        world.lifecycle.apply(snapshot({"plain": {"deployment": "a"}}, a={}, b={}))
        await world.settled()
        assert world.state("b") == "unloaded"
        swapped = snapshot({"plain": {"deployment": "b"}}, a={}, b={})
        world.lifecycle.apply(swapped)
        assert not world.lifecycle.has(swapped.hash), "the gateway does not switch before it serves"
        await world.settled()
        assert (world.state("b"), world.lifecycle.has(swapped.hash)) == ("ready", True)


class ServerEngine(FakeEngine):
    """As a server of its own: it keeps its weights as long as it runs."""

    async def unload(self) -> None:
        raise BadInput("stop the server", code="unsupported")


async def test_connections_are_closed_also_where_an_engine_cannot_be_unloaded(caplog):
    async with World(snapshot(first={}, second={}), ServerEngine) as world:
        await world.settled()
        world.lifecycle.apply(snapshot(first={"slots": 1}))
        await world.settled()
        old, new = world.made["first"]
        (gone,) = world.made["second"]
        await until(lambda: old.closed and gone.closed)
        assert not new.closed
    assert new.closed
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_unloading_waits_for_open_streams_and_lasts_until_it_is_loaded_again():
    async with World(snapshot(a={})) as world:
        await world.settled()
        (engine,) = world.made["a"]
        gate = engine.gate = asyncio.Event()
        stream = asyncio.create_task(world.text("a"))
        await until(lambda: engine.open)
        unload = asyncio.create_task(world.lifecycle.unload("a"))
        await until(lambda: world.state("a") == "draining")
        with pytest.raises(NotReady):
            await world.text("a")
        assert engine.unloads == 0
        gate.set()
        assert await stream == "ab"
        assert (await unload).shown_state.state == "unloaded"
        with pytest.raises(NotReady, match="headrace models load a"):
            await world.text("a")
        with pytest.raises(NotReady):
            await world.lifecycle.warm("a")
        world.clock.now += 1000
        await world.lifecycle.refresh()
        assert world.state("a") == "unloaded"
        engine.gate = None
        assert (await world.lifecycle.load("a")).ready


async def test_an_engine_that_dies_is_shown_failed_and_loaded_again_and_one_that_returns_is_warmed():
    async with World(snapshot(a={})) as world:
        await world.settled()
        (engine,) = world.made["a"]
        await world.lifecycle.refresh()
        engine.now = EngineState("failed", "killed")
        await world.lifecycle.refresh()
        assert world.deployments.get("a").shown_state == EngineState("failed", "killed")
        engine.now = EngineState("ready")
        await world.lifecycle.refresh()
        await until(lambda: len(engine.served) == 2)
        assert engine.loads == 1, "it came back by itself"
        engine.now = EngineState("failed", "killed")
        await world.lifecycle.refresh()
        world.clock.now += FIRST_PAUSE_S
        await world.lifecycle.refresh()
        await until(lambda: world.deployments.get("a").version == 2)
        assert world.state("a") == "ready"


async def test_what_an_engine_measures_of_itself_is_kept_and_its_acceptance_decides_on_drafts():
    async with World(snapshot(a={"speculation": {"method": "ngram"}})) as world:
        await world.settled()
        deployment = world.deployments.get("a")
        world.made["a"][0].measured = EngineStats(kv_cache_used=0.5, draft_acceptance=0.0)
        for _ in range(4):
            await world.lifecycle.refresh()
        assert deployment.stats.kv_cache_used == 0.5
        assert deployment.speculation.decide("t", 10, 1) == 0


async def test_warming_runs_the_prompts_again():
    async with World(snapshot(a={})) as world:
        await world.settled()
        await world.lifecycle.warm("a")
        assert len(world.made["a"][0].served) == 2
