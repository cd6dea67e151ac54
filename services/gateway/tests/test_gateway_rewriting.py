"""What a model takes for rewriting a query or summing a conversation up: in the ledger, as overhead of the request."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headrace_gateway.fakes import Script
from headrace_gateway.grounding import rewriting
from headrace_gateway.grounding.rewriting import Metered
from headrace_gateway.resilience.helped import REWRITE_STAGE, SUMMARY_STAGE
from headrace_kit.errors import NotFound
from headrace_kit.telemetry import genai
from headrace_protos.common.v1.chat_pb2 import Usage
from headrace_protos.retrieval.v1.memory_pb2 import AppendTurnsRequest, Conversation
from headrace_protos.retrieval.v1.messages_pb2 import Passage, SearchRequest, SearchResponse

TOOK = Usage(input_tokens=100, output_tokens=20)
PASSAGE = Passage(collection="handbook", document_id="d", chunk_id="c", text="22 days", start=0, end=7)


async def stream(rig, call, ctx):
    answer = await rig.pipeline.generate(ctx, call)
    return [chunk async for chunk in answer.chunks()]


async def test_a_rewritten_query_is_paid_by_the_request_and_is_no_part_of_its_answer(rig, ask):
    rig.retriever.passages, rig.retriever.rewriting = {"handbook": [PASSAGE]}, TOOK
    rig.engine.scripts["small"] = [Script(["22 ", "days."])]
    ctx = rig.context()
    await stream(rig, ask("recalling", "and in Spain?"), ctx)
    rewrote, answered = rig.closed()
    assert (rewrote.verdict, rewrote.stage, rewrote.deployment, rewrote.model) == (
        ("helped", REWRITE_STAGE, "small", "recalling")
    )
    assert (rewrote.usage, rewrote.cost_nano_usd, rewrote.request_id) == (TOOK, 140_000, answered.request_id)
    assert ctx.cost_nano_usd == rewrote.cost_nano_usd + answered.cost_nano_usd
    assert ctx.usage == answered.usage and answered.verdict == ""
    opened = [event.stage for event in rig.journal.events if event.kind == event.KIND_OPENED]
    assert opened == [REWRITE_STAGE, 0], "each before a model is asked"
    assert [stage.verdict for stage in ctx.outcome.stages] == ["helped", "accepted"]


async def test_a_search_that_fails_closes_what_it_opened(rig, ask):
    with pytest.raises(NotFound):
        await stream(rig, ask("recalling", "and in Spain?"), rig.context())
    [event] = rig.closed()
    assert (event.stage, event.error_code, event.cost_nano_usd) == (REWRITE_STAGE, "not_found", 0)


async def test_searches_and_conversations_are_metered_only_where_a_model_worked(rig, told):
    class Answering:
        answer: object = None

        async def call(self, ctx, service, method, request, *, timeout_s=30.0):
            return self.answer

    services, ctx, search = Answering(), rig.context(), SearchRequest(collections=["handbook"], query="x")
    metered = Metered(services, rig.rewriting)
    services.answer = SearchResponse()
    assert await metered.call(ctx, "retrieval", "Search", search) is services.answer
    services.answer = Conversation(id="c")
    await metered.call(ctx, "retrieval", "AppendTurns", AppendTurnsRequest())
    assert rig.journal.events == []
    services.answer = SearchResponse(rewriting=TOOK)
    search.rewrite.wordings = 2
    await metered.call(ctx, "retrieval", "Search", search)
    services.answer = Conversation(id="c", summing=TOOK)
    await metered.call(ctx, "retrieval", "AppendTurns", AppendTurnsRequest())
    rewrote, summed = rig.closed()
    assert (rewrote.operation, rewrote.model, rewrote.tenant) == ("search", "", "dev")
    assert [(event.verdict, event.stage) for event in (rewrote, summed)] == (
        [("helped", REWRITE_STAGE), ("helped", SUMMARY_STAGE)]
    )
    assert ctx.cost_nano_usd == 2 * 140_000
    _, *steps = told(ctx)
    assert {step.attributes[genai.OPERATION_NAME] for step in steps if step.kind == "client"} == {genai.OPERATION_CHAT}


async def test_a_query_is_not_sent_to_a_model_that_may_not_have_it(rig, monkeypatch):
    rig.retriever.passages = {"handbook": [PASSAGE]}
    compiled = rewriting.compile_target
    monkeypatch.setattr(rewriting, "compile_target", lambda *named: replace(compiled(*named), internal=False))
    ctx = rig.context()
    ctx.sensitive = "pii.email"
    request = SearchRequest(collections=["handbook"], query="x", top_k=1)
    request.rewrite.wordings = 1
    found = await rig.rewriting.search(ctx, request, lambda: rig.retriever.search(request, None))
    assert len(found.results) == 1 and not rig.retriever.requests[0].HasField("rewrite")
    assert rig.journal.events == []
