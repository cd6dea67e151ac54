"""The subjects of the conformance suite, each with what is declared of it.

Another one: a fixture `subject_<name>` that yields a `Subject`, and its name in `SUBJECTS`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from inference_suite.hosted import LITELLM_WARNS
from inference_suite.llamacpp import LlamaServer
from inference_suite.replay import Replay
from inference_suite.subject import Subject
from inference_suite.tokenizer import write
from inference_suite.triton import Triton
from inference_suite.waiting import until

import headrace_local
from headrace_inference.adapters.engines import Engines
from headrace_inference.adapters.llamacpp.engine import LlamaCppEngine
from headrace_inference.adapters.triton.client import TritonClient
from headrace_inference.adapters.triton.servers import TritonServers
from headrace_inference.catalogue import pull
from headrace_inference.ports import Engine
from headrace_kit.config import ConfigStore, Environment, Secrets
from headrace_kit.config.deployments import LiteLlmDeployment, LlamaCppDeployment, ServerDeployment, TritonGpuDeployment

SUBJECTS = (
    "triton",
    "llamacpp",
    "openai_compatible",
    pytest.param("litellm", marks=LITELLM_WARNS),
    "recorded_vllm",
    "recorded_sglang",
    "recorded_nim",
    "recorded_tgi",
    "standin_vllm",
    "standin_tensorrtllm",
    *(("vllm",) if "HEADRACE_VLLM_URL" in os.environ else ()),
)
SLOTS = 4
NO_TEXTS = {
    "embed": "the adapter is for language models",
    "rerank": "the adapter is for language models",
}
RECORDED = {**NO_TEXTS, "queue": "a transcript is played at once: nothing queues and no prompt is read"}


@pytest.fixture(params=SUBJECTS)
def subject(request) -> Subject:
    """Every subject in turn."""
    return request.getfixturevalue(f"subject_{request.param}")


def small_model() -> Path:
    """The weights of the default config's smallest language model, fetched where they are not here yet."""
    default = ConfigStore.from_file(Path(headrace_local.__file__).with_name("headrace.yaml")).current
    entry = default.config.deployments["small"].model
    return pull(default, Environment(), [entry])[entry]["model.gguf"]


@pytest.fixture(scope="session")
def llama_server() -> Iterator[LlamaServer]:
    server = LlamaServer(small_model(), "small", slots=SLOTS, context_tokens=2048)
    yield server
    server.stop()


def server_engine(engine: str, address: str, name: str = "small", **options) -> Engine:
    config = ServerDeployment(engine=engine, model="small", address=address, context_tokens=2048, **options)
    return engines(None).make(name, config)


def engines(client: TritonClient | None, **options) -> Engines:
    tritons = TritonServers("127.0.0.1:9", None)
    if client is not None:
        tritons.client = lambda config: client
    return Engines(tritons, Secrets(Path("/nowhere")), **({"files": no_files} | options))


def no_files(entry: str) -> dict[str, Path]:
    raise AssertionError(f"nobody should ask for the files of {entry}")


async def running_in_standin(triton: Triton, name: str) -> int:
    labels = {"model": name}
    return round(
        await triton.metric("standin_running", labels) + await triton.metric("vllm:num_requests_running", labels)
    )


@pytest.fixture
async def subject_openai_compatible(llama_server) -> AsyncIterator[Subject]:
    """llama.cpp's own HTTP server, spoken to as vLLM: a real engine behind the adapter."""
    address = llama_server.address()
    engine, absent = server_engine("vllm", address), server_engine("vllm", "http://127.0.0.1:9")
    yield Subject(
        engine,
        llama_server.running,
        absent,
        refused={"image": "messages[0].content[1]"},
        elsewhere={
            **NO_TEXTS,
            "regex": "llama.cpp's server has another name for it than vLLM",
            "tools": "llama.cpp's server cannot make this model call tools: its template has none",
        },
        slots=SLOTS,
        kill=llama_server.kill,
        long_words=4000,
    )
    await engine.close()
    await absent.close()


@pytest.fixture
async def subject_litellm(llama_server) -> AsyncIterator[Subject]:
    """llama.cpp's own HTTP server, spoken to by litellm: a real engine behind the adapter for hosted providers."""
    options = {"model": "openai/small", "context_tokens": 2048}
    there = LiteLlmDeployment(address=f"{llama_server.address()}/v1", **options)
    engine = engines(None).make("hosted", there)
    absent = engines(None).make("absent", LiteLlmDeployment(address="http://127.0.0.1:9/v1", **options))
    await engine.load()
    yield Subject(
        engine,
        llama_server.running,
        absent,
        refused={"prompt": "prompt", "regex": "response_format", "top_k": "top_k", "image": "messages[0].content[1]"},
        elsewhere={
            **NO_TEXTS,
            "n": "llama.cpp's server counts only one of several answers that come whole",
            "broken_schema": "llama.cpp's server does not say which field it refuses",
            "tools": "llama.cpp's server cannot make this model call tools: its template has none",
        },
        slots=SLOTS,
        kill=llama_server.kill,
        long_words=4000,
    )


async def _recorded(name: str, refused: dict[str, str]) -> AsyncIterator[Subject]:
    async with Replay(name) as server:
        engine, absent = server_engine(name, server.address), server_engine(name, "http://127.0.0.1:9")

        async def running() -> int:
            return server.running

        yield Subject(
            engine,
            running,
            absent,
            refused={"image": "messages[0].content[1]", **refused},
            elsewhere=RECORDED,
            kill=server.die,
        )
        await engine.close()
        await absent.close()


