"""How sure a model was of its answer, from what its tokens tell."""

from __future__ import annotations

from headrace_protos.inference.v1.messages_pb2 import GenerateChunk


class Confidence:
    """Sums up token statistics of an answer, all its choices together.

    Args:
        window: judge means by the worst run of at least this many tokens; 0: by all of them.
    """

    __slots__ = ("_judged", "_least", "_run", "_run_sum", "_sum", "_window", "_worst", "tokens")

    def __init__(self, window: int = 0) -> None:
        self.tokens = 0
        self._judged = 0
        self._sum = 0.0
        self._least = 0.0
        self._window = window
        self._run = 0
        self._run_sum = 0.0
        self._worst: float | None = None

    def add(self, chunk: GenerateChunk) -> None:
        """Take the statistics of the next chunk, if it has any."""
        if chunk.HasField("stats"):
            stats = chunk.stats
            self.tokens += stats.tokens
            if stats.HasField("min_logprob"):
                self._judged += stats.tokens
                self._sum += stats.sum_logprob
                self._least = min(self._least, stats.min_logprob)
                if self._window:
                    self._extend(stats.tokens, stats.sum_logprob)

    def _extend(self, tokens: int, total: float) -> None:
        self._run += tokens
        self._run_sum += total
        if self._run >= self._window:
            mean = self._run_sum / self._run
            self._worst = mean if self._worst is None else min(self._worst, mean)
            self._run, self._run_sum = 0, 0.0

    def value(self, signal: str) -> float | None:
        """`mean_logprob` or `min_logprob`; None where the engine reported no log probabilities."""
        if not self._judged:
            return None
        if signal == "min_logprob":
            return self._least
        return self._sum / self._judged if self._worst is None else self._worst
