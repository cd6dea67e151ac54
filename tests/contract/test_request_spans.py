"""Requests of the gateway as the spans that tracing makes of their records, and as those of other OTLP receivers."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from pathlib import Path

import pytest
from msgspec.structs import replace

from headrace_gateway.adapters.otlp import export_of
from headrace_gateway.calls import COMPLETION, EmbedCall, Options
from headrace_gateway.context import RequestContext
from headrace_gateway.fakes import Script
from headrace_gateway.observing.content import MOST_CHARS
from headrace_gateway.observing.records import Ended, record_of
from headrace_gateway.routing.table import compile_table
from headrace_gateway.running import Running
from headrace_kit.config import Snapshot, parse
from headrace_kit.errors import Upstream
from headrace_kit.telemetry import genai
from headrace_kit.telemetry.requests import packed
from headrace_protos.common.v1.chat_pb2 import AudioPart, ContentPart, ImagePart, Message, Sampling, ToolCall
from headrace_protos.retrieval.v1.messages_pb2 import Passage
from headrace_protos.tracing.v1.records_pb2 import TakeRecordsRequest
from headrace_tracing.adapters.vault import Vault
from headrace_tracing.domain.content import Turn
from headrace_tracing.domain.prepare import Preparation
from headrace_tracing.domain.redaction import Cleaner
from headrace_tracing.domain.spans import Span
from headrace_tracing.otlp_api.decode import decode
from headrace_tracing.otlp_api.records import decode_records, parse_records
from services.gateway.tests.conftest import CONFIG, ask, rig

__all__ = ["ask", "rig"]

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RUNNING = Running("2.0", "canary")


@pytest.fixture
def table():
    """The gateway's own test config, and a model with a cache."""
    text = CONFIG.replace("models:\n", "models:\n  cached: {deployment: small, cache: {}}\n", 1)
    return compile_table(Snapshot(parse(text), Path("headrace.yaml")))


class Clean:
    """`Redactor` that finds nothing."""

    def redact(self, text: str) -> str:
        return text


def record(ctx: RequestContext, status: int = 200, error: str = "") -> bytes:
    return packed(record_of(Ended(ctx, status, ctx.wall_ns(), error), RUNNING))


def stored(*records: bytes) -> list[Span]:
    """The spans as tracing stores them."""
    raw = TakeRecordsRequest(records=records).SerializeToString()
    decoded = decode_records(parse_records(raw))
    assert not decoded.rejected and all(decoded.ours)
    preparation = Preparation(Cleaner(Clean()), Vault("a secret of the tests"), lambda _: "redacted")
    return [preparation.span(span, ours=True) for span in decoded.spans]


def spans(ctx: RequestContext, status: int = 200, error: str = "") -> list[Span]:
    """The spans of one request; those of any OTLP receiver are the same, without what was said."""
    raw = record(ctx, status, error)
    sent = decode_records([raw]).spans
    assert decode(export_of([raw])).spans == [replace(span, content=None) for span in sent]
    made = stored(raw)
    assert {span.service for span in made} == {"gateway"} and {span.tenant for span in made} == {"dev"}
    assert {span.trace_id for span in made} == {ctx.trace_id}
    assert [span.parent_span_id for span in made] == [ctx.parent_span_id, *[ctx.span_id] * len(ctx.hops)]
    assert not any(span.content for span in made[1:])
    return made


