"""What is kept of people: facts that outlast a conversation, and conversations with a summary of what is long past."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from headrace_kit.errors import BadInput, Forbidden
from headrace_retrieval.domain.documents import PLAIN, check
from headrace_retrieval.domain.model import NewDocument
from headrace_retrieval.domain.rights import Acl, Caller
from headrace_retrieval.domain.spending import NOTHING, Tokens

MAX_FACTS = 100
MAX_FACT = 4000
MAX_TURNS = 100
MAX_TURN = 32_000
MAX_NAME = 256
ROLES = ("user", "assistant")

_FACT_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class NewFact:
    """A fact as it was sent."""

    id: str
    text: str
    metadata: Mapping[str, Any]
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact that is kept."""

    id: str
    text: str
    metadata: Mapping[str, Any]
    expires_at: datetime | None
    searchable: bool
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Recalled:
    """A fact that was found."""

    id: str
    text: str
    metadata: Mapping[str, Any]
    score: float


@dataclass(frozen=True, slots=True)
class Remembered:
    """What there is of a person in one memory. `consent_at` is None without a consent."""

    consent_at: datetime | None
    facts: int
    conversations: int


@dataclass(frozen=True, slots=True)
class Erased:
    """What was removed of a person, and how many rows were still there when it was looked for them afterwards."""

    facts: int
    conversations: int
    turns: int
    consents: int
    left: int


@dataclass(frozen=True, slots=True)
class Said:
    """A turn. `tokens` is about how many a model reads."""

    number: int
    role: str
    text: str
    tokens: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation without its turns. `summary` is of those up to number `summarised`; `length` counts all."""

    id: str
    length: int
    summary: str
    summarised: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Told:
    """What a model should be told of a conversation: see the proto. `summing` is what summing up has just taken."""

    conversation: Conversation
    summary: str
    turns: Sequence[Said]
    tokens: int
    left_out: int
    summing: Tokens = NOTHING


@dataclass(frozen=True, slots=True)
class Limits:
    """Tokens that are given of a conversation, and of its summary; seconds that conversations and facts are kept."""

    context_tokens: int
    summary_tokens: int
    conversation_s: float
    fact_s: float


def check_person(caller: Caller, person: str) -> None:
    """Raises BadInput unless it is a name, Forbidden unless the caller may ask for that person."""
    if not person.strip() or len(person) > MAX_NAME or "/" in person or _CONTROL.search(person):
        raise BadInput(
            f"a user of a memory has 1 to {MAX_NAME} characters, no slash and no control characters", param="user"
        )
    if not caller.may_act_for(person):
        raise Forbidden(
            "what is kept of a person is for that person: ask as them, or with a key that has the scope "
            "'assert_identity' or 'read_all' and names nobody",
            param="user",
        )


def check_conversation(id: str) -> None:
    """Raises BadInput unless `id` may name a conversation."""
    if not id.strip() or len(id) > MAX_NAME or _CONTROL.search(id):
        raise BadInput(
            f"a conversation's id has 1 to {MAX_NAME} characters and no control characters", param="conversation"
        )


def check_turns(turns: Sequence[tuple[str, str]]) -> None:
    """Raises BadInput unless all may be kept; each is a role and a text."""
    if not 1 <= len(turns) <= MAX_TURNS:
        raise BadInput(f"send 1 to {MAX_TURNS} turns", param="turns")
    for number, (role, text) in enumerate(turns):
        if role not in ROLES:
            raise BadInput("a turn is the user's or the assistant's", param=f"turns[{number}].role")
        if not text.strip() or len(text) > MAX_TURN or "\0" in text:
            raise BadInput(
                f"a turn has 1 to {MAX_TURN} characters and no NUL among them", param=f"turns[{number}].text"
            )


def fact_id(document_id: str) -> str:
    """The fact that a document of a memory is."""
    return document_id.rpartition("/")[2]


def document_id(person: str, fact: str) -> str:
    """The document that a fact is. Raises BadInput unless `fact` may name one."""
    if not _FACT_ID.fullmatch(fact):
        raise BadInput("a fact's id has 1 to 128 of letters, digits, '.', '_', ':' and '-'", param="id")
    return f"{person}/{fact}"


def documents_of(person: str, facts: Sequence[NewFact], default_expiry: datetime) -> list[NewDocument]:
    """Facts as documents that their person alone may read.

    Raises:
        BadInput: a fact is malformed, expires in the past, or an id is there twice; `param` names it.
    """
    if not 1 <= len(facts) <= MAX_FACTS:
        raise BadInput(f"send 1 to {MAX_FACTS} facts", param="facts")
    made: dict[str, NewDocument] = {}
    for number, fact in enumerate(facts):
        param = f"facts[{number}]"
        if not _FACT_ID.fullmatch(fact.id):
            raise BadInput("an id has 1 to 128 of letters, digits, '.', '_', ':' and '-'", param=f"{param}.id")
        if len(fact.text) > MAX_FACT:
            raise BadInput(
                f"a fact has at most {MAX_FACT} characters; longer texts are documents", param=f"{param}.text"
            )
        if fact.expires_at is not None and fact.expires_at <= datetime.now(UTC):
            raise BadInput("that is past", param=f"{param}.expires_at")
        checked = check(
            id=document_id(person, fact.id),
            text=fact.text,
            title="",
            content_type=PLAIN,
            metadata=fact.metadata,
            acl=Acl(users=(person,)),
            acl_required=True,
            param=param,
        )
        if checked.id in made:
            raise BadInput("the same id as an earlier one", param=f"{param}.id")
        made[checked.id] = replace(checked, person=person, expires_at=fact.expires_at or default_expiry)
    return list(made.values())


@dataclass(frozen=True, slots=True)
class Kept:
    """Facts that were stored: the job that makes them searchable, and their ids in order."""

    job: UUID
    ids: Sequence[str]


def told(conversation: Conversation, turns: Sequence[Said], summary_tokens: int, budget: int) -> Told:
    """As much of a conversation as fits: the summary, unless it takes more than half, and the newest turns.

    Args:
        turns: those after the summary, newest first; more than fit may be there.
        summary_tokens: of the summary, 0 where there is none.
        budget: tokens, at least 1.
    """
    summary = conversation.summary if 0 < summary_tokens <= budget // 2 else ""
    used = summary_tokens if summary else 0
    taken: list[Said] = []
    for turn in turns:
        if used + turn.tokens > budget:
            break
        taken.append(turn)
        used += turn.tokens
    untold = conversation.length - (conversation.summarised if summary else 0) - len(taken)
    return Told(conversation, summary, taken[::-1], used, untold)


def to_fold(turns: Sequence[Said], budget: int) -> list[Said]:
    """The oldest turns, to be summed up so that the rest takes no more than half of the budget; none while all fit.

    Args:
        turns: those after the summary, oldest first.

    The newest turn always stays: it is what is being answered.
    """
    total = sum(turn.tokens for turn in turns)
    if total <= budget:
        return []
    folded: list[Said] = []
    for turn in turns[:-1]:
        if total <= budget // 2:
            break
        folded.append(turn)
        total -= turn.tokens
    return folded
