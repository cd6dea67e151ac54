"""What people are told: each change once it is stored, in order, signed, until somebody took it."""

from __future__ import annotations

import json

import pytest

from headrace_kit.config.services import Notify
from headrace_kit.telling import PAUSES_S, Teller
from headrace_kit.webhooks import Refused, signature
from headrace_rollout.domain.news import shaped

SWAP = {
    "candidate": {"deployment": "large"},
    "steps": [{"weight": "10%", "approval": True}, {"weight": "100%"}],
}


class Inbox:
    """Takes messages; the next ones fail as `errors` says."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, dict, dict]] = []
        self.errors: list[Exception] = []

    async def __call__(self, url: str, body: bytes, headers: dict[str, str]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.messages.append((url, json.loads(body), headers))
        if "x-headrace-signature" in headers:
            at = int(headers["x-headrace-signature"].split(",")[0].removeprefix("t="))
            assert headers["x-headrace-signature"] == signature("s3cret", body, at)


@pytest.fixture
def told(world):
    """Tells everything that there is to tell; returns what arrived."""
    world.telling = True
    world.inbox, world.waited = Inbox(), []
    world.targets = [Notify(url="https://ops.example.com/hook", secret="hook")]

    async def wait(seconds: float) -> None:
        world.waited.append(seconds)

    secrets = {"hook": "s3cret", "slack": "https://hooks.slack.example/T0/B0\n"}
    world.ended = []
    teller = Teller(world.store.news, shaped, lambda: world.targets, world.inbox, secrets.get, world.ended.append, wait)

    async def tell():
        while await teller.tell():
            pass
        return world.inbox.messages

    return tell


async def test_starts_holds_approvals_and_ends_are_told_in_order(world, told):
    id_ = world.asks(SWAP)
    await world.pass_time(10)
    await world.operations.approve(id_, 0, world.admin)
    await world.pass_time(10)
    await world.operations.abort(id_, "second thoughts", world.admin)
    messages = await told()
    assert [body["event"] for _, body, _ in messages] == [
        "pending",
        "running",
        "hold",
        "running",
        "running",
        "promoted",
        "aborted",
    ]
    url, last, headers = messages[-1]
    assert url == "https://ops.example.com/hook" and "x-headrace-signature" in headers
    assert (last["rollout"], last["model"], last["reason"], last["actor"]) == (
        id_,
        "assistant",
        "second thoughts",
        "key-1",
    )
    assert await told() == messages, "each is told once"


async def test_nothing_is_kept_where_nobody_is_told(world):
    world.asks(SWAP)
    await world.pass_time(10)
    assert world.store.told == []


async def test_slack_gets_a_message_at_an_address_that_is_a_secret(world, told):
    world.targets = [Notify(url={"secret": "slack"}, shape="slack")]
    id_ = world.asks(SWAP)
    await world.controller.tick()
    url, body, headers = (await told())[-1]
    assert url == "https://hooks.slack.example/T0/B0" and headers == {}
    assert list(body) == ["text"]
    assert "*assistant* running · step 1 of 2, 10% on the candidate" in body["text"]
    assert f"headrace rollouts explain {id_}" in body["text"]


def test_slack_reads_no_markup_out_of_a_reason():
    news = {"event": "aborted", "model": "m", "step": 1, "steps": 1, "weight": 0, "rollout": "r", "actor": "a"}
    assert "&lt;!channel&gt; &amp;" in json.loads(shaped(news | {"reason": "<!channel> &"}, "slack"))["text"]


async def test_a_receiver_that_is_away_is_tried_again_and_then_given_up(world, told):
    world.asks(SWAP)
    await world.controller.tick()
    world.inbox.errors = [OSError("away")] * (len(PAUSES_S) + 1) + [OSError("away")]
    messages = await told()
    assert [body["event"] for _, body, _ in messages] == ["running"]
    assert world.waited == [*PAUSES_S, PAUSES_S[0]]
    assert world.ended == ["failed", "sent"]


@pytest.mark.parametrize("target", [{"url": "https://x.example", "secret": "none"}, {"url": {"secret": "none"}}])
async def test_a_secret_that_is_missing_stops_nothing(world, told, target):
    world.targets = [Notify(**target), Notify(url="https://fine.example")]
    world.asks(SWAP)
    await world.controller.tick()
    assert {url for url, _, _ in await told()} == {"https://fine.example"}


async def test_a_teller_that_dies_in_the_middle_tells_again(world, told):
    world.asks(SWAP)
    await world.controller.tick()
    world.inbox.errors = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        await told()
    assert [body["event"] for _, body, _ in await told()] == ["pending", "running"]


async def test_refused_is_not_tried_again(world, told):
    world.asks(SWAP)
    await world.controller.tick()
    world.inbox.errors = [Refused("no")]
    assert len(await told()) == 1
    assert world.waited == []
