"""The adapter for vLLM and TensorRT-LLM inside the real Triton, against models with their inputs and outputs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from google.protobuf import text_format
from inference_suite.answers import gather
from inference_suite.tokenizer import write
from inference_suite.triton import MODELS
from tritonclient.grpc import model_config_pb2

from headrace_inference.adapters.triton.client import TritonClient
from headrace_inference.adapters.triton.gpu import TritonGpuEngine
from headrace_inference.ports import Generation, Sampling
from headrace_kit.config.deployments import TritonGpuDeployment
from headrace_kit.errors import BadInput, HeadraceError, NotReady, Upstream

GOLDEN = Path(__file__).parents[3] / "services" / "inference" / "tests" / "golden"
KINDS = (("triton-vllm", "standin-vllm"), ("triton-tensorrtllm", "standin-tensorrtllm"))


def asked(said: str, **sampling) -> Generation:
    return Generation(
        messages=({"role": "user", "content": said},), sampling=Sampling(**({"max_tokens": 9} | sampling))
    )


@pytest.fixture
async def client(triton) -> AsyncIterator[TritonClient]:
    made = TritonClient(triton.address)
    for _, name in KINDS:
        await triton.until_loaded(made, name)
    yield made
    await made.close()


def engine(client: TritonClient, folder: Path, kind: str, name: str, **options) -> TritonGpuEngine:
    tokenizer = write(folder)
    config = TritonGpuDeployment(engine=kind, model="standin", context_tokens=4096, **options)
    return TritonGpuEngine(name, config, client, lambda entry: tokenizer)


def config_of(path: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def test_what_we_render_has_the_inputs_and_outputs_of_the_stand_in():
    rendered = config_of(GOLDEN / "triton-tensorrtllm" / "whole" / "config.pbtxt")
    standin = config_of(MODELS / "llmapi" / "config.pbtxt")
    for side in ("input", "output"):
        theirs = {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in getattr(standin, side)}
        ours = {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in getattr(rendered, side)}
        assert ours.items() <= theirs.items()
        assert set(theirs) - set(ours) <= {"image_url"}, "images are refused there, so that input stays out"


@pytest.mark.parametrize(("kind", "name"), KINDS)
async def test_the_prompt_is_counted_with_the_models_own_tokenizer(client, tmp_path, kind, name):
    answer = await gather(engine(client, tmp_path, kind, name), asked("one two three"))
    # the message in the template, and what the engine's tokenizer puts in front
    counted = {"triton-vllm": 5, "triton-tensorrtllm": 6}[kind]
    assert answer.usage.input_tokens == counted
    assert answer.text == "The quick brown fox jumps over the lazy dog."
    assert answer.usage.output_tokens == 9


@pytest.mark.parametrize(("kind", "name"), KINDS)
@pytest.mark.parametrize(
    ("said", "error", "code"),
    [("SAY TOO LONG", BadInput, "context_length_exceeded"), ("FAIL NOW", Upstream, "engine_failed")],
)
async def test_a_models_own_failure_is_ours_and_is_no_reason_to_load_it_again(
    client, tmp_path, kind, name, said, error, code
):
    made = engine(client, tmp_path, kind, name)
    with pytest.raises(HeadraceError) as failed:
        await gather(made, asked(said))
    assert (type(failed.value), failed.value.code) == (error, code)
    for inside in ("CUDA", "EngineCore", "stack trace"):
        assert inside not in failed.value.message
    assert (await made.health()).state == "ready"
    assert (await gather(made, asked("Hi"))).finish in ("stop", "length")


async def test_a_schema_that_vllm_refuses_is_the_callers(client, tmp_path):
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "strange"}}}
    with pytest.raises(BadInput) as refused:
        await gather(engine(client, tmp_path, *KINDS[0]), asked("x", response_format=form))
    assert refused.value.code == "invalid_json_schema"


async def test_tensorrtllm_learns_an_adapters_number_and_place_from_the_rendered_model(client, tmp_path):
    adapters = {"legal": {"model": "legal"}, "poems": {"model": "poems"}}
    made = engine(client, tmp_path, *KINDS[1], adapters=adapters)
    answer = await gather(made, replace(asked("ECHO done"), adapter="legal"))
    assert answer.text == "done"
    with pytest.raises(NotReady) as failed:
        await gather(made, replace(asked("x"), adapter="poems"))
    assert "render it again" in failed.value.message


async def test_draft_tokens_are_reported_where_the_deployment_speculates(client, tmp_path):
    made = engine(client, tmp_path, *KINDS[1], speculation={"method": "ngram"})
    usage = (await gather(made, asked("Hi", max_tokens=4))).usage
    assert (usage.draft_tokens, usage.accepted_draft_tokens) == (8, 4)


async def test_the_plain_instance_is_used_while_it_is_ready(client, triton, tmp_path):
    made = engine(client, tmp_path, *KINDS[0], speculation={"method": "ngram"}, plain_instance=True)
    assert "plain instance is unloaded" in (await made.health()).detail
    answer = await gather(made, replace(asked("Hi"), max_draft_tokens=0))
    assert answer.text, "the other instance serves in its place"


@pytest.mark.parametrize(("kind", "name"), KINDS)
async def test_many_answers_come_whole_and_some_left_early_disturb_nobody(client, tmp_path, kind, name):
    made = engine(client, tmp_path, kind, name)
    for _ in range(5):
        left = [made.generate(asked("Count.", max_tokens=2000)) for _ in range(8)]
        for stream in left:
            await anext(stream)
        answers = asyncio.gather(*(gather(made, asked("Hi")) for _ in range(12)))
        for stream in left:
            await stream.aclose()
        assert {answer.text for answer in await answers} == {"The quick brown fox jumps over the lazy dog."}


async def test_files_that_are_missing_are_named_when_it_loads(client):
    config = TritonGpuDeployment(engine="triton-vllm", model="standin")
    made = TritonGpuEngine("standin-vllm", config, client, lambda entry: {})
    with pytest.raises(Upstream) as failed:
        await made.load()
    assert "tokenizer.json" in failed.value.message
