"""Deployments whose server may be stopped: requests wait while it starts, as long as that is of use."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from pathlib import Path

import pytest
from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry

from headrace_inference.domain.deployments import Deployments
from headrace_inference.domain.inference import Asker, Inference
from headrace_inference.domain.lifecycle import Lifecycle
from headrace_inference.domain.sleep import WANTED_S, Sleep
from headrace_inference.fake import FakeEngine
from headrace_inference.metrics import Metrics
from headrace_inference.ports import EngineState, Generation
from headrace_kit.config import Config
from headrace_kit.config.snapshot import Snapshot
from headrace_kit.errors import Busy, DeadlineExceeded, NotReady

HELLO = Generation(messages=({"role": "user", "content": "hello"},))
AWAY = EngineState("failed", "Triton does not answer")


class Server(FakeEngine):
    """An engine on a server that is there or not."""

    takes_over = True

    def __init__(self) -> None:
        super().__init__()
        self.there = False
        self.now = AWAY

    def start(self, state: str = "unloaded") -> None:
        self.there, self.now = True, EngineState(state)

    def stop(self) -> None:
        self.there, self.now = False, AWAY

    async def load(self) -> None:
        if not self.there:
            raise NotReady("Triton does not answer", code="engine_away")
        await super().load()

    async def generate(self, generation):
        if not self.there:
            raise NotReady("Triton does not answer", code="engine_away")
        async with aclosing(super().generate(generation)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def embed(self, texts, *, truncate):
        if not self.there:
            raise NotReady("Triton does not answer", code="engine_away")
        return await super().embed(texts, truncate=truncate)


class Files:
    changed = False

    async def prepare(self, snapshot, name, *, anew):
        return self

    async def keep(self) -> None: ...

    async def undo(self) -> None: ...

    async def remove(self, name) -> None: ...


class World:
    """The service over one deployment, `rare`."""

    def __init__(self, wakes_within: str | None = "60s", **more) -> None:
        self.server, self.registry = Server(), CollectorRegistry()
        deployment = {"engine": "triton-scripted", "max_in_flight": 3, **more}
        if wakes_within:
            deployment["wakes_within"] = wakes_within
        config = Config.model_validate({"deployments": {"rare": deployment}})
        deployments = Deployments(lambda name, config: self.server, Metrics(self.registry))
        self.lifecycle = Lifecycle(deployments, Snapshot(config, Path("headrace.yaml")), Files(), 0)
        self.inference = Inference(deployments, NoOpTracer())
        self.deployment = deployments.get("rare")

    async def __aenter__(self) -> World:
        self.lifecycle.start()
        await self.lifecycle.until_settled()
        await self.look()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.lifecycle.stop()

    async def look(self) -> None:
        """As each second."""
        await self.lifecycle.refresh()
        await self.lifecycle.until_settled()
        for _ in range(5):
            await asyncio.sleep(0)

    async def ask(self, within_s: float | None = None) -> list[str]:
        deadline = None if within_s is None else time.monotonic() + within_s
        async with aclosing(self.inference.generate("rare", HELLO, Asker("dev", deadline))) as chunks:
            return [chunk.text async for chunk in chunks if chunk.text]

    async def asking(self, within_s: float | None = None) -> asyncio.Task[list[str]]:
        """A request that waits."""
        task = asyncio.create_task(self.ask(within_s))
        async with asyncio.timeout(5):
            while not task.done() and not self.deployment.admission.waiting:
                await asyncio.sleep(0)
        return task

    def gauge(self, name: str) -> float | None:
        return self.registry.get_sample_value(f"headrace_inference_{name}", {"deployment": "rare"})

    def refused(self, reason: str) -> float | None:
        labels = {"deployment": "rare", "reason": reason}
        return self.registry.get_sample_value("headrace_inference_refused_total", labels)


@pytest.mark.parametrize("state", ["unloaded", "ready"])
async def test_a_request_waits_until_its_server_is_there(state):
    async with World() as world:
        assert world.deployment.shown_state.state == "asleep"
        waiting = await world.asking(within_s=30)
        await world.look()
        assert not waiting.done() and world.gauge("waiting") == 1
        world.server.start(state)
        await world.look()
        assert await waiting == ["a", "b"]
        assert world.deployment.shown_state.state == "ready"


async def test_it_wakes_again_after_it_was_stopped():
    async with World() as world:
        world.server.start()
        await world.look()
        assert await world.ask() == ["a", "b"]
        world.server.stop()
        await world.look()
        assert (world.gauge("asleep"), world.gauge("ready")) == (1, 0)
        waiting = await world.asking()
        world.server.start()
        await world.look()
        assert await waiting == ["a", "b"]
        assert (world.gauge("asleep"), world.gauge("ready")) == (0, 1)


async def test_a_request_that_meets_the_stop_itself_waits_too():
    async with World() as world:
        world.server.start()
        await world.look()
        world.server.stop()  # nobody has looked since
        waiting = await world.asking()
        assert not waiting.done()
        world.server.start()
        await world.look()
        assert await waiting == ["a", "b"]


async def test_the_deadline_ends_the_wait():
    async with World() as world:
        with pytest.raises(DeadlineExceeded):
            await world.ask(within_s=0.02)
        assert world.refused("deadline") == 1


async def test_a_deadline_that_the_last_start_says_cannot_be_met_is_refused_at_once_with_when_to_come_back():
    async with World() as world:
        now = 0.0
        world.deployment.sleep._clock = lambda: now
        waiting = await world.asking()
        now = 40.0  # what starting took
        world.server.start()
        await world.look()
        await waiting
        world.server.stop()
        await world.look()
        with pytest.raises(Busy, match=r"the wait is about 40\.0 s") as caught:
            await world.ask(within_s=30)
        assert caught.value.retry_after_s == 40
        assert world.refused("asleep") == 1
        assert world.gauge("wanted") == 1, "it is started all the same"
        now = 65.0
        with pytest.raises(Busy) as caught:
            await world.ask(within_s=10)
        assert caught.value.retry_after_s == 15


async def test_a_server_that_does_not_start_in_time_ends_the_wait_of_all():
    async with World(wakes_within="60s") as world:
        now = 0.0
        world.deployment.sleep._clock = lambda: now
        first, second = await world.asking(), asyncio.create_task(world.ask())
        await asyncio.sleep(0)
        now = 61.0
        await world.look()
        for waiting in (first, second):
            with pytest.raises(NotReady, match=r"did not start within 60 s: Triton does not answer") as caught:
                await waiting
            assert caught.value.retry_after_s == 10
        again = await world.asking()  # whoever comes later begins to wait anew
        now = 90.0
        await world.look()
        assert not again.done()
        again.cancel()


async def test_no_more_wait_than_the_deployment_takes():
    async with World() as world:
        tasks = [await world.asking() for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="has 3 requests in work"):
            await world.ask()
        world.server.start()
        await world.look()
        assert await asyncio.gather(*tasks) == [["a", "b"]] * 3


async def test_a_caller_that_leaves_waits_no_longer():
    async with World() as world:
        waiting = await world.asking()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert world.gauge("waiting") == 0


async def test_it_is_no_problem_of_the_service_and_is_wanted_for_a_minute():
    async with World() as world:
        assert world.gauge("wanted") == 0
        now = 0.0
        world.deployment.sleep._clock = lambda: now
        with pytest.raises(DeadlineExceeded):
            await world.ask(within_s=0.01)
        world.server.start()
        await world.look()
        now = WANTED_S - 1
        assert world.gauge("wanted") == 1
        now = WANTED_S + 1
        assert world.gauge("wanted") == 0


async def test_without_the_option_a_server_that_is_away_is_an_error_at_once():
    async with World(wakes_within=None) as world:
        with pytest.raises(NotReady, match="does not answer"):
            await world.ask()
        assert world.deployment.shown_state.state == "failed"


def test_how_long_is_left_is_what_the_last_start_took():
    now = 0.0
    sleep = Sleep(lambda: 60.0, lambda: now)
    assert sleep.doze() and sleep.left_s() == 0, "nothing is known"
    sleep.arrived()
    now = 20.0
    sleep.wake()
    sleep.doze()
    assert sleep.left_s() == 20
    sleep.arrived()
    now = 25.0
    assert sleep.left_s() == 15
    now = 50.0
    assert sleep.left_s() == 0, "it takes longer this time"
    assert not Sleep(lambda: None).doze()
