"""The guardrails service over real stores: the review queue, the audit's chain, masks that are put back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import psycopg
import pytest

from headrace_kit.errors import BadInput, Blocked, Conflict, Forbidden, NotFound
from headrace_kit.rpc import Identity, Outbound
from headrace_protos.guardrails.v1 import messages_pb2 as pb
from headrace_protos.guardrails.v1 import service_pb2_grpc

SERVICES = ("valkey", "guardrails")
CONFIG = """
guardrails:
  careful:
    version: v1
    input:
      - {check: pii, kinds: [email], action: mask}
      - {check: ban_list, words: [bluebird], action: escalate}
    output:
      - {check: pii, kinds: [email], action: mask}
      - {check: ban_list, words: [bluebird], action: escalate}
  quiet:
    output: [{check: pii, kinds: [phone], action: mask}]
  looking:
    shadow: true
    input: [{check: ban_list, words: [bluebird], action: block}]
services: {guardrails: {review_ttl: 60s, review_claim: 10s}}
"""
CALLER = Identity("gateway", tenant="dev", user="ann")
REVIEWER = Identity("gateway", tenant="dev", key_id="key-r", scopes=frozenset({"review"}))
OTHER = Identity("gateway", tenant="dev", key_id="key-o", scopes=frozenset({"review"}))
STRANGER = Identity("gateway", tenant="rival", key_id="key-s", scopes=frozenset({"review"}))
ADMIN = Identity("gateway", key_id="key-a", scopes=frozenset({"admin"}))


class Client:
    def __init__(self, part) -> None:
        self.peer = part.peer("guardrails")
        self.stub = self.peer.stub(service_pb2_grpc.GuardrailsServiceStub)

    async def call(self, method: str, who: Identity, message):
        return await self.peer.unary(getattr(self.stub, method), message, Outbound(who).within(30))

    async def check(self, text: str, who: Identity = CALLER, policy: str = "careful", **fields):
        request = pb.CheckRequest(policy=policy, direction=pb.DIRECTION_INPUT, text=text, **fields)
        return await self.call("Check", who, request)

    async def close(self) -> None:
        await self.peer.close()


def _admin_dsn(part) -> str:
    return (part.platform.layout.secrets / "postgres-admin-dsn").read_text().strip()


@pytest.fixture
async def client(part):
    made = Client(part)
    yield made
    await made.close()


async def test_an_escalated_text_waits_for_a_person_and_passes_once_approved(client, part):
    text = "Ask ann@example.org about bluebird"
    first = await client.check(text)
    assert (first.action, first.text) == (pb.ACTION_ESCALATE, "")
    assert (await client.check(text)).review_id == first.review_id, "the same text again is the same item"
    waiting = await client.call("ListReviews", REVIEWER, pb.ListReviewsRequest(policy="careful"))
    assert [one.id for one in waiting.reviews] == [first.review_id]
    assert waiting.reviews[0].text == "" and waiting.reviews[0].user == "ann"
    with psycopg.connect(part.dsn) as connection:
        row = connection.execute("SELECT sealed, findings::text FROM guardrails.reviews").fetchone()
    assert row is not None and b"bluebird" not in row[0] and "ann@" not in row[1]

    assert (await client.call("ListReviews", STRANGER, pb.ListReviewsRequest())).reviews == []
    with pytest.raises(NotFound):
        await client.call("GetReview", STRANGER, pb.GetReviewRequest(id=first.review_id))
    with pytest.raises(Forbidden):
        await client.call("ListReviews", CALLER, pb.ListReviewsRequest())
    with pytest.raises(BadInput):
        await client.call("GetReview", REVIEWER, pb.GetReviewRequest(id="nonsense"))

    claimed = await client.call("ClaimReview", REVIEWER, pb.ClaimReviewRequest(id=first.review_id))
    assert (claimed.text, claimed.claimed_by) == (text, "key-r")
    with pytest.raises(Conflict, match="key-r works on it"):
        await client.call("ClaimReview", OTHER, pb.ClaimReviewRequest(id=first.review_id))
    with pytest.raises(Conflict):
        await client.call("DecideReview", OTHER, pb.DecideReviewRequest(id=first.review_id, approve=True))
    done = await client.call("DecideReview", REVIEWER, pb.DecideReviewRequest(id=first.review_id, approve=True))
    assert (done.state, done.decided_by) == (pb.REVIEW_STATE_APPROVED, "key-r")
    with pytest.raises(Conflict, match="approved already"):
        await client.call("DecideReview", REVIEWER, pb.DecideReviewRequest(id=first.review_id, reason="no"))

    again = await client.check(text)
    assert (again.action, again.text) == (pb.ACTION_MASK, "Ask [EMAIL_1] about bluebird")
    assert (await client.check(text, Identity("gateway", tenant="rival"))).action == pb.ACTION_ESCALATE


async def test_a_rejection_says_why_and_the_text_stays_out(client):
    first = await client.check("bluebird once more")
    with pytest.raises(BadInput, match="say why"):
        await client.call("DecideReview", REVIEWER, pb.DecideReviewRequest(id=first.review_id))
    await client.call("DecideReview", REVIEWER, pb.DecideReviewRequest(id=first.review_id, reason="not ours to tell"))
    again = await client.check("bluebird once more")
    assert again.action == pb.ACTION_ESCALATE and again.review_id != first.review_id


async def test_an_approved_answer_comes_to_whose_it_is_and_a_rejected_one_to_nobody(client, part):
    async def escalated(text: str, who: Identity = CALLER, *also: str) -> str:
        request = pb.CheckRequest(policy="careful", direction=pb.DIRECTION_OUTPUT, text=text, also=also)
        return (await client.call("Check", who, request)).review_id

    async def fetched(review: str, who: Identity = CALLER) -> str:
        found = await client.call("ReleaseReview", who, pb.ReleaseReviewRequest(id=review))
        assert (found.id, found.direction, found.HasField("expires_at")) == (review, pb.DIRECTION_OUTPUT, True)
        return found.text

    ben = Identity("gateway", tenant="dev", user="ben")
    answer = "Of bluebird ask ann@example.org, +49 170 1234567"
    good, bad = await escalated(answer), await escalated("more about bluebird")
    assert await escalated(answer, ben, "quiet") == good, "the same answer to somebody else"
    with pytest.raises(Conflict) as caught:
        await fetched(good)
    assert caught.value.code == "review_pending"
    await client.call("DecideReview", REVIEWER, pb.DecideReviewRequest(id=good, approve=True))
    await client.call("DecideReview", REVIEWER, pb.DecideReviewRequest(id=bad, reason="not ours to tell"))
    with pytest.raises(Blocked) as rejected:
        await fetched(bad)
    assert rejected.value.code == "review_rejected"
    zoe = Identity("gateway", tenant="dev", user="zoe")
    for stranger in (zoe, STRANGER, Identity("gateway", tenant="rival", user="ann")):
        with pytest.raises(NotFound):
            await fetched(good, stranger)
    assert await escalated(answer, zoe) == good, "it passes now, and says by which item"
    for who in (CALLER, ben, zoe):
        assert await fetched(good, who) == "Of bluebird ask [EMAIL_1], [PHONE_1]"
    with psycopg.connect(part.dsn) as connection:
        connection.execute(
            "UPDATE guardrails.reviews SET decided_at = now() - interval '2 days' WHERE id = %s", (good,)
        )
    with pytest.raises(NotFound) as late:
        await fetched(good)
    assert late.value.code == "review_expired"


async def test_of_equal_texts_at_one_moment_one_item_is_made(client):
    found = await asyncio.gather(*(client.check("bluebird, all at once") for _ in range(6)))
    assert len({one.review_id for one in found}) == 1


async def test_a_shadow_acts_on_nothing_and_is_reported(client):
    answer = await client.check("bluebird in the shadow", policy="looking")
    assert (answer.action, answer.would, answer.shadow) == (pb.ACTION_ALLOW, pb.ACTION_BLOCK, True)
    assert answer.text == "bluebird in the shadow"
    async with asyncio.timeout(20):
        while not (rows := (await client.call("Report", ADMIN, pb.ReportRequest(shadow=True))).rows):
            await asyncio.sleep(0.05)
    assert [(row.policy, row.check, row.action, row.decisions) for row in rows] == [
        ("looking", "ban_list", pb.ACTION_BLOCK, 1)
    ]


async def test_the_audit_is_a_chain_that_shows_what_was_changed(client, part):
    at = pb.Decision(id="gateway-1", policy="careful", direction=pb.DIRECTION_OUTPUT, action=pb.ACTION_MASK)
    at.at.FromDatetime(datetime.now(UTC))
    for _ in range(2):
        await client.call("RecordDecisions", CALLER, pb.RecordDecisionsRequest(decisions=[at]))
    found = await client.call("VerifyAudit", ADMIN, pb.VerifyAuditRequest())
    assert found.intact and found.entries >= 1 and len(found.head) == 64
    with psycopg.connect(part.dsn) as connection:
        row = connection.execute("SELECT count(*), min(number) FROM guardrails.audit WHERE id = 'gateway-1'").fetchone()
        assert row is not None and row[0] == 1
    with pytest.raises(psycopg.Error), psycopg.connect(part.dsn) as connection:
        connection.execute("UPDATE guardrails.audit SET body = '{}' WHERE number = 1")
    with psycopg.connect(_admin_dsn(part)) as connection:
        with pytest.raises(psycopg.errors.RaiseException):
            connection.execute("DELETE FROM guardrails.audit")
        connection.rollback()
        connection.execute("ALTER TABLE guardrails.audit DISABLE TRIGGER only_added_to")
        connection.execute("UPDATE guardrails.audit SET body = replace(body, 'mask', 'flag') WHERE id = 'gateway-1'")
    broken = await client.call("VerifyAudit", ADMIN, pb.VerifyAuditRequest())
    assert not broken.intact and broken.broken_at == row[1] and "not what was hashed" in broken.reason
    with pytest.raises(Forbidden):
        await client.call("VerifyAudit", REVIEWER, pb.VerifyAuditRequest())


async def test_a_conversations_values_come_back_to_their_owner_only(client):
    first = await client.check("I am ann@example.org", conversation_id="c1")
    second = await client.check("ben@example.org and ann@example.org", conversation_id="c1")
    assert (first.text, second.text) == ("I am [EMAIL_1]", "[EMAIL_2] and [EMAIL_1]")
    request = pb.UnmaskRequest(conversation_id="c1", text="Dear [EMAIL_1], [EMAIL_2] and [EMAIL_9] say hi")
    back = await client.call("Unmask", CALLER, request)
    assert (back.text, back.restored) == ("Dear ann@example.org, ben@example.org and [EMAIL_9] say hi", 2)
    for who in (Identity("gateway", tenant="dev", user="ben"), Identity("gateway", tenant="rival", user="ann")):
        with pytest.raises(NotFound):
            await client.call("Unmask", who, request)
