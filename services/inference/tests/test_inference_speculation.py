"""When drafts pay, and that the controller finds it out."""

from __future__ import annotations

import itertools

import pytest

from headrace_inference.domain.speculation import LEAST_GAP, Costs, Speculation, controller
from headrace_kit.config import parse

CPU = Costs(verify=0.5)


def accepted_share(alpha: float, length: int) -> float:
    """Of drafts of that length when each token is accepted with `alpha` if the one before was."""
    return sum(alpha**i for i in range(1, length + 1)) / length


def run(control: Speculation, alpha: float, requests: int, *, batch: int = 1, tenant: str = "t", prompt: int = 10):
    """Serve requests of 100 steps each; their cost in steps, with speculation and without."""
    cost = plain = 0.0
    lengths = []
    for _ in range(requests):
        length = control.decide(tenant, prompt, batch)
        lengths.append(length)
        drafted = 100 * length
        accepted = round(drafted * accepted_share(alpha, length)) if length else 0
        control.learn(tenant, prompt, length, drafted, accepted, 100 + accepted)
        share = (1 + (batch - 1) * CPU.verify) / batch
        cost += 100 * share + drafted * CPU.verify
        plain += (100 + accepted) * share
    return cost, plain, lengths


def test_break_even_is_both_costs_for_one_request_and_grows_with_the_batch():
    costs = Costs(verify=0.03, draft=0.1)
    assert costs.break_even(1) == pytest.approx(0.13)
    points = [costs.break_even(batch) for batch in (1, 2, 8, 64, 1000)]
    assert Costs(verify=0.5).break_even(1000) == pytest.approx(1, abs=0.002)
    assert points[1:] == sorted(points[1:])
    assert points[-1] < 1.01


def test_prompts_that_quote_get_full_drafts_and_save_much():
    control = Speculation(8, CPU)
    cost, plain, lengths = run(control, 0.97, 20)
    assert lengths[-1] == 8
    assert plain / cost > 1.5
    assert control.acceptance > 0.8
    assert control.tokens_per_step > 4


def test_free_prompts_lose_less_than_three_percent():
    control = Speculation(8, CPU)
    run(control, 0.2, 3)  # what it takes to learn it
    cost, plain, lengths = run(control, 0.2, 500)
    assert cost / plain < 1.03
    assert lengths.count(0) > 480


def test_probes_come_by_count_and_speculation_returns():
    control = Speculation(8, CPU)
    run(control, 0.1, 5)
    _, _, lengths = run(control, 0.1, 1500)
    probes = [number for number, length in enumerate(lengths) if length]
    gaps = {later - earlier for earlier, later in itertools.pairwise(probes)}
    assert len(gaps) == 1 and gaps.pop() > 200, "where drafts cost much, probes are rare"
    _, _, lengths = run(control, 0.97, 600)
    assert lengths[-1] == 8


def test_probes_that_cost_little_come_often():
    control = Speculation(8, CPU)
    for _ in range(10):
        control.learn("t", 10, 8, 32, 1, 200)
    lengths = []
    for _ in range(3 * LEAST_GAP):
        lengths.append(control.decide("t", 10, 1))
        control.learn("t", 10, lengths[-1], 0, 0, 200)
    assert lengths.count(8) == 3, "an answer for which nothing is found to propose costs nothing"


def test_a_full_engine_does_not_speculate_and_does_not_probe():
    control = Speculation(8, Costs(verify=0.5, draft=0.6))
    _, _, lengths = run(control, 0.99, 100, batch=8)
    assert set(lengths) == {0}
    assert control.decide("t", 10, 1) == 0
    assert Speculation(8, Costs(verify=0.03)).decide("t", 10, 1) > 0


def test_drafts_end_as_the_engine_fills():
    control = Speculation(8, CPU)
    run(control, 0.93, 30)
    lengths = [control.decide("t", 10, batch) for batch in (1, 2, 4, 8)]
    assert lengths == [8, 8, 0, 0]


def test_requests_of_a_burst_go_the_same_way_and_drafts_come_back_when_it_is_calm():
    control = Speculation(8, CPU)
    run(control, 0.93, 30)
    lengths = [control.decide("t", 10, batch) for _ in range(3) for batch in range(1, 9)]
    assert set(lengths[8:]) == {0}
    assert [control.decide("t", 10, 1) for _ in range(20)][-1] == 8


def test_tenants_and_kinds_of_prompts_are_judged_apart_and_new_ones_start_from_all():
    control = Speculation(8, CPU)
    run(control, 0.97, 20, tenant="quotes", prompt=2000)
    run(control, 0.1, 20, tenant="chats")
    assert control.decide("quotes", 2000, 1) == 8
    assert control.decide("chats", 10, 1) == 0
    assert control.decide("new", 10, 1) == 0, "the last answers of all were free ones"


def test_requests_for_which_nothing_was_drafted_prove_nothing():
    control = Speculation(8, CPU)
    before = control.decide("t", 10, 1)
    control.learn("t", 10, before, 0, 0, 100)
    assert control.decide("t", 10, 1) == before
    assert control.acceptance == 0


def test_an_engine_that_tells_of_all_requests_together_is_heard():
    control = Speculation(8, Costs(verify=0.03))
    assert control.decide("a", 10, 8) == 8
    for _ in range(5):
        control.hear(0.05)
    assert [control.decide(tenant, 10, 8) for tenant in ("a", "b")] == [0, 0]
    assert control.acceptance == 0.05
    for _ in range(5):
        control.hear(0.9)
    assert control.decide("b", 2000, 8) == 8


CONFIG = """
catalogue:
  big: {format: gguf, licence: MIT, files: [{name: m.gguf, sha256: "%(sha)s", size: 1000, sources: [{path: x}]}]}
  small: {format: gguf, licence: MIT, files: [{name: m.gguf, sha256: "%(sha)s", size: 250, sources: [{path: x}]}]}
deployments:
  d: {%(deployment)s}
"""


@pytest.mark.parametrize(
    ("deployment", "controlled"),
    [
        ("engine: triton-llamacpp, model: big", False),
        ("engine: triton-llamacpp, model: big, speculation: {method: ngram}", True),
        ("engine: triton-llamacpp, model: big, speculation: {method: ngram, adaptive: false}", False),
        ("engine: llamacpp, model: big, speculation: {method: draft_model, draft: small}", True),
        ("engine: vllm, model: big, address: 'http://x', speculation: {method: ngram}", False),
        (
            "engine: vllm, model: big, address: 'http://x', plain_address: 'http://y', speculation: {method: ngram}",
            True,
        ),
        ("engine: triton-scripted", False),
    ],
)
def test_deployments_are_controlled_where_that_can_be_done(deployment, controlled):
    config = parse(CONFIG % {"sha": "0" * 64, "deployment": deployment})
    assert (controller(config.deployments["d"], config.catalogue) is not None) == controlled


def test_a_draft_models_cost_comes_from_its_size():
    text = "engine: triton-llamacpp, model: big, speculation: {method: draft_model, draft: small, max_draft_tokens: 4}"
    config = parse(CONFIG % {"sha": "0" * 64, "deployment": text})
    control = controller(config.deployments["d"], config.catalogue)
    assert control is not None
    run(control, 0.8, 20)
    assert control.decide("t", 10, 1) == 0, "0.5 to check and 0.25 to propose need an acceptance of 0.75"
    run(control, 0.99, 600)
    assert control.decide("t", 10, 1) == 4
