"""Texts that a policy gives to a person: a durable queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from headrace_guardrails.domain.sealing import Seal
from headrace_guardrails.ports import Found, Subject
from headrace_kit.errors import BadInput, Blocked, Conflict, Forbidden, NotFound, NotReady
from headrace_kit.rpc.call import Identity

STATES = ("open", "claimed", "approved", "rejected", "expired")
_REASON_CHARS = 2000
_MOST = 200


@dataclass(frozen=True, slots=True)
class Review:
    """One item. `findings` are plain values; `text` is empty in lists."""

    id: str
    tenant: str
    user: str
    policy: str
    version: str
    direction: str
    findings: Sequence[dict[str, Any]]
    trace_id: str
    state: str
    created_at: datetime
    expires_at: datetime
    claimed_by: str = ""
    claimed_until: datetime | None = None
    decided_by: str = ""
    decided_at: datetime | None = None
    reason: str = ""
    digest: bytes = b""
    sealed: bytes | None = None
    also: Sequence[str] = ()
    text: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class NewReview:
    """What is put into the queue."""

    subject: Subject
    version: str
    findings: Sequence[dict[str, Any]]
    digest: bytes
    sealed: bytes


class ReviewStore(Protocol):
    """Where the queue is kept. Every method raises NotReady while it cannot be reached."""

    async def approved(self, digest: bytes, subject: Subject, within_s: float) -> str:
        """The item of an equal text that was approved at most `within_s` ago, which is this user's too from now on, and
        has to pass these other policies too; empty where there is none."""

    async def add(self, new: NewReview, review_id: str, ttl_s: float) -> str:
        """Put an item in; the id of an equal one that waits already, else `review_id`.

        The one that waits then is this user's too, and has to pass these other policies too.
        """

    async def get(self, review_id: str, tenant: str | None) -> Review | None:
        """One item, of `tenant` only, if it is given."""

    async def of(self, review_id: str, tenant: str, user: str) -> Review | None:
        """One item that is from a request of this tenant and user."""

    async def list(
        self, states: Sequence[str], policy: str, tenant: str | None, after: str, limit: int
    ) -> Sequence[Review]:
        """Items after the id `after`, oldest first, at most `limit`."""

    async def claim(self, review_id: str, tenant: str | None, by: str, for_s: float) -> bool:
        """Make it `by`'s; False where it is somebody else's, decided or expired."""

    async def decide(self, review_id: str, tenant: str | None, by: str, state: str, reason: str) -> bool:
        """End it; False where it is somebody else's, decided or expired."""

    async def sweep(self, forget_s: float) -> int:
        """Expire what is over, erase the texts of what was decided `forget_s` ago. How many were expired."""


@dataclass(frozen=True, slots=True)
class Times:
    """How long things last, in seconds."""

    ttl_s: float
    claim_s: float
    approval_s: float
    keep_s: float


