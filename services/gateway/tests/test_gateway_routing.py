"""Who may be sent where: residency, tags, sensitive data, conditions; through every way to an engine."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from headrace_gateway.calls import EmbedCall, GenerateCall, Options, RerankCall
from headrace_gateway.context import RequestContext
from headrace_gateway.fakes import Script
from headrace_gateway.grpc_api.write import outcome_message
from headrace_gateway.resilience.attempt import Attempt
from headrace_gateway.routing.table import compile_table
from headrace_gateway.routing.traits import script_of, traits_of
from headrace_kit.config import Snapshot, parse
from headrace_kit.config.routing import When
from headrace_kit.errors import BadInput, Forbidden, Upstream
from headrace_kit.rpc import Identity
from headrace_protos.common.v1.chat_pb2 import ContentPart, ImagePart, Message, ResponseFormat, Sampling, Tool
from headrace_protos.inference.v1.messages_pb2 import GenerateRequest
from headrace_protos.rollout.v1.messages_pb2 import Grant, Split

CONFIG = """
tenants:
  dev: {}
  pinned: {residency: [eu]}
  careful: {require_tags: [zero-retention], forbid_tags: [beta]}
deployments:
  eu: {engine: triton-scripted, residency: eu, tags: [zero-retention], internal: true}
  eu-beta: {engine: triton-scripted, residency: eu, tags: [zero-retention, beta]}
  us: {engine: triton-scripted, residency: us}
  us-two: {engine: triton-scripted, residency: us, tags: [zero-retention]}
  seer: {engine: litellm, model: anthropic/claude-sonnet-4-5, accepts: [image]}
  embed-us: {engine: litellm, model: openai/text-embedding-3-small, task: embed, dimensions: 2, residency: us}
  embed-eu: {engine: litellm, model: openai/text-embedding-3-small, task: embed, dimensions: 2, residency: eu}
  rank-us: {engine: triton-python, model: minilm, task: rerank, residency: us}
models:
  both: {deployments: [{deployment: us, weight: 9}, {deployment: eu}], retry: {attempts: 1}, guardrails: watch}
  abroad: {deployment: us, fallbacks: [eu], retry: {attempts: 1}, guardrails: watch}
  home: {deployment: eu, fallbacks: [us], retry: {attempts: 3}, guardrails: watch}
  steps:
    cascade:
      - {deployment: us, accept: {signal: mean_logprob, at_least: -0.5}}
      - {deployments: [{deployment: us-two}, {deployment: eu}]}
    guardrails: watch
  watched: {deployment: embed-us, guardrails: watch}
  ranking: {deployment: rank-us, guardrails: watch}
  vectors: {deployments: [{deployment: embed-us}, {deployment: embed-eu}]}
  sized:
    deployments:
      - {deployment: eu-beta, when: {input_tokens: {at_least: 100}}}
      - {deployment: eu}
  seeing: {deployments: [{deployment: us, weight: 50}, {deployment: seer}]}
  strict: {deployments: [{deployment: eu, when: {tools: true}}, {deployment: us, when: {metadata: {tier: gold}}}]}
guardrails:
  watch:
    input: [{check: pii, kinds: [iban, email], action: mask}]
    internal_only: [pii.iban]
catalogue:
  minilm:
    format: onnx
    licence: Apache-2.0
    files: [{name: model.onnx, sha256: "%s", size: 3, sources: [{hub: a/b/c.onnx}]}]
""" % ("a" * 64)
IBAN = "pay to DE89 3704 0044 0532 0130 00"


@pytest.fixture
def rig(rig):
    """A gateway of fakes under this file's config."""
    rig.table = compile_table(Snapshot(parse(CONFIG), Path("headrace.yaml")))
    return rig


def asked(model: str, text: str = "hi", **more) -> GenerateCall:
    return GenerateCall(model, messages=[Message(role="user", parts=[ContentPart(text=text)])], **more)


def whose(rig, tenant: str, *scopes: str) -> RequestContext:
    ctx = rig.context()
    ctx.identity = Identity("gateway", tenant, "k", scopes=frozenset(scopes))
    return ctx


async def served_by(rig, call: GenerateCall, tenant: str = "dev", *scopes: str) -> list[str]:
    """The deployments that were asked, in order."""
    before = len(rig.engine.calls)
    answer = await rig.pipeline.generate(whose(rig, tenant, *scopes), call)
    await answer.whole()
    return [made.deployment for made in rig.engine.calls[before:]]


async def test_a_tenant_is_served_only_where_it_may_be(rig):
    assert {name for _ in range(20) for name in await served_by(rig, asked("both"))} == {"us", "eu"}
    assert {name for _ in range(20) for name in await served_by(rig, asked("both"), "pinned")} == {"eu"}


