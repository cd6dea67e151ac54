"""How sure a model was of its answer, from what its tokens tell."""

from __future__ import annotations

from headrace_kit.config.cascades import RANKED_SIGNALS, Check
from headrace_protos.inference.v1.messages_pb2 import GenerateChunk, GenerateRequest, TokenStats

_ALTERNATIVES = {"margin": 2, "entropy": 5}


def want(request: GenerateRequest, check: Check | None) -> None:
    """Ask the engine for what a check needs, and for no more."""
    request.want_stats = check is not None
    request.stats_top = _ALTERNATIVES.get(check.signal, 0) if check is not None else 0


class Confidence:
    """Sums up token statistics of an answer, all its choices together.

    Args:
        check: what is to be judged; without one, tokens are only counted. Of its `window` the worst run counts.
    """

    __slots__ = ("_entropy", "_judged", "_least", "_margin", "_ranked", "_runs", "_sum", "tokens")

    def __init__(self, check: Check | None = None) -> None:
        self.tokens = 0
        self._judged = self._ranked = 0
        self._sum = self._least = self._margin = self._entropy = 0.0
        self._runs = _Runs(check.signal, check.window) if check is not None and check.window else None

    def add(self, chunk: GenerateChunk) -> None:
        """Take the statistics of the next chunk, if it has any."""
        if not chunk.HasField("stats"):
            return
        stats = chunk.stats
        self.tokens += stats.tokens
        if stats.HasField("min_logprob"):
            self._judged += stats.tokens
            self._sum += stats.sum_logprob
            self._least = min(self._least, stats.min_logprob)
        if stats.ranked:
            self._ranked += stats.ranked
            self._margin += stats.sum_margin
            self._entropy += stats.sum_entropy
        if self._runs is not None:
            self._runs.add(stats)

    def value(self, signal: str) -> float | None:
        """The value of a signal of tokens; None where the engine did not report what it needs, or for another one."""
        if self._runs is not None and self._runs.worst is not None:
            return self._runs.worst
        if signal in RANKED_SIGNALS:
            total = self._margin if signal == "margin" else self._entropy
            return total / self._ranked if self._ranked else None
        if not self._judged or signal not in ("mean_logprob", "min_logprob"):
            return None
        return self._least if signal == "min_logprob" else self._sum / self._judged


class _Runs:
    """The worst mean over runs of at least so many tokens, one behind the other."""

    __slots__ = ("_length", "_signal", "_sum", "_tokens", "worst")

    def __init__(self, signal: str, length: int) -> None:
        self._signal, self._length = signal, length
        self._tokens, self._sum = 0, 0.0
        self.worst: float | None = None

    def add(self, stats: TokenStats) -> None:
        """Take the next piece."""
        if self._signal == "mean_logprob":
            if not stats.HasField("min_logprob"):
                return
            tokens, total = stats.tokens, stats.sum_logprob
        else:
            tokens, total = stats.ranked, stats.sum_margin if self._signal == "margin" else stats.sum_entropy
        self._tokens += tokens
        self._sum += total
        if self._tokens >= self._length:
            mean = self._sum / self._tokens
            worse = max if self._signal == "entropy" else min
            self.worst = mean if self.worst is None else worse(self.worst, mean)
            self._tokens, self._sum = 0, 0.0
