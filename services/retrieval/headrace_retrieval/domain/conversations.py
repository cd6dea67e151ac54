"""Conversations: what was said, and what a model should be told of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from headrace_kit.errors import BadInput, HeadraceError, NotFound
from headrace_retrieval.chunking.tokens import count_tokens
from headrace_retrieval.domain.collections import Collections
from headrace_retrieval.domain.jobs import DEFAULT_PAGE, MAX_PAGE
from headrace_retrieval.domain.memories import memory_of
from headrace_retrieval.domain.model import Collection
from headrace_retrieval.domain.people import (
    MAX_NAME,
    Conversation,
    Limits,
    Said,
    Told,
    check_conversation,
    check_turns,
    to_fold,
    told,
)
from headrace_retrieval.domain.residency import Permits, anywhere
from headrace_retrieval.domain.rights import Caller
from headrace_retrieval.domain.search import Options
from headrace_retrieval.domain.spending import Tokens
from headrace_retrieval.ports import ConversationStore, Models

_log = logging.getLogger(__name__)

MAX_TOKENS = 1_000_000
FOLD_TOKENS = 1500
"""Tokens of turns that the model sums up at a time, at most."""

FOLD_TURN_CHARS = 4000
"""Of each turn, its beginning."""

_INSTRUCTIONS = (
    "Write one summary of the conversation: what the user wants, what is known about the matter, what was decided and "
    "what is open. Keep names, numbers and dates. Take over what the summary so far says. Write the summary only."
)


class Conversations:
    """What callers do with conversations.

    Args:
        limits: reads how many tokens a conversation may have, and how many its summary.
        options: reads which deployment sums up, and how long it may take; the one that rewrites queries.
        permits: whether a tenant's texts may be sent to it.
    """

    def __init__(
        self,
        collections: Collections,
        store: ConversationStore,
        models: Models,
        limits: Callable[[], Limits],
        options: Callable[[], Options],
        permits: Permits = anywhere,
    ) -> None:
        self._collections = collections
        self._store = store
        self._models = models
        self._limits = limits
        self._options = options
        self._permits = permits

    async def append(self, caller: Caller, name: str, person: str, id: str, turns: Sequence[tuple[str, str]]) -> Told:
        """Keep turns, each a role and a text; what has become too long is summed up where there is a model for it.

        Raises:
            BadInput, Forbidden, NotFound: as `memory_of`; a turn or the id is malformed.
        """
        check_conversation(id)
        check_turns(turns)
        collection = await memory_of(self._collections, caller, name, person)
        counted = [(role, text, count_tokens(text)) for role, text in turns]
        await self._store.append(caller.tenant, collection, person, id, counted)
        taken = await self._sum_up(caller.tenant, collection, person, id)
        told = await self._told(caller.tenant, collection, person, id, self._limits().context_tokens)
        return replace(told, summing=taken)

    async def get(self, caller: Caller, name: str, person: str, id: str, max_tokens: int) -> Told:
        """As much of a conversation as fits `max_tokens`; 0: as the config says.

        Raises:
            BadInput, Forbidden, NotFound: as `memory_of`; there is no such conversation.
        """
        check_conversation(id)
        if max_tokens > MAX_TOKENS:
            raise BadInput(f"max_tokens is 1 to {MAX_TOKENS}", param="max_tokens")
        collection = await memory_of(self._collections, caller, name, person)
        return await self._told(caller.tenant, collection, person, id, max_tokens or self._limits().context_tokens)

    async def page(self, caller: Caller, name: str, person: str, after: str, limit: int) -> list[Conversation]:
        """A person's conversations, by id. Raises as `memory_of`."""
        if limit > MAX_PAGE:
            raise BadInput(f"limit is 1 to {MAX_PAGE}", param="limit")
        if len(after) > MAX_NAME or "\0" in after:
            raise BadInput("after is the id of a conversation", param="after")
        collection = await memory_of(self._collections, caller, name, person)
        return await self._store.page(caller.tenant, collection, person, after, limit or DEFAULT_PAGE)

    async def delete(self, caller: Caller, name: str, person: str, id: str) -> None:
        """Erase a conversation. Raises as `get`."""
        check_conversation(id)
        collection = await memory_of(self._collections, caller, name, person)
        if not await self._store.delete(caller.tenant, collection, person, id):
            raise _no_such(id)

    async def _told(self, tenant: str, collection: Collection, person: str, id: str, budget: int) -> Told:
        found = await self._store.get(tenant, collection, person, id)
        if found is None:
            raise _no_such(id)
        summary_tokens = count_tokens(found.summary)
        # A summary that does not fit leaves out what it sums up, so only turns after it are ever told.
        turns = await self._store.newest(tenant, collection, person, id, found.summarised, budget)
        return told(found, turns, summary_tokens, budget)

    async def _sum_up(self, tenant: str, collection: Collection, person: str, id: str) -> Tokens:
        """Sum up the oldest turns, as far as the model comes in its time; the rest waits for the next turn.

        Returns what it took.
        """
        options, limits, taken = self._options(), self._limits(), Tokens()
        if not options.rewriter or not self._permits(tenant, options.rewriter):
            return taken
        ends = time.monotonic() + options.rewrite_limit_s
        try:
            async with asyncio.timeout(options.rewrite_limit_s):
                while True:
                    found = await self._store.get(tenant, collection, person, id)
                    if found is None:
                        return taken
                    turns = await self._store.after(tenant, collection, person, id, found.summarised)
                    folded = _first(to_fold(turns, limits.context_tokens))
                    if not folded:
                        return taken
                    said = await self._models.generate(
                        options.rewriter,
                        _INSTRUCTIONS,
                        _prompt(found.summary, folded),
                        max_tokens=limits.summary_tokens,
                        limit_s=max(0.05, ends - time.monotonic()),
                    )
                    taken += said.tokens
                    summary = said.text.strip().replace("\0", "")
                    if not summary:
                        return taken
                    # Two callers may be at it: the second finds the first one's summary, and goes on from there.
                    await self._store.sum_up(
                        tenant, collection, person, id, found.summarised, folded[-1].number, summary
                    )
        except (HeadraceError, TimeoutError):
            _log.info("a conversation was not summed up: the model is away or slow")
        return taken


def _first(turns: Sequence[Said]) -> list[Said]:
    """The first ones that the model takes at a time; at least one of those that there are."""
    taken: list[Said] = []
    total = 0
    for turn in turns:
        total += min(turn.tokens, FOLD_TURN_CHARS)
        if taken and total > FOLD_TOKENS:
            break
        taken.append(turn)
    return taken


def _prompt(summary: str, turns: Sequence[Said]) -> str:
    said = "\n".join(f"{turn.role}: {' '.join(turn.text.split())[:FOLD_TURN_CHARS]}" for turn in turns)
    return f"Summary so far: {summary or 'none'}\n\nConversation:\n{said}\n\nSummary:"


def _no_such(id: str) -> NotFound:
    return NotFound(f"there is no conversation {id!r} of this user", param="conversation")