async def test_a_cascade_is_one_tree_with_each_attempt_billed_once(rig, ask):
    rig.engine.scripts["small"] = [Script(["maybe"], logprob=-2.0)]
    ctx = rig.context(traceparent=PARENT)
    sampling = Sampling(temperature=0.5, seed=7, stop=["END"])
    call = ask("assistant", "a question that stays private", stream=True, sampling=sampling)
    answer = await rig.pipeline.generate(ctx, call)
    async for _ in answer.chunks():
        pass
    root, *steps = spans(ctx)
    assert (root.trace_id, root.parent_span_id) == (PARENT[3:35], PARENT[36:52])
    assert (root.name, root.kind, root.status, root.status_message) == ("chat assistant", "server", "unset", "")
    told = root.attributes
    assert told[genai.REQUEST_TEMPERATURE] == 0.5 and told[genai.REQUEST_STREAM] is True
    assert told[genai.TENANT] == "dev" and told[genai.CONFIG_HASH] == ctx.table.hash
    assert (told["http.request.method"], told["http.route"]) == ("POST", "/v1/chat/completions")
    assert (told["http.response.status_code"], told[genai.KEY_ID]) == (200, "k-dev")
    assert (told[genai.TRACK], told[genai.RELEASE]) == ("canary", "2.0")
    assert told[genai.RESPONSE_MODEL] == told[genai.DEPLOYMENT] == "large"
    assert told[genai.RESPONSE_FINISH_REASONS] == ["stop"]
    assert told[genai.RESPONSE_TIME_TO_FIRST_CHUNK] == ctx.first_token_us / 1e6
    assert (root.start_ns, root.end_ns > root.start_ns) == (ctx.started_ns, True)
    billed = [(step, step.attributes) for step in steps if step.attributes.get(genai.BILLED)]
    assert [(step.kind, b[genai.DEPLOYMENT], b[genai.VERDICT], b[genai.STAGE]) for step, b in billed] == [
        ("client", "small", "rejected", 0),
        ("client", "large", "accepted", 1),
    ]
    assert [b[genai.REQUEST_MODEL] for _, b in billed] == ["small", "large"]
    assert sum(b[genai.COST_NANO_USD] for _, b in billed) == ctx.cost_nano_usd
    assert [event.name for event in root.events] == [genai.EVENT_ESCALATED, genai.EVENT_FIRST_TOKEN]
    assert root.events[0].attributes[genai.DEPLOYMENT] == "small"
    assert genai.USAGE_INPUT_TOKENS not in told
    # Calls to other services hang under their step.
    sent = [call.sent.traceparent.split("-")[2] for call in rig.engine.calls]
    assert sent == [step.span_id for step in steps if step.name.startswith("chat ")]
    assert root.content.input == (Turn("user", "a question that stays private"),)
    assert [turn.role for turn in root.content.output] == ["assistant"]
    assert json.loads(root.content.options) == {
        "operation": "chat",
        "stream": True,
        "sampling": {"temperature": 0.5, "seed": "7", "stop": ["END"]},
    }
    assert "private" not in str(told) + str(steps)


async def test_a_failed_step_and_its_root_are_marked(rig, ask):
    rig.engine.scripts["small"] = [Script([], error=Upstream("gone"))]
    ctx = rig.context()
    with pytest.raises(Upstream):
        await rig.pipeline.generate(ctx, ask("plain"))
    made = spans(ctx, 502, "upstream_failed")
    assert len(made) == 2
    for span in made:
        assert (span.status, span.status_message) == ("error", "upstream_failed")
        assert span.attributes[genai.ERROR_TYPE] == "upstream_failed"


async def test_a_step_that_was_cut_off_ends_with_its_request(rig, ask):
    ctx = rig.context()
    ended, open_ = ctx.begin("retrieve"), ctx.begin("guardrails Check", where="there")
    ctx.end(ended)
    root, first, second = spans(ctx, 499, "client_closed_request")
    assert (first.status, second.status, second.status_message) == ("unset", "error", "client_closed_request")
    assert (first.end_ns, second.end_ns, second.start_ns) == (ended.ended_ns, root.end_ns, open_.started_ns)
    assert (root.name, root.attributes["http.response.status_code"]) == ("POST /v1/chat/completions", 499)
    assert genai.OPERATION_NAME not in root.attributes and genai.ARM not in root.attributes
    assert second.attributes["where"] == "there" and second.kind == "internal"
    assert second.attributes[genai.REQUEST_ID] == ctx.request_id


async def test_a_client_that_leaves_in_the_middle_has_its_words_so_far(rig, ask):
    rig.engine.scripts["small"] = [Script(["one", " two"], hang=True)]
    ctx = rig.context()
    async with aclosing(await rig.pipeline.generate(ctx, ask("plain", stream=True))) as answer:
        async for _ in answer:
            break
    root, *steps = spans(ctx, 200, "client_closed_request")
    assert root.content.output[0].text.startswith("one")
    assert [step.status_message for step in steps] == ["client_closed_request"]


