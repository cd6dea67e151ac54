"""A second release of the gateway beside the first: its pods, what shares requests out, and who may change that."""

from __future__ import annotations

import copy

import pytest
import yaml

from headrace_kit.config import Config

ROUTED = {
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
    "grpcRoute": {"enabled": True, "parentRefs": [{"name": "public"}]},
}
DIGEST = "sha256:" + "d" * 64
CANARY = {**ROUTED, "gateway": {"canary": {"enabled": True, "tag": "9.9.9"}}}


def with_canary(**more) -> dict:
    return {**ROUTED, "gateway": {"canary": {"enabled": True, "tag": "9.9.9", **more}}}


def env(pod, name: str) -> str | None:
    [container] = pod["spec"]["containers"]
    return {one["name"]: one.get("value") for one in container["env"]}.get(name)


def config(made) -> Config:
    return Config.model_validate(yaml.safe_load(made.one("ConfigMap", "headrace-config")["data"]["headrace.yaml"]))


@pytest.fixture(scope="module")
def made(render):
    return render(CANARY)


def test_without_it_nothing_is_there(render):
    made = render(ROUTED)
    assert not [one for one in made.documents if "canary" in one["metadata"]["name"]]
    [rule] = made.one("HTTPRoute", "headrace")["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": "headrace-gateway", "port": 7800}] and "filters" not in rule
    assert config(made).services.rollout.routes == {}


def test_its_pods_are_as_the_others_but_of_another_image_and_name(made):
    pods = copy.deepcopy(made.pods())
    stable, canary = (pods[f"StatefulSet/headrace-gateway{suffix}"] for suffix in ("", "-canary"))
    assert canary["spec"]["containers"][0]["image"] == "ghcr.io/headrace/gateway:9.9.9"
    assert (env(canary, "HEADRACE_TRACK"), env(canary, "HEADRACE_RELEASE")) == ("canary", "9.9.9")
    assert env(stable, "HEADRACE_TRACK") == "stable"
    assert env(stable, "HEADRACE_RELEASE") == config(made).services.gateway.release
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
    for kind in ("Service", "StatefulSet", "PodDisruptionBudget"):
        for suffix, other in (("", "-canary"), ("-canary", "")):
            spec = made.one(kind, f"headrace-gateway{suffix}")["spec"]
            selector = spec["selector"].get("matchLabels", spec["selector"])
            own = pods[f"StatefulSet/headrace-gateway{suffix}"]["metadata"]["labels"]
            others = pods[f"StatefulSet/headrace-gateway{other}"]["metadata"]["labels"]
            assert selector.items() <= own.items() and not selector.items() <= others.items(), kind


def test_a_digest_wins_over_the_tag(render):
    made = render({**ROUTED, "gateway": {"canary": {"enabled": True, "tag": "9.9.9", "digest": DIGEST}}})
    pod = made.pods()["StatefulSet/headrace-gateway-canary"]
    assert pod["spec"]["containers"][0]["image"] == f"ghcr.io/headrace/gateway@{DIGEST}"
    assert env(pod, "HEADRACE_RELEASE") == DIGEST


def test_without_volumes_it_is_a_deployment_and_is_scaled_by_nobody(render):
    gateway = {
        "autoscaling": {"enabled": True},
        "eventLog": {"persistent": False},
        "canary": {"enabled": True, "tag": "2", "replicas": 3},
    }
    made = render({**ROUTED, "gateway": gateway})
    assert made.one("Deployment", "headrace-gateway-canary")["spec"]["replicas"] == 3
    assert "replicas" not in made.one("Deployment", "headrace-gateway")["spec"]
    assert made.names("HorizontalPodAutoscaler") == ["headrace-gateway"]


@pytest.mark.parametrize(("kind", "port"), [("HTTPRoute", 7800), ("GRPCRoute", 7801)])
def test_both_routes_share_out_and_say_so_to_the_gateway(made, kind, port):
    [rule] = made.one(kind, "headrace")["spec"]["rules"]
    assert rule["backendRefs"] == [
        {"name": "headrace-gateway", "port": port, "weight": 10_000},
        {"name": "headrace-gateway-canary", "port": port, "weight": 0},
    ]
    [shared] = rule["filters"]
    assert shared["requestHeaderModifier"] == {"set": [{"name": "x-headrace-routed", "value": "1"}]}


def test_the_rollout_service_knows_the_routes(made):
    routes = config(made).services.rollout.routes["gateway"]
    assert (routes.http, routes.grpc) == ("headrace", "headrace")
    assert (routes.stable, routes.canary) == ("headrace-gateway", "headrace-gateway-canary")
    assert routes.set_weights and routes.settle == 5


def test_a_rollout_begins_with_the_values(render):
    steps = [{"weight": "10%", "at_least": "10m"}, {"weight": "100%"}]
    made = render(
        with_canary(rollout={"steps": steps, "analysis": {"errors": {"max_increase": "1%"}}}, settleSeconds=2)
    )
    rollout = config(made).rollouts["service/gateway"]
    assert rollout.candidate == {"release": "9.9.9"}
    assert [step.weight for step in rollout.steps] == [1000, 10_000]
    assert config(made).services.rollout.routes["gateway"].settle == 2


@pytest.mark.parametrize("model_rollouts", [True, False])
def test_the_rollout_service_may_change_these_routes_and_no_others(render, model_rollouts):
    made = render({**CANARY, "modelRollouts": {"enabled": model_rollouts}})
    rules = made.one("Role", "headrace-rollout")["rules"]
    [routes] = [rule for rule in rules if rule["apiGroups"] == ["gateway.networking.k8s.io"]]
    assert (routes["verbs"], routes["resourceNames"]) == (["get", "patch"], ["headrace"])
    core = {rule["resources"][0]: rule["verbs"] for rule in rules if rule["apiGroups"] == [""]}
    assert core.items() >= {"services": ["get"], "pods": ["list"]}.items()
    assert ("headrace.dev" in [rule["apiGroups"][0] for rule in rules]) == model_rollouts
    pod = made.pods()["Deployment/headrace-rollout"]["spec"]
    assert pod["serviceAccountName"] == "headrace-rollout" and pod["automountServiceAccountToken"]


def test_where_somebody_else_sets_weights_it_may_only_read(render):
    made = render(with_canary(setWeights=False))
    rules = made.one("Role", "headrace-rollout")["rules"]
    assert [rule["verbs"] for rule in rules if rule["apiGroups"] == ["gateway.networking.k8s.io"]] == [["get"]]
    assert not config(made).services.rollout.routes["gateway"].set_weights


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gateway": {"canary": {"enabled": True, "tag": "2"}}}, "nothing shares requests out"),
        ({**ROUTED, "gateway": {"canary": {"enabled": True}}}, "by tag or digest"),
        ({**ROUTED, "gateway": {"runtime": "ray", "canary": {"enabled": True, "tag": "2"}}}, "the gateway runs on Ray"),
        (
            {**CANARY, "rollout": {"runtime": "ray"}, "ray": {"autoscaling": {"enabled": True}}},
            "set rollout.runtime=process",
        ),
        (with_canary(image="x"), "image"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_applied(render, values, message):
    with pytest.raises(AssertionError, match=message):
        render(values)
