"""A platform in memory, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from headrace_evals.ports import Answer, Arm, AskFailed, Away
from headrace_evals.suite import Options


class FakePlatform:
    """Answers by a function of the arm and the last words; a text that begins with `!` is that error's code.

    `away` makes it unreachable.
    """

    def __init__(self, says: Callable[[Arm, str], str | Answer]) -> None:
        self._says = says
        self.asked: list[tuple[Arm, str, Options]] = []
        self.away = False

    async def ask(self, arm: Arm, messages: Sequence[dict[str, Any]], options: Options) -> Answer:
        """See `Platform`."""
        if self.away:
            raise Away("nothing answers")
        words = str(messages[-1]["content"])
        self.asked.append((arm, words, options))
        said = self._says(arm, words)
        if isinstance(said, Answer):
            return said
        if said.startswith("!"):
            raise AskFailed(said[1:], "it failed")
        return Answer(said, 100.0, 0.001, 5, len(said.split()), arm.name)

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """See `Platform`: letters counted."""
        return [[float(text.lower().count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