async def test_tags_are_required_and_forbidden(rig):
    with pytest.raises(Forbidden, match="no deployment that this tenant's requests may be sent to"):
        await served_by(rig, asked("steps"), "careful")
    assert {name for _ in range(10) for name in await served_by(rig, asked("sized", "long " * 200), "careful")} == {
        "eu"
    }


async def test_no_fallback_retry_or_stage_leaves_the_tenants_place(rig):
    rig.engine.scripts = {name: [Script(texts=(), error=Upstream("broke"))] for name in ("eu", "us")}
    with pytest.raises(Upstream):
        await served_by(rig, asked("home"), "pinned")
    assert [call.deployment for call in rig.engine.calls] == ["eu", "eu", "eu"]
    with pytest.raises(Forbidden):
        await served_by(rig, asked("abroad"), "pinned")
    with pytest.raises(Forbidden):
        await served_by(rig, asked("steps"), "pinned")
    assert len(rig.engine.calls) == 3


async def test_naming_a_deployment_does_not_leave_the_tenants_place(rig):
    route = {"options": Options(route="us")}
    assert await served_by(rig, asked("home", **route), "dev", "admin") == ["us"]
    with pytest.raises(Forbidden, match="residency"):
        await served_by(rig, asked("home", **route), "pinned", "admin")


async def test_a_candidate_that_leaves_a_tenants_place_serves_nobody(rig):
    split = Split(
        rollout_id="r", model="home", salt="s", weight=10_000, candidate_json=json.dumps({"deployment": "us"})
    )
    rig.leases.take(Grant(lease_ms=15_000, splits=[split]))
    assert await served_by(rig, asked("home"), "pinned") == ["eu"]
    assert await served_by(rig, asked("home")) == ["eu"]


async def test_vectors_keep_to_the_tenants_place(rig):
    for _ in range(6):
        ctx = whose(rig, "pinned")
        await rig.vectors.embed(ctx, EmbedCall("vectors", ["a"]))
        assert ctx.outcome.deployment == "embed-eu"


async def test_sensitive_data_goes_to_internal_deployments_or_nowhere(rig):
    assert {name for _ in range(20) for name in await served_by(rig, asked("both", IBAN))} == {"eu"}
    asked_before = len(rig.engine.calls)
    for model in ("abroad", "steps"):
        with pytest.raises(Forbidden, match=r"guardrails found pii.iban .* no internal deployment") as caught:
            await served_by(rig, asked(model, IBAN))
        assert caught.value.code == "sensitive_data"
        assert "DE89" not in str(caught.value)
    assert len(rig.engine.calls) == asked_before
    assert await served_by(rig, asked("abroad", "write to me@example.com")) == ["us"]


async def test_sensitive_data_does_not_leave_by_a_fallback(rig):
    rig.engine.scripts["eu"] = [Script(texts=(), error=Upstream("broke"))]
    with pytest.raises(Upstream):
        await served_by(rig, asked("home", IBAN))
    assert {call.deployment for call in rig.engine.calls} == {"eu"}


async def test_sensitive_data_in_vectors_and_rankings_stays_inside_too(rig):
    for call in (
        rig.vectors.rerank(whose(rig, "dev"), RerankCall("ranking", "who pays?", ["nobody", IBAN])),
        rig.vectors.embed(whose(rig, "dev"), EmbedCall("watched", ["a", IBAN])),
    ):
        with pytest.raises(Forbidden, match=r"guardrails found pii.iban"):
            await call
    assert len(await rig.vectors.embed(whose(rig, "dev"), EmbedCall("watched", ["a", "b"]))) == 2


async def test_what_was_chosen_wrongly_is_not_sent(rig):
    ctx = whose(rig, "pinned")
    with pytest.raises(Forbidden):
        await Attempt(ctx, rig.table.target("us"), 0, 0).open(rig.journal)
    assert rig.journal.events == []


async def test_models_that_can_never_serve_a_tenant_are_not_listed(rig):
    assert [plan.name for plan in rig.table.allowed("pinned")] == ["both", "home", "vectors", "sized", "strict"]
    assert [plan.name for plan in rig.table.allowed("dev")] == list(rig.table.models)


async def test_a_condition_takes_its_requests_and_the_others_stay(rig):
    assert {name for _ in range(6) for name in await served_by(rig, asked("sized"))} == {"eu"}
    assert {name for _ in range(6) for name in await served_by(rig, asked("sized", "long " * 200))} == {"eu-beta"}
    rig.engine.scripts["eu-beta"] = [Script(texts=(), error=Upstream("broke"))]
    assert await served_by(rig, asked("sized", "long " * 200)) == ["eu-beta", "eu"]


async def test_an_image_goes_where_images_are_taken(rig):
    call = asked("seeing")
    call.messages[0].parts.append(ContentPart(image=ImagePart(url="data:image/png;base64,AAAA")))
    assert {name for _ in range(8) for name in await served_by(rig, call)} == {"seer"}


