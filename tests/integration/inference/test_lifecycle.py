"""New versions beside old ones in the real Triton: no stream is dropped, and what fails changes nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import headrace_local
from headrace_kit.config.environment import Environment
from headrace_kit.config.loading import load
from headrace_kit.config.snapshot import Snapshot
from headrace_kit.errors import HeadraceError, NotFound, NotReady
from headrace_kit.rpc.call import Identity
from headrace_kit.rpc.client import Outbound, Peer
from headrace_kit.rpc.identity import Signer
from headrace_local.platform import Platform
from headrace_local.ports import free_port_base
from headrace_local.settings import Settings
from headrace_protos.common.v1 import chat_pb2, node_pb2, node_pb2_grpc
from headrace_protos.inference.v1 import messages_pb2 as pb
from headrace_protos.inference.v1 import service_pb2_grpc as rpc

PATIENCE_S = 120
STREAMS = 12
SYSTEM = " ".join(f"Rule {number}: answer in one sentence, and name what you do not know." for number in range(1, 13))


class World:
    """Triton and inference, their config, and a caller."""

    def __init__(self, platform: Platform, config: Path) -> None:
        self.platform = platform
        self._config = config
        signer = Signer("gateway", platform.layout.secrets / "signing")
        self._peer = Peer("inference", f"127.0.0.1:{platform.port('inference-grpc')}", signer)
        self._stub = self._peer.stub(rpc.InferenceServiceStub)
        self._node = self._peer.stub(node_pb2_grpc.NodeServiceStub)
        self._outbound = Outbound(Identity("gateway", tenant="dev"), "request")

    async def call(self, method: str, request: Any) -> Any:
        return await self._peer.unary(getattr(self._stub, method), request, self._outbound.within(PATIENCE_S))

    async def status(self, name: str) -> pb.DeploymentStatus:
        found = await self.call("ListDeployments", pb.ListDeploymentsRequest())
        return next((entry for entry in found.deployments if entry.name == name), pb.DeploymentStatus(state="gone"))

    async def snapshots(self) -> list[str]:
        request = self._peer.unary(self._node.GetStatus, node_pb2.GetStatusRequest(), self._outbound.within(5))
        return list((await request).config_hashes)

    async def answer(self, request: pb.GenerateRequest) -> tuple[str, str]:
        """The whole text and the finish reason."""
        text, finish = "", ""
        stream = self._peer.stream(self._stub.GenerateStream, request, self._outbound.within(PATIENCE_S))
        async with aclosing(stream) as chunks:
            async for chunk in chunks:
                text += chunk.text
                finish = chunk.finish_reason or finish
        return text, finish

    def configure(self, deployments: dict[str, Any], **catalogue: Any) -> None:
        write(self._config, deployments, catalogue)

    def models(self) -> Path:
        return self.platform.layout.triton / "models"

    async def close(self) -> None:
        await self._peer.close()


def write(path: Path, deployments: dict[str, Any], catalogue: dict[str, Any]) -> None:
    default = load(Path(headrace_local.__file__).with_name("headrace.yaml"))
    small = default.catalogue["smollm2-135m"].model_dump(mode="json", exclude_none=True)
    document = {"catalogue": {"smollm2-135m": small, **catalogue}, "deployments": deployments}
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(document))
    scratch.replace(path)


def first() -> dict[str, Any]:
    return {
        "scripted": {"engine": "triton-scripted", "max_output_tokens": 1000},
        "small": {
            "engine": "triton-llamacpp",
            "model": "smollm2-135m",
            "context_tokens": 1024,
            "slots": 2,
            "max_output_tokens": 64,
            "warmup": {"system_prompt": SYSTEM},
        },
    }


@pytest.fixture(scope="module")
def started(tmp_path_factory) -> Iterator[tuple[Platform, Path]]:
    folder = tmp_path_factory.mktemp("lifecycle")
    config = folder / "headrace.yaml"
    write(config, first(), {})
    platform = Platform(Settings(data_dir=folder / "data", port_base=free_port_base(), config=config))
    platform.start(["triton", "inference"], bound=True)
    try:
        yield platform, config
    finally:
        platform.stop()


@pytest.fixture
async def world(started) -> AsyncIterator[World]:
    made = World(*started)
    made.configure(first())
    await until(lambda: has_taken(made, started[1]))
    await until(lambda: serves(made, "scripted", "small"))
    yield made
    await made.close()


async def has_taken(world: World, config: Path) -> bool:
    return (await world.snapshots())[0] == Snapshot(load(config), config).hash


async def serves(world: World, *names: str) -> bool:
    return all([(await world.status(name)).state == "ready" for name in names])


async def until(condition: Callable[[], Awaitable[bool]], within_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            if await condition():
                return
        except HeadraceError:
            pass
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


def ask(deployment: str, text: str | dict[str, Any], **sampling: Any) -> pb.GenerateRequest:
    said = text if isinstance(text, str) else json.dumps(text)
    message = chat_pb2.Message(role="user", parts=[chat_pb2.ContentPart(text=said)])
    return pb.GenerateRequest(deployment=deployment, messages=[message], sampling=chat_pb2.Sampling(**sampling))


async def test_a_new_version_takes_over_and_every_stream_of_the_old_one_ends_whole(world):
    version = (await world.status("scripted")).version
    slow = ask("scripted", {"tokens": 120, "tokens_per_s": 20})
    streams = [asyncio.create_task(world.answer(slow)) for _ in range(STREAMS)]
    load = pb.GetLoadRequest(deployments=["scripted"])
    await until(lambda: runs(world, load, STREAMS))
    changed = first()
    changed["scripted"]["max_output_tokens"] = 5
    world.configure(changed)
    await until(lambda: took_over(world, "scripted", version))
    assert not any(stream.done() for stream in streams), "the old version still speaks"
    assert await world.answer(ask("scripted", {"tokens": 50})) == (" word0 word1 word2 word3 word4", "length")
    wanted = "".join(f" word{number}" for number in range(120))
    assert await asyncio.gather(*streams) == [(wanted, "stop")] * STREAMS


async def test_a_language_model_gets_more_slots_while_it_speaks(world):
    version = (await world.status("small")).version
    request = ask("small", "Count from one to fifty in words.", temperature=0, max_tokens=60)
    wanted = await world.answer(request)
    streams = [asyncio.create_task(world.answer(request)) for _ in range(4)]
    await until(lambda: runs(world, pb.GetLoadRequest(deployments=["small"]), 2))
    changed = first()
    changed["small"]["slots"] = 4
    world.configure(changed)
    await until(lambda: took_over(world, "small", version))
    answers = await asyncio.gather(*streams)
    assert [finish for _, finish in answers] == [wanted[1]] * 4
    assert all(text for text, _ in answers)
    load = await world.call("GetLoad", pb.GetLoadRequest(deployments=["small"]))
    assert (load.loads[0].slots, load.loads[0].ready) == (4, True)


async def test_a_truncated_model_file_leaves_the_old_version_serving_and_the_state_says_why(world, tmp_path):
    default = load(Path(headrace_local.__file__).with_name("headrace.yaml"))
    (file,) = default.catalogue["smollm2-135m"].files
    cut = tmp_path / "cut.gguf"
    cut.write_bytes((Environment().cache_dir / "models" / file.sha256).read_bytes()[: 40 << 20])
    entry = {
        "format": "gguf",
        "licence": "Apache-2.0",
        "files": [
            {
                "name": "model.gguf",
                "size": cut.stat().st_size,
                "sha256": hashlib.sha256(cut.read_bytes()).hexdigest(),
                "sources": [{"path": str(cut)}],
            }
        ],
    }
    before = await world.status("small")
    stream = asyncio.create_task(world.answer(ask("small", "Tell a story.", max_tokens=60)))
    changed = first()
    changed["small"]["model"] = "cut"
    world.configure(changed, cut=entry)
    await until(lambda: has_load_error(world, "small"))
    after = await world.status("small")
    assert (after.state, after.version, after.model) == ("ready", before.version, before.model)
    assert "cut" in after.load_error or "model.gguf" in after.load_error or "data" in after.load_error
    assert (await stream)[1] in ("stop", "length")
    assert (await world.answer(ask("small", "Say hello.", max_tokens=8)))[0]
    assert len([path for path in (world.models() / "small").iterdir() if path.name.isdecimal()]) <= 2
    world.configure(first())
    await until(lambda: has_no_load_error(world, "small"))
    assert (await world.status("small")).version == before.version


async def test_loading_what_serves_loads_it_anew_and_unloading_lasts(world):
    before = await world.status("scripted")
    stream = asyncio.create_task(world.answer(ask("scripted", {"tokens": 40, "tokens_per_s": 20})))
    await until(lambda: runs(world, pb.GetLoadRequest(deployments=["scripted"]), 1))
    anew = await world.call("LoadDeployment", pb.LoadDeploymentRequest(deployment="scripted"))
    assert (anew.version, anew.state) == (before.version + 1, "ready")
    assert (await stream)[1] == "stop"
    assert (await world.call("WarmDeployment", pb.WarmDeploymentRequest(deployment="scripted"))).state == "ready"
    unloaded = await world.call("UnloadDeployment", pb.UnloadDeploymentRequest(deployment="scripted"))
    assert unloaded.state == "unloaded"
    with pytest.raises(NotReady, match="models load"):
        await world.answer(ask("scripted", "hello"))
    await world.call("LoadDeployment", pb.LoadDeploymentRequest(deployment="scripted"))
    assert (await world.answer(ask("scripted", "hello")))[0] == "You said: hello"


async def test_what_comes_into_the_config_is_loaded_before_the_config_is_reported_and_what_leaves_it_goes(world):
    known = set(await world.snapshots())
    world.configure({**first(), "second": {"engine": "triton-scripted"}})
    await until(lambda: has_another(world, known))
    assert (await world.status("second")).state == "ready"
    assert (await world.answer(ask("second", "hello")))[0] == "You said: hello"
    stream = asyncio.create_task(world.answer(ask("second", {"tokens": 300, "tokens_per_s": 20})))
    await until(lambda: runs(world, pb.GetLoadRequest(deployments=["second"]), 1))
    world.configure(first())
    assert (await stream)[1] == "stop"
    await until(lambda: is_gone(world, "second"))
    assert not (world.models() / "second").exists()
    with pytest.raises(NotFound):
        await world.answer(ask("second", "hello"))


async def test_the_system_prompt_is_in_the_cache_before_the_first_request(world):
    system = chat_pb2.Message(role="system", parts=[chat_pb2.ContentPart(text=SYSTEM)])
    request = ask("small", "Name a colour.", max_tokens=4)
    request.messages.insert(0, system)
    await world.call("WarmDeployment", pb.WarmDeploymentRequest(deployment="small"))
    found = await world.call("Generate", request)
    assert found.usage.cached_input_tokens >= 0.8 * found.usage.input_tokens >= 100


async def runs(world: World, request: pb.GetLoadRequest, count: int) -> bool:
    return (await world.call("GetLoad", request)).loads[0].running >= count


async def took_over(world: World, name: str, version: int) -> bool:
    return (await world.status(name)).version > version


async def has_load_error(world: World, name: str) -> bool:
    return bool((await world.status(name)).load_error)


async def has_no_load_error(world: World, name: str) -> bool:
    return not await has_load_error(world, name)


async def has_another(world: World, known: set[str]) -> bool:
    return not set(await world.snapshots()) <= known


async def is_gone(world: World, name: str) -> bool:
    return (await world.status(name)).state == "gone"
