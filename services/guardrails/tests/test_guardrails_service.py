"""The service over a real grpc.aio server, with a real signed identity."""

from __future__ import annotations

import asyncio
import random

import pytest
from grpc import aio
from prometheus_client import generate_latest

from headrace_guardrails.app import build
from headrace_kit.config import ConfigStore, Environment, Snapshot, parse
from headrace_kit.config.ports import SERVICES
from headrace_kit.errors import BadInput, Forbidden, NotFound
from headrace_kit.hosting import ServiceRuntime
from headrace_kit.rpc import Identity, Outbound, Peer
from headrace_kit.rpc.identity import Signer, write_keys
from headrace_protos.guardrails.v1 import messages_pb2 as pb
from headrace_protos.guardrails.v1 import service_pb2_grpc as api

CONFIG = """
guardrails:
  standard:
    input:
      - {check: pii, kinds: [email, phone], action: mask}
      - {check: ban_list, words: [project-bluebird], action: block}
    output:
      - {check: pii, kinds: [email], action: mask}
      - {check: ban_list, words: [project-bluebird], action: block}
      - {check: regex, patterns: {ticket: 'TICK-\\d+'}, action: flag}
  english:
    output:
      - {check: language, allow: [en], action: block}
services: {guardrails: {max_text_bytes: 2000}}
telemetry: {sample: 0%}
"""
ME = Identity(service="gateway", tenant="dev")


