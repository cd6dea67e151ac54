"""Queries that a model rewrites, over a model that answers what the test says."""

from __future__ import annotations

import asyncio

import pytest

from headrace_kit.errors import BadInput, Upstream
from headrace_retrieval.domain.rewriting import Rewrite, Turn, rewritten
from headrace_retrieval.domain.spending import Generated, Tokens

TURNS = (Turn("user", "How many days of leave are there?"), Turn("assistant", "Thirty."))


class Says:
    """Answers by a word of the instruction; an error is raised, a number is waited for."""

    def __init__(self, **answers: str | Exception | float) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str]] = []

    async def generate(self, deployment, system, user, *, max_tokens, limit_s):
        self.asked.append((system, user))
        answer = next(answer for word, answer in self.answers.items() if word in system)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, float):
            await asyncio.sleep(answer)
            return Generated("too late", Tokens(1000, 0, 1000))
        return Generated(answer, Tokens(inputs=10, outputs=len(answer.split())))


async def made(model: Says, rewrite: Rewrite, query: str = "And in Spain?", limit_s: float = 5.0):
    return await rewritten(model, "small", query, rewrite, limit_s=limit_s)


async def test_a_question_of_a_conversation_is_made_to_stand_by_itself_and_asked_as_it_was_too():
    model = Says(Rewrite='Rewritten question: "How many days of leave are there in Spain?"\n\nIt is 22.')
    found = await made(model, Rewrite(condense=True, turns=TURNS))
    assert found.main == "How many days of leave are there in Spain?"
    assert found.texts == (found.main, "And in Spain?") == found.all
    assert not found.failed
    ((_, user),) = model.asked
    assert "assistant: Thirty." in user and "And in Spain?" in user


async def test_other_wordings_are_lines_without_numbers_and_repetitions():
    model = Says(other="1. Days off in Spain?\n2) days off in spain?\n- Holidays in Spain\n\nAnd in Spain?\nOne more")
    found = await made(model, Rewrite(wordings=3))
    assert [text.casefold() for text in found.texts] == ["and in spain?", "days off in spain?", "holidays in spain"]


async def test_a_made_up_answer_is_searched_for_and_is_no_wording():
    found = await made(Says(passage="Answer: In Spain\nthere are 22 days."), Rewrite(hypothetical=True))
    assert found.texts == ("And in Spain?",) and found.all[-1] == "In Spain there are 22 days."
    assert found.tokens == Tokens(inputs=10, outputs=7)


@pytest.mark.parametrize("answer", [Upstream("away"), "", " \n ", 60.0], ids=["away", "empty", "blank", "slow"])
async def test_whatever_goes_wrong_the_query_itself_is_left(answer):
    rewrite = Rewrite(condense=True, turns=TURNS)
    found = await made(Says(Rewrite=answer), rewrite, limit_s=0.2)
    assert (found.main, found.all, found.failed) == ("And in Spain?", ("And in Spain?",), True)


async def test_what_came_in_time_is_kept():
    model = Says(other="Holidays in Spain", passage=60.0)
    found = await made(model, Rewrite(wordings=1, hypothetical=True), limit_s=0.3)
    assert found.all == ("And in Spain?", "Holidays in Spain") and found.failed
    assert found.tokens == Tokens(inputs=10, outputs=3), "what was cut off is not counted"


async def test_nothing_is_asked_where_nothing_is_wanted():
    assert not Rewrite(condense=True).wanted
    assert Rewrite(condense=True, turns=TURNS).wanted and Rewrite(wordings=1).wanted


@pytest.mark.parametrize(
    ("rewrite", "param"),
    [(Rewrite(wordings=6), "rewrite.wordings"), (Rewrite(turns=(Turn("system", "x"),)), "rewrite.turns[0].role")],
)
def test_what_is_malformed_is_named(rewrite, param):
    with pytest.raises(BadInput) as refused:
        rewrite.check()
    assert refused.value.param == param
