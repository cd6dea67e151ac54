"""The cache, through the whole pipeline: what is given again, what never, and to whom."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headrace_gateway.calls import Options
from headrace_gateway.fakes import Script
from headrace_gateway.routing.table import compile_table
from headrace_kit.config import Snapshot, parse
from headrace_kit.errors import NotFound, Upstream
from headrace_kit.rpc import Identity
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message, Tool, ToolCall
from headrace_protos.retrieval.v1.messages_pb2 import Passage

CONFIG = """
deployments:
  small: {engine: triton-scripted, price: {input_usd_per_million: 1, output_usd_per_million: 2}}
  large: {engine: triton-scripted, price: {input_usd_per_million: 10, output_usd_per_million: 20}}
  minilm: {engine: triton-python, task: embed, model: minilm, dimensions: 2}
  reranker: {engine: triton-python, task: rerank, model: minilm}
catalogue:
  minilm:
    format: onnx
    licence: Apache-2.0
    files: [{name: model.onnx, sha256: "%s", size: 3, sources: [{hub: a/b/c.onnx}]}]
models:
  plain: {deployment: small, cache: {ttl: 10m}}
  assistant:
    cascade: [{deployment: small, accept: {signal: mean_logprob, at_least: -0.5}}, {deployment: large}]
    retry: {attempts: 1}
    cache: {}
  meaning: {deployment: small, cache: {semantic: {embedding: minilm, at_least: 0.9}}}
  ranked:
    deployment: small
    cache: {semantic: {embedding: minilm, reranker: reranker, rerank_at_least: 30}}
  grounded: {deployment: small, collections: [handbook], passages: 2, cache: {}}
  guarded: {deployment: small, guardrails: standard, cache: {}}
  uncached: {deployment: small}
  sorted:
    deployments: [{deployment: small, when: {metadata: {tier: gold}}}, {deployment: large}]
    cache: {}
  short: {deployment: small, cache: {max_answer_bytes: 1024}}
guardrails:
  standard: {output: [{check: pii, kinds: [email], action: mask}, {check: ban_list, words: [bluebird], action: block}]}
  strict: {input: [{check: ban_list, words: [otter], action: block}]}
collections:
  handbook: {tenant: dev}
