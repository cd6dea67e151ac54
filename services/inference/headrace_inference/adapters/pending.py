"""Pieces of an answer on their way from an engine that sends every token by itself to chunks that batch them.

The first piece of a choice leaves at once, later ones after `FLUSH_S` or `FLUSH_TOKENS`: a message a token costs more
than the token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from headrace_inference.ports import Chunk, TokenLogprob, ToolCall, Usage

FLUSH_S = 0.02
FLUSH_TOKENS = 8


@dataclass(slots=True)
class _Choice:
    """What one choice has said and not yet sent."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    tools: list[ToolCall] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    tokens: int = 0
    finish_reason: str = ""
    since: float = 0.0

    def chunk(self, index: int, report_logprobs: bool) -> Chunk:
        values = [entry.logprob for entry in self.logprobs]
        return Chunk(
            index=index,
            text="".join(self.text),
            reasoning="".join(self.reasoning),
            tool_calls=tuple(self.tools),
            logprobs=tuple(self.logprobs) if report_logprobs else (),
            finish_reason=self.finish_reason,
            tokens=self.tokens,
            sum_logprob=sum(values),
            min_logprob=min(values, default=None),
        )


class Pending:
    """Gathers pieces by choice.

    Args:
        report_logprobs: put every token's log probability into chunks, not only their sum and minimum.
    """

    def __init__(self, report_logprobs: bool) -> None:
        self._report_logprobs = report_logprobs
        self._choices: dict[int, _Choice] = {}
        self._started: set[int] = set()
        self._urgent = False

    def add(
        self,
        index: int,
        now: float,
        *,
        text: str = "",
        reasoning: str = "",
        tools: Sequence[ToolCall] = (),
        logprobs: Sequence[TokenLogprob] = (),
        tokens: int = 0,
        finish_reason: str = "",
    ) -> None:
        """Take the next piece of choice `index`; `now` is monotonic, in seconds."""
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(since=now)
        if text:
            choice.text.append(text)
        if reasoning:
            choice.reasoning.append(reasoning)
        choice.tools.extend(tools)
        choice.logprobs.extend(logprobs)
        choice.tokens += tokens
        choice.finish_reason = finish_reason or choice.finish_reason
        if index not in self._started and (text or reasoning or tools):
            self._started.add(index)
            self._urgent = True
        self._urgent = self._urgent or choice.tokens >= FLUSH_TOKENS

    def wait_s(self, now: float) -> float | None:
        """Seconds until something has to be sent; None while there is nothing."""
        if not self._choices:
            return None
        if self._urgent:
            return 0.0
        return max(0.0, min(choice.since for choice in self._choices.values()) + FLUSH_S - now)

    def take(self) -> list[Chunk]:
        """Everything that waits, a chunk a choice."""
        chunks = [choice.chunk(index, self._report_logprobs) for index, choice in sorted(self._choices.items())]
        self._choices.clear()
        self._urgent = False
        return chunks

    def end(self, usage: Usage) -> list[Chunk]:
        """Everything that waits, with `usage` on the last chunk."""
        chunks = self.take() or [Chunk()]
        last = chunks[-1]
        chunks[-1] = Chunk(
            last.index,
            last.text,
            last.reasoning,
            last.tool_calls,
            last.logprobs,
            last.finish_reason,
            last.tokens,
            last.sum_logprob,
            last.min_logprob,
            usage,
        )
        return chunks