@pytest.fixture
async def subject_recorded_vllm() -> AsyncIterator[Subject]:
    async for subject in _recorded("vllm", {}):
        yield subject


@pytest.fixture
async def subject_recorded_sglang() -> AsyncIterator[Subject]:
    async for subject in _recorded("sglang", {}):
        yield subject


@pytest.fixture
async def subject_recorded_nim() -> AsyncIterator[Subject]:
    async for subject in _recorded("nim", {}):
        yield subject


@pytest.fixture
async def subject_recorded_tgi() -> AsyncIterator[Subject]:
    refused = {
        "n": "n",
        "top_k": "top_k",
        "presence_penalty": "presence_penalty",
        "prompt": "prompt",
        "json_object": "response_format",
    }
    async for subject in _recorded("tgi", refused):
        yield subject


@pytest.fixture
async def subject_triton(triton) -> AsyncIterator[Subject]:
    """Our own models in the real Triton: llama.cpp, and ONNX models for texts."""
    client = TritonClient(triton.address)
    made = engines(client)
    engine = made.make("small", triton.config.deployments["small"])
    await triton.until_loaded(client, "small")

    async def running() -> int:
        stats = await engine.stats()
        return (stats.running or 0) + (stats.waiting or 0)

    yield Subject(
        engine,
        running,
        made.make("absent", triton.config.deployments["small"]),
        refused={"image": "messages[0].content[1]"},
        slots=SLOTS,
        kill=triton.kill,
        embedder=made.make("minilm", triton.config.deployments["minilm"]),
        reranker=made.make("reranker", triton.config.deployments["reranker"]),
    )
    await client.close()


@pytest.fixture
async def subject_llamacpp() -> AsyncIterator[Subject]:
    """llama.cpp in a child process of the service."""
    config = LlamaCppDeployment(engine="llamacpp", model="small", context_tokens=2048, slots=SLOTS)
    made = engines(None, files=lambda entry: {"model.gguf": small_model()})
    engine, absent = made.make("small", config), made.make("absent", config)
    assert isinstance(engine, LlamaCppEngine)
    await engine.load()

    async def running() -> int:
        stats = await engine.stats()
        return (stats.running or 0) + (stats.waiting or 0)

    async def kill() -> None:
        os.kill(engine.pid, signal.SIGKILL)
        await until(lambda: _not_ready(engine))

    yield Subject(
        engine,
        running,
        absent,
        refused={"image": "messages[0].content[1]"},
        elsewhere=NO_TEXTS,
        slots=SLOTS,
        kill=kill,
    )
    await engine.close()


async def _not_ready(engine: Engine) -> bool:
    return (await engine.health()).state != "ready"


async def _standin(triton: Triton, tmp_path: Path, name: str, engine: str, refused: dict) -> AsyncIterator[Subject]:
    client = TritonClient(triton.address)
    tokenizer = write(tmp_path)
    config = TritonGpuDeployment(engine=engine, model="standin", context_tokens=4096)
    made = engines(client, files=lambda entry: tokenizer)
    await triton.until_loaded(client, name)
    yield Subject(
        made.make(name, config),
        lambda: running_in_standin(triton, name),
        made.make("absent", config),
        refused=refused,
        elsewhere=RECORDED,
        kill=triton.kill,
        tool_choice="auto",
    )
    await client.close()


@pytest.fixture
async def subject_vllm() -> AsyncIterator[Subject]:
    """A real vLLM that somebody runs, see the recordings' README; its model need not be able to call tools."""
    url, name = os.environ["HEADRACE_VLLM_URL"], os.environ.get("HEADRACE_VLLM_MODEL", "small")
    engine, absent = server_engine("vllm", url, name), server_engine("vllm", "http://127.0.0.1:9")

    async def running() -> int:
        stats = await engine.stats()
        return (stats.running or 0) + (stats.waiting or 0)

    yield Subject(
        engine,
        running,
        absent,
        refused={"image": "messages[0].content[1]"},
        elsewhere={**NO_TEXTS, "kill": "it is not ours to end", "tools": "its model may have no template for them"},
    )
    await engine.close()
    await absent.close()


@pytest.fixture
async def subject_standin_vllm(triton, tmp_path) -> AsyncIterator[Subject]:
    """What plays NVIDIA's vLLM backend in the real Triton."""
    refused = {"n": "n", "tool_choice": "tool_choice", "image": "messages[0].content[1]"}
    async for subject in _standin(triton, tmp_path, "standin-vllm", "triton-vllm", refused):
        yield subject


@pytest.fixture
async def subject_standin_tensorrtllm(triton, tmp_path) -> AsyncIterator[Subject]:
    """What plays TensorRT-LLM's llmapi model in the real Triton."""
    refused = {
        "n": "n",
        "logprobs": "top_logprobs",
        "json_schema": "response_format",
        "json_object": "response_format",
        "regex": "response_format",
        "tool_choice": "tool_choice",
        "image": "messages[0].content[1]",
    }
    async for subject in _standin(triton, tmp_path, "standin-tensorrtllm", "triton-tensorrtllm", refused):
        yield subject
