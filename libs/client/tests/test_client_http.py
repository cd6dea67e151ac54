"""The asynchronous client over HTTP, against real sockets."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from headrace import AsyncHeadrace, Document, Message, errors
from headrace.retry import NEVER, Retry
from headrace.types.admin import KeyLimits


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_a_whole_answer_is_typed(client, fake):
    answer = await client.chat("How many?", collections=["handbook"], max_tokens=8, stop=["\n"])
    assert answer.text == "27 days"
    assert answer.usage.completion_tokens == 3
    assert answer.headrace.citations[0].span.start == 9
    assert answer.headrace.stages[0].verdict == "accepted"
    sent = fake.seen[0]
    assert sent.headers["authorization"] == "Bearer hr_team"
    assert sent.headers["x-headrace-timeout-ms"] == "10000"
    assert sent.body == {
        "model": "assistant",
        "messages": [{"role": "user", "content": "How many?"}],
        "max_tokens": 8,
        "stop": ["\n"],
        "headrace": {"collections": ["handbook"]},
    }


async def test_a_conversation_may_mix_messages_and_mappings(client, fake):
    await client.chat([Message("system", "Be brief."), {"role": "user", "content": "Hi"}], tool_choice="look_up")
    assert [turn["role"] for turn in fake.seen[0].body["messages"]] == ["system", "user"]
    assert fake.seen[0].body["tool_choice"] == {"type": "function", "function": {"name": "look_up"}}


async def test_a_stream_gives_chunks_then_the_outcome(client, fake):
    async with client.chat_stream("How many?") as stream:
        pieces = [chunk.text async for chunk in stream]
    assert pieces == ["27 days", " of leave", "", ""]
    assert (stream.text, stream.finish_reason) == ("27 days of leave", "stop")
    assert stream.usage.total_tokens == 15
    assert stream.headrace.cost_usd == "0.000012"
    assert fake.seen[0].body["stream_options"] == {"include_usage": True}


async def test_line_separators_within_text_do_not_split_an_event(client, fake):
    text = "one\u2028two\x85three"
    fake.events[0] = json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}, ensure_ascii=False)
    async with client.chat_stream("x") as stream:
        assert (await anext(stream)).text == text


async def test_leaving_a_stream_closes_the_connection(client, fake):
    fake.stall_after = 1
    async with client.chat_stream("x") as stream:
        await anext(stream)
    assert await asyncio.to_thread(fake.left.wait, 5)


async def test_cancelling_the_task_closes_the_connection(client, fake):
    fake.stall_after = 1
    began = asyncio.Event()

    async def read():
        async with client.chat_stream("x") as stream:
            async for _ in stream:
                began.set()

    task = asyncio.create_task(read())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(fake.left.wait, 5)


async def test_a_stream_that_breaks_off_says_so(client, fake):
    del fake.events[2:]
    stream = client.chat_stream("x")
    with pytest.raises(errors.StreamBroken):
        async for _ in stream:
            pass
    assert stream.text == "27 days of leave"


async def test_a_stream_without_a_finish_reason_says_so(client, fake):
    del fake.events[2:4]
    with pytest.raises(errors.StreamBroken, match="finish reason"):
        async for _ in client.chat_stream("x"):
            pass


async def test_an_error_within_a_stream_is_raised_after_its_text(client, fake):
    failed = {"message": "the engine went away", "type": "upstream_error", "code": "upstream_failed", "param": None}
    fake.events[1:] = [json.dumps({"error": failed}, separators=(",", ":"))]
    stream = client.chat_stream("x")
    with pytest.raises(errors.UpstreamFailed) as caught:
        async for _ in stream:
            pass
    assert stream.text == "27 days"
    assert (caught.value.status, caught.value.code) == (502, "upstream_failed")


async def test_a_spaced_error_object_is_an_error_too(client, fake):
    fake.events[:] = ['{ "error": {"message": "slow down", "type": "rate_limit_error"} }']
    with pytest.raises(errors.RateLimited):
        async for _ in client.chat_stream("x"):
            pass


@pytest.mark.parametrize(
    ("status", "kind", "code", "expected"),
    [
        (400, "invalid_request_error", "invalid_request", errors.BadRequest),
        (400, "invalid_request_error", "content_filter", errors.ContentBlocked),
        (401, "authentication_error", "invalid_api_key", errors.AuthenticationFailed),
        (402, "insufficient_quota", "budget_exceeded", errors.BudgetSpent),
        (403, "permission_error", "permission_denied", errors.PermissionDenied),
        (404, "not_found_error", "model_not_found", errors.NotFound),
        (409, "conflict_error", "conflict", errors.Conflict),
        (413, "invalid_request_error", "request_too_large", errors.BadRequest),
        (429, "rate_limit_error", "rate_limit_exceeded", errors.RateLimited),
        (500, "server_error", "internal_error", errors.ServerFailed),
        (502, "upstream_error", "upstream_failed", errors.UpstreamFailed),
        (503, "server_error", "not_ready", errors.NotReady),
        (504, "timeout_error", "deadline_exceeded", errors.DeadlineExceeded),
        (418, "teapot", "", errors.APIError),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_each_status_has_its_class(client, fake, answers, status, kind, code, expected, streamed):
    fake.answers.append(answers[0](status, kind, code, "this was wrong", "messages[0].content"))
    with pytest.raises(errors.APIError) as caught:
        if streamed:
            await anext(client.chat_stream("x"))
        else:
            await client.chat("x")
    assert type(caught.value) is expected
    assert (caught.value.status, caught.value.code, caught.value.param) == (status, code, "messages[0].content")
    assert (str(caught.value), caught.value.request_id) == ("this was wrong", "req-1")
    assert len(fake.seen) == 1


async def test_an_error_that_is_not_ours_names_status_and_path(client, fake, answers):
    fake.answers.append(answers[1](404, b"<html>not here</html>"))
    with pytest.raises(errors.NotFound, match=r"404.*/v1/models"):
        await client.models()


async def test_an_answer_of_another_shape_is_the_servers_fault(client, fake, answers):
    fake.answers.append(answers[1](200, {"data": [{"no": "id"}]}))
    with pytest.raises(errors.ServerFailed, match="id"):
        await client.models()


@pytest.mark.parametrize("status", [429, 503])
async def test_a_refusal_with_advice_is_tried_again(client, fake, answers, status):
    kind = "rate_limit_error" if status == 429 else "server_error"
    fake.answers += [answers[0](status, kind, "x", "wait", **{"retry-after": "0.001"})] * 2
    assert (await client.chat("x")).text == "27 days"
    assert len(fake.seen) == 3


async def test_a_stream_that_was_refused_with_advice_is_tried_again(client, fake, answers):
    fake.answers.append(answers[0](429, "rate_limit_error", "x", "wait", **{"retry-after": "0.001"}))
    async with client.chat_stream("x") as stream:
        assert (await anext(stream)).text == "27 days"


async def test_a_long_advised_wait_is_raised_at_once(client, fake, answers):
    fake.answers.append(answers[0](429, "rate_limit_error", "x", "wait", **{"retry-after": "3600"}))
    with pytest.raises(errors.RateLimited) as caught:
        await client.chat("x")
    assert caught.value.retry_after_s == 3600
    assert len(fake.seen) == 1


async def test_only_calls_that_change_nothing_are_repeated_after_a_failure(client, fake, answers):
    fake.answers.append(answers[0](502, "upstream_error", "upstream_failed", "no"))
    assert (await client.models())[0].id == "assistant"
    assert len(fake.seen) == 2
    fake.answers.append(answers[0](502, "upstream_error", "upstream_failed", "no"))
    with pytest.raises(errors.UpstreamFailed):
        await client.chat("x")
    assert len(fake.seen) == 3


async def test_a_broken_answer_is_read_again_but_not_sent_again(client, fake, answers):
    fake.answers.append(answers[1](200, {"data": []}, cut=True))
    assert (await client.models())[0].id == "assistant"
    fake.answers.append(answers[1](200, {"data": []}, cut=True))
    with pytest.raises(errors.ConnectionFailed):
        await client.embed(["a"], model="minilm")


async def test_nothing_there_is_tried_again_then_said():
    url = f"http://127.0.0.1:{closed_port()}"
    async with AsyncHeadrace(url, "k", retry=Retry(attempts=2, first_s=0.001)) as client:
        with pytest.raises(errors.ConnectionFailed, match=url):
            await client.chat("x")


async def test_the_callers_time_bounds_the_call(fake):
    async with AsyncHeadrace(fake.url, "hr_team", retry=NEVER) as client:
        fake.stall_after = 0
        with pytest.raises(errors.TimedOut):
            await anext(client.chat_stream("x", timeout_s=0.05))


async def test_every_other_call(client, fake):
    assert [m.id for m in await client.models()] == ["assistant", "minilm"]
    assert (await client.embed(["a", "b"], model="minilm")).vectors == [[0.0, 1.0], [1.0, 1.0]]
    assert (await client.rerank("q", ["a", "b"], top_n=1)).results[0].index == 1
    assert (await client.collections())[0].epoch == 3
    assert (await client.create_collection("new", acl="required")).acl == "required"
    await client.delete_collection("old")
    job = await client.ingest("handbook", [Document("a/b.md", "text"), {"id": "c", "text": "d"}])
    assert (job.job, job.accepted) == ("j1", 2)
    assert fake.seen[-1].query == {"wait": "true"}
    assert fake.seen[-1].body["documents"][0] == {"id": "a/b.md", "text": "text"}
    assert (await client.documents("handbook", limit=5))[0].id == "leave.md"
    assert (await client.document("handbook", "a/b.md")).text == "stored"
    passages = await client.search("handbook", "leave", explain=True, filter={"lang": "en"})
    assert passages[0].scores == {"bm25": 3.5, "vector": 0.7}
    assert fake.seen[-1].body["filter"] == {"lang": "en"}
    verdict = await client.check_guardrails("standard", "mail a@b.com")
    assert (verdict.action, verdict.findings[0].kind) == ("mask", "email")
    page = await client.traces(limit=1)
    trace = await client.trace(page.data[0].trace_id)
    assert (trace.input_tokens, len(trace.spans), trace.spans[2].service) == (12, 3, "retrieval")
    assert (await client.send_feedback(trace.trace_id, score=1)).score == 1
    row = (await client.usage(group_by=["day", "model"], start="2026-11-01"))[0]
    assert (row.groups, row.requests, row.overhead_usd) == ({"day": "x", "model": "x"}, 2, "0.000004")
    assert fake.seen[-1].query == {"group_by": "day,model", "from": "2026-11-01"}


async def test_admin_calls(fake):
    async with AsyncHeadrace(fake.url, "hr_admin") as admin:
        assert (await admin.create_key("dev", "ci")).key == "hr_new"
        assert (await admin.keys(tenant="dev"))[0].scopes == ["read_all"]
        made = await admin.create_key("dev", "ci", limits=KeyLimits(concurrent_requests=2))
        assert (made.id, fake.seen[-1].body["limits"]) == ("k1", {"concurrent_requests": 2})
        limited = await admin.limit_key("k1", KeyLimits(requests_per_minute=60))
        assert (limited.limits, fake.seen[-1].body) == (
            KeyLimits(requests_per_minute=60),
            {"limits": {"requests_per_minute": 60}},
        )
        await admin.limit_key("k1", None)
        assert fake.seen[-1].body == {"limits": None}
        await admin.revoke_key("k1")
        assert (await admin.rollouts())[0].weight == 500
        assert (await admin.rollout("ro1")).steps == 3
        assert (await admin.promote_rollout("ro1")).state == "promoted"
        assert (await admin.abort_rollout("ro1", reason="slow")).reason == "slow"
        [small] = await admin.deployments()
        assert small.load and (small.load.running, small.load.kv_cache_used) == (2, 0.5)
        assert await admin.deployment("small") == small
        for act, wait in (
            (admin.load_deployment, True),
            (admin.unload_deployment, False),
            (admin.warm_deployment, True),
        ):
            assert (await act("small", wait=wait)).version == 2
            assert fake.seen[-1].query == {"wait": str(wait).lower()}
        assert fake.seen[-1].headers["x-headrace-timeout-ms"] == "3600000"


async def test_an_ordinary_key_may_not_administer(client):
    with pytest.raises(errors.PermissionDenied):
        await client.keys()
