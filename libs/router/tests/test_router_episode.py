import pytest

from headrace_router.fakes import fake_router


def test_what_costs_nothing_is_worth_asking_and_what_costs_too_much_is_not():
    cheap = fake_router().begin("why?", tradeoff=0)
    assert cheap.next().ask is not None
    dear = fake_router().begin("why?", tradeoff=1000)
    assert dear.next().ask == "small"
    dear.saw("small", "A")
    step = dear.next()
    assert (step.ask, step.answer) == (None, "small")
    assert step.quality == dear.qualities()["small"]


def test_every_way_ends_with_an_answer():
    episode = fake_router().begin("why?", tradeoff=0)
    asked = []
    while (step := episode.next()).ask is not None:
        asked.append(step.ask)
        episode.saw(step.ask, "A")
    assert len(set(asked)) == len(asked) <= 2
    assert step.answer in asked


def test_a_deployment_that_may_not_serve_is_not_asked():
    episode = fake_router().begin("why?", tradeoff=1000)
    episode.without("small")
    episode.without("a stranger")
    assert episode.next().ask == "large"
    episode.without("large")
    assert episode.next() == episode.next().__class__(None, "", 0.0)


def test_agreement_raises_the_expectation():
    same, other = fake_router().begin("why?", tradeoff=0), fake_router().begin("why?", tradeoff=0)
    for episode, answer in ((same, "A"), (other, "B")):
        episode.saw("small", "A")
        episode.saw("large", answer)
    assert same.qualities()["small"] > other.qualities()["small"]


def test_a_stranger_and_a_wrong_embedding_are_refused():
    with pytest.raises(ValueError, match="stranger"):
        fake_router().begin("why?", tradeoff=0).saw("stranger", "A")
    with pytest.raises(ValueError, match="3 numbers"):
        fake_router(3).begin("why?", [1.0], tradeoff=0)
    assert fake_router(3).begin("why?", tradeoff=0).qualities()["small"] == pytest.approx(0.5)
    assert fake_router(3).begin("why?", [1.0, 0.0, 0.0], tradeoff=0).qualities()["small"] > 0.9
