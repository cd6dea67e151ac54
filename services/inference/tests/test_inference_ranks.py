import math

import pytest

from headrace_inference.grpc_api.convert import chunk_proto, generation_of, response_of
from headrace_inference.grpc_api.ranks import asking
from headrace_inference.ports import Chunk, TokenLogprob
from headrace_kit.confidence import margin_and_entropy
from headrace_protos.common.v1.chat_pb2 import Sampling
from headrace_protos.inference.v1 import messages_pb2 as pb

HALF, TENTH = math.log(0.5), math.log(0.1)
SURE = TokenLogprob("a", HALF, (("a", HALF), ("b", TENTH), ("c", TENTH)))
ALONE = TokenLogprob("a", HALF, (("a", HALF),))


def asked(stats_top=3, **sampling):
    request = pb.GenerateRequest(prompt="p", stats_top=stats_top, sampling=Sampling(**sampling))
    return asking(request, generation_of(request, ""))


def test_alternatives_are_asked_for_summed_and_not_sent_on():
    generation, ranks = asked()
    assert generation.sampling.top_logprobs == 3
    chunk = Chunk(text="aa", tokens=2, sum_logprob=2 * HALF, min_logprob=HALF, logprobs=(SURE, ALONE))
    made = chunk_proto(chunk, ranks)
    assert list(made.logprobs) == []
    assert made.stats.ranked == 1
    assert made.stats.sum_margin == pytest.approx(math.log(5))
    assert made.stats.sum_entropy == pytest.approx(-(0.5 * HALF + 0.2 * TENTH + 0.3 * math.log(0.3)))
    [choice] = response_of([chunk, chunk], ranks).choices
    assert (choice.stats.ranked, choice.stats.tokens, list(choice.logprobs)) == (2, 4, [])
    assert choice.stats.sum_margin == pytest.approx(2 * math.log(5))


def test_a_caller_sees_as_many_as_it_asked_for():
    generation, ranks = asked(top_logprobs=1)
    assert generation.sampling.top_logprobs == 3
    made = chunk_proto(Chunk(text="a", tokens=1, logprobs=(SURE,)), ranks)
    assert [len(entry.top) for entry in made.logprobs] == [1]


def test_nothing_changes_without_the_wish():
    generation, ranks = asked(0, top_logprobs=2)
    assert generation.sampling.top_logprobs == 2
    made = chunk_proto(Chunk(text="a", tokens=1, logprobs=(SURE,)), ranks)
    assert (made.stats.ranked, len(made.logprobs[0].top)) == (0, 3)


def test_entropy_of_a_certain_token_is_nothing():
    assert margin_and_entropy([0.0]) is None
    assert margin_and_entropy([HALF, HALF]) == (0, pytest.approx(math.log(2)))
    assert margin_and_entropy([math.log(1e-30), 0.0])[1] == pytest.approx(0)
