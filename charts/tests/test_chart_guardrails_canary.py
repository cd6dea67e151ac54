"""A second release of guardrails beside the first: its pods, where gateways find it, and who may look at it."""

from __future__ import annotations

import copy

import pytest
import yaml

from headrace_kit.config import Config

DIGEST = "sha256:" + "d" * 64


def with_canary(**more) -> dict:
    return {"guardrails": {"canary": {"enabled": True, "tag": "9.9.9", **more}}}


def env(pod, name: str) -> str | None:
    [container] = pod["spec"]["containers"]
    return {one["name"]: one.get("value") for one in container["env"]}.get(name)


def config(made) -> Config:
    return Config.model_validate(yaml.safe_load(made.one("ConfigMap", "headrace-config")["data"]["headrace.yaml"]))


@pytest.fixture(scope="module")
def made(render):
    return render(with_canary())


def test_without_it_nothing_is_there(render):
    made = render()
    assert not [one for one in made.documents if "canary" in one["metadata"]["name"]]
    services = config(made).services
    assert (services.guardrails.canary_address, services.rollout.pods) == (None, {})
    assert not [rule for rule in made.one("Role", "headrace-rollout")["rules"] if "pods" in rule["resources"]]


def test_its_pods_are_as_the_others_but_of_another_image_and_name(made):
    pods = copy.deepcopy(made.pods())
    stable, canary = (pods[f"Deployment/headrace-guardrails{suffix}"] for suffix in ("", "-canary"))
    assert canary["spec"]["containers"][0]["image"] == "ghcr.io/headrace/guardrails:9.9.9"
    assert (env(canary, "HEADRACE_TRACK"), env(canary, "HEADRACE_RELEASE")) == ("canary", "9.9.9")
    assert env(stable, "HEADRACE_TRACK") == "stable"
    assert env(stable, "HEADRACE_RELEASE") == config(made).services.guardrails.release
    for pod in (stable, canary):
        for one in pod["spec"]["containers"][0]["env"]:
            if one["name"] in ("HEADRACE_TRACK", "HEADRACE_RELEASE"):
                one["value"] = ""
        pod["spec"]["containers"][0]["image"] = ""
        pod["metadata"]["labels"]["app.kubernetes.io/component"] = ""
        pod["spec"]["topologySpreadConstraints"] = []
    assert canary == stable


def test_no_selector_of_one_release_takes_pods_of_the_other(made):
    pods = made.pods()
    for kind in ("Service", "Deployment", "PodDisruptionBudget"):
        for suffix, other in (("", "-canary"), ("-canary", "")):
            spec = made.one(kind, f"headrace-guardrails{suffix}")["spec"]
            selector = spec["selector"].get("matchLabels", spec["selector"])
            own = pods[f"Deployment/headrace-guardrails{suffix}"]["metadata"]["labels"]
            others = pods[f"Deployment/headrace-guardrails{other}"]["metadata"]["labels"]
            assert selector.items() <= own.items() and not selector.items() <= others.items(), kind


def test_a_digest_wins_over_the_tag(render):
    made = render(with_canary(digest=DIGEST))
    pod = made.pods()["Deployment/headrace-guardrails-canary"]
    assert pod["spec"]["containers"][0]["image"] == f"ghcr.io/headrace/guardrails@{DIGEST}"
    assert env(pod, "HEADRACE_RELEASE") == DIGEST


def test_it_has_as_many_pods_as_it_says_and_is_scaled_by_nobody(render):
    made = render(
        {"guardrails": {"autoscaling": {"enabled": True}, "canary": {"enabled": True, "tag": "2", "replicas": 3}}}
    )
    assert made.one("Deployment", "headrace-guardrails-canary")["spec"]["replicas"] == 3
    assert made.names("HorizontalPodAutoscaler") == ["headrace-guardrails"]


def test_gateways_know_where_it_is_by_its_service(made):
    where = config(made).services.guardrails.canary_address
    service = made.one("Service", "headrace-guardrails-canary")
    assert where == f"{service['metadata']['name']}:7830"
    assert {"name": "grpc", "port": 7830}.items() <= service["spec"]["ports"][0].items()
    assert service["spec"]["clusterIP"] == "None", "a connection to each pod"


def test_the_rollout_service_looks_at_its_pods_and_begins_by_the_values(render):
    steps = [{"weight": "10%", "at_least": "10m"}, {"weight": "100%"}]
    made = render(with_canary(rollout={"steps": steps, "analysis": {"errors": {"max_increase": "1%"}}}))
    settings = config(made).services.rollout
    assert settings.pods["guardrails"].canary == "headrace-guardrails-canary" and settings.routes == {}
    rollout = config(made).rollouts["service/guardrails"]
    assert rollout.candidate == {"release": "9.9.9"}
    assert [step.weight for step in rollout.steps] == [1000, 10_000]


@pytest.mark.parametrize("model_rollouts", [True, False])
def test_the_rollout_service_may_see_its_pods_and_change_nothing(render, model_rollouts):
    made = render({**with_canary(), "modelRollouts": {"enabled": model_rollouts}})
    rules = made.one("Role", "headrace-rollout")["rules"]
    core = {rule["resources"][0]: rule for rule in rules if rule["apiGroups"] == [""]}
    assert core["services"]["verbs"] == ["get"]
    assert core["services"]["resourceNames"] == ["headrace-guardrails-canary"]
    assert core["pods"]["verbs"] == ["list"]
    assert not [rule for rule in rules if rule["apiGroups"] == ["gateway.networking.k8s.io"]]
    pod = made.pods()["Deployment/headrace-rollout"]["spec"]
    assert pod["serviceAccountName"] == "headrace-rollout" and pod["automountServiceAccountToken"]


def test_both_services_may_have_one(render):
    routed = {"httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]}}
    made = render({**routed, **with_canary(), "gateway": {"canary": {"enabled": True, "tag": "8.8.8"}}})
    rules = made.one("Role", "headrace-rollout")["rules"]
    [services] = [rule for rule in rules if "services" in rule["resources"]]
    assert services["resourceNames"] == ["headrace-gateway-canary", "headrace-guardrails-canary"]
    pods = made.pods()
    assert env(pods["StatefulSet/headrace-gateway-canary"], "HEADRACE_RELEASE") == "8.8.8"
    assert env(pods["Deployment/headrace-guardrails-canary"], "HEADRACE_RELEASE") == "9.9.9"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"guardrails": {"canary": {"enabled": True}}},
            "guardrails.canary: give the candidate's image by tag or digest",
        ),
        ({"guardrails": {"runtime": "ray", "canary": {"enabled": True, "tag": "2"}}}, "guardrails runs on Ray"),
        ({"runtime": "ray", **with_canary()}, "only with guardrails.runtime=process"),
        (
            {**with_canary(), "rollout": {"runtime": "ray"}, "ray": {"autoscaling": {"enabled": True}}},
            "may look at no pods; set rollout.runtime=process",
        ),
        (with_canary(setWeights=False), "setWeights"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_applied(render, values, message):
    with pytest.raises(AssertionError, match=message):
        render(values)
