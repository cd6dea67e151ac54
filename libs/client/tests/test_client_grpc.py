"""The asynchronous client over gRPC, against a server in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import status_pb2
from grpc import aio

from headrace import AsyncHeadraceGrpc, Message, Retry, errors
from headrace.types import FunctionCall, ToolCall
from headrace_kit.rpc import status as rpc_status
from headrace_protos.common.v1 import chat_pb2
from headrace_protos.common.v1.error_pb2 import ErrorDetail
from headrace_protos.gateway.v1 import messages_pb2 as pb
from headrace_protos.gateway.v1 import service_pb2_grpc as services

OUTCOME = pb.Outcome(
    trace_id="t1",
    deployment="small",
    cost_usd="0.000012",
    stages=[pb.StageOutcome(deployment="small", verdict="accepted", confidence=-0.25, chosen_by="finish")],
    citations=[pb.Citation(number=1, document_id="leave.md", start=9, end=28, quote="27 days")],
    guardrails=[pb.GuardFinding(direction="input", check="pii", kind="email", action="mask", count=2)],
)
USAGE = chat_pb2.Usage(input_tokens=12, cached_input_tokens=4, output_tokens=3)


async def abort(
    context, code: grpc.StatusCode, detail: ErrorDetail | None = None, message: str = "no", *, in_words: bool = False
) -> None:
    trailers = ()
    if detail is not None:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status = status_pb2.Status(code=code.value[0], message=message, details=[packed])
        trailers = (("grpc-status-details-bin", status.SerializeToString()),)
        if in_words:
            trailers, message = (), rpc_status.in_words(status)
    await context.abort(code, message, trailers)


class Gateway(services.GatewayServiceServicer, services.AdminServiceServicer):
    """Answers from memory; `faults` are used up first."""

    def __init__(self) -> None:
        self.seen: list[tuple[object, dict[str, str]]] = []
        self.faults: list[tuple[grpc.StatusCode, ErrorDetail | None]] = []
        self.chunks = [
            pb.GenerateChunk(id="r1", text="27 days"),
            pb.GenerateChunk(id="r1", text=" of leave"),
            pb.GenerateChunk(id="r1", finish_reason="stop", headrace=OUTCOME),
            pb.GenerateChunk(id="r1", usage=USAGE),
        ]
        self.fail_after: tuple[int, grpc.StatusCode, ErrorDetail] | None = None
        self.in_words = False
        self.stall = False
        self.left = asyncio.Event()

    async def _enter(self, request, context) -> None:
        self.seen.append((request, dict(context.invocation_metadata())))
        if self.faults:
            await abort(context, *self.faults.pop(0))

    async def Generate(self, request, context):
        await self._enter(request, context)
        call = chat_pb2.ToolCall(id="c1", name="look_up", arguments="{}")
        choice = pb.Choice(text="27 days", finish_reason="stop", tool_calls=[call])
        return pb.GenerateResponse(id="r1", model="small", choices=[choice], usage=USAGE, headrace=OUTCOME)

    async def GenerateStream(self, request, context):
        await self._enter(request, context)
        try:
            for index, chunk in enumerate(self.chunks):
                if self.fail_after and index == self.fail_after[0]:
                    await abort(context, *self.fail_after[1:], in_words=self.in_words)
                yield chunk
                if self.stall:
                    await asyncio.Event().wait()
        finally:
            self.left.set()

    async def Embed(self, request, context):
        await self._enter(request, context)
        return pb.EmbedResponse(model="minilm", embeddings=[pb.Embedding(values=[0.5, 1]) for _ in request.texts])

    async def Rerank(self, request, context):
        return pb.RerankResponse(results=[pb.RerankResult(index=1, score=2.5)])

    async def ListModels(self, request, context):
        await self._enter(request, context)
        return pb.ListModelsResponse(models=[pb.Model(id="assistant", created=1, task="chat")])

    async def SendFeedback(self, request, context):
        await self._enter(request, context)
        return pb.FeedbackResponse(id="f1")

    async def CreateKey(self, request, context):
        return pb.CreateKeyResponse(id="k1", key="hr_new")

    async def ListKeys(self, request, context):
        return pb.ListKeysResponse(keys=[pb.KeyInfo(id="k1", tenant=request.tenant, scopes=["read_all"])])

    async def RotateKey(self, request, context):
        return pb.RotateKeyResponse(id=request.id, key=f"hr_{request.overlap}")

    async def ListAudit(self, request, context):
        entry = pb.AuditEntry(id="a1", action=request.action, actor="k1", after_json='{"name": "ci"}')
        return pb.ListAuditResponse(entries=[entry])

    async def GetBudget(self, request, context):
        state = pb.BudgetState(per="day", budget_nano_usd=2_500_000_000, spent_nano_usd=1, current=True)
        return pb.GetBudgetResponse(tenant="dev", budgets=[state], tokens_per_minute=7)

    async def RevokeKey(self, request, context):
        if request.id != "k1":
            await abort(context, grpc.StatusCode.NOT_FOUND, ErrorDetail(type="not_found_error", code="not_found"))
        return pb.RevokeKeyResponse()

    async def ListDeployments(self, request, context):
        load = pb.DeploymentLoad(running=2, slots=4, kv_cache_used=0.0)
        return pb.ListDeploymentsResponse(
            deployments=[pb.Deployment(name="small", state="ready", version=2, load=load)]
        )

    async def LoadDeployment(self, request, context):
        if request.deployment == "none":
            await abort(context, grpc.StatusCode.NOT_FOUND, ErrorDetail(type="not_found_error", code="not_found"))
        return pb.Deployment(name=request.deployment, state="ready" if request.wait else "loading")

    async def UnloadDeployment(self, request, context):
        return pb.Deployment(name=request.deployment, state="unloaded" if request.wait else "draining")

    async def WarmDeployment(self, request, context):
        return pb.Deployment(name=request.deployment, state="ready" if request.wait else "warming", load_error="late")

    async def GetConfigVersion(self, request, context):
        return pb.GetConfigVersionResponse(active="abc")


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway()
    server = aio.server(options=[("grpc.so_reuseport", 0)])
    services.add_GatewayServiceServicer_to_server(gateway, server)
    services.add_AdminServiceServicer_to_server(gateway, server)
    gateway.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield gateway
    await server.stop(None)


@pytest.fixture
async def grpc_client(gateway) -> AsyncIterator[AsyncHeadraceGrpc]:
    async with AsyncHeadraceGrpc(gateway.address, "hr_team", timeout_s=10, retry=Retry(first_s=0.001)) as client:
        yield client


async def test_a_whole_answer_is_the_same_as_over_http(grpc_client, gateway):
    answer = await grpc_client.chat(
        "How many?", model="small", collections=["handbook"], max_tokens=8, temperature=0, stop=["\n"], user="ann"
    )
    assert (answer.text, answer.choices[0].finish_reason) == ("27 days", "stop")
    assert answer.choices[0].message.tool_calls[0].function.name == "look_up"
    assert (answer.usage.total_tokens, answer.usage.prompt_tokens_details.cached_tokens) == (15, 4)
    cited = answer.headrace.citations[0]
    assert (cited.document_id, cited.span.start, cited.span.end, cited.page) == ("leave.md", 9, 28, None)
    assert answer.headrace.stages[0].confidence == -0.25
    assert answer.headrace.stages[0].chosen_by == "finish"
    assert answer.headrace.guardrails[0].count == 2
    request, metadata = gateway.seen[0]
    assert (metadata["authorization"], metadata["application"]) == ("Bearer hr_team", "gateway")
    assert request.messages[0].parts[0].text == "How many?"
    assert (request.sampling.max_tokens, list(request.sampling.stop)) == (8, ["\n"])
    assert request.sampling.HasField("temperature") and not request.sampling.HasField("top_p")
    assert (list(request.headrace.collections), request.headrace.user) == (["handbook"], "ann")


async def test_tools_formats_and_parts_are_carried(grpc_client, gateway):
    called = Message("assistant", tool_calls=[ToolCall(FunctionCall("look_up", '{"a":1}'), id="c1")])
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}}
    await grpc_client.chat(
        [{"role": "user", "content": [{"type": "text", "text": "see"}, picture]}, called],
        tools=[{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}],
        response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
    )
    request = gateway.seen[0][0]
    assert request.messages[0].parts[1].image.detail == "low"
    assert request.messages[1].tool_calls[0].arguments == '{"a":1}'
    assert request.sampling.tools[0].parameters_json == '{"type":"object"}'
    assert request.sampling.response_format.schema_json == '{"type":"object"}'
    with pytest.raises(errors.BadRequest, match="video"):
        await grpc_client.chat([{"role": "user", "content": [{"type": "video"}]}])


async def test_a_stream_is_the_same_as_over_http(grpc_client):
    async with grpc_client.chat_stream("How many?") as stream:
        pieces = [chunk.text async for chunk in stream]
    assert pieces == ["27 days", " of leave", "", ""]
    assert (stream.text, stream.finish_reason, stream.usage.completion_tokens) == ("27 days of leave", "stop", 3)
    assert stream.headrace.trace_id == "t1"


async def test_leaving_a_stream_cancels_the_call(grpc_client, gateway):
    gateway.stall = True
    async with grpc_client.chat_stream("x") as stream:
        await anext(stream)
    async with asyncio.timeout(5):
        await gateway.left.wait()


@pytest.mark.parametrize("in_words", [False, True], ids=["in trailers", "in words"])
async def test_an_error_within_a_stream_is_raised_after_its_text(grpc_client, gateway, in_words):
    gateway.in_words = in_words
    gateway.fail_after = (1, grpc.StatusCode.UNAVAILABLE, ErrorDetail(type="upstream_error", code="upstream_failed"))
    stream = grpc_client.chat_stream("x")
    with pytest.raises(errors.UpstreamFailed, match=r"no$"):
        async for _ in stream:
            pass
    assert stream.text == "27 days"


async def test_a_stream_without_a_finish_reason_says_so(grpc_client, gateway):
    del gateway.chunks[2:]
    with pytest.raises(errors.StreamBroken):
        async for _ in grpc_client.chat_stream("x"):
            pass


@pytest.mark.parametrize(
    ("code", "detail", "expected", "status"),
    [
        ("INVALID_ARGUMENT", ("invalid_request_error", "invalid_request"), errors.BadRequest, 400),
        ("FAILED_PRECONDITION", ("invalid_request_error", "content_filter"), errors.ContentBlocked, 400),
        ("UNAUTHENTICATED", ("authentication_error", "invalid_api_key"), errors.AuthenticationFailed, 401),
        ("PERMISSION_DENIED", ("permission_error", "permission_denied"), errors.PermissionDenied, 403),
        ("NOT_FOUND", ("not_found_error", "model_not_found"), errors.NotFound, 404),
        ("ABORTED", ("conflict_error", "conflict"), errors.Conflict, 409),
        ("RESOURCE_EXHAUSTED", ("rate_limit_error", "rate_limit_exceeded"), errors.RateLimited, 429),
        ("RESOURCE_EXHAUSTED", ("insufficient_quota", "budget_exceeded"), errors.BudgetSpent, 402),
        ("INTERNAL", ("server_error", "internal_error"), errors.ServerFailed, 500),
        ("UNAVAILABLE", ("upstream_error", "upstream_failed"), errors.UpstreamFailed, 502),
        ("UNAVAILABLE", ("server_error", "not_ready"), errors.NotReady, 503),
        ("DEADLINE_EXCEEDED", ("timeout_error", "deadline_exceeded"), errors.DeadlineExceeded, 504),
        ("NOT_FOUND", None, errors.NotFound, 404),
        ("UNIMPLEMENTED", None, errors.ServerFailed, 500),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_each_code_has_its_class(grpc_client, gateway, code, detail, expected, status, streamed):
    typed = detail and ErrorDetail(type=detail[0], code=detail[1], param="model", request_id="req-1")
    gateway.faults.append((grpc.StatusCode[code], typed))
    with pytest.raises(errors.APIError) as caught:
        if streamed:
            await anext(grpc_client.chat_stream("x"))
        else:
            await grpc_client.chat("x")
    assert type(caught.value) is expected
    assert caught.value.status == status
    assert (caught.value.param, caught.value.request_id) == (("model", "req-1") if detail else (None, None))


async def test_a_refusal_with_advice_is_tried_again(grpc_client, gateway):
    busy = ErrorDetail(type="rate_limit_error", code="rate_limit_exceeded", retry_after_ms=1)
    gateway.faults += [(grpc.StatusCode.RESOURCE_EXHAUSTED, busy)] * 2
    assert (await grpc_client.chat("x")).text == "27 days"
    assert len(gateway.seen) == 3


async def test_only_calls_that_change_nothing_are_repeated_after_a_failure(grpc_client, gateway):
    gateway.faults.append((grpc.StatusCode.INTERNAL, None))
    assert (await grpc_client.models())[0].task == "chat"
    gateway.faults.append((grpc.StatusCode.INTERNAL, None))
    with pytest.raises(errors.ServerFailed):
        await grpc_client.send_feedback("t1", score=1)


async def test_another_team_is_asked_for_where_one_is_named(gateway):
    for tenant in (None, "red"):
        async with AsyncHeadraceGrpc(gateway.address, "hr_admin", timeout_s=10, tenant=tenant) as client:
            await client.chat("How many?")
            async with client.chat_stream("How many?") as stream:
                assert [chunk async for chunk in stream]
    named = [metadata.get("x-headrace-tenant") for _, metadata in gateway.seen]
    assert named == [None, None, "red", "red"]


async def test_nothing_there_is_said():
    async with AsyncHeadraceGrpc("127.0.0.1:1", "k", retry=Retry(attempts=2, first_s=0.001)) as client:
        with pytest.raises(errors.ConnectionFailed, match=r"127\.0\.0\.1:1"):
            await client.models()


async def test_the_callers_time_bounds_the_stream(grpc_client, gateway):
    gateway.stall = True
    with pytest.raises(errors.TimedOut):
        async for _ in grpc_client.chat_stream("x", timeout_s=0.2):
            pass


async def test_every_other_call(grpc_client):
    assert (await grpc_client.embed(["a", "b"], model="minilm")).vectors == [[0.5, 1.0]] * 2
    assert (await grpc_client.rerank("q", ["a", "b"])).results[0].relevance_score == 2.5
    assert await grpc_client.send_feedback("t1", label="wrong") == "f1"
    assert (await grpc_client.create_key("dev", "ci")).key == "hr_new"
    assert (await grpc_client.keys(tenant="dev"))[0].tenant == "dev"
    assert (await grpc_client.rotate_key("k1", overlap="2h")).key == "hr_2h"
    [entry] = await grpc_client.audit(action="key.")
    assert (entry.action, entry.before, entry.after) == ("key.", None, {"name": "ci"})
    state = await grpc_client.budget()
    assert (state.budgets[0].budget_usd, state.budgets[0].spent_usd) == ("2.5", "0.000000001")
    assert (state.limits.tokens_per_minute, state.limits.requests_per_minute) == (7, None)
    await grpc_client.revoke_key("k1")
    with pytest.raises(errors.NotFound):
        await grpc_client.revoke_key("k2")
    assert (await grpc_client.config_version()).active == "abc"


async def test_deployments(grpc_client):
    [small] = await grpc_client.deployments()
    assert small.load is not None
    assert (small.version, small.load.running, small.load.kv_cache_used, small.load_error) == (2, 2, 0.0, None)
    assert await grpc_client.deployment("small") == small
    assert (await grpc_client.load_deployment("small")).state == "ready"
    assert (await grpc_client.load_deployment("small", wait=False)).state == "loading"
    assert (await grpc_client.unload_deployment("small")).state == "unloaded"
    warmed = await grpc_client.warm_deployment("small", wait=False)
    assert (warmed.state, warmed.load_error, warmed.load) == ("warming", "late", None)
    with pytest.raises(errors.NotFound):
        await grpc_client.load_deployment("none")
