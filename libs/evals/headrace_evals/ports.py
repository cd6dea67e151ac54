"""What running a suite needs from outside: a platform that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from headrace_evals.suite import Options

if TYPE_CHECKING:
    from headrace_evals.results import Row


class AskFailed(Exception):
    """One question got no answer: that is a result. `code` is of the platform's error table."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Away(Exception):
    """The platform cannot be asked at all just now, so nothing is known of the model."""


class Arm(Struct, frozen=True):
    """Who is asked: a model, and perhaps an arm of a rollout of it.

    Attributes:
        name: for reports, for example `baseline`.
        model: a model of the config.
        rollout: id of a running rollout; empty: the model as everybody gets it.
        arm: `baseline` or `candidate` of that rollout.
    """

    name: str
    model: str
    rollout: str = ""
    arm: str = ""


class Answer(Struct, frozen=True):
    """What came back. `latency_ms` is for the whole answer, `cost_usd` what it cost in US dollars."""

    text: str
    latency_ms: float = 0.0
    cost_usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    deployment: str = ""
    trace_id: str = ""
    citations: list[str] = field(default_factory=list)


class Platform(Protocol):
    """A platform, through its public API."""

    async def ask(self, arm: Arm, messages: Sequence[dict[str, Any]], options: Options) -> Answer:
        """Answer a conversation, without a cache.

        Raises:
            AskFailed: this one got no answer.
            Away: the platform cannot be asked.
        """

    async def embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        """Vectors of texts, in their order. Raises as `ask`."""


class Memory(Protocol):
    """Keeps the items of a run that are done, so that one that was cut off goes on where it was."""

    @property
    def rows(self) -> Mapping[str, Row]:
        """Items that are done, by id: they are not asked again."""

    async def keep(self, item_id: str, row: Row) -> None:
        """An item is done. What this raises ends the run."""
