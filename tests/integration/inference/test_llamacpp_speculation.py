"""Speculation on llama.cpp: drafts that leave the answers alone, and drafts by a second model."""

from __future__ import annotations

import asyncio

import pytest
from inference_suite.answers import Whole, gather
from inference_suite.local import chat, loaded, local_engine, weights
from inference_suite.waiting import until

from headrace_inference.adapters.llamacpp.engine import LlamaCppEngine
from headrace_kit.errors import Upstream

TIE = 1e-3
"""Two best tokens whose log probabilities are closer than this may change places: a batch's shape changes rounding."""

PASSAGE = (
    "The Hartwell lighthouse was built in 1861 on the northern point of Skerry Island. Its first keeper, Amos "
    "Birdwell, lived there with his wife and four children for twenty-three years. The lamp burned whale oil until "
    "1884, when it was replaced by kerosene, and in 1932 the light was electrified."
)
POLICY = (
    "A customer may return any unopened product within thirty days of delivery for a full refund. Opened products may "
    "be returned within fourteen days for store credit only. Refunds are issued to the original payment method."
)
JSON = '{"order": {"id": "A-20391", "items": [{"sku": "KB-101", "price": 129.90}, {"sku": "MS-220", "price": 39.50}]}}'
CODE = "def load(path):\n    with open(path) as handle:\n        return [line.strip() for line in handle]\n"
COPYING = (
    f"Repeat the following text exactly, word for word:\n\n{PASSAGE}",
    f"Copy this policy without changing anything:\n\n{POLICY}",
    f"Return this JSON document unchanged:\n\n{JSON}",
    f"Return this file with a docstring added:\n\n{CODE}",
)
FREE = ("Why is the sky blue?", "Write a short story about a fox who learns to paint.", "Name ten rivers.")
TOKENS = 80
NGRAM = {"method": "ngram", "max_draft_tokens": 8}


async def greedy(engine: LlamaCppEngine, prompt: str, **more) -> Whole:
    return await gather(engine, chat(prompt, **{"max_tokens": TOKENS, **more}))


def gap_where_they_part(told: Whole, text: str) -> float | None:
    """Between the two best tokens at the place where `text` parts from an answer; None where it is the same."""
    if told.text == text:
        return None
    said = ""
    (choice,) = told.choices.values()
    for entry in choice.logprobs:
        said += entry.token
        if not text.startswith(said):
            best, second = sorted((value for _, value in entry.top), reverse=True)
            return best - second
    return 1.0  # one ended, and the other went on


@pytest.fixture
def files():
    return {"model": weights("small"), "same": weights("small"), "other": weights("large")}


async def test_greedy_answers_are_the_same_with_drafts_and_without(files):
    drafted = accepted = equal = ties = 0
    different = {}
    async with loaded(files, slots=1, speculation=NGRAM) as engine:
        for prompt in COPYING + FREE:
            plain = await greedy(engine, prompt, top_logprobs=2)
            drafting = await greedy(engine, prompt)
            drafted += drafting.usage.draft_tokens
            accepted += drafting.usage.accepted_draft_tokens
            gap = gap_where_they_part(plain, drafting.text)
            equal += gap is None
            ties += gap is not None and gap <= TIE
            if gap is not None and gap > TIE:
                different[prompt] = gap
    print(f"{accepted} of {drafted} draft tokens accepted; {equal} answers equal, {ties} part at a tie")
    assert accepted > 100
    assert different == {}
    assert equal + ties == len(COPYING + FREE)


async def test_log_probabilities_are_told_of_every_token(files):
    async with loaded(files, slots=1, speculation=NGRAM) as engine:
        drafting = await greedy(engine, COPYING[0], max_tokens=40)
        assert drafting.usage.accepted_draft_tokens > 20
        told = await greedy(engine, COPYING[0], max_tokens=40, top_logprobs=1)
        (choice,) = told.choices.values()
        assert len(choice.logprobs) == told.usage.output_tokens
        assert all(len(entry.top) == 1 and entry.logprob < 0 for entry in choice.logprobs)
        summed = await greedy(engine, COPYING[0], max_tokens=40, want_stats=True)
        sums = sum(chunk.sum_logprob for chunk in summed.chunks)
        assert sums == pytest.approx(sum(entry.logprob for entry in choice.logprobs), abs=1e-2)


async def test_drafts_do_not_come_from_another_request(files):
    async with loaded(files, slots=1, speculation=NGRAM) as engine:
        taught = await greedy(engine, COPYING[0], tenant="a")
        assert taught.usage.accepted_draft_tokens > 20
        blank = await greedy(engine, "Tell me about a lighthouse.", tenant="b")
        own = " ".join(("Tell me about a lighthouse.", blank.text)).split()
        repeated = len(own) - len({tuple(own[place : place + 4]) for place in range(len(own) - 3)}) - 3
        assert repeated > 0 or blank.usage.draft_tokens == 0, "what was drafted stood in its own text"


async def test_a_draft_model_proposes_and_a_request_can_do_without(files):
    speculation = {"method": "draft_model", "draft": "same", "max_draft_tokens": 4}
    async with loaded(files, slots=1, speculation=speculation) as engine:
        drafting = await greedy(engine, FREE[0])
        plain = await greedy(engine, FREE[0], max_draft_tokens=0)
        assert drafting.usage.accepted_draft_tokens > 10
        assert plain.usage.draft_tokens == 0
        assert drafting.text == plain.text
        assert (await engine.stats()).running == 0


async def test_leaving_frees_both_instances(files):
    async with loaded(files, slots=1, speculation=NGRAM) as engine:
        streams = [
            engine.generate(chat("Count from one to a thousand in words.", max_tokens=500, max_draft_tokens=drafts))
            for drafts in (None, 0)
        ]
        await asyncio.gather(*(anext(stream) for stream in streams))

        async def both() -> bool:
            return (await engine.stats()).running == 2

        await until(both)
        for stream in streams:
            await stream.aclose()

        async def idle() -> bool:
            return (await engine.stats()).running == 0

        await until(idle)


async def test_a_draft_with_another_vocabulary_is_refused_when_it_is_loaded(files):
    engine = local_engine(files, slots=1, speculation={"method": "draft_model", "draft": "other"})
    with pytest.raises(Upstream, match=r"cannot draft for .*draft model vocab"):
        await engine.load()
    assert (await engine.health()).state == "failed"
    await engine.close()
