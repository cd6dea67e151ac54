"""What a cascade judges answers by, and what a model says when it is not sure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import ValidationError

from headrace_gateway.cascade.answer import Choice, calls_allowed
from headrace_gateway.cascade.schema import conforms
from headrace_gateway.cascade.signals import Confidence
from headrace_gateway.fakes import Script
from headrace_gateway.routing.table import compile_table
from headrace_kit.config import parse
from headrace_kit.config.cascades import Accept, LowConfidence
from headrace_kit.config.models import Model
from headrace_kit.errors import Upstream
from headrace_protos.common.v1.chat_pb2 import ResponseFormat, Sampling, Tool, ToolCall
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk, TokenStats


@dataclass
class _Snapshot:
    config: object
    hash: str = "h"
    path: Path = Path("headrace.yaml")


def configured(rig, spec):
    """The model `assistant` as `spec` says."""
    config = rig.table.config
    models = {**config.models, "assistant": Model.model_validate(spec)}
    rig.table = compile_table(_Snapshot(config.model_copy(update={"models": models})))
    return rig


def judged(rig, **accept):
    return configured(rig, {"cascade": [{"deployment": "small", "accept": accept}, {"deployment": "large"}]})


def text(chunks):
    return "".join(chunk.text for chunk in chunks)


async def read(rig, call, ctx=None):
    answer = await rig.pipeline.generate(ctx or rig.context(), call)
    return [chunk async for chunk in answer.chunks()]


@pytest.mark.parametrize(
    ("accept", "good"),
    [
        ({"signal": "margin", "at_least": 1.5}, True),
        ({"signal": "margin", "at_least": 2.5}, False),
        ({"signal": "entropy", "at_most": 0.5}, True),
        ({"signal": "entropy", "at_most": 0.3}, False),
        ({"signal": "min_logprob", "at_least": -0.2}, True),
    ],
)
async def test_signals_of_tokens(rig, ask, accept, good):
    judged(rig, **accept).engine.scripts["small"] = [Script(["a", "b"], margin=2.0, entropy=0.4)]
    rig.engine.scripts["large"] = [Script(["sure"])]
    assert text(await read(rig, ask("assistant"))) == ("ab" if good else "sure")
    assert rig.engine.calls[0].request.stats_top == {"margin": 2, "entropy": 5}.get(accept["signal"], 0)
    if not good:
        assert (rig.engine.calls[1].request.stats_top, rig.engine.calls[1].request.want_stats) == (0, False)


async def test_an_engine_that_tells_no_alternatives_is_not_trusted(rig, ask):
    judged(rig, signal="margin", at_least=0).engine.scripts["large"] = [Script(["sure"])]
    assert text(await read(rig, ask("assistant"))) == "sure"


def test_the_worst_run_of_tokens_counts():
    check = Accept.model_validate({"signal": "mean_logprob", "at_least": -1, "window": 2})
    confidence = Confidence(check)
    for logprob in (0.0, -0.2, -3.0, -1.0, 0.0, 0.0, -9.0):
        stats = TokenStats(tokens=1, sum_logprob=logprob, min_logprob=logprob)
        confidence.add(GenerateChunk(stats=stats))
    assert confidence.value("mean_logprob") == pytest.approx(-2.0)
    check = Accept.model_validate({"signal": "entropy", "at_most": 1, "window": 2})
    confidence = Confidence(check)
    for value in (0.1, 0.1, 3.0, 1.0):
        confidence.add(GenerateChunk(stats=TokenStats(tokens=1, ranked=1, sum_entropy=value)))
    assert confidence.value("entropy") == pytest.approx(2.0)


@pytest.mark.parametrize(("samples", "given"), [("the answer is 12", "so: the answer is 12"), ("I think 13", "sure")])
async def test_samples_that_say_the_same(rig, ask, samples, given):
    judged(rig, signal="self_consistency", at_least=0.5, samples=2)
    rig.engine.scripts["small"] = [Script(["so: the answer is 12"]), Script([samples])]
    rig.engine.scripts["large"] = [Script(["sure"])]
    ctx = rig.context()
    chunks = await read(rig, ask("assistant", stream=True), ctx)
    assert text(chunks) == given
    asked = rig.engine.calls[1].request
    assert (asked.deployment, asked.sampling.n, asked.sampling.temperature) == ("small", 2, pytest.approx(0.7))
    samples_event = next(event for event in rig.closed() if event.verdict == "judged")
    assert samples_event.stage == 110
    assert ctx.cost_nano_usd == sum(event.cost_nano_usd for event in rig.closed())
    assert ctx.outcome.deployment == ("small" if given != "sure" else "large")
    assert chunks[-1].usage.output_tokens == 1


async def test_choices_of_one_request_are_their_own_samples(rig, ask):
    judged(rig, signal="self_consistency", at_least=0.5).engine.scripts["small"] = [Script(["12"])]
    chunks = await read(rig, ask("assistant", sampling=Sampling(n=2)))
    assert [chunk.index for chunk in chunks if chunk.text] == [0, 1]
    assert len(rig.engine.calls) == 1


@pytest.mark.parametrize(
    ("said", "good"), [('{"score": 8}', True), ('{"score": 2}', False), ("nonsense", False), ('{"score": 11}', False)]
)
async def test_a_verifier_gives_a_typed_verdict(rig, ask, said, good):
    judged(rig, signal="verifier", at_least=0.7, verifier={"deployment": "spare", "instructions": "It is short."})
    rig.engine.scripts["small"] = [Script(["an answer"])]
    rig.engine.scripts["spare"] = [Script([said])]
    rig.engine.scripts["large"] = [Script(["sure"])]
    ctx = rig.context()
    assert text(await read(rig, ask("assistant", "a question"), ctx)) == ("an answer" if good else "sure")
    asked = rig.engine.calls[1].request
    assert asked.sampling.response_format.type == "json_schema"
    assert "It is short." in asked.messages[0].parts[0].text
    assert "a question" in asked.messages[1].parts[0].text and "an answer" in asked.messages[1].parts[0].text
    assert [stage.verdict for stage in ctx.outcome.stages][:1] == ["judged"]


async def test_a_verifier_that_is_away_says_nothing(rig, ask):
    judged(rig, signal="verifier", at_least=0, verifier={"deployment": "spare"})
    rig.engine.scripts["spare"] = [Script([], error=Upstream("gone"))]
    rig.engine.scripts["large"] = [Script(["sure"])]
    assert text(await read(rig, ask("assistant"))) == "sure"


@pytest.mark.parametrize("probability", [0.9, 0.2])
async def test_a_classifier_gives_the_probability_of_a_good_answer(rig, ask, probability):
    judged(rig, signal="verifier", at_least=0.5, verifier={"deployment": "judge", "label": "good"})
    config = rig.table.config
    judge = config.deployments["minilm"].model_copy(update={"task": "classify", "labels": ("good", "bad")})
    rig.table = compile_table(
        _Snapshot(config.model_copy(update={"deployments": {**config.deployments, "judge": judge}}))
    )
    rig.engine.probability = probability
    rig.engine.scripts["small"] = [Script(["an answer"])]
    rig.engine.scripts["large"] = [Script(["sure"])]
    assert text(await read(rig, ask("assistant", "why?"))) == ("an answer" if probability > 0.5 else "sure")
    assert rig.engine.classified == ["why?\n\nan answer"]


SCHEMA = json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]})


@pytest.mark.parametrize(("said", "good"), [('{"n": 1}', True), ('{"n": "1"}', False), ('{"n": 1', False)])
async def test_the_form_that_the_request_asks_for(rig, ask, said, good):
    judged(rig, signal="json_schema").engine.scripts["small"] = [Script([said])]
    rig.engine.scripts["large"] = [Script(["sure"])]
    wanted = Sampling(response_format=ResponseFormat(type="json_schema", schema_json=SCHEMA))
    assert text(await read(rig, ask("assistant", sampling=wanted))) == (said if good else "sure")


@pytest.mark.parametrize(("arguments", "good"), [('{"n": 1}', True), ("{}", False), ("{", False)])
async def test_calls_of_tools_must_be_allowed_whatever_the_signal(rig, ask, arguments, good):
    judged(rig, signal="mean_logprob", at_least=-0.5, early={"tokens": 1})
    call = ToolCall(index=0, id="1", name="f", arguments=arguments)
    rig.engine.scripts["small"] = [Script([""], tool_calls=[call], finish="tool_calls")]
    rig.engine.scripts["large"] = [Script(["sure"])]
    ctx = rig.context()
    wanted = Sampling(tools=[Tool(name="f", parameters_json=SCHEMA)])
    chunks = await read(rig, ask("assistant", sampling=wanted), ctx)
    assert (chunks[-1].finish_reason == "tool_calls") is good
    assert ctx.outcome.stages[0].signal == ("mean_logprob" if good else "tool_arguments")


def test_a_call_of_a_tool_that_was_not_offered_is_not_allowed():
    choice = Choice(calls={0: ToolCall(name="g", arguments="{}")})
    assert not calls_allowed([choice], Sampling(tools=[Tool(name="f")]))


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}},
        {"$ref": "http://127.0.0.1:9/schema.json"},
        {"type": "nothing"},
        {"allOf": 7},
        [],
    ],
)
def test_a_schema_that_cannot_be_used_allows_nothing(schema):
    assert not conforms("{}", json.dumps(schema))


def test_schemas_that_double_at_every_step_end():
    steps = {f"s{i}": {"allOf": [{"$ref": f"#/$defs/s{i + 1}"}, {"$ref": f"#/$defs/s{i + 1}"}]} for i in range(60)}
    assert not conforms("1", json.dumps({"$ref": "#/$defs/s0", "$defs": {**steps, "s60": {}}}))


def test_patterns_are_linear():
    schema = json.dumps({"type": "string", "pattern": "^(a+)+$"})
    assert conforms('"aaa"', schema)
    assert not conforms(json.dumps("a" * 5000 + "b"), schema)
    assert conforms('{"x1": 1}', json.dumps({"patternProperties": {"^x": {}}, "additionalProperties": False}))


@pytest.mark.parametrize("stream", [True, False])
async def test_a_model_may_say_that_it_does_not_know(rig, ask, stream):
    low = {"signal": "mean_logprob", "below": -1, "then": "say", "text": "I don't know."}
    configured(rig, {"deployment": "small", "low_confidence": low})
    rig.engine.scripts["small"] = [Script(["a ", "guess"], logprob=-2)]
    ctx = rig.context()
    chunks = await read(rig, ask("assistant", stream=stream), ctx)
    assert text(chunks) == "I don't know."
    assert chunks[-1].finish_reason == "stop"
    low = ctx.outcome.low_confidence
    assert (low.signal, low.then, low.value) == ("mean_logprob", "say", -2)
    [event] = rig.closed()
    assert (event.verdict, event.cost_nano_usd) == ("rejected", ctx.cost_nano_usd)
    rig.engine.scripts["small"] = [Script(["a ", "fact"], logprob=-0.1)]
    ctx = rig.context()
    assert text(await read(rig, ask("assistant", stream=stream), ctx)) == "a fact"
    assert not ctx.outcome.low_confidence


async def test_an_unsure_beginning_of_the_last_stage_stops_it(rig, ask):
    low = {"signal": "mean_logprob", "below": -1, "then": "hand_over", "text": "One moment.", "early": {"tokens": 2}}
    configured(rig, {"deployment": "small", "low_confidence": low})
    rig.engine.scripts["small"] = [Script(["a ", "guess"], logprob=-2, hang=True)]
    ctx = rig.context()
    assert text(await read(rig, ask("assistant", stream=True), ctx)) == "One moment."
    assert rig.engine.calls[0].cancelled
    assert ctx.outcome.low_confidence.then == "hand_over"


async def test_an_unsure_answer_may_be_given_with_a_mark(rig, ask):
    configured(rig, {"deployment": "small", "low_confidence": {"signal": "min_logprob", "below": -1}})
    rig.engine.scripts["small"] = [Script(["a ", "guess"], logprob=-2)]
    ctx = rig.context()
    assert text(await read(rig, ask("assistant", stream=True), ctx)) == "a guess"
    assert (ctx.outcome.low_confidence.then, rig.closed()[0].verdict) == ("answer", "accepted")


async def test_a_stage_may_be_for_some_requests_only(rig, ask):
    stage = {"deployment": "small", "accept": {"signal": "mean_logprob", "at_least": -1}, "when": {"tools": False}}
    configured(rig, {"cascade": [stage, {"deployment": "large"}]})
    await read(rig, ask("assistant", sampling=Sampling(tools=[Tool(name="f")])))
    await read(rig, ask("assistant"))
    assert [call.deployment for call in rig.engine.calls] == ["large", "small"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"signal": "margin", "at_most": 1}, "at_least"),
        ({"signal": "entropy", "at_least": 1}, "at_most"),
        ({"signal": "json_schema", "at_least": 1}, "takes no"),
        ({"signal": "verifier", "at_least": 0.5}, "verifier is required"),
        ({"signal": "self_consistency", "at_least": 0.5, "early": {}}, "whole answer"),
        ({"signal": "verifier", "at_least": 2, "verifier": {"deployment": "x"}}, "0 to 1"),
    ],
)
def test_what_does_not_fit_together_is_refused(wrong, said):
    with pytest.raises(ValidationError, match=said):
        Accept.model_validate(wrong)


def test_words_go_with_saying_them():
    for wrong in ({"then": "say"}, {"text": "x"}, {"early": {}}):
        with pytest.raises(ValidationError):
            LowConfidence.model_validate({"signal": "margin", "below": 1, **wrong})


GPU = """
catalogue:
  w:
    format: safetensors
    licence: x
    files: [{name: model.safetensors, sha256: "%s", size: 3, sources: [{hub: a/b/c}]}]
deployments:
  silent: {engine: triton-tensorrtllm, model: w}
  small: {engine: triton-scripted}
  embed: {engine: litellm, model: openai/x, task: embed, dimensions: 4}
models:
  m: {cascade: [{deployment: %s, accept: %s}, {deployment: small}]}
"""


@pytest.mark.parametrize(
    ("deployment", "accept", "said"),
    [
        ("silent", "{signal: margin, at_least: 1}", "cannot give margin"),
        ("small", "{signal: verifier, at_least: 0.5, verifier: {deployment: embed}}", "generate or classify"),
        ("small", "{signal: verifier, at_least: 0.5, verifier: {deployment: small, label: x}}", "task classify"),
    ],
)
def test_a_deployment_that_cannot_give_the_signal_is_refused(deployment, accept, said):
    with pytest.raises(Exception, match=said):
        parse(GPU % ("a" * 64, deployment, accept))
