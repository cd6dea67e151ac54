"""Pools, conditions, residency and tags in the config."""

from __future__ import annotations

import pytest

from headrace_kit.config import ConfigInvalid, parse

DEPLOYMENTS = """\
deployments:
  here: {engine: triton-scripted, residency: eu, tags: [zero-retention]}
  there: {engine: triton-scripted, residency: us}
  nowhere: {engine: triton-scripted}
  seer: {engine: litellm, model: anthropic/claude-sonnet-4-5, accepts: [image], residency: us}
"""
MODELS = """\
models:
  pooled: {deployments: [{deployment: here, weight: 3}, {deployment: there}]}
  abroad: {deployment: there, fallbacks: [here]}
"""


def test_a_pool_is_written_in_the_model_or_in_a_stage_of_its_cascade():
    config = parse(
        DEPLOYMENTS
        + MODELS
        + "  both: {cascade: [{deployments: [{deployment: here}, {deployment: there}], "
        + "accept: {signal: mean_logprob, at_least: -1}}, {deployment: there}]}\n"
    )
    assert [(entry.deployment, entry.weight) for entry in config.models["pooled"].stages[0].pool] == [
        ("here", 3),
        ("there", 1),
    ]
    assert [len(stage.pool) for stage in config.models["both"].stages] == [2, 1]
    assert config.candidate("pooled", {"deployment": "there"}).stages[0].pool[0].deployment == "there"
    patched = config.candidate("pooled", {"deployments": [{"deployment": "nowhere"}]})
    assert [entry.deployment for entry in patched.stages[0].pool] == ["nowhere"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "{deployment: here, deployments: [{deployment: there}]}",
            "exactly one of deployment, deployments and cascade",
        ),
        ("{deployments: [{deployment: here}, {deployment: here}]}", "twice"),
        ("{deployments: [{deployment: here}], adapter: legal}", "each entry names its own"),
        ("{deployments: [{deployment: heer}]}", "did you mean 'here'?"),
        ("{deployments: [{deployment: here, when: {}}]}", "leave `when` out"),
        ("{deployments: [{deployment: here, when: {image: true}}, {deployment: seer}]}", "does not accept image"),
        ("{deployments: [{deployment: here, when: {input_tokens: {at_least: 9, at_most: 8}}}]}", "at_most is less"),
        ("{deployments: [{deployment: here, weight: 0}]}", "greater than or equal to 1"),
        ("{deployment: here, routing: {choose: fastest}}", "choose"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(model, message):
    with pytest.raises(ConfigInvalid) as caught:
        parse(f"{DEPLOYMENTS}models:\n  m: {model}\n")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("tenant", "message"),
    [
        ("{residency: [eu], allow_models: [pooled, abroad]}", "'abroad' can never serve this tenant"),
        ("{residency: [ch]}", "no model can ever serve this tenant"),
        ("{require_tags: [zero-retention], forbid_tags: [zero-retention]}", "both have zero-retention"),
        ("{require_tags: [zero-retention], allow_models: [abroad]}", "there (residency us)"),
    ],
)
def test_a_tenant_that_could_never_be_served_is_refused(tenant, message):
    with pytest.raises(ConfigInvalid) as caught:
        parse(f"tenants:\n  team: {tenant}\n{DEPLOYMENTS}{MODELS}")
    assert message in str(caught.value)


def test_a_tenant_needs_only_the_models_that_it_names():
    config = parse(f"tenants:\n  team: {{residency: [eu]}}\n{DEPLOYMENTS}{MODELS}")
    team, deployments = config.tenants["team"], config.deployments
    assert [name for name in ("here", "there", "nowhere") if team.may_use(deployments[name])] == ["here"]
    parse(f"tenants:\n  team: {{residency: [eu], allow_models: [pooled]}}\n{DEPLOYMENTS}{MODELS}")


def test_a_candidate_must_serve_whom_its_model_serves():
    rollout = "rollouts:\n  pooled: {candidate: {deployment: there}, steps: [{weight: 100%}]}\n"
    parse(f"{DEPLOYMENTS}{MODELS}{rollout}")
    with pytest.raises(ConfigInvalid, match="it could not serve the tenant 'team'"):
        parse(f"tenants:\n  team: {{residency: [eu]}}\n{DEPLOYMENTS}{MODELS}{rollout}")


def test_what_keeps_a_request_internal_must_be_possible_to_find():
    policy = "guardrails:\n  p: {input: [{check: pii, kinds: [email, iban], action: flag}], internal_only: [%s]}\n"
    assert parse(policy % "pii.iban, pii").guardrails["p"].internal_only == ("pii.iban", "pii")
    with pytest.raises(ConfigInvalid, match=r"'pii.card', which no check over what goes in can find"):
        parse(policy % "pii.card")
    with pytest.raises(ConfigInvalid, match=r"'secrets'"):
        parse(policy % "secrets")
