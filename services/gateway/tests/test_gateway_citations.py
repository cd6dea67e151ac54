"""Citations: which sentence of an answer is in which part of which passage, while the answer streams."""

from __future__ import annotations

import random

import pytest

from headrace_gateway.fakes import Script
from headrace_gateway.grounding import sentences
from headrace_gateway.grounding.align import Ground
from headrace_gateway.grounding.citations import Lane
from headrace_kit.config.grounding import Grounding
from headrace_protos.retrieval.v1.messages_pb2 import Passage

LEAVE = "Everybody has 27 days of paid leave a year. Unused days expire in March. | Grade | Days |\n| Senior | 31 |"
WATER = "The headrace brings water from the dam to the turbine. It is 3.2 km long."
QUESTION = "How many days of leave do I have?"


def passage(text: str, **fields) -> Passage:
    return Passage(collection="handbook", document_id="leave.pdf", chunk_id="c1", start=100, text=text, **fields)


def lane(*texts: str, question: str = QUESTION, **settings) -> Lane:
    return Lane(Ground([passage(text) for text in texts], question), Grounding(**settings), 0)


async def answered(rig, call, ctx) -> str:
    answer = await rig.pipeline.generate(ctx, call)
    return "".join([chunk.text async for chunk in answer.chunks()])


def said(lane: Lane, text: str, pieces: int = 1) -> str:
    """The text that goes out when it comes in so many pieces."""
    cuts = sorted(random.Random(pieces).sample(range(1, len(text)), pieces - 1)) if pieces > 1 else []
    parts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return "".join(lane.take(part, final=number == len(parts) - 1) for number, part in enumerate(parts))


def cited(lane: Lane) -> list[tuple[int, str]]:
    return [(one.number, one.quote) for one in lane.citations.values()]


@pytest.mark.parametrize("pieces", [1, 7, 40])
def test_a_sentence_is_cited_where_it_stands_however_the_answer_comes(pieces):
    one = lane(WATER, LEAVE)
    text = "You have 27 days of paid leave. I hope this helps!"
    assert said(one, text, pieces) == text
    assert cited(one) == [(2, "Everybody has 27 days of paid leave a year.")]
    (found,) = one.citations.values()
    assert LEAVE[found.span.start - 100 : found.span.end - 100] == found.quote
    assert [text[span.start : span.end] for span in found.sentences] == ["You have 27 days of paid leave."]
    assert [(sentence.supported, sentence.score > 0.5) for sentence in one.found] == [(True, True), (False, False)]


def test_rows_of_a_table_and_numbers_are_cited_exactly():
    one = lane(LEAVE, WATER)
    said(one, "Senior staff: 31 days.\nThe headrace is 3.2 km long.")
    assert cited(one) == [(1, "| Senior | 31 |"), (2, "It is 3.2 km long.")] or cited(one)[1][0] == 2
    assert all(sentence.supported for sentence in one.found)


@pytest.mark.parametrize(
    "answer",
    [
        "You have 45 days of paid leave.",
        "The documents do not say how many days of leave you have.",
        "You have leave days.",
        "Bananas are yellow.",
        "I cannot answer that.",
        "",
    ],
    ids=["number", "refusal", "echo", "elsewhere", "modest", "empty"],
)
def test_what_no_passage_says_is_not_cited(answer):
    one = lane(WATER, LEAVE)
    said(one, answer)
    assert cited(one) == []
    assert not any(sentence.supported for sentence in one.found)


CREW = "Ada Lindqvist built the first four turbines in Porto. She sold them to the Douro company in 1911."


@pytest.mark.parametrize(
    ("answer", "quoted"),
    [
        ("The first four turbines in Porto were built by Ada Lindqvist.", True),
        ("They say that Ada Lindqvist sold them to the Douro company in 1911.", True),
        ("The first 4 turbines in Porto were built by Ada Lindqvist.", True),
        ("As the Passage says, Ada Lindqvist built the first four turbines in Porto.", True),
        ("The first four turbines in Porto were built by Ada Moreau.", False),
        ("The first four turbines in Lisbon were built by Ada Lindqvist.", False),
        ("The first nine turbines in Porto were built by Ada Lindqvist.", False),
    ],
)
def test_a_name_or_a_count_that_is_nowhere_in_a_passage_is_not_cited_from_it(answer, quoted):
    one = lane(WATER, CREW, question="Who built the turbines?")
    said(one, answer)
    assert bool(cited(one)) is quoted
    assert all(number == 2 for number, _ in cited(one))