async def test_an_answer_from_the_cache_says_so(rig, ask):
    contexts = [rig.context(), rig.context()]
    for ctx in contexts:
        await (await rig.pipeline.generate(ctx, ask("cached"))).whole()
        await asyncio.gather(*rig.cache._writes)
    made, again = (spans(ctx)[0] for ctx in contexts)
    assert (made.attributes[genai.CACHE], again.attributes[genai.CACHE]) == ("miss", "hit")
    assert again.content.output == made.content.output
    assert not any(span.attributes.get(genai.BILLED) for span in spans(contexts[1]))


async def test_findings_are_told_and_what_a_guardrail_masked_is_not(rig, ask):
    ctx = rig.context()
    await (await rig.pipeline.generate(ctx, ask("guarded", "write to a@example.com"))).whole()
    root, *steps = spans(ctx)
    assert root.attributes[genai.FINDINGS] == ["input:pii.email:mask:1"]
    assert genai.CACHE not in root.attributes
    (guard,) = [step for step in steps if step.name == "guard input"]
    assert guard.attributes["headrace.guard.findings"] == 1
    assert "a@example.com" not in str(root)


async def test_a_bare_prompt_is_kept_as_the_guardrails_left_it(rig, ask):
    ctx = rig.context()
    call = ask("guarded", operation=COMPLETION, prompt="write to a@example.com")
    call.messages.clear()
    await (await rig.pipeline.generate(ctx, call)).whole()
    root = spans(ctx)[0]
    (turn,) = root.content.input
    assert turn.role == "user" and turn.text.startswith("write to ") and "a@example.com" not in turn.text
    assert root.name == "text_completion guarded"
    assert json.loads(root.content.options)["operation"] == "completion"


async def test_a_grounded_request_tells_its_words_and_its_passages_apart(rig, ask):
    rig.retriever.passages["handbook"] = [
        Passage(collection="handbook", document_id="d", text="It is a channel.", score=0.5, start=3, end=19, page=2)
    ]
    rig.engine.scripts["small"] = [Script(["so [1]"])]
    ctx = rig.context()
    options = Options(collections=("handbook",), user="ana")
    await (await rig.pipeline.generate(ctx, ask("grounded", "What is it?", options=options))).whole()
    root, *steps = spans(ctx)
    assert root.content.input == (Turn("user", "What is it?"),)
    (passage,) = root.content.passages
    assert (passage.number, passage.collection, passage.text) == (1, "handbook", "It is a channel.")
    assert (passage.document_id, passage.score, passage.start, passage.end, passage.page) == ("d", 0.5, 3, 19, 2)
    assert root.content.output == (Turn("assistant", "so [1]"),)
    assert root.attributes[genai.GROUNDEDNESS] == ctx.outcome.grounding.score
    assert root.attributes[genai.COLLECTIONS] == ["handbook"]
    assert root.attributes[genai.USER] not in ("", "ana"), "a digest"
    assert json.loads(root.content.options)["collections"] == ["handbook"]
    assert [step.attributes["headrace.passages"] for step in steps if step.name == "retrieve"] == [1]