class World:
    def __init__(self, folder) -> None:
        self.folder = folder
        write_keys(folder / "secrets" / "signing", SERVICES)
        self.configs = ConfigStore(Snapshot(parse(CONFIG), folder / "headrace.yaml"))
        env = Environment(data_dir=folder, release="2.0", track="canary")
        self.runtime = ServiceRuntime("guardrails", env, self.configs)
        self.app = build(self.runtime)
        self.server = aio.server()
        for servicing in self.app.servicers:
            servicing.add(servicing.servicer, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.peer = Peer("guardrails", self.address, Signer("gateway", folder / "secrets" / "signing"))
        self.stub = self.peer.stub(api.GuardrailsServiceStub)

    async def check(self, text, policy="standard", direction=pb.DIRECTION_INPUT, **outbound) -> pb.CheckResponse:
        request = pb.CheckRequest(policy=policy, direction=direction, text=text)
        return await self.peer.unary(self.stub.Check, request, Outbound(ME, **outbound))

    async def stream(self, *deltas, end=True, policy="standard") -> list[pb.CheckStreamResponse]:
        async def requests():
            for number, delta in enumerate(deltas):
                first = {"policy": policy, "direction": pb.DIRECTION_OUTPUT} if number == 0 else {}
                yield pb.CheckStreamRequest(delta=delta, end=end and number == len(deltas) - 1, **first)

        return [item async for item in self.peer.stream(self.stub.CheckStream, requests(), Outbound(ME))]


@pytest.fixture
async def world(tmp_path):
    world = World(tmp_path)
    await world.server.start()
    yield world
    await world.peer.close()
    await world.server.stop(0)
    await world.runtime.close()


async def test_a_mask_says_what_and_where_but_not_the_value(world):
    answer = await world.check("Mail ana@example.org or +49 170 1234567, ana@example.org")
    assert answer.action == pb.ACTION_MASK
    assert answer.text == "Mail [EMAIL_1] or [PHONE_1], [EMAIL_1]"
    assert [(found.kind, found.start, found.end) for found in answer.findings] == [
        ("email", 5, 20),
        ("phone", 24, 39),
        ("email", 41, 56),
    ]
    assert "ana@" not in str(answer)


async def test_a_verdict_and_the_metrics_say_what_runs_here(world):
    assert (await world.check("hello")).release == "2.0"
    told = generate_latest(world.runtime.registry).decode()
    assert 'headrace_guardrails_running_info{release="2.0",track="canary"} 1.0' in told


async def test_a_block_lets_nothing_through(world):
    answer = await world.check("Tell me about Project-Bluebird!")
    assert (answer.action, answer.text) == (pb.ACTION_BLOCK, "")
    assert [(found.check, found.kind, found.action) for found in answer.findings] == [
        ("ban_list", "banned", pb.ACTION_BLOCK)
    ]


async def test_each_direction_has_its_own_checks(world):
    text = "TICK-12, +49 170 1234567"
    assert (await world.check(text, direction=pb.DIRECTION_INPUT)).action == pb.ACTION_MASK
    assert (await world.check(text, direction=pb.DIRECTION_OUTPUT)).action == pb.ACTION_FLAG
    assert (await world.check(text, direction=pb.DIRECTION_RETRIEVED)).action == pb.ACTION_ALLOW


@pytest.mark.parametrize("end", [True, False])
async def test_a_stream_releases_what_is_safe_and_masks_across_pieces(world, end):
    answers = await world.stream("Write to an", "a@exam", "ple.org. See TICK-7", " soon", end=end)
    assert "".join(answer.text for answer in answers) == "Write to [EMAIL_1]. See TICK-7 soon"
    assert answers[0].text == "Write to "
    assert [found.kind for answer in answers for found in answer.findings] == ["email", "ticket"]
    assert [answer.end for answer in answers] == [False] * (len(answers) - 1) + [True]
    assert answers[-1].action == pb.ACTION_MASK


async def test_a_blocked_stream_ends_at_once(world):
    answers = await world.stream("The name is project", "-bluebird", ", and more", " follows")
    assert answers[-1].end and answers[-1].action == pb.ACTION_BLOCK and answers[-1].text == ""
    assert "bluebird" not in "".join(answer.text for answer in answers)


async def test_no_split_of_a_stream_lets_a_masked_value_out(world):
    chance = random.Random(5)
    for _ in range(150):
        name = "".join(chance.choices("abcdefgh", k=6))
        text = f"so {'very ' * chance.randrange(4)}write to {name}@mail.example.org (TICK-{chance.randrange(99)}) soon"
        cuts = sorted(chance.sample(range(1, len(text)), chance.randrange(1, 30)))
        pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        out = "".join(answer.text for answer in await world.stream(*pieces))
        assert out == text.replace(f"{name}@mail.example.org", "[EMAIL_1]"), pieces


async def test_a_stream_in_a_language_that_is_not_allowed_ends(world):
    german = "Der Zug ist heute nicht zu spät und wir sind auch da. " * 6
    answers = await world.stream(*german, policy="english")
    assert answers[-1].end and answers[-1].action == pb.ACTION_BLOCK
    assert [found.kind for answer in answers for found in answer.findings] == ["de"]
    english = "The train is not late today and we are there. " * 6
    assert "".join(answer.text for answer in await world.stream(english, policy="english")) == english


async def test_policies_are_listed_with_their_checks(world):
    answer = await world.peer.unary(world.stub.ListPolicies, pb.ListPoliciesRequest(), Outbound(ME))
    policies = {policy.name: policy for policy in answer.policies}
    assert set(policies) == {"standard", "english"}
    policy = policies["standard"]
    assert [(check.direction, check.check, check.action, check.tier) for check in policy.checks] == [
        (pb.DIRECTION_INPUT, "pii", pb.ACTION_MASK, 1),
        (pb.DIRECTION_INPUT, "ban_list", pb.ACTION_BLOCK, 1),
        (pb.DIRECTION_OUTPUT, "pii", pb.ACTION_MASK, 1),
        (pb.DIRECTION_OUTPUT, "ban_list", pb.ACTION_BLOCK, 1),
        (pb.DIRECTION_OUTPUT, "regex", pb.ACTION_FLAG, 1),
    ]


async def test_bad_requests_name_the_field(world):
    for request, kind, param in (
        ({"text": "x", "policy": ""}, BadInput, "policy"),
        ({"text": "x", "policy": "standart"}, NotFound, "policy"),
        ({"text": "x", "direction": pb.DIRECTION_UNSPECIFIED}, BadInput, "direction"),
        ({"text": "x", "direction": 77}, BadInput, "direction"),
        ({"text": "é" * 1001}, BadInput, "text"),
    ):
        with pytest.raises(kind) as caught:
            await world.check(**request)
        assert caught.value.param == param
    with pytest.raises(NotFound, match="did you mean 'standard'"):
        await world.stream("x", policy="standart")
    with pytest.raises(BadInput) as caught:
        await world.stream("a" * 1500, "b" * 501)
    assert (caught.value.param, caught.value.code) == ("delta", "text_too_long")


async def test_only_the_gateway_may_call(world):
    peer = Peer("guardrails", world.address, Signer("retrieval", world.folder / "secrets" / "signing"))
    try:
        with pytest.raises(Forbidden):
            await peer.unary(
                peer.stub(api.GuardrailsServiceStub).Check,
                pb.CheckRequest(policy="standard", direction=pb.DIRECTION_INPUT, text="x"),
                Outbound(Identity("retrieval")),
            )
    finally:
        await peer.close()


async def test_a_request_is_judged_under_the_config_it_was_admitted_with(world):
    before = world.configs.current.hash
    changed = parse("guardrails: {standard: {input: [{check: ban_list, words: [hello]}]}}")
    world.configs.replace(Snapshot(changed, world.folder / "headrace.yaml"))
    assert (await world.check("hello")).action == pb.ACTION_BLOCK
    assert (await world.check("hello", config_hash=before)).action == pb.ACTION_ALLOW
    assert (await world.check("hello", config_hash="unknown")).action == pb.ACTION_BLOCK


async def test_a_client_that_leaves_ends_its_stream(world):
    async def requests():
        yield pb.CheckStreamRequest(policy="standard", direction=pb.DIRECTION_OUTPUT, delta="some text ")
        await asyncio.Event().wait()

    answers = world.peer.stream(world.stub.CheckStream, requests(), Outbound(ME))
    assert (await anext(answers)).text == "some text "
    assert b"headrace_guardrails_open_streams 1.0" in generate_latest(world.runtime.registry)
    await answers.aclose()
    async with asyncio.timeout(5):
        while b"headrace_guardrails_open_streams 0.0" not in generate_latest(world.runtime.registry):
            await asyncio.sleep(0.01)


async def test_checks_are_counted_without_content(world):
    await world.check("Mail ana@example.org")
    await world.stream("TICK-1")
    metrics = generate_latest(world.runtime.registry).decode()
    counted = 'headrace_guardrails_checks_total{action="%s",direction="%s",policy="standard"} 1.0'
    assert counted % ("mask", "input") in metrics
    assert counted % ("flag", "output") in metrics
    assert 'headrace_guardrails_findings_total{action="mask",check="pii",kind="email"} 1.0' in metrics
    assert "ana@" not in metrics
