"""A second release of the gateway, shared out by Envoy with weights of the rollout service; one of guardrails, by the
gateways."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager

import grpc
import httpx
import pytest
from ruamel.yaml import YAML

from headrace_protos.gateway.v1 import messages_pb2, service_pb2_grpc
from tests.cluster.kube import Kube, wait
from tests.cluster.release import CHART, NAME
from tests.cluster.source import CHANGED, TAG

LISTENER = 8888
HOSTS = {"http": "http.test", "grpc": "grpc.test"}


def other(release):
    """The tag of the image that does not run."""
    return TAG if release.tag == CHANGED else CHANGED


def with_canary(release):
    """Values by which a rollout begins: a new one each time, as one that has ended never runs again."""
    at_least = f"{5400 + int(time.time()) % 3600}s"
    parent = [{"name": "public"}]
    steps = [{"weight": "50%", "at_least": at_least}, {"weight": "100%"}]
    return {
        "httpRoute": {"enabled": True, "parentRefs": parent, "hostnames": [HOSTS["http"]]},
        "grpcRoute": {"enabled": True, "parentRefs": parent, "hostnames": [HOSTS["grpc"]]},
        "gateway": {"canary": {"enabled": True, "tag": other(release), "rollout": {"steps": steps}}},
    }


@pytest.fixture(scope="module")
def routed(process):
    """The release with a listener that its routes belong to."""
    if not process.source.addon("gateway"):
        pytest.skip("this cluster's owner has to install a Gateway API")
    process.source.images("gateway", tag=other(process))
    listener = {"name": "all", "protocol": "HTTP", "port": LISTENER, "allowedRoutes": {"namespaces": {"from": "Same"}}}
    gateway = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "public"},
        "spec": {"gatewayClassName": "envoy", "listeners": [listener]},
    }
    process.kube.apply(gateway)
    process.kube.kubectl("wait", "--for=condition=Programmed", "gateway/public", "--timeout=180s", timeout_s=200)
    yield process
    process.kube.kubectl("delete", "gateway", "public", "--timeout=60s", check=False)


@contextmanager
def through_envoy(release):
    """A port that leads to the listener."""
    proxies = Kube(release.kube.environment, "envoy-gateway-system")
    owner = f"gateway.envoyproxy.io/owning-gateway-namespace={release.kube.namespace}"
    [service] = proxies.get("services", "-l", owner)["items"]
    with proxies.forward(f"service/{service['metadata']['name']}", LISTENER) as port:
        yield port


def weights(release):
    """The weights of both routes, stable release first."""
    found = [release.kube.get(kind, NAME) for kind in ("httproute", "grpcroute")]
    return [[one["weight"] for one in route["spec"]["rules"][0]["backendRefs"]] for route in found]


def served(release):
    """Requests by track, out of the ledger."""
    with release.http() as client:
        rows = client.get("/v1/usage", params={"group_by": "track"}).json()["data"]
    return {row["track"]: row["requests"] for row in rows}


def ask_http(port, key, calls):
    turn = {"role": "user", "content": "Say hello."}
    body = {"model": "scripted", "messages": [turn], "max_tokens": 2, "headrace": {"cache": "bypass"}}
    headers = {"authorization": f"Bearer {key}", "host": HOSTS["http"]}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60, trust_env=False) as client:
        for _ in range(calls):
            answer = client.post("/v1/chat/completions", json=body)
            assert answer.status_code == 200, answer.text


def ask_grpc(port, key, calls):
    request = messages_pb2.GenerateRequest(
        model="scripted", prompt="Say hello.", sampling={"max_tokens": 2}, headrace={"cache": "bypass"}
    )
    options = [("grpc.default_authority", HOSTS["grpc"]), ("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        stub = service_pb2_grpc.GatewayServiceStub(channel)
        for _ in range(calls):
            stub.Generate(request, metadata=[("authorization", f"Bearer {key}")], timeout=60)


def answers(ask, port, key):
    """Whether a call comes through: Envoy follows its routes a moment later."""
    try:
        ask(port, key, 1)
    except (grpc.RpcError, httpx.HTTPError):
        return False
    return True


def rollout(release, state, service="gateway"):
    """The canary's rollout, once it is in a state."""

    def found():
        with release.http(release.admin_key) as client:
            listed = client.get("/v1/admin/rollouts", params={"all": "true"}).json()["data"]
        ours = [one for one in listed if one["model"] == f"service/{service}" and one["state"] == state]
        return ours[0] if ours else None

    return wait(f"the canary {state}", found, 240, every_s=2)


