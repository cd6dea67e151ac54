"""Spans of other instrumentations, and what of them is kept."""

from __future__ import annotations

import gzip
import json

import pytest
from msgspec.structs import replace

from headrace_kit.errors import BadInput, TooLarge
from headrace_kit.telemetry import genai
from headrace_tracing.adapters.memory import MemorySpool
from headrace_tracing.domain.ingest import Ingest
from headrace_tracing.domain.normalise import normalised
from headrace_tracing.domain.prepare import opened
from headrace_tracing.domain.spans import SpanEvent, Usage
from headrace_tracing.domain.summaries import summarise
from headrace_tracing.otlp_api.intake import JSON, MAX_EXPORT_BYTES, Form, Intake

OPENINFERENCE = {
    "openinference.span.kind": "LLM",
    "llm.model_name": "gpt-x",
    "llm.provider": "openai",
    "llm.token_count.prompt": 12,
    "llm.token_count.completion": 7,
    "llm.cost.total": 0.0025,
    "llm.invocation_parameters": '{"temperature": 0.2}',
    "llm.input_messages.0.message.role": "system",
    "llm.input_messages.0.message.content": "Be kind.",
    "llm.input_messages.1.message.role": "user",
    "llm.input_messages.1.message.contents.0.message_content.text": "Hello?",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "Hi!",
    "session.id": "s-1",
    "user.id": "ana",
}
TRACELOOP = {
    "llm.request.type": "chat",
    "gen_ai.system": "openai",
    "gen_ai.request.model": "gpt-x",
    "gen_ai.usage.prompt_tokens": 12,
    "gen_ai.usage.completion_tokens": 7,
    "gen_ai.usage.cost": 0.0025,
    "gen_ai.prompt.0.role": "system",
    "gen_ai.prompt.0.content": "Be kind.",
    "gen_ai.prompt.1.role": "user",
    "gen_ai.prompt.1.content": "Hello?",
    "gen_ai.completion.0.role": "assistant",
    "gen_ai.completion.0.content": "Hi!",
    "gen_ai.completion.0.finish_reason": "stop",
    "traceloop.association.properties.session_id": "s-1",
    "traceloop.association.properties.user_id": "ana",
}
CONVENTIONS = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-x",
    "gen_ai.usage.input_tokens": 12,
    "gen_ai.usage.output_tokens": 7,
    "gen_ai.usage.cost": 0.0025,
    "gen_ai.system_instructions": '[{"type": "text", "content": "Be kind."}]',
    "gen_ai.input.messages": '[{"role": "user", "parts": [{"type": "text", "content": "Hello?"}]}]',
    "gen_ai.output.messages": '[{"role": "assistant", "parts": [{"type": "text", "content": "Hi!"}]}]',
    "gen_ai.conversation.id": "s-1",
    "enduser.id": "ana",
}


@pytest.mark.parametrize("given", [OPENINFERENCE, TRACELOOP, CONVENTIONS])
def test_three_dialects_say_the_same(make_span, given):
    span = normalised(make_span(attributes=given), ours=False)
    assert span.attributes[genai.OPERATION_NAME] == "chat"
    assert span.attributes[genai.PROVIDER_NAME] == "openai"
    assert span.attributes[genai.USER] == "ana"
    assert [(turn.role, turn.text) for turn in span.content.input] == [("system", "Be kind."), ("user", "Hello?")]
    assert [(turn.role, turn.text) for turn in span.content.output] == [("assistant", "Hi!")]
    assert not [name for name in span.attributes if "message" in name or "prompt." in name or "completion." in name]
    (summary,) = summarise([span])
    assert summary.usage == Usage(12, 7, 2_500_000)
    assert (summary.session, summary.model, summary.facts.question) == ("s-1", "gpt-x", "Hello?")


def test_events_of_before_are_messages(make_span):
    events = (
        SpanEvent("gen_ai.user.message", 1, {"content": "Hello?"}),
        SpanEvent("gen_ai.choice", 2, {"message": '{"role": "assistant", "content": "Hi!"}'}),
        SpanEvent("exception", 3),
    )
    span = normalised(make_span(events=events), ours=False)
    assert (span.content.input[0].text, span.content.output[0].text) == ("Hello?", "Hi!")
    assert [event.name for event in span.events] == ["exception"]


def test_a_retrievers_documents_are_passages(make_span):
    given = {
        "openinference.span.kind": "RETRIEVER",
        "input.value": "where?",
        "retrieval.documents.0.document.id": "d1",
        "retrieval.documents.0.document.content": "here",
        "retrieval.documents.0.document.score": 0.5,
        "retrieval.documents.x.document.id": "no number",
    }
    (passage,) = normalised(make_span(attributes=given), ours=False).content.passages
    assert (passage.number, passage.document_id, passage.text, passage.score) == (1, "d1", "here", 0.5)