async def test_a_request_that_no_condition_is_for_is_refused(rig):
    tools = Sampling(tools=[Tool(name="f")])
    assert await served_by(rig, asked("strict", sampling=tools)) == ["eu"]
    assert await served_by(rig, asked("strict", metadata={"tier": "gold"})) == ["us"]
    with pytest.raises(BadInput, match="none of their conditions hold"):
        await served_by(rig, asked("strict", metadata={"tier": "iron"}))
    assert await served_by(rig, asked("strict", options=Options(route="us")), "dev", "admin") == ["us"]


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("How high is the dam?", "latin"),
        ("Où est le barrage ?", "latin"),
        ("где находится плотина", "cyrillic"),
        ("πού είναι το φράγμα", "greek"),
        ("大坝在哪里", "han"),
        ("ダムはどこですか", "kana"),
        ("東京のダム", "kana"),
        ("댐이 어디에 있나요", "hangul"),
        ("أين السد", "arabic"),
        ("איפה הסכר", "hebrew"),
        ("बाँध कहाँ है", "devanagari"),
        ("see плотина находится здесь", "cyrillic"),
        ("1234 !?", ""),
        ("", ""),
    ],
)
def test_scripts_are_told_apart(text, script):
    assert script_of(text) == script


def request(**sampling) -> GenerateRequest:
    messages = [
        Message(role="system", parts=[ContentPart(text="s" * 40)]),
        Message(role="user", parts=[ContentPart(text="плотина")]),
    ]
    return GenerateRequest(messages=messages, sampling=Sampling(**sampling))


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        ({"input_tokens": {"at_least": 14}}, True),
        ({"input_tokens": {"at_least": 15}}, False),
        ({"input_tokens": {"at_most": 14}}, True),
        ({"input_tokens": {"at_most": 13}}, False),
        ({"script": ["greek", "cyrillic"]}, True),
        ({"script": ["latin"]}, False),
        ({"response_format": ["json_schema"]}, True),
        ({"response_format": ["text", "json_object"]}, False),
        ({"tools": False, "image": False, "audio": False}, True),
        ({"tools": True}, False),
        ({"metadata": {"team": "a", "tier": "gold"}}, True),
        ({"metadata": {"team": "b"}}, False),
        ({"metadata": {"missing": "a"}}, False),
        ({"script": ["cyrillic"], "tools": True}, False),
    ],
)
def test_every_part_of_a_condition_must_hold(when, holds):
    made = request(response_format=ResponseFormat(type="json_schema"))
    traits = traits_of(made, {"team": "a", "tier": "gold", "more": "x"})
    assert traits.meet(When.model_validate(when)) is holds


async def test_the_guide_does_what_it_says(rig):
    guide = (Path(__file__).parents[3] / "docs/guides/routing.md").read_text()
    whole: dict[str, dict] = {"tenants": {"dev": {}}}
    for block in re.findall(r"^```yaml\n(.*?)^```", guide, re.M | re.S):
        for section, entries in yaml.safe_load(block).items():
            whole.setdefault(section, {}).update(entries)
    rig.table = compile_table(Snapshot(parse(yaml.safe_dump(whole)), Path("headrace.yaml")))
    served = [name for _ in range(8) for name in await served_by(rig, asked("assistant"))]
    assert Counter(served) == {"eu-1": 6, "us-1": 2}
    assert {name for _ in range(8) for name in await served_by(rig, asked("assistant"), "claims")} == {"eu-1"}
    assert {name for _ in range(8) for name in await served_by(rig, asked("fast"), "claims")} <= {"eu-1", "eu-2"}
    inside = "inside-only-with-secrets"
    assert {name for _ in range(10) for name in await served_by(rig, asked(inside, IBAN))} == {"eu-1"}
    for call, expected in (
        (asked("by-request", "long " * 3000), "long"),
        (asked("by-request", "где плотина"), "eu-2"),
        (asked("by-request", metadata={"tier": "batch"}), "us-1"),
        (asked("by-request"), "eu-1"),
    ):
        assert await served_by(rig, call) == [expected]


async def test_the_outcome_and_the_trace_tell_why(rig):
    ctx = whose(rig, "dev")
    answer = await rig.pipeline.generate(ctx, asked("both"))
    await answer.whole()
    assert ctx.outcome.stages[0].chosen_by == "weight"
    assert outcome_message(ctx.outcome).stages[0].chosen_by == "weight"
    assert ctx.hops[-1].attributes["headrace.route.chosen_by"] == "weight"
    alone = whose(rig, "pinned")
    await (await rig.pipeline.generate(alone, asked("both"))).whole()
    assert alone.outcome.stages[0].chosen_by is None
