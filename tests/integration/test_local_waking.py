"""A real Triton that is started while a request waits for it, stopped, and started again."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from pathlib import Path

from opentelemetry.trace import NoOpTracer
from prometheus_client import CollectorRegistry

from headrace_inference.adapters.artefacts import LocalArtefacts
from headrace_inference.adapters.engines import Engines
from headrace_inference.adapters.triton.servers import TritonServers
from headrace_inference.domain.deployments import Deployments
from headrace_inference.domain.inference import Asker, Inference
from headrace_inference.domain.lifecycle import Lifecycle
from headrace_inference.metrics import Metrics
from headrace_inference.ports import Generation
from headrace_kit.config import Environment, Secrets, parse
from headrace_kit.config.snapshot import Snapshot
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings

CONFIG = """
tenants: {dev: {}}
deployments:
  rare: {engine: triton-scripted, wakes_within: 2m}
models:
  rare: {deployment: rare}
"""


async def test_requests_wait_for_a_triton_that_is_started_late_and_again(tmp_path: Path):
    path = tmp_path / "headrace.yaml"
    path.write_text(CONFIG)

    def platform() -> Platform:
        return Platform(Settings(data_dir=tmp_path / "data", port_base=base, config=path))

    base = free_port_base()
    first = platform()
    tritons = TritonServers(f"127.0.0.1:{first.port('triton-grpc')}", f"127.0.0.1:{first.port('triton-metrics')}")
    env = Environment(config=path, port_base=base, data_dir=tmp_path / "data")
    engines = Engines(tritons, Secrets(env.secrets_path, {}), lambda entry: {})
    deployments = Deployments(engines.make, Metrics(CollectorRegistry()))
    artefacts = LocalArtefacts(env, tmp_path / "data" / "triton" / "models")
    lifecycle = Lifecycle(deployments, Snapshot(parse(CONFIG), path), artefacts, 1)
    inference = Inference(deployments, NoOpTracer())

    async def look() -> None:
        while True:
            await lifecycle.refresh()
            await asyncio.sleep(0.2)

    async def ask() -> str:
        hello = Generation(messages=({"role": "user", "content": "hello"},))
        asker = Asker("dev", time.monotonic() + 110)
        async with aclosing(inference.generate("rare", hello, asker)) as chunks:
            return "".join([chunk.text async for chunk in chunks])

    lifecycle.start()
    looking = asyncio.create_task(look())
    running = [first]
    try:
        for _ in range(2):
            async with asyncio.timeout(60):
                while deployments.get("rare").shown_state.state != "asleep":
                    await asyncio.sleep(0.1)
            waiting = asyncio.create_task(ask())
            async with asyncio.timeout(10):
                while not deployments.get("rare").admission.waiting:
                    await asyncio.sleep(0.05)
            await asyncio.to_thread(running[-1].start, ["triton"], bound=True)
            assert "hello" in await waiting
            assert deployments.get("rare").ready
            await asyncio.to_thread(running[-1].stop)
            running.append(platform())
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await lifecycle.stop()
        await tritons.close()
        for one in running:
            await asyncio.to_thread(one.stop)
        artefacts.close()
