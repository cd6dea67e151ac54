"""What the alternatives of tokens say about how sure a model was, summed up so that they need not travel."""

from __future__ import annotations

from dataclasses import dataclass, replace

from headrace_inference.ports import Chunk, Generation
from headrace_kit.confidence import margin_and_entropy
from headrace_protos.inference.v1 import messages_pb2 as pb


@dataclass(frozen=True, slots=True)
class Ranks:
    """What a request wants of alternatives.

    Args:
        shown: alternatives that the caller wants to see; None: no log probabilities at all.
        summed: whether margin and entropy are wanted.
    """

    shown: int | None
    summed: bool

    def seen(self, chunk: Chunk) -> Chunk:
        """The chunk as its caller asked for it, without what was only needed for the sums."""
        if not self.summed or not chunk.logprobs:
            return chunk
        if self.shown is None:
            return replace(chunk, logprobs=())
        shown = tuple(replace(entry, top=entry.top[: self.shown]) for entry in chunk.logprobs)
        return replace(chunk, logprobs=shown)

    def add(self, chunk: Chunk, stats: pb.TokenStats) -> None:
        """Add a chunk's sums. A token with fewer than two alternatives says nothing."""
        if not self.summed:
            return
        for entry in chunk.logprobs:
            found = margin_and_entropy(value for _, value in entry.top)
            if found is not None:
                stats.ranked += 1
                stats.sum_margin += found[0]
                stats.sum_entropy += found[1]


def asking(request: pb.GenerateRequest, generation: Generation) -> tuple[Generation, Ranks]:
    """What to ask the engine, and what of its answer goes out."""
    shown = generation.sampling.top_logprobs
    if not request.stats_top:
        return generation, Ranks(shown, False)
    sampling = replace(generation.sampling, top_logprobs=max(shown or 0, request.stats_top))
    return replace(generation, sampling=sampling), Ranks(shown, True)
