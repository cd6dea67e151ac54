"""Speculation: what n-gram drafts gain where answers quote the prompt, and what the controller leaves of their cost."""

from __future__ import annotations

import re

from benchmarks.inference import serving
from benchmarks.inference.figures import Figure
from benchmarks.inference.load import Pairs, Round, compare, run
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

_GREEDY = 10
"""Prompts of each kind whose answers are compared word for word."""


async def measure(options: Options) -> list[Figure]:
    """The same model with and without n-gram drafts, in the same Triton, greedily."""
    # Prompts are read in pieces of the same size on both sides: other sizes round differently.
    plain = options.language_model(batch_tokens=options.slots * (1 + _DRAFT_TOKENS))
    drafting = {**plain, "speculation": {"method": "ngram", "max_draft_tokens": _DRAFT_TOKENS}}
    # So does a prompt of which a part comes from the cache.
    alone = {"slots": 1, "kv_cache": {"prefix_caching": False}}
    deployments = {
        "plain": plain,
        "ngram": drafting,
        "plain-alone": {**plain, **alone},
        "ngram-alone": {**drafting, **alone, "speculation": {**drafting["speculation"], "adaptive": False}},
    }
    with serving.inference(deployments) as platform:
        ours, theirs = Headrace(platform, "ngram"), Headrace(platform, "plain")
        try:
            await ours.ready()
            await theirs.ready()
            figures = await _copying(options, ours, theirs)
            for streams in (1, 8):
                figures.append(await _free(options, ours, theirs, streams))
            ours.deployment, theirs.deployment = "ngram-alone", "plain-alone"
            await ours.ready()
            await theirs.ready()
            return [*figures, await _alike(options, ours, theirs)]
        finally:
            await ours.close()
            await theirs.close()


async def _copying(options: Options, ours: Headrace, theirs: Headrace) -> list[Figure]:
    """Answers that quote the prompt: with reading it, and once more while it is still in the cache."""
    await run(ours, [Ask(prompt, _QUOTE_TOKENS) for prompt in options.prompts.copying(_TUNING)], 1)
    await run(theirs, [Ask(prompt, _QUOTE_TOKENS) for prompt in options.prompts.copying(2)], 1)
    fresh: list[dict[str, Round]] = []
    again: list[dict[str, Round]] = []
    exact: list[dict[str, Round]] = []
    for number in range(options.rounds):
        quotes = options.prompts.quoting(max(1, options.slots // 2))
        free = [Ask(prompt, _QUOTE_TOKENS) for prompt, _ in quotes]
        held = [Ask(prompt, _QUOTE_TOKENS, re.escape(passage)) for prompt, passage in quotes]
        sides = (ours, theirs) if number % 2 else (theirs, ours)
        for found, asks in ((fresh, free), (again, free), (exact, held)):
            found.append({side.deployment: await run(side, asks, 1) for side in sides})
    whole, answers, quoted = (
        Pairs([one[ours.deployment] for one in found], [one[theirs.deployment] for one in found])
        for found in (fresh, again, exact)
    )
    return [
        _speed("copying prompts: output tokens a CPU second", whole, ">= 1.6"),
        _speed("the same, prompt read before", answers, ">= 1.6"),
        _speed("the same, and held to the passage by a regex", quoted, ">= 1.6"),
    ]


async def _free(options: Options, ours: Headrace, theirs: Headrace, streams: int) -> Figure:
    """Answers that quote nothing."""

    def take(count: int) -> list[Ask]:
        return [Ask(prompt, options.tokens) for prompt in options.prompts.take(count)]

    await run(ours, take(_TUNING), streams)
    await run(theirs, take(2), streams)
    pairs = await compare(ours, theirs, [take(max(4, streams)) for _ in range(options.rounds)], streams)
    label = f"free prompts, {streams} stream{'s' if streams > 1 else ''}: output tokens a CPU second"
    return _speed(label, pairs, ">= 0.97")


def _speed(label: str, pairs: Pairs, target: str) -> Figure:
    ours, theirs = (
        sum(one.tokens for one in rounds) / sum(one.cpu.total_s for one in rounds)
        for rounds in (pairs.ours, pairs.theirs)
    )
    answers = [answer for one in pairs.ours for answer in one.answers]
    drafted, accepted = sum(one.draft_tokens for one in answers), sum(one.accepted_draft_tokens for one in answers)
    note = f"{accepted} of {drafted} draft tokens accepted ({accepted / drafted:.0%})" if drafted else "nothing drafted"
    return Figure(label, ours, theirs, pairs.cpu_ratio, target=target, note=note)


async def _alike(options: Options, drafting: Headrace, plain: Headrace) -> Figure:
    """How many answers are the same with and without drafts, and how many differ without the excuse of `NEAR`."""
    asks = [Ask(prompt, _QUOTE_TOKENS) for prompt in options.prompts.copying(_GREEDY)]
    asks += [Ask(prompt, options.tokens) for prompt in options.prompts.take(_GREEDY)]
    equal = near = different = accepted = 0
    for ask in asks:
        ours, theirs = await drafting.ask(ask), await plain.ask(ask)
        accepted += ours.accepted_draft_tokens
        if ours.text == theirs.text:
            equal += 1
        elif await _parts_at_a_tie(ask, ours.text, plain):
            near += 1
        else:
            different += 1
    return Figure(
        "greedy answers that drafts changed",
        float(different),
        target="<= 0",
        note=f"{equal} equal, {near} part where the two best tokens are within {NEAR:g}; {accepted} drafted tokens in",
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
            return bool(best - second <= NEAR)
    return False  # one ended where the other went on
