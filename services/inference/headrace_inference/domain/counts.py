"""What attempts used, kept for callers who died before they could read it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from headrace_inference.ports import Chunk, Usage

_MOST = 50_000


@dataclass(slots=True)
class Count:
    """Tokens of one attempt so far, and whether it still runs."""

    usage: Usage = field(default_factory=Usage)
    running: bool = True

    def add(self, chunk: Chunk) -> None:
        """Take a chunk that goes out."""
        if chunk.usage is not None:
            self.usage = chunk.usage
            return
        known = self.usage
        prompt = chunk.prompt or known
        if chunk.tokens or chunk.prompt is not None:
            self.usage = Usage(prompt.input_tokens, prompt.cached_input_tokens, known.output_tokens + chunk.tokens)


class Counts:
    """The newest attempts of this process by their callers' names.

    Args:
        most: attempts that are remembered.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._counts: OrderedDict[str, Count] = OrderedDict()
        self._most = most

    def begin(self, attempt: str) -> Count:
        """Count an attempt; one without a name is counted and not remembered."""
        count = Count()
        if attempt:
            self._counts[attempt] = count
            self._counts.move_to_end(attempt)
            while len(self._counts) > self._most:
                self._counts.popitem(last=False)
        return count

    def get(self, attempt: str) -> Count | None:
        """What is known of an attempt."""
        return self._counts.get(attempt)
