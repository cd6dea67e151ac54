"""A game of random rights: searchers look for leaks while a changer grants and revokes.

A document's rights are known as a history: the rights before a change hold until the change was answered, the ones
after it from the moment it was sent. A passage that was shown is a leak when none of the rights that were possibly in
force at some time during the search gives it to the caller.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from headrace_kit.errors import NotFound
from headrace_protos.retrieval.v1 import messages_pb2 as pb

DOCUMENTS = 100
"""As many as a search may return, so that every one of them could be shown."""

SEARCHERS = 4
USERS = ("ana", "ben", "cleo", "dan")
GROUPS = ("staff", "legal", "board")
WORDS = ("water", "turbine", "leave", "pay", "plan", "board", "dam", "river")
MODES = (pb.SEARCH_MODE_BM25, pb.SEARCH_MODE_VECTOR, pb.SEARCH_MODE_HYBRID)


class Rights(NamedTuple):
    """Who may read."""

    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    public: bool = False

    def acl(self) -> pb.Acl:
        """As it is sent."""
        return pb.Acl(users=sorted(self.users), groups=sorted(self.groups), public=self.public)


class Caller(NamedTuple):
    """Who asks."""

    tenant: str
    user: str
    groups: tuple[str, ...]
    read_all: bool

    def named(self) -> dict[str, Any]:
        """As the calls of the kit take it."""
        return {
            "tenant": self.tenant,
            "user": self.user,
            "groups": self.groups,
            "scopes": ("read_all",) if self.read_all else (),
        }


class Game:
    """One collection, `handbook` of tenant red, shared with blue and not with green."""

    def __init__(self, replica: Any, kit: Any, seed: int) -> None:
        self._replica, self._kit = replica, kit
        self._draw = random.Random(seed)
        self._text: dict[str, str] = {}
        self._rights: dict[str, set[Rights]] = {}
        self._seen: list[tuple[str, Rights]] = []
        self.checks = self.searches = self.changes = self.shown = 0
        self.leaked: list[str] = []

    def _some(self) -> Rights:
        kind = self._draw.random()
        if kind < 0.1:
            return Rights(public=True)
        users = frozenset(self._draw.sample(USERS, self._draw.randrange(3)))
        return Rights(users, frozenset(self._draw.sample(GROUPS, self._draw.randrange(2))))

    async def fill(self) -> None:
        """Store the documents with their first rights."""
        documents = []
        for number in range(DOCUMENTS):
            id = f"d{number}"
            self._text[id] = f"{' '.join(self._draw.choices(WORDS, k=6))} number {number}"
            rights = self._some()
            self._rights[id] = {rights}
            documents.append(self._kit.document(id, self._text[id], rights.acl()))
        await self._replica.ingest("handbook", *documents)

    async def play(self, go_on: Callable[[], bool]) -> None:
        """Search and change until told to stop; an error of a call ends it."""
        over = asyncio.Event()

        async def search() -> None:
            draw = random.Random(self._draw.random())
            while go_on():
                await self._search(draw)
            over.set()

        async def change() -> None:
            while not over.is_set():
                await self._change()

        async with asyncio.TaskGroup() as group:
            group.create_task(change())
            for _ in range(SEARCHERS):
                group.create_task(search())

    async def _search(self, draw: random.Random) -> None:
        caller = Caller(
            draw.choice(("red", "red", "blue", "green")),
            draw.choice(("", *USERS)),
            tuple(draw.sample(GROUPS, draw.randrange(3))),
            draw.random() < 0.2,
        )
        watch: dict[str, set[Rights]] = {id: set(now) for id, now in self._rights.items()}
        started = len(self._seen)
        name = "handbook" if caller.tenant == "red" else "red/handbook"
        query = " ".join(draw.choices(WORDS, k=2))
        try:
            found = await self._replica.search(name, query, mode=draw.choice(MODES), top_k=DOCUMENTS, **caller.named())
            results = list(found.results)
        except NotFound:
            assert caller.tenant == "green", "the others may see the collection"
            results = []
        for id, rights in self._seen[started:]:  # what was granted while it went on
            watch[id].add(rights)
        self.searches += 1
        self.checks += DOCUMENTS
        self.shown += len(results)
        for passage in results:
            if not any(self._open(caller, rights) for rights in watch[passage.document_id]):
                self.leaked.append(f"{passage.document_id} to {caller}")
            elif not self.may_read(caller, passage.document_id):
                self.leaked.append(passage.document_id)

    def may_read(self, caller: Caller, document: str) -> bool:
        """A second opinion, for a test of the game itself."""
        return True

    async def _change(self) -> None:
        id = self._draw.choice(list(self._text))
        after = self._some()
        before = set(self._rights[id])
        # From here on either may be seen.
        self._rights[id] = before | {after}
        self._seen.append((id, after))
        await self._replica.ingest("handbook", self._kit.document(id, self._text[id], after.acl()), wait=False)
        self._rights[id] = {after}
        self.changes += 1

    @staticmethod
    def _open(caller: Caller, rights: Rights) -> bool:
        if caller.tenant == "green":
            return False
        if caller.read_all and caller.tenant == "red" and not caller.user and not caller.groups:
            return True
        return rights.public or caller.user in rights.users or bool(rights.groups & set(caller.groups))