def test_where_all_nouns_have_capital_letters_they_are_no_names():
    text = "Der Kanal bringt das Wasser vom Damm zur Turbine. Die Anlage hat einen Kanal, eine Turbine und ein Wehr."
    one = lane(text, question="Was bringt der Kanal?")
    said(one, "Der Kanal bringt das Wasser vom Damm zur Turbine, sagt die Quelle.")
    ((_, quote),) = cited(one)
    assert quote.startswith("Der Kanal bringt das Wasser vom Damm zur Turbine."), "though no passage knows the Quelle"


@pytest.mark.parametrize("pieces", [1, 9, 30])
def test_a_marker_is_a_hint_and_one_without_a_passage_is_taken_out(pieces):
    one = lane(WATER, LEAVE)
    out = said(one, "Each employee gets 27 days [2]. And more [7], or [1, 9]. [2] The end", pieces)
    assert out == "Each employee gets 27 days [2]. And more , or [1]. [2] The end"
    assert cited(one)[0] == (2, "Everybody has 27 days of paid leave a year.")


def test_a_marker_alone_proves_nothing():
    one = lane(WATER, LEAVE)
    said(one, "The chef cooks fish on Friday [2].")
    assert cited(one) == []


@pytest.mark.parametrize("pieces", [1, 12])
def test_what_is_not_supported_can_be_withheld(pieces):
    one = lane(WATER, LEAVE, unsupported="withhold")
    text = "You have 27 days of paid leave. Managers have 90 days. Unused days expire in March."
    assert said(one, text, pieces) == "You have 27 days of paid leave. Unused days expire in March."
    assert one.withheld == 1
    for found in one.citations.values():
        assert found.sentences


def test_the_page_is_that_on_which_the_quote_begins():
    text = "First page says little. The second page says that lunch costs 4 euros."
    one = Lane(
        Ground([passage(text, page=7, page_breaks=[100 + text.index("The second")])], "What does lunch cost?"),
        Grounding(),
        0,
    )
    said(one, "Lunch costs 4 euros.")
    (found,) = one.citations.values()
    assert (found.page, found.quote) == (8, "The second page says that lunch costs 4 euros.")


def test_sentences_end_where_a_reader_ends_them():
    text = "Use a pump, e.g. the old one. It costs 3.5 euros!  Really?\n- a list\n- of two。終わり"
    assert [text[start:end] for start, end in sentences.spans(text)] == [
        "Use a pump, e.g. the old one.",
        "It costs 3.5 euros!",
        "Really?",
        "- a list",
        "- of two。",
        "終わり",
    ]


async def test_the_pipeline_cites_what_was_said(rig, ask):
    rig.retriever.passages = {"handbook": [passage(WATER, score=1.0), passage(LEAVE, score=0.5, page=2)]}
    rig.engine.scripts["small"] = [Script(["You have 27 days ", "of paid leave. ", "Ask the chef."])]
    ctx = rig.context()
    await answered(rig, ask("grounded", QUESTION), ctx)
    (found,) = ctx.outcome.citations
    assert (found.number, found.page, found.quote) == (2, 2, "Everybody has 27 days of paid leave a year.")
    assert [one.supported for one in ctx.outcome.grounding.sentences] == [True, False]


async def test_no_relevant_passage_is_answered_in_the_models_own_words(rig, ask):
    rig.retriever.passages = {
        "handbook": [
            passage(WATER, scores={"vector": 0.1, "fused": 0.5, "bm25": 2.0}),
            passage(LEAVE, scores={"fused": 1}),
        ]
    }
    ctx = rig.context()
    text = await answered(rig, ask("careful", "Who is the chef?"), ctx)
    assert text == "That is not in the documents."
    assert rig.engine.calls == [] and ctx.outcome.citations == []
    assert rig.retriever.requests[0].explain
    (event,) = rig.closed()
    assert (event.finish_reason, event.deployment, event.request_id) == ("stop", "", ctx.request_id)
