"""What the conformance suite runs against: an engine, and what its fixture declares of it.

A new adapter joins by a fixture named `subject_<name>` that yields a `Subject`, and its name in `SUBJECTS` of
`conformance/conftest.py`. What an engine cannot do is declared here: the suite then tests that it is refused by name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from headrace_inference.ports import Engine, Generation, Sampling


@dataclass
class Subject:
    """An engine under test.

    Attributes:
        engine: a deployment that is loaded and ready.
        running: requests that the engine itself counts as being worked on or waiting.
        absent: an engine of a deployment that is not there.
        refused: what it refuses (see `asking.REFUSALS`) -> the `param` that its refusal names.
        elsewhere: what cannot be tried on this subject, and why; the suite skips with that reason.
        slots: requests at once; the suite fills them to make another one wait.
        kill: ends the engine's process the hard way, and returns when it is gone. None: `elsewhere["kill"]` says why.
        ask: makes the messages of a request from what is to be said; for engines that play a script.
        tool_choice: how the suite asks for a call.
        long_words: words of a prompt that does not fit into the context.
        embedder, reranker: engines for those tasks, where the adapter has them.
        many_tokens: `max_tokens` of an answer that does not end soon.
    """

    engine: Engine
    running: Callable[[], Awaitable[int]]
    absent: Engine
    refused: Mapping[str, str] = field(default_factory=dict)
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    slots: int = 4
    kill: Callable[[], Awaitable[None]] | None = None
    ask: Callable[[str], str] = str
    tool_choice: str = "required"
    long_words: int = 6000
    embedder: Engine | None = None
    reranker: Engine | None = None
    many_tokens: int = 1500

    def chat(self, said: str, *, tenant: str = "", **sampling: Any) -> Generation:
        """A request with one message."""
        return Generation(
            messages=({"role": "user", "content": self.ask(said)},), sampling=Sampling(**sampling), tenant=tenant
        )

    def bare(self, prompt: str, **sampling: Any) -> Generation:
        """A request with a prompt that no template is put around."""
        return Generation(prompt=self.ask(prompt), sampling=Sampling(**sampling))

    def needs(self, ability: str) -> None:
        """Skip, with the reason that the fixture gives; what is refused by name has a test of its own."""
        if param := self.refused.get(ability):
            pytest.skip(f"refused by name: {param}")
        if reason := self.elsewhere.get(ability):
            pytest.skip(reason)