def test_a_new_gateway_gets_its_share_of_http_and_grpc_and_is_aborted(routed, measured):
    routed.helm("upgrade", values=with_canary(routed))
    id_ = rollout(routed, "running")["id"]
    wait("half of both routes", lambda: weights(routed) == [[5000, 5000], [5000, 5000]], 120)
    shares = {}
    with through_envoy(routed) as port:
        for kind, ask in (("http", ask_http), ("grpc", ask_grpc)):
            wait(f"{kind} through the route", lambda ask=ask: answers(ask, port, routed.key), 60)
            before = served(routed)
            ask(port, routed.key, 60)

            def told(before=before):
                now = served(routed)
                new = {track: now.get(track, 0) - before.get(track, 0) for track in ("stable", "canary")}
                return new if sum(new.values()) >= 60 else None

            shares[kind] = wait("the ledger", told, 60, every_s=1)
            # of 60 tosses 12 or fewer fall on one side once in a million times
            assert min(shares[kind].values()) > 12, shares
    with routed.http(routed.admin_key) as client:
        answer = client.post(f"/v1/admin/rollouts/{id_}:abort", json={"reason": "wrong tone"})
        assert answer.status_code == 200, answer.text
    wait("nothing for the canary", lambda: weights(routed) == [[10000, 0], [10000, 0]], 60)
    measured.append(f"canary of the gateway at 50% by Envoy: {json.dumps(shares)}")


def test_an_upgrade_does_not_quarrel_with_the_weights(routed):
    """Whoever set them owns no field of the routes: no `--force-conflicts`."""
    routed.helm("upgrade", values=with_canary(routed), force=False)
    rollout(routed, "running")


def test_a_release_whose_pods_are_gone_is_rolled_back_by_itself(routed):
    rollout(routed, "running")
    wait("half of both routes", lambda: weights(routed) == [[5000, 5000], [5000, 5000]], 120)
    routed.kube.kubectl("scale", f"statefulset/{NAME}-gateway-canary", "--replicas=0")
    assert "pod" in rollout(routed, "rolled_back")["reason"]
    wait("nothing for the canary", lambda: weights(routed) == [[10000, 0], [10000, 0]], 60)


@pytest.fixture(scope="module")
def checking(process):
    """The release; its texts are checked by guardrails as `with_guardrails` says."""
    process.source.images("guardrails", tag=other(process))
    return process


def with_guardrails(release):
    """Values by which a rollout begins, and a policy whose answers the guardrails service has to look at."""
    base = YAML(typ="safe").load((CHART / "files" / "headrace.yaml").read_text())
    base["guardrails"]["standard"]["output"].append(
        {"check": "json_schema", "json_schema": {"type": "object"}, "action": "flag"}
    )
    at_least = f"{5400 + int(time.time()) % 3600}s"
    steps = [{"weight": "50%", "at_least": at_least}, {"weight": "100%"}]
    return {
        "config": base,
        "guardrails": {"canary": {"enabled": True, "tag": other(release), "rollout": {"steps": steps}}},
    }


def ask_users(release, calls):
    """Requests of so many users, each of which must be answered."""
    turn = {"role": "user", "content": "Say hello."}
    with release.http() as client:
        for _ in range(calls):
            body = {"model": "scripted", "messages": [turn], "max_tokens": 2, "user": f"user {time.time_ns()}"}
            answer = client.post("/v1/chat/completions", json={**body, "headrace": {"cache": "bypass"}})
            assert answer.status_code == 200, answer.text


def checked(release, component):
    """How many texts the pod of a component has judged."""
    with release.kube.forward(f"deployment/{NAME}-{component}", 7832) as port:
        told = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30, trust_env=False).text
    lines = [line for line in told.splitlines() if line.startswith("headrace_guardrails_checks_total{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


def shares(release, calls):
    """How many texts of so many users each release has judged."""
    components = ("guardrails", "guardrails-canary")
    before = [checked(release, component) for component in components]
    ask_users(release, calls)
    return [checked(release, component) - was for component, was in zip(components, before, strict=True)]


def test_new_guardrails_judge_for_their_share_of_users(checking, measured):
    checking.helm("upgrade", values=with_guardrails(checking))
    rollout(checking, "running", "guardrails")
    # A gateway follows the config a moment after its pods are ready, and the grant after that.
    wait("the first user on it", lambda: shares(checking, 5)[1] > 0, 240, every_s=2)
    found = shares(checking, 60)
    # of 60 tosses 12 or fewer fall on one side once in a million times
    assert min(found) > 12, found
    measured.append(f"canary of guardrails at 50% by the gateways: {json.dumps(found)}")


def test_guardrails_whose_pods_are_gone_cost_nobody_anything_and_are_rolled_back(checking):
    if not checking.kube.pods("guardrails-canary"):  # run alone: those of the test before are there else
        checking.helm("upgrade", values=with_guardrails(checking))
    rollout(checking, "running", "guardrails")
    wait("the first user on it", lambda: shares(checking, 5)[1] > 0, 240, every_s=2)
    checking.kube.kubectl("scale", f"deployment/{NAME}-guardrails-canary", "--replicas=0")
    ask_users(checking, 60)
    assert "pod" in rollout(checking, "rolled_back", "guardrails")["reason"]
