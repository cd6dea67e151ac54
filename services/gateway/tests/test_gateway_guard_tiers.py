"""Checks of the guardrails service in the pipeline, shadows, values that come back, and what happens without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace_gateway.calls import GenerateCall, Options
from headrace_gateway.fakes import Script
from headrace_gateway.routing.table import compile_table
from headrace_kit.config import Snapshot, parse
from headrace_kit.errors import Blocked, NotReady
from headrace_protos.common.v1.chat_pb2 import ContentPart, Message
from headrace_protos.guardrails.v1 import messages_pb2 as pb

CONFIG = """
catalogue:
  tiny:
    format: onnx
    licence: MIT
    files: [{{name: model.onnx, size: 1, sha256: "{digest}", sources: [{{path: x}}]}}]
deployments:
  small: {{engine: triton-scripted, price: {{input_usd_per_million: 1, output_usd_per_million: 2}}}}
  kinds: {{engine: triton-python, task: classify, model: tiny, labels: [toxic, fine]}}
models:
  assistant: {{deployment: small, guardrails: standard}}
tenants: {{dev: {{{tenant}}}}}
guardrails:
  other: {{shadow: true, input: [{{check: ban_list, words: [falcon], action: block}}]}}
  standard: {policy}
"""
TOXIC = "{check: classifier, deployment: kinds, labels: [toxic]%s}"


def config(policy: str, tenant: str = "") -> str:
    return CONFIG.format(policy=policy, tenant=tenant, digest="0" * 64)


def verdict(action, kind: str = "toxic", start: int = 0, end: int = 5, **fields) -> pb.CheckResponse:
    finding = pb.Finding(check="classifier", kind=kind, start=start, end=end, score=0.9, action=action)
    return pb.CheckResponse(action=action, would=action, findings=[finding], **fields)


@pytest.fixture
def worlds(rig):
    """Makes a gateway of fakes with a config of its own."""
    return lambda text: type(rig)(compile_table(Snapshot(parse(text), Path("headrace.yaml"))))


async def generate(world, text: str, **options):
    ctx = world.context()
    turn = Message(role="user", parts=[ContentPart(text=text)])
    call = GenerateCall("assistant", messages=[turn], **{"stream": True, **options})
    return ctx, await world.pipeline.generate(ctx, call)


async def said(world, text: str, **options) -> tuple[str, str, list]:
    ctx, answer = await generate(world, text, **options)
    chunks = [chunk async for chunk in answer.chunks()]
    return "".join(chunk.text for chunk in chunks), chunks[-1].finish_reason, ctx.outcome.guardrails


async def test_the_service_is_asked_once_tier_1_has_passed_and_its_block_is_a_block(worlds):
    world = worlds(config("{input: [{check: pii, action: mask}, %s]}" % (TOXIC % "")))
    world.guardrails.verdicts["nasty"] = verdict(pb.ACTION_BLOCK)
    await said(world, "kind words to ann@example.org")
    assert [(one.text, one.from_tier, one.policy) for one in world.guardrails.asked] == [
        ("kind words to [EMAIL_1]", 2, "standard")
    ]
    with pytest.raises(Blocked, match="classifier") as caught:
        await said(world, "nasty words")
    assert caught.value.param == "messages[0].content"


@pytest.mark.parametrize("state", ["away", "hangs"])
async def test_without_the_service_a_closed_policy_lets_nothing_pass_and_an_open_one_goes_on(worlds, state):
    closed = worlds(config("{input: [%s]}" % (TOXIC % ", timeout_ms: 10")))
    opened = worlds(config("{input: [%s]}" % (TOXIC % ", on_failure: open, timeout_ms: 10")))
    for world in (closed, opened):
        setattr(world.guardrails, state, True)
    with pytest.raises(NotReady) as caught:
        await said(closed, "hello")
    assert caught.value.code == "guardrail_unavailable"
    assert (await said(opened, "hello"))[1] == "stop"


@pytest.mark.parametrize("policy", ["", ", on_failure: open", ", output: trail"])
async def test_a_service_that_dies_in_the_middle_of_an_answer(worlds, policy):
    world = worlds(config("{window_chars: 50, output: [%s]}" % (TOXIC % policy)))
    part = "This is a sentence of some fifty characters, it is. "
    world.engine.scripts["small"] = [Script(texts=[part] * 4)]
    world.guardrails.verdicts["fifty"] = pb.CheckResponse(would=pb.ACTION_ALLOW)
    _, answer = await generate(world, "hi")
    seen = []
    async for chunk in answer.chunks():
        seen.append(chunk)
        world.guardrails.away = True
    text, finish = "".join(chunk.text for chunk in seen), seen[-1].finish_reason
    if "open" in policy:
        assert (text, finish) == (part * 4, "stop")
    else:
        assert finish == "content_filter"
        # What trails may be through before the verdict is there; what is held is not.
        assert "trail" in policy or len(text) < len(part) * 4


async def test_what_holds_keeps_back_what_is_bad(worlds):
    world = worlds(config("{window_chars: 50, output: [%s]}" % (TOXIC % "")))
    good = "Here are fifty characters that nobody has to hold. "
    world.engine.scripts["small"] = [
        Script(texts=[good, "nasty ", "things follow here and they go on for a while. ", good])
    ]
    world.guardrails.verdicts["nasty"] = verdict(pb.ACTION_BLOCK)
    text, finish, findings = await said(world, "hi")
    assert "nasty" not in text and text.startswith("Here are") and finish == "content_filter"
    assert [(one.direction, one.check, one.action) for one in findings] == [("output", "classifier", "block")]


async def test_a_rewrite_puts_the_policys_words_in_place(worlds):
    world = worlds(config("{rewrite: 'Not here.', output: [{check: ban_list, words: [falcon], action: rewrite}]}"))
    world.engine.scripts["small"] = [Script(texts=["the falcon ", "flies"])] * 2
    text, finish, _ = await said(world, "hi")
    assert (text, finish) == ("the Not here.", "content_filter")
    _, answer = await generate(world, "hi")
    chunks, _ = await answer.whole()
    assert [(chunk.text, chunk.finish_reason) for chunk in chunks] == [("Not here.", "content_filter")]


async def test_a_shadow_reports_and_changes_nothing(worlds):
    policy = "{shadow: true, input: [{check: pii, action: mask}], output: [{check: pii, action: block}, %s]}"
    world = worlds(config(policy % (TOXIC % "")))
    world.engine.scripts["small"] = [Script(texts=["write to ben@exa", "mple.org"])]
    world.guardrails.verdicts["ben@"] = verdict(pb.ACTION_BLOCK)
    text, finish, findings = await said(world, "I am ann@example.org")
    assert (text, finish) == ("write to ben@example.org", "stop")
    assert world.engine.calls[-1].request.messages[-1].parts[0].text == "I am ann@example.org"
    assert {(one.label, one.direction) for one in findings} == {
        ("pii.email:would_mask", "input"),
        ("pii.email:would_block", "output"),
        ("classifier.toxic:would_block", "output"),
    }
    await world.decisions.stop()
    assert {(one.direction, one.action, one.shadow) for one in world.guardrails.recorded} == {
        (pb.DIRECTION_INPUT, pb.ACTION_MASK, True),
        (pb.DIRECTION_OUTPUT, pb.ACTION_BLOCK, True),
    }


async def test_masked_values_come_back_in_the_answer_over_any_split(worlds):
    world = worlds(config("{unmask: true, input: [{check: pii, action: mask}], output: [{check: pii, action: mask}]}"))
    world.engine.scripts["small"] = [Script(texts=["Dear [EM", "AIL_", "1], not [EMAIL_7] nor ", "zoe@example.org"])]
    text, _, _ = await said(world, "I am ann@example.org")
    assert world.engine.calls[-1].request.messages[-1].parts[0].text == "I am [EMAIL_1]"
    assert text == "Dear ann@example.org, not [EMAIL_7] nor [EMAIL_2]"


async def test_an_escalated_text_goes_to_the_queue_of_the_service(worlds):
    world = worlds(config("{input: [{check: ban_list, words: [falcon], action: escalate}]}"))
    world.guardrails.verdicts["falcon"] = verdict(pb.ACTION_ESCALATE, review_id="r-1")
    with pytest.raises(Blocked, match="review r-1") as caught:
        await said(world, "the falcon")
    assert caught.value.code == "content_review"
    assert world.guardrails.asked[-1].from_tier == 1
    world.guardrails.verdicts["falcon"] = pb.CheckResponse(would=pb.ACTION_FLAG)
    assert (await said(world, "the falcon"))[1] == "stop", "once a person approved it"


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_for_a_person_ends_and_names_its_review(worlds, stream):
    world = worlds(config("{output: [{check: ban_list, words: [falcon], action: escalate}]}"))
    world.engine.scripts["small"] = [Script(texts=["Look, a fal", "con flies ", "over there"])]
    world.guardrails.verdicts["falcon"] = verdict(pb.ACTION_ESCALATE, review_id="r-2")
    text, finish, findings = await said(world, "hi", stream=stream)
    assert finish == "content_filter" and "falcon" not in text and "flies" not in text
    assert [(one.direction, one.check, one.action, one.review_id) for one in findings] == [
        ("output", "ban_list", "escalate", "r-2")
    ]
    [asked] = world.guardrails.asked
    assert (asked.direction, asked.from_tier) == (pb.DIRECTION_OUTPUT, 1)
    assert asked.text.startswith("Look, a falcon")
    await world.decisions.stop()
    assert world.guardrails.recorded == [], "the service audits what it was given"


async def test_what_goes_to_a_person_has_to_pass_the_requests_other_policies_too(worlds):
    policy = "{input: [{check: ban_list, words: [falcon], action: escalate}]}"
    more = "\n".join(
        (
            "  looking: {shadow: true, input: [{check: pii}]}",
            "  talking: {output: [{check: pii}]}",
            "  masking: {input: [{check: pii}]}",
        )
    )
    world = worlds(config(policy, tenant="guardrails: [looking, talking, masking]") + more)
    world.guardrails.verdicts["falcon"] = verdict(pb.ACTION_ESCALATE, review_id="r-1")
    with pytest.raises(Blocked, match="review r-1"):
        await said(world, "the falcon")
    assert [(one.policy, list(one.also)) for one in world.guardrails.asked] == [("standard", ["masking"])]


async def test_a_part_of_an_answer_that_a_costly_check_gives_to_a_person_names_its_review(worlds):
    world = worlds(config("{output: [%s]}" % (TOXIC % ", action: escalate")))
    world.engine.scripts["small"] = [Script(texts=["nasty words"])]
    world.guardrails.verdicts["nasty"] = verdict(pb.ACTION_ESCALATE, review_id="r-3")
    text, finish, findings = await said(world, "hi")
    assert (text, finish, [one.review_id for one in findings]) == ("", "content_filter", ["r-3"])


async def test_an_answer_for_a_person_is_withheld_without_the_queue_too(worlds):
    world = worlds(config("{output: [{check: ban_list, words: [falcon], action: escalate}]}"))
    world.engine.scripts["small"] = [Script(texts=["Look, a falcon flies over there"])]
    world.guardrails.away = True
    text, finish, findings = await said(world, "hi")
    assert finish == "content_filter" and "falcon" not in text
    assert [one.review_id for one in findings] == [""]
    world.guardrails.away = False
    await world.decisions.stop()
    assert [one.action for one in world.guardrails.recorded] == [pb.ACTION_ESCALATE]


async def test_a_tenants_policies_hold_for_all_its_requests(worlds):
    world = worlds(config("{}", tenant="guardrails: [other]"))
    _, _, findings = await said(world, "the falcon")
    assert [one.label for one in findings] == ["ban_list.banned:would_block"]


async def test_an_unused_policy_costs_the_service_nothing(worlds):
    world = worlds(config("{input: [{check: pii}]}"))
    await said(world, "hello", options=Options())
    assert world.guardrails.asked == []