""" % ("a" * 64)


@pytest.fixture
def table():
    """Models with caches."""
    return compile_table(Snapshot(parse(CONFIG), Path("headrace.yaml")))


@pytest.fixture(autouse=True)
def scripts(rig):
    """An engine whose second answer is another one."""
    rig.engine.scripts["small"] = [Script(["one ", "answer"]), Script(["another"])]


async def read(rig, call, ctx=None):
    answer = await rig.pipeline.generate(ctx or rig.context(), call)
    chunks = [chunk async for chunk in answer.chunks()]
    await asyncio.gather(*rig.cache._writes)
    return chunks


def text(chunks):
    return "".join(chunk.text for chunk in chunks)


async def twice(rig, first, second, ctx=None):
    """The texts of two requests, and the context of the second."""
    one = text(await read(rig, first))
    ctx = ctx or rig.context()
    return one, text(await read(rig, second, ctx)), ctx


async def test_the_same_request_is_answered_again_and_costs_nothing(rig, ask):
    one, two, ctx = await twice(rig, ask("plain", stream=True), ask("plain", stream=True))
    assert (one, two, len(rig.engine.calls)) == ("one answer", "one answer", 1)
    assert (ctx.outcome.cache, ctx.cost_nano_usd, ctx.outcome.saved_usd) == ("hit", 0, "0.000014")
    hit = rig.closed()[-1]
    assert (hit.cache, hit.cost_nano_usd, hit.saved_nano_usd, hit.usage.output_tokens) == ("hit", 0, 14_000, 0)
    assert (hit.deployment, hit.finish_reason, hit.request_id) == ("small", "stop", ctx.request_id)
    assert [event.cache for event in rig.closed()] == ["miss", "hit"]


async def test_a_stream_replays_as_the_stream_that_it_was(rig, ask):
    first = await read(rig, ask("plain", stream=True))
    again = await read(rig, ask("plain", stream=True))
    assert [chunk.text for chunk in again] == [chunk.text for chunk in first]
    assert again[-1].usage == first[-1].usage and again[-1].finish_reason == "stop"


async def test_an_answer_made_whole_serves_a_stream_and_the_other_way_round(rig, ask):
    assert (await twice(rig, ask("plain"), ask("plain", stream=True)))[:2] == ("one answer", "one answer")


@pytest.mark.parametrize(
    "change",
    [
        {"text": "ho"},
        {"options": Options(guardrails="strict")},
        {"options": Options(collections=("handbook",))},
        {"operation": "completion"},
    ],
)
async def test_another_request_is_another_answer(rig, ask, change):
    rig.retriever.passages["handbook"] = []
    assert (await twice(rig, ask("plain"), ask("plain", **change)))[:2] == ("one answer", "another")


@pytest.mark.parametrize(
    "identity",
    [
        Identity("gateway", "other", "k"),
        Identity("gateway", "dev", "k", "ann"),
        Identity("gateway", "dev", "k", "", ("staff",)),
        Identity("gateway", "dev", "k", "", (), frozenset({"read_all"})),
    ],
)
async def test_nobody_with_other_rights_gets_it(rig, ask, identity):
    ctx = rig.context()
    ctx.identity = identity
    assert (await twice(rig, ask("plain"), ask("plain"), ctx))[:2] == ("one answer", "another")


async def test_another_key_of_the_same_rights_gets_it(rig, ask):
    ctx = rig.context()
    ctx.identity = Identity("gateway", "dev", "k-other")
    assert (await twice(rig, ask("plain"), ask("plain"), ctx))[1] == "one answer"


async def test_what_is_asked_at_a_high_temperature_is_made_anew_unless_it_says_otherwise(rig, ask):
    hot, used = ask("plain"), ask("plain", options=Options(cache="use"))
    for call in (hot, used):
        call.sampling.temperature = 1.5
    _, two, ctx = await twice(rig, hot, hot)
    assert (two, ctx.outcome.cache) == ("another", "bypass")
    rig.engine.scripts["small"] = [Script(["third"]), Script(["fourth"])]
    assert (await twice(rig, used, used))[:2] == ("third", "third")


async def test_bypass_neither_looks_nor_keeps_and_refresh_replaces(rig, ask):
    bypass, refresh = ask("plain", options=Options(cache="bypass")), ask("plain", options=Options(cache="refresh"))
    assert text(await read(rig, bypass)) == "one answer"
    rig.engine.scripts["small"] = [Script(["second"]), Script(["third"])]
    assert (await twice(rig, ask("plain"), refresh))[:2] == ("second", "third")
    assert text(await read(rig, ask("plain"))) == "third"


async def test_tool_calls_are_never_given_again(rig, ask):
    rig.engine.scripts["small"] = [Script([], tool_calls=[ToolCall(id="1", name="pay")], finish="tool_calls")]
    call = ask("plain")
    call.sampling.tools.append(Tool(name="pay"))
    await read(rig, call)
    await read(rig, call)
    assert len(rig.engine.calls) == 2


async def test_an_answer_that_broke_off_or_was_ended_by_a_policy_is_not_kept(rig, ask):
    rig.engine.scripts["small"] = [Script(["part"], error=Upstream("gone"))]
    with pytest.raises(Upstream):
        await read(rig, ask("plain", stream=True))
    rig.engine.scripts["small"] = [Script(["a bluebird sings"]), Script(["fine"])]
    assert (await twice(rig, ask("guarded"), ask("guarded")))[1] == "fine"
    assert text(await read(rig, ask("plain"))) == "fine"


async def test_masks_of_the_first_answer_hold_for_the_next_and_are_told(rig, ask):
    rig.engine.scripts["small"] = [Script(["write to ann@example.com"]), Script(["another"])]
    one, two, ctx = await twice(rig, ask("guarded"), ask("guarded"))
    assert one == two and "ann@" not in two
    assert [(found.direction, found.kind) for found in ctx.outcome.guardrails] == [("output", "email")]


async def test_an_answer_larger_than_the_limit_is_not_kept(rig, ask):
    rig.engine.scripts["small"] = [Script(["x" * 2000]), Script(["another"])]
    assert (await twice(rig, ask("short"), ask("short")))[1] == "another"


async def test_what_a_whole_cascade_cost_is_what_is_saved(rig, ask):
    rig.engine.scripts["small"] = [Script(["maybe"], logprob=-0.9)]
    rig.engine.scripts["large"] = [Script(["sure"])]
    *_, ctx = await twice(rig, ask("assistant"), ask("assistant"))
    assert (ctx.outcome.cache, ctx.outcome.deployment, ctx.outcome.saved_usd) == ("hit", "large", "0.000132")


def passages(rig):
    rig.retriever.passages["handbook"] = [Passage(collection="handbook", document_id="d", chunk_id="c", text="Leave.")]


async def test_a_grounded_answer_comes_with_its_citations(rig, ask):
    passages(rig)
    rig.engine.scripts["small"] = [Script(["Leave."])]
    one, two, ctx = await twice(rig, ask("grounded"), ask("grounded"))
    assert [sentence.supported for sentence in ctx.outcome.grounding.sentences] == [True]
    assert one == two and [citation.document_id for citation in ctx.outcome.citations] == ["d"]
    assert len(rig.retriever.requests) == 1


async def test_an_answer_is_not_given_again_when_rights_to_its_collection_changed(rig, ask):
    passages(rig)
    await read(rig, ask("grounded"))
    rig.retriever.now["handbook"] = 2
    assert text(await read(rig, ask("grounded"))) == "another"
    assert text(await read(rig, ask("grounded"))) == "another"
    assert len(rig.engine.calls) == 2


async def test_a_grounded_answer_is_not_given_again_while_rights_cannot_be_told(rig, ask):
    passages(rig)
    await read(rig, ask("grounded"))
    rig.retriever.away = True
    with pytest.raises(Upstream):
        await read(rig, ask("grounded"))

    async def gone(collections, sent):
        raise NotFound("there is no collection 'handbook'")

    rig.retriever.epochs = gone
    with pytest.raises(NotFound):
        await read(rig, ask("grounded"))


async def test_a_store_that_is_away_makes_misses(rig, ask):
    rig.cache_store.away = True
    one, two, ctx = await twice(rig, ask("plain"), ask("plain"))
    assert (one, two, ctx.outcome.cache) == ("one answer", "another", "miss")


async def test_an_entry_that_cannot_be_read_is_a_miss(rig, ask):
    await read(rig, ask("plain"))
    rig.cache_store.entries = dict.fromkeys(rig.cache_store.entries, b"\xff\xfe")
    assert text(await read(rig, ask("plain"))) == "another"


async def test_equal_requests_at_one_time_are_answered_by_one_engine_call(rig, ask):
    rig.engine.scripts["small"] = [Script(["shared"]), Script(["another"])]
    answers = await asyncio.gather(*(read(rig, ask("plain", stream=True)) for _ in range(5)))
    assert {text(answer) for answer in answers} == {"shared"} and len(rig.engine.calls) == 1
    assert sorted(event.cache for event in rig.closed()) == ["hit"] * 4 + ["miss"]


async def test_those_who_wait_go_on_on_their_own_when_the_first_one_leaves(rig, ask):
    rig.engine.scripts["small"] = [Script(["half"], hang=True), Script(["own"])]
    first = asyncio.create_task(read(rig, ask("plain", stream=True)))
    await rig.engine.hanging.wait()
    others = [asyncio.create_task(read(rig, ask("plain", stream=True))) for _ in range(2)]
    await asyncio.sleep(0)
    first.cancel()
    assert [text(await other) for other in others] == ["own", "own"]


async def test_who_waits_has_a_deadline_of_its_own(rig, ask):
    rig.engine.scripts["small"] = [Script(["half"], hang=True)]
    first = asyncio.create_task(read(rig, ask("plain", stream=True)))
    await rig.engine.hanging.wait()
    ctx = rig.context()
    ctx.limit(0.01)
    with pytest.raises(Exception, match="deadline"):
        await read(rig, ask("plain"), ctx)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_a_question_that_means_the_same_gets_the_same_answer(rig, ask):
    one, two, ctx = await twice(rig, ask("meaning", "how do I book leave?"), ask("meaning", "how can leave be booked?"))
    assert (one, two, ctx.outcome.cache) == ("one answer", "one answer", "hit")
    assert ctx.cost_nano_usd == 0 and len(rig.engine.calls) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("what is 2 plus 2?", "what is 2 plus 3?"),
        ("can I carry leave over?", "can't I carry leave over?"),
        ("how do I enable alerts?", "how do I disable alerts?"),
        ("who leads the team in Paris?", "who leads the team in Rome?"),
        ('what does "late" mean?', 'what does "early" mean?'),
        ("what is max_tokens?", "what is max_time?"),
    ],
)
async def test_a_similar_question_that_means_something_else_does_not(rig, ask, one, other):
    assert (await twice(rig, ask("meaning", one), ask("meaning", other)))[1] == "another"


async def test_similar_questions_after_different_conversations_do_not_meet(rig, ask):
    later = ask("meaning", "and then?")
    later.messages.insert(0, Message(role="system", parts=[ContentPart(text="be brief")]))
    assert (await twice(rig, ask("meaning", "and then?"), later))[1] == "another"


async def test_the_reranker_has_the_last_word(rig, ask):
    short, long = ask("ranked", "leave?"), ask("ranked", "how much leave is there for everyone in a year?")
    assert (await twice(rig, short, ask("ranked", "much leave?")))[1] == "another"
    rig.engine.scripts["small"] = [Script(["long"]), Script(["other"])]
    assert (await twice(rig, long, ask("ranked", "how much leave is there in a year for everyone?")))[1] == "long"


async def test_a_vector_of_a_question_whose_answer_is_gone_is_dropped(rig, ask):
    await read(rig, ask("meaning", "a"))
    rig.cache_store.entries.clear()
    assert text(await read(rig, ask("meaning", "b"))) == "another"
    assert [len(questions) for questions in rig.cache_store.asked.values()] == [1]


async def test_an_embedding_model_that_is_away_leaves_the_exact_cache(rig, ask):
    rig.engine.scripts["minilm"] = [Script(error=Upstream("gone"))]
    assert (await twice(rig, ask("meaning"), ask("meaning")))[1] == "one answer"


async def test_metadata_count_where_deployments_are_chosen_by_them(rig, ask):
    rig.engine.scripts["large"] = [Script(["plain"])]
    assert (await twice(rig, ask("sorted"), ask("sorted", metadata={"tier": "gold"})))[:2] == ("plain", "one answer")
    assert (await twice(rig, ask("plain"), ask("plain", metadata={"tier": "gold"})))[:2] == ("another", "another")


async def test_models_without_a_cache_pay_nothing(rig, ask):
    _, two, ctx = await twice(rig, ask("uncached"), ask("uncached"))
    assert (two, rig.cache_store.entries) == ("another", {})
    assert all(hop.name != "cache" for hop in ctx.hops)