class Reviews:
    """The queue, for policies that escalate and for the people who decide.

    Args:
        store: None where the service has no database: nothing can be escalated then.
        seal: keeps texts unreadable in the store.
        times: the newest settings.
        new_id: makes ids that grow with time.
    """

    def __init__(
        self, store: ReviewStore | None, seal: Seal, times: Callable[[], Times], new_id: Callable[[], str]
    ) -> None:
        self._store, self._seal, self._times, self._new_id = store, seal, times, new_id

    async def approved(self, subject: Subject, text: str) -> str:
        """The item by which a person let an equal text of the tenant pass lately, or nothing. Raises NotReady."""
        return await self._open().approved(self._digest(subject, text), subject, self._times().approval_s)

    async def escalate(self, subject: Subject, version: str, text: str, findings: Sequence[Found]) -> str:
        """Put a text into the queue; returns the item's id, of an equal one that waits already too.

        Raises:
            NotReady: the queue cannot be reached: the text has to stay out.
        """
        shown = [found.plain() for found in findings]
        review_id = self._new_id()
        digest = self._digest(subject, text)
        # Bound to the digest, not to the id: of two equal texts at one moment one item is kept.
        sealed = self._seal.close(text, digest.hex())
        new = NewReview(subject, version, shown, digest, sealed)
        return await self._open().add(new, review_id, self._times().ttl_s)

    async def list(
        self, who: Identity, state: str, policy: str, tenant: str, after: str, limit: int
    ) -> tuple[Sequence[Review], str]:
        """Items, oldest first, and the token of the next page; without a state those that wait.

        Raises:
            Forbidden: neither reviewer nor admin, or another tenant's asked for by somebody who is no admin.
        """
        own = _tenant(who)
        if tenant and own is not None and tenant != own:
            raise Forbidden("another tenant's reviews are for admins", param="tenant")
        if limit > _MOST:
            raise BadInput(f"limit is 1 to {_MOST}", param="limit")
        limit = limit or 50
        states = (state,) if state else ("open", "claimed")
        found = await self._open().list(states, policy, tenant or own, after, limit + 1)
        more = len(found) > limit
        return found[:limit], found[limit - 1].id if more else ""

    async def get(self, who: Identity, review_id: str) -> Review:
        """One item with its text, which is empty once it was erased. Raises NotFound, Forbidden."""
        found = await self._open().get(review_id, _tenant(who))
        if found is None:
            raise NotFound("no such review", param="id")
        text = self._seal.open(found.sealed, found.digest.hex()) if found.sealed else ""
        return replace(found, text=text)

    async def claim(self, who: Identity, review_id: str) -> Review:
        """Make it the caller's for a while. Raises NotFound, Forbidden, Conflict."""
        done = await self._open().claim(review_id, _tenant(who), name_of(who), self._times().claim_s)
        review = await self.get(who, review_id)
        if not done:
            raise Conflict(_why(review), param="id")
        return review

    async def decide(self, who: Identity, review_id: str, approve: bool, reason: str) -> Review:
        """Approve or reject it. Raises BadInput, NotFound, Forbidden, Conflict."""
        if len(reason) > _REASON_CHARS:
            raise BadInput(f"a reason has at most {_REASON_CHARS} characters", param="reason")
        if not approve and not reason.strip():
            raise BadInput("say why it is rejected", param="reason")
        state = "approved" if approve else "rejected"
        done = await self._open().decide(review_id, _tenant(who), name_of(who), state, reason)
        review = await self.get(who, review_id)
        if not done:
            raise Conflict(_why(review), param="id")
        return review

    async def released(self, who: Identity, review_id: str) -> Review:
        """An approved item of the caller's own with its text; `expires_at` says until when it can be had.

        Passages never come: whoever asked is not who may read them.

        Raises:
            NotFound: there is none of the caller's, nobody decided in time, or it was approved too long ago.
            Conflict: nobody has decided yet.
            Blocked: it was rejected.
        """
        found = await self._open().of(review_id, who.tenant, who.user)
        if found is None or found.direction == "retrieved":
            raise NotFound("no such review, or not yours", param="id")
        if found.state == "rejected":
            raise Blocked("a person rejected this content", code="review_rejected", param="id")
        until = found.expires_at
        if found.state == "approved" and found.decided_at is not None:
            until = found.decided_at + timedelta(seconds=self._times().approval_s)
        if found.state == "expired" or found.sealed is None or until <= datetime.now(UTC):
            why = "was approved, and not fetched in time" if found.decided_at else "was not decided in time"
            raise NotFound(f"this content {why}; send the request again", code="review_expired", param="id")
        if found.state != "approved":
            raise Conflict("nobody has decided yet; ask again later", code="review_pending", param="id")
        return replace(found, text=self._seal.open(found.sealed, found.digest.hex()), expires_at=until)

    async def sweep(self) -> int:
        """Expire what nobody decided in time. Raises NotReady."""
        return await self._open().sweep(self._times().keep_s)

    def _digest(self, subject: Subject, text: str) -> bytes:
        return self._seal.digest(subject.tenant, subject.policy, subject.direction, text)

    def _open(self) -> ReviewStore:
        if self._store is None:
            raise NotReady("there is no database for reviews: set the secret of stores.postgres")
        return self._store


def _tenant(who: Identity) -> str | None:
    """Whose reviews somebody may see; None: everybody's."""
    if "admin" in who.scopes:
        return None
    who.require("review")
    return who.tenant


def name_of(who: Identity) -> str:
    """How a reviewer is written down."""
    return who.user or who.key_id or who.tenant or who.service


def _why(review: Review) -> str:
    if review.state == "claimed":
        return f"{review.claimed_by} works on it until {review.claimed_until:%H:%M:%S} UTC"
    return f"it is {review.state} already"