async def test_calls_of_tools_images_and_sound_stand_beside_the_words(rig, ask):
    pieces = [
        ToolCall(index=0, id="1", name="pay", arguments='{"to":'),
        ToolCall(index=1, id="2", name="look", arguments="{}"),
        ToolCall(index=0, arguments='"me"}'),
    ]
    rig.engine.scripts["seer"] = [Script(["well"], tool_calls=pieces, finish="tool_calls")]
    call = ask("seeing", "what is this?", stream=True)
    call.messages[0].parts.extend(
        [
            ContentPart(image=ImagePart(url="https://example.com/a.png")),
            ContentPart(image=ImagePart(url="data:image/png;base64,AAAA")),
            ContentPart(audio=AudioPart(data=b"sound", format="wav")),
        ]
    )
    call.messages.append(Message(role="assistant", tool_calls=[ToolCall(id="0", name="f", arguments='{"a":1}')]))
    call.messages.append(Message(role="tool", tool_call_id="0", parts=[ContentPart(text="done")]))
    ctx = rig.context()
    async for _ in await rig.pipeline.generate(ctx, call):
        pass
    content = spans(ctx)[0].content
    assert [(turn.role, turn.text) for turn in content.input] == [
        ("user", "what is this?"),
        ("assistant", ""),
        ("tool", "done"),
    ]
    image, inline, sound = json.loads(content.input[0].more)
    assert (image, inline) == ({"type": "image", "url": "https://example.com/a.png"}, {"type": "image"})
    assert sound == {"type": "audio"}
    assert json.loads(content.input[1].more) == [{"type": "tool_call", "id": "0", "name": "f", "arguments": '{"a":1}'}]
    (answer,) = content.output
    assert answer.text == "well"
    assert [(one["id"], one["name"], one["arguments"]) for one in json.loads(answer.more)] == [
        ("1", "pay", '{"to":"me"}'),
        ("2", "look", "{}"),
    ]


async def test_each_choice_is_a_message(rig, ask):
    ctx = rig.context()
    await (await rig.pipeline.generate(ctx, ask("plain", sampling=Sampling(n=2)))).whole()
    assert [turn.role for turn in spans(ctx)[0].content.output] == ["assistant", "assistant"]


async def test_vectors_have_a_model_and_no_words(rig):
    ctx = rig.context()
    await rig.vectors.embed(ctx, EmbedCall("minilm", ["a", "b"]))
    root, *steps = spans(ctx)
    assert (root.name, root.attributes[genai.OPERATION_NAME]) == ("embeddings minilm", "embeddings")
    assert root.content is None
    assert [step.attributes[genai.OPERATION_NAME] for step in steps if step.kind == "client"] == ["embeddings"]


async def test_over_grpc_there_is_no_route_of_http(rig, ask):
    ctx = rig.context(transport="grpc")
    await (await rig.pipeline.generate(ctx, ask("plain"))).whole()
    told = spans(ctx)[0].attributes
    assert told["headrace.transport"] == "grpc" and "http.route" not in told


async def test_of_a_huge_request_the_last_words_are_kept(rig, ask):
    ctx = rig.context()
    call = ask("seeing", "x" * MOST_CHARS)
    call.messages[0].parts.add(image=ImagePart(url="data:" + "A" * MOST_CHARS))
    call.messages.append(Message(role="user", parts=[ContentPart(text="and this?")]))
    await (await rig.pipeline.generate(ctx, call)).whole()
    assert len(record(ctx)) < MOST_CHARS
    first, last = spans(ctx)[0].content.input
    assert last.text == "and this?"
    assert MOST_CHARS // 4 < len(first.text) < MOST_CHARS // 2 and first.text.endswith("…")
    assert json.loads(first.more) == [{"type": "image"}]


async def test_of_huge_passages_and_answers_the_first_words_are_kept(rig, ask):
    rig.retriever.passages["handbook"] = [
        Passage(collection="handbook", document_id=name, text=name * MOST_CHARS) for name in "ab"
    ]
    rig.engine.scripts["small"] = [Script(["y" * MOST_CHARS])]
    ctx = rig.context()
    await (await rig.pipeline.generate(ctx, ask("grounded", "What is it?"))).whole()
    content = spans(ctx)[0].content
    sizes = [len(passage.text) for passage in content.passages]
    assert len(sizes) == len(ctx.content.passages) and sum(sizes) <= MOST_CHARS // 3 + 2
    assert len(content.output[0].text) == MOST_CHARS // 3 + 1


async def test_what_no_json_knows_is_told_in_words(rig):
    ctx = rig.context()
    ctx.attributes |= {"endless": float("inf"), "several": [1, 2.5, True, "x"], "n": -(2**63)}
    told = spans(ctx)[0].attributes
    assert (told["endless"], told["several"], told["n"]) == ("inf", [1, 2.5, True, "x"], -(2**63))
