"""How sure a model was of its answer, from the log probabilities of its tokens."""

from __future__ import annotations

from headrace_protos.inference.v1.messages_pb2 import GenerateChunk


class Confidence:
    """Sums up token statistics of an answer, all its choices together."""

    __slots__ = ("_judged", "_least", "_sum", "tokens")

    def __init__(self) -> None:
        self.tokens = 0
        self._judged = 0
        self._sum = 0.0
        self._least = 0.0

    def add(self, chunk: GenerateChunk) -> None:
        """Take the statistics of the next chunk, if it has any."""
        if chunk.HasField("stats"):
            stats = chunk.stats
            self.tokens += stats.tokens
            if stats.HasField("min_logprob"):
                self._judged += stats.tokens
                self._sum += stats.sum_logprob
                self._least = min(self._least, stats.min_logprob)

    def value(self, signal: str) -> float | None:
        """`mean_logprob` or `min_logprob`; None where the engine reported no log probabilities."""
        if not self._judged:
            return None
        return self._sum / self._judged if signal == "mean_logprob" else self._least
