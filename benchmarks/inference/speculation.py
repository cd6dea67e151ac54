"""Speculation: what n-gram drafts gain where answers quote the prompt, and what the controller leaves of their cost."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.inference import serving
from benchmarks.inference.figures import Figure
from benchmarks.inference.load import Pairs, compare, run
from benchmarks.inference.options import Options
from benchmarks.inference.peers import Ask, Headrace
from headrace_protos.common.v1 import chat_pb2
from headrace_protos.inference.v1 import messages_pb2 as pb

NEAR = 1e-3
"""Two best tokens whose log probabilities lie within this may change places with the batch's shape."""

_DRAFT_TOKENS = 8
_QUOTE_TOKENS = 192
"""Most output tokens where the answer quotes: a passage of the documentation."""

_TUNING = 12
"""Requests before the measurement, by which the controller learns what it serves."""


async def measure(options: Options) -> list[Figure]:
    """The same model with and without n-gram drafts, in the same Triton, greedily."""
    # Prompts are read in pieces of the same size on both sides: other sizes round differently.
    plain = options.language_model(batch_tokens=options.slots * (1 + _DRAFT_TOKENS))
    drafting = {**plain, "speculation": {"method": "ngram", "max_draft_tokens": _DRAFT_TOKENS}}
    figures: list[Figure] = []
    with serving.inference({"plain": plain, "ngram": drafting}) as platform:
        for name, target, streams in (
            ("copying prompts", ">= 1.6", 1),
            ("free prompts", ">= 0.97", 1),
            ("free prompts", ">= 0.97", 8),
        ):
            copies = name == "copying prompts"
            take = options.prompts.copying if copies else options.prompts.take
            tokens = _QUOTE_TOKENS if copies else options.tokens
            ours, theirs = Headrace(platform, "ngram"), Headrace(platform, "plain")
            try:
                await ours.ready()
                await theirs.ready()
                await run(ours, [Ask(prompt, tokens) for prompt in take(_TUNING)], streams)
                await run(theirs, [Ask(prompt, tokens) for prompt in take(2)], streams)
                asks = [
                    [Ask(prompt, tokens) for prompt in take(max(4, streams))] for _ in range(options.rounds)
                ]
                pairs = await compare(ours, theirs, asks, streams)
                label = f"{name}, {streams} stream{'s' if streams > 1 else ''}"
                figures += [_speed(label, pairs, target), await _alike(label, pairs, asks, theirs)]
            finally:
                await ours.close()
                await theirs.close()
    return figures


def _speed(label: str, pairs: Pairs, target: str) -> Figure:
    ours, theirs = (
        sum(one.tokens for one in rounds) / sum(one.cpu.total_s for one in rounds)
        for rounds in (pairs.ours, pairs.theirs)
    )
    answers = [answer for one in pairs.ours for answer in one.answers]
    drafted, accepted = sum(one.draft_tokens for one in answers), sum(one.accepted_draft_tokens for one in answers)
    note = f"{accepted} of {drafted} draft tokens accepted ({accepted / drafted:.0%})" if drafted else "nothing drafted"
    return Figure(f"{label}: output tokens a CPU second", ours, theirs, pairs.cpu_ratio, target=target, note=note)


async def _alike(label: str, pairs: Pairs, rounds: Sequence[Sequence[Ask]], plain: Headrace) -> Figure:
    """How many answers are the same with and without drafts, and how many differ without the excuse of `NEAR`."""
    equal = near = different = 0
    for asks, one, other in zip(rounds, pairs.ours, pairs.theirs, strict=True):
        for ask, ours, theirs in zip(asks, one.answers, other.answers, strict=True):
            if ours.text == theirs.text:
                equal += 1
            elif await _parts_at_a_tie(ask, ours.text, plain):
                near += 1
            else:
                different += 1
    return Figure(
        f"{label}: answers that drafts changed",
        float(different),
        target="<= 0",
        note=f"{equal} equal, {near} part where the two best tokens are within {NEAR:g}",
    )


async def _parts_at_a_tie(ask: Ask, text: str, plain: Headrace) -> bool:
    """Whether the answer without drafts has a tie at the place where `text` parts from it."""
    message = chat_pb2.Message(role="user", parts=[chat_pb2.ContentPart(text=ask.prompt)])
    sampling = chat_pb2.Sampling(max_tokens=ask.max_tokens, temperature=0, top_logprobs=2)
    request = pb.GenerateRequest(deployment=plain.deployment, messages=[message], sampling=sampling)
    said = ""
    for entry in (await plain.call("Generate", request)).choices[0].logprobs:
        said += entry.token
        if not text.startswith(said):
            best, second = sorted((top.logprob for top in entry.top), reverse=True)
            return best - second <= NEAR
    return True  # alike this time: what it was batched with decided
