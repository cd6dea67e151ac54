"""What a person approved comes to whose request it is from, as every policy of the request lets it through."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from headrace_detectors import Action
from headrace_guardrails.adapters.compile import PolicyCompiler
from headrace_guardrails.domain.guard import Guard
from headrace_guardrails.domain.policies import Policies
from headrace_guardrails.domain.reviews import Review, Reviews, Times
from headrace_guardrails.domain.sealing import Seal
from headrace_guardrails.metrics import Metrics
from headrace_guardrails.ports import Subject
from headrace_kit.config import parse
from headrace_kit.errors import Blocked, Conflict, NotFound
from headrace_kit.rpc import Identity

CONFIG = """
guardrails:
  careful: {output: [{check: ban_list, words: [falcon], action: escalate}, {check: pii, kinds: [email], action: mask}]}
  phones: {output: [{check: pii, kinds: [phone], action: mask}]}
  strict: {output: [{check: ban_list, words: [flies], action: block}]}
  second: {output: [{check: ban_list, words: [flies], action: escalate}]}
"""
TEXT = "The falcon flies: ann@example.org, +49 170 1234567"
ANN = Identity("gateway", tenant="dev", user="ann")
BEN = Identity("gateway", tenant="dev", user="ben")
RIVAL = Identity("gateway", tenant="rival", user="ann")
REVIEWER = Identity("gateway", tenant="dev", key_id="r", scopes=frozenset({"review"}))


class Store:
    """Fulfils `ReviewStore`, in memory."""

    def __init__(self) -> None:
        self.items: dict[str, Review] = {}
        self.owners: dict[str, set[str]] = {}

    def _join(self, review_id: str, subject: Subject) -> str:
        found = self.items[review_id]
        self.items[review_id] = replace(found, also=tuple({*found.also, *subject.also}))
        self.owners[review_id].add(subject.user)
        return review_id

    def _equal(self, digest: bytes, *states: str) -> list[str]:
        return [one.id for one in self.items.values() if one.digest == digest and one.state in states]

    async def approved(self, digest, subject, within_s):
        found = self._equal(digest, "approved")
        return self._join(found[0], subject) if found else ""

    async def add(self, new, review_id, ttl_s):
        if waiting := self._equal(new.digest, "open"):
            return self._join(waiting[0], new.subject)
        one, now = new.subject, datetime.now(UTC)
        about = (one.tenant, one.user, one.policy, new.version, one.direction, new.findings, one.trace_id)
        made = Review(review_id, *about, "open", now, now + timedelta(seconds=ttl_s), digest=new.digest)
        self.items[review_id] = replace(made, sealed=new.sealed, also=one.also)
        self.owners[review_id] = {one.user}
        return review_id

    async def of(self, review_id, tenant, user):
        found = self.items.get(review_id)
        return found if found and found.tenant == tenant and user in self.owners[review_id] else None

    async def get(self, review_id, tenant):
        return self.items.get(review_id)

    async def list(self, states, policy, tenant, after, limit):
        raise AssertionError("nobody lists")

    async def claim(self, review_id, tenant, by, for_s):
        raise AssertionError("nobody claims")

    async def decide(self, review_id, tenant, by, state, reason):
        now = datetime.now(UTC)
        self.items[review_id] = replace(self.items[review_id], state=state, decided_by=by, decided_at=now)
        return True

    async def sweep(self, forget_s):
        raise AssertionError("nobody sweeps")


class World:
    def __init__(self) -> None:
        self.store, numbers = Store(), iter(range(100))
        self.times = Times(ttl_s=60, claim_s=10, approval_s=60, keep_s=60)
        self.reviews = Reviews(self.store, Seal("word"), lambda: self.times, lambda: f"r{next(numbers)}")
        policies = Policies(PolicyCompiler({}))
        policies.apply("a", parse(CONFIG).guardrails)
        self.guard = Guard(policies, Metrics(CollectorRegistry()), 100_000, self.reviews)

    async def escalated(self, who: Identity = ANN, *also: str, text: str = TEXT, direction: str = "output") -> str:
        judged = await self.guard.check(Subject("careful", direction, who.tenant, who.user, also=also), text)
        assert (judged.action, judged.text) == (Action.ESCALATE, "")
        return judged.review_id

    async def decided(self, review_id: str, approve: bool = True) -> None:
        await self.reviews.decide(REVIEWER, review_id, approve, "as it is")

    async def fetched(self, review_id: str, who: Identity = ANN) -> str:
        review = await self.reviews.released(who, review_id)
        return await self.guard.release(review, Subject(review.policy, review.direction, who.tenant, who.user))


async def test_an_approved_answer_comes_to_whose_it_is_with_its_masks():
    world = World()
    review = await world.escalated()
    with pytest.raises(Conflict) as caught:
        await world.fetched(review)
    assert caught.value.code == "review_pending"
    await world.decided(review)
    assert await world.fetched(review) == "The falcon flies: [EMAIL_1], +49 170 1234567"
    assert await world.fetched(review) == "The falcon flies: [EMAIL_1], +49 170 1234567", "as often as they like"


async def test_nobody_else_gets_it():
    world = World()
    review = await world.escalated()
    await world.decided(review)
    for who in (BEN, RIVAL, Identity("gateway", tenant="dev"), replace(REVIEWER, tenant="rival")):
        with pytest.raises(NotFound) as caught:
            await world.fetched(review, who)
        assert caught.value.code == "not_found"


async def test_a_rejected_answer_stays_where_it_is():
    world = World()
    review = await world.escalated()
    await world.decided(review, approve=False)
    with pytest.raises(Blocked) as caught:
        await world.fetched(review)
    assert caught.value.code == "review_rejected" and "as it is" not in caught.value.message


async def test_it_can_be_had_for_a_while():
    world = World()
    undecided, late, erased = [await world.escalated(text=f"{TEXT} {number}") for number in range(3)]
    for review in (late, erased):
        await world.decided(review)
    over = datetime.now(UTC) - timedelta(seconds=61)
    items = world.store.items
    items[undecided] = replace(items[undecided], expires_at=over)
    items[late] = replace(items[late], decided_at=over)
    items[erased] = replace(items[erased], sealed=None)
    for review in (undecided, late, erased):
        with pytest.raises(NotFound) as caught:
            await world.fetched(review)
        assert caught.value.code == "review_expired"


async def test_the_requests_other_policies_hold_too():
    world = World()
    review = await world.escalated(ANN, "phones")
    await world.decided(review)
    assert await world.fetched(review) == "The falcon flies: [EMAIL_1], [PHONE_1]"
    refused = await world.escalated(ANN, "strict", text=f"{TEXT}!")
    await world.decided(refused)
    with pytest.raises(Blocked, match="strict") as caught:
        await world.fetched(refused)
    assert caught.value.code == "content_filter"
    again = await world.escalated(ANN, "second", text=f"{TEXT}?")
    await world.decided(again)
    with pytest.raises(Blocked, match="gave this content to a person") as caught:
        await world.fetched(again)
    assert caught.value.code == "content_review"
    [other] = [one.id for one in world.store.items.values() if one.policy == "second"]
    assert other in caught.value.message
    await world.decided(other)
    assert (await world.fetched(again)).startswith("The falcon flies: [EMAIL_1]")


async def test_whoever_gets_the_same_answer_may_have_it_too_and_by_the_policies_of_both():
    world = World()
    review = await world.escalated()
    assert await world.escalated(BEN, "phones") == review
    await world.decided(review)
    zoe = Identity("gateway", tenant="dev", user="zoe")
    judged = await world.guard.check(Subject("careful", "output", "dev", "zoe"), TEXT)
    assert (judged.action, judged.review_id) == (Action.MASK, review), "it passes, and says by which item"
    for who in (ANN, BEN, zoe):
        assert await world.fetched(review, who) == "The falcon flies: [EMAIL_1], [PHONE_1]"


async def test_a_passage_is_not_released_to_who_asked():
    world = World()
    review = await world.escalated()
    await world.decided(review)
    world.store.items[review] = replace(world.store.items[review], direction="retrieved")
    with pytest.raises(NotFound):
        await world.fetched(review)