def test_nobody_else_writes_bills(make_span):
    given = {genai.BILLED: True, genai.COST_NANO_USD: 10**9, genai.USAGE_OUTPUT_TOKENS: 5}
    theirs = normalised(make_span(attributes=given), ours=False)
    assert genai.BILLED not in theirs.attributes and genai.COST_NANO_USD not in theirs.attributes
    mine = normalised(make_span(attributes=given), ours=True)
    (both,) = summarise([theirs, mine])
    assert both.usage == Usage(0, 5, 10**9), "what the gateway counted is not counted again"


@pytest.mark.parametrize(
    "odd",
    [
        "[[[",
        '{"a": 1}',
        "[1, null, [2]]",
        '{"messages": 5}',
        '[{"role": 5, "content": {"x": 1}}]',
        "[" * 5000,
        "{}",
        "[]",
    ],
)
def test_odd_content_never_fails(make_span, odd):
    for name in ("gen_ai.input.messages", "input.value", "gen_ai.completion", "headrace.content.passages"):
        normalised(make_span(attributes={name: odd}), ours=False)
    for value in (5, True, None, [1], {"a": [{}]}):
        normalised(make_span(attributes={"gen_ai.input.messages": value, "llm.input_messages.0": value}), ours=False)


def test_content_is_kept_as_the_policy_says(make_span, preparation, vault, secret):
    given = {**CONVENTIONS, "gen_ai.input.messages": f"tell {secret}"}
    plain = preparation.span(make_span(attributes=given), ours=False)
    assert "[KNOWN]" in plain.content.question and not plain.sealed
    assert plain.attributes[genai.USER] == vault.digest("red", "ana")
    assert preparation.span(make_span(tenant="silent", attributes=given), ours=False).content is None
    full = preparation.span(make_span(tenant="vaulted", attributes=given), ours=False)
    assert "[KNOWN]" in full.content.question
    assert secret.encode() not in full.sealed
    assert secret in opened(vault, full).question
    assert opened(vault, replace(full, span_id="00000000000000aa")) is None, "it cannot be put under another span"


OTLP_JSON = {
    "resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "app"}}]},
            "scopeSpans": [
                {
                    "spans": [
                        {
                            "traceId": "0af7651916cd43dd8448eb211c80319c",
                            "spanId": "b7ad6b7169203331",
                            "name": "x",
                            "kind": 3,
                            "startTimeUnixNano": "1700000000000000000",
                            "endTimeUnixNano": "1700000001000000000",
                            "attributes": [{"key": "headrace.tenant", "value": {"stringValue": "blue"}}],
                            "somethingNew": 1,
                        },
                        {"traceId": "zz", "spanId": "b7ad6b7169203332", "name": "bad"},
                    ]
                }
            ],
        }
    ]
}


@pytest.fixture
async def intake(store, metrics, preparation):
    ingest = Ingest(store, MemorySpool(), metrics)
    await ingest.start()
    yield Intake(ingest, preparation, metrics)
    await ingest.stop()


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_json_with_a_key_belongs_to_the_keys_tenant(intake, store, encoding):
    raw = json.dumps(OTLP_JSON).encode()
    taken = await intake.take(gzip.compress(raw, mtime=0) if encoding else raw, Form(JSON, encoding), "red")
    assert taken.rejected.total() == 1 and "bad trace id" in taken.why
    (span,) = store.kept.values()
    assert (span.trace_id, span.tenant, span.service, span.kind) == (
        "0af7651916cd43dd8448eb211c80319c", "red", "app", "client",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "form"),
    [
        (b"{", Form(JSON)),
        (b"[]", Form(JSON)),
        (b'{"resourceSpans": 5}', Form(JSON)),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [5]}]}]}', Form(JSON)),
        (b"\xff\xfe", Form(JSON)),
        (b"[" * 100_000, Form(JSON)),
        (b"no gzip", Form(encoding="gzip")),
        (gzip.compress(b"x" * 1000, mtime=0)[:-9], Form(encoding="gzip")),
        (b"", Form(encoding="br")),
    ],
)
async def test_what_is_no_otlp_is_bad_input(intake, store, raw, form):
    with pytest.raises(BadInput):
        await intake.take(raw, form, "red")
    assert not store.kept


async def test_a_bomb_is_too_large(intake):
    with pytest.raises(TooLarge):
        await intake.take(gzip.compress(bytes(MAX_EXPORT_BYTES + 1)), Form(encoding="gzip"), "red")


async def test_a_key_makes_nobody_one_of_ours(intake, store):
    body = json.loads(json.dumps(OTLP_JSON))
    body["resourceSpans"][0]["resource"]["attributes"].append(
        {"key": "service.namespace", "value": {"stringValue": "headrace"}}
    )
    (span, _) = body["resourceSpans"][0]["scopeSpans"][0]["spans"]
    span["attributes"] = [{"key": "headrace.billed", "value": {"boolValue": True}}]
    await intake.take(json.dumps(body).encode(), Form(JSON), "red")
    assert genai.BILLED not in next(iter(store.kept.values())).attributes
