"""Queries rewritten by a language model before they are searched for.

A model may be away, slow or talk nonsense, so the query itself is always searched for too, and is all that is left
where anything goes wrong.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace_kit.errors import BadInput, HeadraceError
from headrace_retrieval.domain.spending import NOTHING, Generated, Tokens

MOST_WORDINGS = 5
MOST_TURNS = 8
"""Turns that are looked at, the newest."""

TURN_CHARS = 1000
"""Of each turn, its beginning."""

_LONGEST_QUESTION = 1000
_CONDENSE_TOKENS, _WORDING_TOKENS, _ANSWER_TOKENS = 64, 48, 120
_MARK = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.):])\s+")
_LABEL = re.compile(
    r"^\s*(?:standalone question|rewritten question|question|query|answer|passage)\s*:\s*", re.IGNORECASE
)


class Generates(Protocol):
    """What answers; see `Models` of the ports."""

    async def generate(self, deployment: str, system: str, user: str, *, max_tokens: int, limit_s: float) -> Generated:
        """An answer at temperature 0. Raises HeadraceError."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said before the query. `role` is `user` or `assistant`."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Rewrite:
    """How a query is rewritten.

    Attributes:
        condense: make it stand by itself, with what was said before in `turns`.
        wordings: ask in so many other words as well.
        hypothetical: search for the vector of a made-up answer as well.
        turns: oldest first.
    """

    condense: bool = False
    wordings: int = 0
    hypothetical: bool = False
    turns: tuple[Turn, ...] = ()

    @property
    def wanted(self) -> bool:
        """Whether a model has to be asked."""
        return bool((self.condense and self.turns) or self.wordings or self.hypothetical)

    def check(self) -> None:
        """Raises BadInput."""
        if not 0 <= self.wordings <= MOST_WORDINGS:
            raise BadInput(f"wordings is 0 to {MOST_WORDINGS}", param="rewrite.wordings")
        for number, turn in enumerate(self.turns):
            if turn.role not in ("user", "assistant"):
                raise BadInput("a turn is the user's or the assistant's", param=f"rewrite.turns[{number}].role")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """What is searched for.

    Attributes:
        main: the query, or what it was condensed to; passages are reranked by it.
        texts: all wordings, the query itself among them, `main` first.
        hypothetical: a made-up answer; empty: none.
        failed: a part of it was left out.
        tokens: of the calls to the model that came to their end.
    """

    main: str
    texts: tuple[str, ...]
    hypothetical: str = ""
    failed: bool = False
    tokens: Tokens = NOTHING

    @property
    def all(self) -> tuple[str, ...]:
        """All that is searched for."""
        return (*self.texts, self.hypothetical) if self.hypothetical else self.texts


async def rewritten(models: Generates, deployment: str, query: str, rewrite: Rewrite, *, limit_s: float) -> Rewritten:
    """Rewrite a query within `limit_s` seconds, all in all; never raises what the model raises."""
    made = _Made()
    try:
        async with asyncio.timeout(limit_s):
            await _make(made, _Asker(models, deployment, limit_s, made), query, rewrite)
    except (HeadraceError, TimeoutError):
        made.failed = True
    main = made.main or query
    texts = tuple({text.casefold(): text for text in (main, query, *made.wordings)}.values())
    return Rewritten(main, texts, made.hypothetical, made.failed, made.tokens)


@dataclass(slots=True)
class _Made:
    """What there is so far; kept when the time is over."""

    main: str = ""
    wordings: tuple[str, ...] = ()
    hypothetical: str = ""
    failed: bool = False
    tokens: Tokens = NOTHING


@dataclass(frozen=True, slots=True)
class _Asker:
    models: Generates
    deployment: str
    limit_s: float
    made: _Made

    async def __call__(self, system: str, user: str, max_tokens: int) -> str:
        said = await self.models.generate(self.deployment, system, user, max_tokens=max_tokens, limit_s=self.limit_s)
        self.made.tokens += said.tokens
        return said.text


async def _make(made: _Made, ask: _Asker, query: str, rewrite: Rewrite) -> None:
    if rewrite.condense and rewrite.turns:
        said = "\n".join(
            f"{turn.role}: {' '.join(turn.text.split())[:TURN_CHARS]}" for turn in rewrite.turns[-MOST_TURNS:]
        )
        answer = await ask(
            "Rewrite the last question so that it can be understood without the conversation: put in what its words "
            "refer to. Do not answer it. Write the question only.",
            f"Conversation:\n{said}\n\nLast question: {query}\n\nRewritten question:",
            _CONDENSE_TOKENS,
        )
        made.main = next(iter(_lines(answer)), "")
        made.failed |= not made.main
    main = made.main or query

    async def word() -> None:
        answer = await ask(
            f"Write {rewrite.wordings} other ways to ask the user's question, with other words, one on each line. "
            "Do not answer it.",
            main,
            _WORDING_TOKENS * rewrite.wordings,
        )
        made.wordings = tuple(_lines(answer)[: rewrite.wordings])
        made.failed |= not made.wordings

    async def imagine() -> None:
        answer = await ask(
            "Write a short passage that answers the question, as a document would say it.", main, _ANSWER_TOKENS
        )
        made.hypothetical = " ".join(_LABEL.sub("", answer).split())
        made.failed |= not made.hypothetical

    works = ([word()] if rewrite.wordings else []) + ([imagine()] if rewrite.hypothetical else [])
    # One that fails does not take the other with it.
    for outcome in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(outcome, HeadraceError):
            made.failed = True
        elif isinstance(outcome, BaseException):
            raise outcome


def _lines(answer: str) -> Sequence[str]:
    """Questions of an answer, one a line, without numbering, labels and quotes."""
    found = []
    for line in answer.splitlines():
        text = _LABEL.sub("", _MARK.sub("", line)).strip().strip("\"'“”").strip()
        if 1 < len(text) <= _LONGEST_QUESTION:
            found.append(text)
    return found
